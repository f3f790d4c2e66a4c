"""Stereo: off-axis camera pairs, and the frame layouts that players and glasses expect."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch.nn.functional import avg_pool2d

from idol.rendering.geometry.camera import View
from idol.rendering.outputs.srgb import SRGB_TO_LINEAR, encoding_table

Layout = Literal[
    "side-by-side", "side-by-side-half", "top-bottom", "top-bottom-half", "anaglyph", "anaglyph-gray"
]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)
BASELINE = 0.063
"""Default distance between the eyes in meters: the average of adults."""

# Dubois, "A projection method to generate anaglyph stereo images", ICASSP 2001: least-squares colors for
# red-cyan glasses, in linear light. Rows: red, green, blue of the anaglyph; columns: of the eye's image.
_DUBOIS_LEFT = np.array(
    [
        [0.4561, 0.500484, 0.176381],
        [-0.0400822, -0.0378246, -0.0157589],
        [-0.0152161, -0.0205971, -0.00546856],
    ]
)
_DUBOIS_RIGHT = np.array(
    [[-0.0434706, -0.0879388, -0.00155529], [0.378476, 0.73364, -0.0184503], [-0.0721527, -0.112961, 1.2264]]
)
_LUMINANCE = np.array([0.2126, 0.7152, 0.0722])  # BT.709, of linear light
_LEVELS = 4096  # of linear light when it is encoded: a step is less than a gray level except near black
_ENCODED = encoding_table(_LEVELS)


def stereo_pair(view: View, baseline: float, convergence: float) -> tuple[View, View]:
    """Return the left and right eye of a view.

    Both look in the same direction and their sensors are shifted (off-axis projection); toed-in cameras would
    cause vertical disparity. A point at the convergence distance projects to the same pixel in both and
    appears on the screen; nearer points appear in front of it.

    Args:
        view: The view between the eyes.
        baseline: Distance between the eyes in meters; negative swaps them.
        convergence: Distance in meters along the optical axis of what appears on the screen.
    """
    half = baseline / 2
    right = view.rotation[0] * half
    shift = half / convergence
    return (
        replace(view, position=view.position - right, shift=view.shift - shift),
        replace(view, position=view.position + right, shift=view.shift + shift),
    )


def pack_stereo(
    left: UInt8[np.ndarray, "3 h w"], right: UInt8[np.ndarray, "3 h w"], layout: Layout
) -> UInt8[np.ndarray, "3 height width"]:
    """Pack two images into one frame.

    Args:
        left: Image for the left eye, sRGB.
        right: Image for the right eye, sRGB.
        layout: `side-by-side` and `top-bottom` put the left image left or on top; with `-half` each image is
            reduced to half of that side, which must be even, so that the frame keeps its size. `anaglyph` is
            for red-cyan glasses, left eye red, with Dubois' colors; `anaglyph-gray` is the same without
            colors.

    Raises:
        ValueError: If a side to be halved is odd.
    """
    match layout:
        case "side-by-side":
            return np.concatenate([left, right], 2)
        case "top-bottom":
            return np.concatenate([left, right], 1)
        case "side-by-side-half":
            return np.concatenate([_halve(left, (1, 2)), _halve(right, (1, 2))], 2)
        case "top-bottom-half":
            return np.concatenate([_halve(left, (2, 1)), _halve(right, (2, 1))], 1)
        case "anaglyph":
            return _anaglyph(_DUBOIS_LEFT, left, _DUBOIS_RIGHT, right)
        case "anaglyph-gray":
            return _anaglyph(np.outer([1, 0, 0], _LUMINANCE), left, np.outer([0, 1, 1], _LUMINANCE), right)


def _halve(image: UInt8[np.ndarray, "3 h w"], by: tuple[int, int]) -> UInt8[np.ndarray, "3 i j"]:
    if image.shape[1] % by[0] or image.shape[2] % by[1]:
        raise ValueError(f"image: found {image.shape[1:]}, expected an even side to halve")
    return avg_pool2d(torch.from_numpy(image).float(), by).round_().to(torch.uint8).numpy()


def _anaglyph(
    for_left: Float[np.ndarray, "3 3"],
    left: UInt8[np.ndarray, "3 h w"],
    for_right: Float[np.ndarray, "3 3"],
    right: UInt8[np.ndarray, "3 h w"],
) -> UInt8[np.ndarray, "3 h w"]:
    """Return the sRGB image of the sum of two images, each multiplied by a matrix in linear light."""
    # (6, h w): both images at once, multiplied by one 3 x 6 matrix scaled to table indices
    linear = SRGB_TO_LINEAR.take(np.concatenate([left, right]).reshape(6, -1))
    mixed = (np.concatenate([for_left, for_right], 1) * (_LEVELS - 1)).astype(np.float32) @ linear
    mixed += np.float32(0.5)
    np.clip(mixed, 0, _LEVELS - 1, out=mixed)
    return _ENCODED.take(mixed.astype(np.int32)).reshape(left.shape)
