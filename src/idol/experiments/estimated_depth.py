"""Depth for methods that produce none, estimated on their finished videos, as the paper does for DisCo."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32

from idol.clip import Clip, DepthKind
from idol.clip.background_subtraction import subtract_background
from idol.clip.depth import PERSON_FLOOR, normalize_disparity
from idol.experiments.regenerate import inputs_from_clip
from idol.pipeline.pipeline import IdolPipeline
from idol.progress import SILENT, ProgressCallback

EstimateDepth = Callable[[Clip, Clip], Float32[np.ndarray, "f h w"]]
"""(generated clip, reference clip) -> depth in [0, 1]; person and background of the reference are known."""


def write_with_estimated_depth(
    clips: Mapping[str, Clip],
    reference: Mapping[str, Clip],
    folder: Path,
    estimate_depth: EstimateDepth,
    progress: ProgressCallback = SILENT,
) -> Path:
    """Write finished clips again with estimated depth of the reference clips' kind, and return `folder`.

    Args:
        clips: Finished clips, by the names of the reference clips.
        reference: The reference clips.
        folder: Receives a clip of every name; existing ones are kept.
        estimate_depth: The estimator.
        progress: Receives one step per clip.
    """
    for done, name in enumerate(clips, 1):
        if not (folder / name).exists():
            clip, kind = clips[name], reference[name].depth_kind
            depth = estimate_depth(clip, reference[name])
            replace(clip, depth=depth, depth_kind=kind, mask=_mask(clip, depth, kind)).save(folder / name)
        progress.step(done, len(clips))
    return folder


def joint_network_estimator(pipe: IdolPipeline) -> EstimateDepth:
    """Return an estimator that gives joint networks the clean video (time 0) and generates its depth."""

    def estimate_depth(clip: Clip, reference: Clip) -> np.ndarray:
        inputs = inputs_from_clip(reference)
        output = pipe(
            inputs.person,
            inputs.mask,
            inputs.background,
            inputs.pose,
            foreground_pose=inputs.person_pose,
            video=clip.video[None],
            generator=torch.Generator("cpu").manual_seed(0),
            height=clip.height,
            width=clip.width,
            detail="none",
            output_type="np",
        )
        assert not isinstance(output, tuple) and output.depth is not None
        return np.clip(output.depth[0], 0, 1).astype(np.float32)

    return estimate_depth


def depth_model_estimator(disparity: Callable[[np.ndarray], np.ndarray]) -> EstimateDepth:
    """Return an estimator that applies a published depth model.

    The person's depth is cut out by difference from the known background, as HDNet's is by a mask.

    Args:
        disparity: Frames (f, 3, h, w) uint8 -> disparity (f, h, w);
            `prepare.estimators.depth.DepthModel.estimate`.
    """

    def estimate_depth(clip: Clip, reference: Clip) -> np.ndarray:
        person = None
        if reference.depth_kind == "person":
            person = subtract_background(clip.video, reference.background)
        return normalize_disparity(disparity(clip.video), person)

    return estimate_depth


def _mask(clip: Clip, depth: np.ndarray, kind: DepthKind) -> np.ndarray:
    return depth > PERSON_FLOOR / 2 if kind == "person" else subtract_background(clip.video, clip.background)
