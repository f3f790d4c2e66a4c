"""Edges: the depth's against the true depth's, and the outlines of depth and video against each other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from idol.evaluation import optional_imports
from idol.evaluation.metrics.clip import SILHOUETTE

STEP = 1.25
"""Neighboring depths with this ratio or more have an edge between them (the largest threshold of the
boundary score of Depth Pro, Bochkovskii et al. 2024)."""

_REACH = 1  # pixels at a height of 256 by which an edge may be off

Steps = Bool[np.ndarray, "4 f h w"]


@dataclass(frozen=True)
class Match:
    """How well two sets of edges agree; NaN if both are empty, 0 if one is.

    Attributes:
        precision: Share of the judged edges that lie at a true one.
        recall: Share of the true edges that have a judged one there.
        f1: Harmonic mean of the two.
    """

    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class Edges:
    """Where depth jumps.

    Attributes:
        steps: (4, f, h, w) bool: pixels that are nearer than the neighbor to the left, to the right, above
            and below by a factor of `STEP`: four maps, as an edge has a near side.
        around: (4, f, h, w) bool: the same, grown by the pixels that an edge may be off.
    """

    steps: np.ndarray
    around: np.ndarray


def edges(depth: Float[np.ndarray, "f h w"]) -> Edges:
    """The discontinuities of a normalized inverse depth, between neighboring pixels.

    What lies below `SILHOUETTE` counts as that: there the person ends, and the noise that a decoder leaves
    on nothing has no edges. Ratios are taken of the inverse depths over the clip's range, where an arm before
    the body stands out; of distances in meters it may be a tenth nearer.
    """
    steps = np.zeros((4, *depth.shape), bool)
    kept = np.maximum(depth, np.float32(SILHOUETTE)).astype(np.float32)
    factor = np.float32(STEP)
    left, right, above, below = kept[:, :, :-1], kept[:, :, 1:], kept[:, :-1], kept[:, 1:]
    steps[0, :, :, 1:] = right >= factor * left
    steps[1, :, :, :-1] = left >= factor * right
    steps[2, :, 1:] = below >= factor * above
    steps[3, :, :-1] = above >= factor * below
    return Edges(steps, _grown(steps, max(1, round(_REACH * depth.shape[1] / 256))))


def match(found: Edges, true: Edges) -> Match:
    """Precision, recall and F1 of edges, counted over the whole clip.

    Unlike Depth Pro's score, which asks for the very pixel, an edge may be one pixel (at a height of 256)
    off: without that even the autoencoder's round trip of the true depth gets no more than 0.6.
    """
    numbers = int(found.steps.sum()), int(true.steps.sum())
    if 0 in numbers:
        nothing = float("nan") if numbers == (0, 0) else 0.0
        return Match(nothing, nothing, nothing)
    precision = float((found.steps & true.around).sum() / numbers[0])
    recall = float((true.steps & found.around).sum() / numbers[1])
    either = precision + recall
    return Match(precision, recall, 2 * precision * recall / either if either else 0.0)


def contour(mask: Bool[np.ndarray, "*f h w"]) -> Bool[np.ndarray, "*f h w"]:
    """Pixels of a mask with one of the four neighbors outside it; the frame's own edge is not an outline."""
    edge = [(0, 0)] * (mask.ndim - 2) + [(1, 1), (1, 1)]
    wide = np.pad(mask, edge, mode="edge")
    vertical = wide[..., :-2, 1:-1] & wide[..., 2:, 1:-1]
    horizontal = wide[..., 1:-1, :-2] & wide[..., 1:-1, 2:]
    return mask & ~(vertical & horizontal)


def edge_distance(a: Bool[np.ndarray, "f h w"], b: Bool[np.ndarray, "f h w"]) -> float:
    """Mean symmetric distance between the outlines of two masks.

    In each frame: the mean distance of the pixels of one outline from the nearest of the other, averaged over
    both directions. Then the mean over the frames that have both outlines.

    Args:
        a: One mask.
        b: The other.

    Returns:
        Pixels, scaled to a height of 256; NaN if no frame has both.

    Raises:
        UserError: If OpenCV is not installed.
    """
    distances = [
        (_distance_to(y)[x].mean() + _distance_to(x)[y].mean()) / 2
        for x, y in zip(contour(a), contour(b), strict=True)
        if x.any() and y.any()
    ]
    return float(np.mean(distances)) * 256 / a.shape[1] if distances else float("nan")


def _distance_to(outline: np.ndarray) -> np.ndarray:
    """(h, w) Euclidean distance of each pixel from the nearest one of the outline, exact."""
    cv2 = optional_imports.module("cv2")
    return cv2.distanceTransform((~outline).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)


def _grown(masks: np.ndarray, reach: int) -> np.ndarray:
    """Masks (..., h, w) after every pixel has become a square of 2 reach + 1."""
    for axis in (-2, -1):
        grown = masks.copy()
        for shift in range(1, reach + 1):
            there, here = _shifted(masks.ndim, axis, shift)
            grown[there] |= masks[here]
            grown[here] |= masks[there]
        masks = grown
    return masks


def _shifted(dimensions: int, axis: int, by: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    first, last = [slice(None)] * dimensions, [slice(None)] * dimensions
    first[axis], last[axis] = slice(by, None), slice(None, -by)
    return tuple(first), tuple(last)
