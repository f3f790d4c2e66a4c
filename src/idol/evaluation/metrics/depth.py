"""Errors of depth beside the paper's L2: relative, root mean square and the share that is nearly right.

On which values? Generated depth is normalized inverse depth: [0, 1] over the true clip's range, the person
from 0.2 up. There all three are taken: a ratio means the same in every clip, and a pixel of the person that
the generated depth leaves out (0) counts as an error of its whole depth. Where the range in meters is known
they are taken of the distances too, at the pixels where both show something, as nobody has no distance. There
the ratios are nearer to 1: a person is farther away than he or she is deep.
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
        absrel: Mean of |generated - true| / true.
        rmse: Root of the mean squared difference, in the unit of the values.
        delta: Share of the pixels where the larger of the two is less than `DELTA` times the smaller.
    """

    absrel: float
    rmse: float
    delta: float


def depth_errors(generated: Float[np.ndarray, " n"], true: Float[np.ndarray, " n"]) -> DepthErrors:
    """Errors of the depths at some pixels.

    Args:
        generated: Depths to judge; one that is not positive is never nearly right.
        true: The true ones, all positive.
    """
    if true.size == 0:
        return DepthErrors(float("nan"), float("nan"), float("nan"))
    got, wanted = generated.astype(np.float64), true.astype(np.float64)
    wrong = np.abs(got - wanted)
    near = (got < DELTA * wanted) & (wanted < DELTA * got)
    return DepthErrors(
        float((wrong / wanted).mean()), float(np.sqrt(np.square(wrong).mean())), float(near.mean())
    )


def aligned(
    generated: Float[np.ndarray, "f h w"],
    true: Float[np.ndarray, "f h w"],
    where: Bool[np.ndarray, "f h w"],
) -> Float[np.ndarray, "f h w"]:
    """The generated depth after the scale and shift that bring it nearest to the true one.

    Least squares, one pair for all frames: what flickers stays wrong. Elsewhere it is left alone: a shift
    must not make a person where the depth shows none.

    Args:
        generated: The depth to align.
        true: The true one.
        where: Pixels that show something in both. They decide, and they alone are moved.
    """
    if not where.any():
        return generated
    return np.where(where, align(generated.astype(np.float64), true, where), generated)


def errors_in_meters(
    generated: Float[np.ndarray, "f h w"],
    true: Float[np.ndarray, "f h w"],
    where: Bool[np.ndarray, "f h w"],
    depth_range: tuple[float, float],
    kind: Literal["person", "scene"],
) -> DepthErrors:
    """Errors of distances in meters.

    Args:
        generated: Normalized inverse depth; what lies outside the range is clamped to it.
        true: The true one.
        where: Pixels that show something in both.
        depth_range: (near, far) in meters of the *true* clip, for both.
        kind: Of both.
    """
    least = PERSON_FLOOR if kind == "person" else 0.0
    values = (np.maximum(depth[where], least)[None] for depth in (generated, true))
    return depth_errors(*(to_meters(found, depth_range, kind)[0] for found in values))
