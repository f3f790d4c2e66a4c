"""The sRGB transfer curve (IEC 61966-2-1) as tables."""

import numpy as np
from jaxtyping import Float32, UInt8


def _decoding_table() -> Float32[np.ndarray, " 256"]:
    v = np.arange(256) / 255
    return np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4).astype(np.float32)


SRGB_TO_LINEAR = _decoding_table()
"""Linear light in [0, 1] of each 8-bit sRGB value."""


def encoding_table(size: int) -> UInt8[np.ndarray, " size"]:
    """Return the 8-bit sRGB values of `size` equally spaced levels of linear light from 0 to 1."""
    v = np.arange(size) / (size - 1)
    encoded = np.where(v <= 0.0031308, 12.92 * v, 1.055 * v ** (1 / 2.4) - 0.055)
    return (encoded * 255).round().astype(np.uint8)
