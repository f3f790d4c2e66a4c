"""Trivial baselines that every model must beat, made from the reference clip itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from idol.clip import Clip


def paste_person(reference: Clip) -> Clip:
    """Return the reference's first-frame person on the background, standing still in every frame."""
    still = reference.select([0] * reference.frames)
    empty = empty_background(reference)
    video = np.where(still.mask[:, None], still.video, empty.video)
    return replace(empty, video=video, depth=np.where(still.mask, still.depth, 0), mask=still.mask)


def empty_background(reference: Clip) -> Clip:
    """Return the reference's background without a person, with zero depth."""
    return replace(
        reference,
        video=np.broadcast_to(reference.background, reference.video.shape).copy(),
        depth=np.zeros_like(reference.depth),
        mask=np.zeros_like(reference.mask),
    )
