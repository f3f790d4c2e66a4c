"""The axes that exported files and viewers use.

The `Camera` looks along +z with y down, as OpenCV does. Files for other programs use glTF's axes,
which are also those of three.js and, for cameras, of OpenGL and Blender: right-handed, x to the right,
*y up*, the camera at the origin looking along -z, one unit a meter. Blender turns a GLB onto its own z-up
floor by itself; for a PLY choose "Forward -Z, Up Y" in its importer.
"""

import numpy as np
from jaxtyping import Float

_FLIP = np.array([1, -1, -1], np.float32)


def y_up(points: Float[np.ndarray, "*b 3"]) -> Float[np.ndarray, "*b 3"]:
    """Turn points of the camera's axes to those of exported files, or back: half a turn about x."""
    return points * _FLIP.astype(points.dtype)
