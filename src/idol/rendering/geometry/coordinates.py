"""The axes of exported files and viewers.

`Camera` looks along +z with y down, as OpenCV does. Exported files use glTF's axes, which are also those of
three.js and, for cameras, of OpenGL and Blender: right-handed, x to the right, *y up*, the camera at the
origin looking along -z, one unit per meter. Blender converts a GLB to its z-up axes itself; for a PLY choose
"Forward -Z, Up Y" in its importer.
"""

import numpy as np
from jaxtyping import Float

_FLIP = np.array([1, -1, -1], np.float32)


def y_up(points: Float[np.ndarray, "*b 3"]) -> Float[np.ndarray, "*b 3"]:
    """Convert points from OpenCV's axes to glTF's, or back: a half turn about x.

    Args:
        points: Points in meters.
    """
    return points * _FLIP.astype(points.dtype)
