"""Edges in depth against those of the reference, and outlines of depth and video against each other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy.ndimage import binary_erosion, generate_binary_structure, maximum_filter

from idol.evaluation import optional_imports
from idol.evaluation.metrics.clip import SILHOUETTE

STEP = 1.25
"""Ratio of neighboring depths from which there is an edge between them (the largest threshold of the boundary
score of Depth Pro, Bochkovskii et al. 2024)."""

_TOLERANCE = 1  # pixels at a height of 256 by which an edge may be displaced
_CROSS = generate_binary_structure(2, 1)[None]  # the four neighbors within a frame


@dataclass(frozen=True)
class EdgeMatch:
    """Agreement of two sets of edges; NaN if both are empty, 0 if one is.

    Attributes:
        precision: Share of the generated edges that lie at a reference edge.
        recall: Share of the reference edges that lie at a generated edge.
        f1: Harmonic mean of the two.
    """

    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class DepthEdges:
    """Discontinuities of a depth clip.

    Attributes:
        steps: (4, f, h, w) bool: pixels that are nearer than their left, right, upper and lower neighbor by a
            factor of `STEP`. Four maps, because an edge has a near side.
        dilated: (4, f, h, w) bool: `steps` grown by the tolerance.
    """

    steps: np.ndarray
    dilated: np.ndarray


def depth_edges(depth: Float[np.ndarray, "f h w"]) -> DepthEdges:
    """Return the discontinuities of normalized inverse depth in [0, 1].

    Values below `SILHOUETTE` are raised to it: the person ends there, and the noise that a decoder leaves on
    empty pixels must not have edges. Ratios are of inverse depth over the clip's range, where an arm in front
    of the body stands out; in meters it may be a tenth nearer only.
    """
    steps = np.zeros((4, *depth.shape), bool)
    floored = np.maximum(depth, np.float32(SILHOUETTE)).astype(np.float32)
    factor = np.float32(STEP)
    left, right, above, below = floored[:, :, :-1], floored[:, :, 1:], floored[:, :-1], floored[:, 1:]
    steps[0, :, :, 1:] = right >= factor * left
    steps[1, :, :, :-1] = left >= factor * right
    steps[2, :, 1:] = below >= factor * above
    steps[3, :, :-1] = above >= factor * below
    side = 2 * max(1, round(_TOLERANCE * depth.shape[1] / 256)) + 1
    return DepthEdges(steps, maximum_filter(steps, size=(1, 1, side, side)))


def match_edges(generated: DepthEdges, reference: DepthEdges) -> EdgeMatch:
    """Return precision, recall and F1 of edges over the whole clip.

    Depth Pro's score demands the exact pixel. Here an edge may be displaced by one pixel (at a height of
    256), because even the autoencoder's round trip of the reference depth scores below 0.6 otherwise.

    Args:
        generated: Edges of the generated depth.
        reference: Edges of the reference depth.
    """
    counts = int(generated.steps.sum()), int(reference.steps.sum())
    if 0 in counts:
        value = float("nan") if counts == (0, 0) else 0.0
        return EdgeMatch(value, value, value)
    precision = float((generated.steps & reference.dilated).sum() / counts[0])
    recall = float((reference.steps & generated.dilated).sum() / counts[1])
    total = precision + recall
    return EdgeMatch(precision, recall, 2 * precision * recall / total if total else 0.0)


def contour(mask: Bool[np.ndarray, "f h w"]) -> Bool[np.ndarray, "f h w"]:
    """Return the pixels of a mask with one of their four neighbors outside; the frame's border is none."""
    return mask & ~binary_erosion(mask, _CROSS, border_value=1)


def edge_distance(a: Bool[np.ndarray, "f h w"], b: Bool[np.ndarray, "f h w"]) -> float:
    """Return the mean symmetric distance between the outlines of two masks.

    In each frame, the mean distance of the pixels of one outline to the nearest pixel of the other, averaged
    over both directions; then the mean over the frames that have both outlines.

    Args:
        a: One mask.
        b: The other.

    Returns:
        Pixels, scaled to a height of 256; NaN if no frame has both outlines.

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
    """Return (h, w), each pixel's exact Euclidean distance to the nearest pixel of the outline."""
    cv2 = optional_imports.require("cv2")
    return cv2.distanceTransform((~outline).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
