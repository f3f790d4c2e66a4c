"""Identity: embeddings of the person in the generated frames against that of the first reference frame."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image

from idol.clip import Clip

Embedding = Callable[[np.ndarray], np.ndarray]
"""Images (n, 3, h, w) uint8 sRGB of persons on mid-gray -> one vector each, (n, d) float, with n >= 1 and
h = w = `SIDE`; a network that needs another size or range converts them itself.
"""

SIDE = 256
"""Height and width in pixels of the images that an embedding gets."""

_GRAY = 128


def person_images(
    video: UInt8[np.ndarray, "f 3 h w"], mask: Bool[np.ndarray, "f h w"]
) -> UInt8[np.ndarray, "n 3 side side"]:
    """Return the person of each frame on a mid-gray square of the size of the mask's box.

    Args:
        video: The clip.
        mask: Where the person should be; a frame with an empty mask gives no image.

    Returns:
        n <= f images of `SIDE` pixels, in the order of the frames.
    """
    seen = np.flatnonzero(mask.any((1, 2)))
    images = [_image(video[i], mask[i]) for i in seen]
    return np.stack(images) if images else np.zeros((0, 3, SIDE, SIDE), np.uint8)


def similarity(embed: Embedding, generated: Sequence[np.ndarray], reference: Clip) -> list[float]:
    """Return the cosine similarity of the person to the reference, for several versions of one clip.

    All are cut out by the reference masks, so that a person at the wrong place is not similar.

    Args:
        embed: See `Embedding`.
        generated: The versions, (f, 3, h, w) uint8 each.
        reference: The reference clip, whose first frame shows the person to compare with.

    Returns:
        For each version, the mean over the frames whose reference mask is not empty, in [-1, 1]; NaN if that
        of the first frame is empty.
    """
    if not reference.mask[0].any():
        return [float("nan")] * len(generated)
    reference_vector = _unit(embed(person_images(reference.video[:1], reference.mask[:1])))[0]
    found = (_unit(embed(person_images(video, reference.mask))) @ reference_vector for video in generated)
    return [float(cosines.mean()) for cosines in found]


def _image(frame: np.ndarray, mask: np.ndarray) -> np.ndarray:
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    top, left = rows[0], columns[0]
    height, width = rows[-1] + 1 - top, columns[-1] + 1 - left
    side = max(height, width)
    square = np.full((side, side, 3), _GRAY, np.uint8)
    y, x = (side - height) // 2, (side - width) // 2
    person = np.where(mask[None], frame, _GRAY)[:, top : top + height, left : left + width]
    square[y : y + height, x : x + width] = person.transpose(1, 2, 0)
    resized = Image.fromarray(square).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    return np.asarray(resized).transpose(2, 0, 1)


def _unit(vectors: np.ndarray) -> np.ndarray:
    values = vectors.astype(np.float64)
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)
