"""Two eyes: off-axis camera pairs, and the layouts that viewers and glasses expect."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch.nn.functional import avg_pool2d

from idol.rendering.geometry.camera import View

Layout = Literal[
    "side-by-side", "side-by-side-half", "top-bottom", "top-bottom-half", "anaglyph", "anaglyph-gray"
]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)
BASELINE = 0.063
"""Meters between the eyes of a dilate person, on average."""

# Dubois, "A projection method to generate anaglyph stereo images", ICASSP 2001: the least-squares best
# colors for red-cyan glasses, for linear light. Rows: red, green, blue of the anaglyph.
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
_TABLE = 4096  # entries that bring linear light back to 8 bits: a step is less than a gray level but in black


def stereo_pair(view: View, baseline: float, convergence: float) -> tuple[View, View]:
    """The left and the right eye of a view.

    Both look the same way, and their sensors are shifted (off-axis projection): turning them in would tilt
    the two images against each other. What is at the distance of convergence appears at the same pixel in
    both, and so at the screen; what is nearer in front of it.

    Args:
        view: The middle.
        baseline: Meters between the eyes; a negative one swaps them.
        convergence: Meters from the middle along its axis.
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
    """Two images as one.

    Args:
        left: What the left eye sees, sRGB.
        right: What the right eye sees.
        layout: `side-by-side` and `top-bottom` put them beside or below each other, left eye first; with
            `-half` each is squeezed to half of that side, so that the size stays (a size to be squeezed must
            be even). `anaglyph` is for red-cyan glasses, left eye red, in Dubois' colors; `anaglyph-gray`
            the same without colors.

    Raises:
        ValueError: If a side to be squeezed is odd.
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
        raise ValueError(f"image: found {image.shape[1:]}, expected an even side to squeeze")
    return avg_pool2d(torch.from_numpy(image).float(), by).round_().to(torch.uint8).numpy()


def _anaglyph(
    for_left: Float[np.ndarray, "3 3"],
    left: UInt8[np.ndarray, "3 h w"],
    for_right: Float[np.ndarray, "3 3"],
    right: UInt8[np.ndarray, "3 h w"],
) -> UInt8[np.ndarray, "3 h w"]:
    """The sum of two images, each multiplied by a matrix, in linear light; in sRGB's code."""
    linear = _LINEAR.take(np.concatenate([left, right]).reshape(6, -1))
    mixed = (np.concatenate([for_left, for_right], 1) * (_TABLE - 1)).astype(np.float32) @ linear
    mixed += np.float32(0.5)
    np.clip(mixed, 0, _TABLE - 1, out=mixed)
    return _CODED.take(mixed.astype(np.int32)).reshape(left.shape)


def _to_linear() -> Float32[np.ndarray, " 256"]:
    v = np.arange(256) / 255
    return np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4).astype(np.float32)


def _from_linear() -> UInt8[np.ndarray, " n"]:
    v = np.arange(_TABLE) / (_TABLE - 1)
    coded = np.where(v <= 0.0031308, 12.92 * v, 1.055 * v ** (1 / 2.4) - 0.055)
    return (coded * 255).round().astype(np.uint8)


_LINEAR, _CODED = _to_linear(), _from_linear()
