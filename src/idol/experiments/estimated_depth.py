"""Depth for methods that make none, estimated on their finished videos, as the paper does for DisCo."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32

from idol.clip import Clip, DepthKind
from idol.clip.background_subtraction import differs_from_plate
from idol.clip.depth import PERSON_FLOOR, normalize_disparity
from idol.experiments.regenerate import inputs_of
from idol.pipeline.pipeline import IdolPipeline

Estimate = Callable[[Clip, Clip], Float32[np.ndarray, "f h w"]]
"""From a finished clip and the true one, whose person and plate are known, to depth in [0, 1]."""


def with_depth(
    clips: Mapping[str, Clip],
    true: Mapping[str, Clip],
    folder: Path,
    estimate: Estimate,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write finished clips anew with estimated depth of the true clips' kind; returns `folder`.

    Args:
        clips: Finished clips, by the true ones' names.
        true: The true clips.
        folder: Gets a clip of every name; those there are kept.
        estimate: The estimator.
        progress: Told (clips done, clips).
    """
    for done, name in enumerate(clips, 1):
        if not (folder / name).exists():
            clip, kind = clips[name], true[name].depth_kind
            depth = estimate(clip, true[name])
            replace(clip, depth=depth, depth_kind=kind, mask=_mask(clip, depth, kind)).save(folder / name)
        if progress:
            progress(done, len(clips))
    return folder


def by_joint_networks(pipe: IdolPipeline) -> Estimate:
    """Joint networks that are given the video clean, at time 0, and generate its depth."""

    def estimate(clip: Clip, true: Clip) -> np.ndarray:
        given = inputs_of(true)
        output = pipe(
            given.person,
            given.mask,
            given.background,
            given.pose,
            foreground_pose=given.person_pose,
            video=clip.video[None],
            generator=torch.Generator("cpu").manual_seed(0),
            height=clip.height,
            width=clip.width,
            detail="none",
            output_type="np",
        )
        assert not isinstance(output, tuple) and output.depth is not None
        return np.clip(output.depth[0], 0, 1).astype(np.float32)

    return estimate


def by_depth_model(disparity: Callable[[np.ndarray], np.ndarray]) -> Estimate:
    """A published estimator; the person's depth is cut out by the known plate, as HDNet's is by a mask.

    Args:
        disparity: Of frames (f, 3, h, w) uint8, as `idol.prepare.estimators.depth.DepthModel.estimate`.
    """

    def estimate(clip: Clip, true: Clip) -> np.ndarray:
        person = None
        if true.depth_kind == "person":
            person = differs_from_plate(clip.video, true.background)
        return normalize_disparity(disparity(clip.video), person)

    return estimate


def _mask(clip: Clip, depth: np.ndarray, kind: DepthKind) -> np.ndarray:
    return depth > PERSON_FLOOR / 2 if kind == "person" else differs_from_plate(clip.video, clip.background)
