"""Depth errors beside the paper's L2: relative, root mean square, and the share within a factor.

Generated depth is normalized inverse depth: [0, 1] over the reference clip's range, the person from 0.2 up.
The errors are taken of these values, where a ratio means the same in every clip and a pixel of the person
that the generated depth misses (0) counts as an error of its whole depth. If the range in meters is known,
the errors are also taken of distances, at the pixels where both show the person, because an empty pixel has
no distance. Ratios of distances are closer to 1, since a person is farther away than deep.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from idol.clip.depth import PERSON_FLOOR, align, to_meters

DELTA = 1.25
"""Factor within which a depth counts as nearly right."""


@dataclass(frozen=True)
class DepthErrors:
    """Errors over a set of pixels; NaN if it is empty.

    Attributes:
        absrel: Mean of |generated - reference| / reference.
        rmse: Root mean square difference, in the unit of the values.
        delta: Share of the pixels where the larger value is less than `DELTA` times the smaller.
    """

    absrel: float
    rmse: float
    delta: float


def depth_errors(generated: Float[np.ndarray, " n"], reference: Float[np.ndarray, " n"]) -> DepthErrors:
    """Return the errors of depths at a set of pixels.

    Args:
        generated: Depths to score; a value that is not positive is never within `DELTA`.
        reference: Reference depths, all positive.
    """
    if reference.size == 0:
        return DepthErrors(float("nan"), float("nan"), float("nan"))
    values, expected = generated.astype(np.float64), reference.astype(np.float64)
    errors = np.abs(values - expected)
    within = (values < DELTA * expected) & (expected < DELTA * values)
    return DepthErrors(
        float((errors / expected).mean()), float(np.sqrt(np.square(errors).mean())), float(within.mean())
    )


def fit_to_reference(
    generated: Float[np.ndarray, "f h w"],
    reference: Float[np.ndarray, "f h w"],
    where: Bool[np.ndarray, "f h w"],
) -> Float[np.ndarray, "f h w"]:
    """Return the generated depth after the least-squares scale and shift to the reference.

    One pair is fitted for all frames, so that flicker stays an error.

    Args:
        generated: The depth to align.
        reference: The reference depth.
        where: Pixels that show the person in both. Only these are fitted and changed, because a shift must
            not create a person where the depth shows none.
    """
    if not where.any():
        return generated
    return np.where(where, align(generated.astype(np.float64), reference, where), generated)


def errors_in_meters(
    generated: Float[np.ndarray, "f h w"],
    reference: Float[np.ndarray, "f h w"],
    where: Bool[np.ndarray, "f h w"],
    depth_range: tuple[float, float],
    kind: Literal["person", "scene"],
) -> DepthErrors:
    """Return the errors of distances in meters.

    Args:
        generated: Normalized inverse depth; values outside the range are clamped to it.
        reference: The reference depth.
        where: Pixels that show the person in both.
        depth_range: (near, far) in meters of the reference clip, used for both.
        kind: Depth kind of both.
    """
    least = PERSON_FLOOR if kind == "person" else 0.0
    values = (np.maximum(depth[where], least)[None] for depth in (generated, reference))
    return depth_errors(*(to_meters(found, depth_range, kind)[0] for found in values))
