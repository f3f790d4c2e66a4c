"""Prepared inputs -> generated clip: one call of the pipeline with its outputs as `Clip`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from idol.clip import Clip, DepthKind
from idol.clip.background_subtraction import subtract_background
from idol.clip.depth import PERSON_FLOOR
from idol.generation.run_folder import RunInputs, RunSettings
from idol.pipeline.config import as_numpy
from idol.progress import SILENT, ProgressCallback

if TYPE_CHECKING:
    from idol.pipeline.pipeline import IdolPipeline


def generate_clip(
    pipe: IdolPipeline, inputs: RunInputs, settings: RunSettings, progress: ProgressCallback = SILENT
) -> Clip:
    """Generate a clip in memory.

    Args:
        pipe: The pipeline, on its device.
        inputs: Prepared inputs of the settings' size.
        settings: Sampling settings; device, threads and watermark are not looked at.
        progress: Receives steps, previews and the stage of decoding.

    Returns:
        The clip, without depth (`depth_kind="none"`) if the pipeline produces none.
    """
    parts = list(stream_clip(pipe, inputs, settings, progress))
    video, depth, mask = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("video", "depth", "mask")
    )
    return replace(parts[0], video=video, depth=depth, mask=mask, pose=inputs.pose)


def stream_clip(
    pipe: IdolPipeline, inputs: RunInputs, settings: RunSettings, progress: ProgressCallback = SILENT
) -> Iterator[Clip]:
    """Yield the frames of `generate_clip`, a few at a time, so that a long clip is never whole in memory.

    Args:
        pipe: As `generate_clip`.
        inputs: As `generate_clip`.
        settings: As `generate_clip`.
        progress: As `generate_clip`.
    """
    frames = inputs.pose.frames

    def preview(_pipe: Any, step: int, _timestep: Any, state: dict[str, Any]) -> None:
        middle = frames // 2
        if step + 1 < settings.num_inference_steps:
            progress.preview(lambda: _side_by_side(state["decode"](slice(middle, middle + 1))))

    outputs = pipe.stream(
        inputs.person,
        inputs.mask,
        inputs.background,
        inputs.pose,
        foreground_pose=inputs.person_pose,
        num_inference_steps=settings.num_inference_steps,
        guidance_scale=settings.guidance_scale,
        generator=torch.Generator("cpu").manual_seed(settings.seed),
        height=settings.height,
        width=settings.width,
        detail=settings.detail,
        callback_on_step_end=preview,
        callback_on_step_end_tensor_inputs=(),
        progress=progress,
    )
    progress.stage("decoding the frames")
    first = 0
    for output in outputs:
        images = as_numpy(output)
        video = np.rint(np.clip(images.video[0], 0, 1) * 255).astype(np.uint8)
        yield _part(video, images.depth, pipe.defaults.depth_kind, first, inputs, settings)
        first += len(video)
        progress.step(first, frames)


def _side_by_side(images: torch.Tensor) -> np.ndarray:
    """Return the modalities (1, m, 1, 3, h, w) of a frame in [-1, 1] as one uint8 image (3, h, m w)."""
    beside = torch.cat(list(images[0, :, 0]), -1)
    return ((beside.float().cpu() + 1) * 127.5).round().byte().numpy()


def _part(
    video: np.ndarray, depth: Any, kind: DepthKind, first: int, inputs: RunInputs, settings: RunSettings
) -> Clip:
    """Return frames from index `first` on as a clip, with their depth (1, n, h, w) or None.

    Depth of the person alone shows where the person is; with depth of a scene, the known background does.
    """
    common: dict[str, Any] = {"background": inputs.background, "fps": settings.fps, "source": "idol generate"}
    common["pose"] = inputs.pose.select(slice(first, first + len(video)))
    if depth is None:
        empty = np.zeros((len(video), *video.shape[2:]), np.float32)
        return Clip(video, empty, empty > 0, depth_kind="none", **common)
    depth = np.clip(depth[0], 0, 1).astype(np.float32)
    mask = depth > PERSON_FLOOR / 2 if kind == "person" else subtract_background(video, inputs.background)
    return Clip(video, depth, mask, depth_kind=kind, **common)
