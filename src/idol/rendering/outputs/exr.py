"""OpenEXR for compositing: color, alpha and metric depth of the person and of the background.

Colors follow the conventions of compositors: linear light with Rec. 709 primaries, premultiplied by alpha, in
half precision (which holds 8-bit sRGB exactly). Z is meters along the optical axis in single precision, and
+infinity where alpha is 0.
"""

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from idol.errors import UserError
from idol.rendering.geometry.camera import Layers
from idol.rendering.outputs.srgb import SRGB_TO_LINEAR

_REC_709 = (0.64, 0.33, 0.30, 0.60, 0.15, 0.06, 0.3127, 0.3290)  # red, green, blue, white
_COMMENTS = "linear Rec. 709, premultiplied; Z in meters along the view axis, infinite where nothing is"


def write_person_exr(path: Path, layers: Layers, frame: int) -> None:
    """Write the person in one frame: R G B A (half) and Z (float).

    Args:
        path: Destination.
        layers: The clip.
        frame: Index of the frame.

    Raises:
        UserError: If OpenEXR is not installed.
    """
    alpha = layers.alpha[frame]
    z = np.where(alpha > 0, layers.z[frame], np.float32(np.inf))
    _write(path, layers, layers.color[frame], alpha, z)


def write_background_exr(path: Path, layers: Layers, frame: int) -> None:
    """Write the complete background of one frame: R G B A (half, A is 1) and Z (float).

    Args:
        path: Destination.
        layers: The clip.
        frame: Index of the frame.

    Raises:
        UserError: If OpenEXR is not installed.
    """
    z = layers.background_z_at(frame)
    _write(path, layers, layers.background_at(frame), np.ones_like(z), z)


def _write(
    path: Path,
    layers: Layers,
    color: UInt8[np.ndarray, "3 h w"],
    alpha: Float32[np.ndarray, "h w"],
    z: Float32[np.ndarray, "h w"],
) -> None:
    openexr = _openexr()
    # c h w -> h w c
    rgba = np.concatenate([SRGB_TO_LINEAR[color] * alpha, alpha[None]]).transpose(1, 2, 0)
    header = {
        "compression": openexr.ZIP_COMPRESSION,
        "type": openexr.scanlineimage,
        "chromaticities": _REC_709,
        "framesPerSecond": Fraction(layers.fps).limit_denominator(1001),
        "comments": _COMMENTS,
    }
    channels = {"RGBA": np.ascontiguousarray(rgba, np.float16), "Z": np.ascontiguousarray(z)}
    openexr.File(header, channels).write(str(path))


def _openexr() -> Any:
    try:
        import OpenEXR
    except ImportError as error:
        raise UserError(
            "kind", "exr needs OpenEXR, which is not installed", "pip install idol-diffusion[render]"
        ) from error
    return OpenEXR
