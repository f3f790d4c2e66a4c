"""What costs nothing: the answers that any model must beat, made from the true clip itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from idol.clip import Clip


def pasted(true: Clip) -> Clip:
    """The reference person (the first frame's) on the clean plate, the same in every frame: never moves."""
    still = true.select([0] * true.frames)
    plate = plate_alone(true)
    video = np.where(still.mask[:, None], still.video, plate.video)
    return replace(plate, video=video, depth=np.where(still.mask, still.depth, 0), mask=still.mask)


def plate_alone(true: Clip) -> Clip:
    """The true clean plate with nobody in it, and so no depth."""
    return replace(
        true,
        video=np.broadcast_to(true.background, true.video.shape).copy(),
        depth=np.zeros_like(true.depth),
        mask=np.zeros_like(true.mask),
    )
