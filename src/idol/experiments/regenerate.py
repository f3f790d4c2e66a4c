"""Regeneration of a clip by a pipeline from its first frame, its background and its joints."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import torch

from idol.clip import Clip
from idol.generation.clips import generate_clip
from idol.generation.run_folder import RunInputs, RunSettings
from idol.pipeline.pipeline import IdolPipeline
from idol.progress import SILENT, ProgressCallback


def regenerate_clip(pipe: IdolPipeline, reference: Clip, num_inference_steps: int | None = None) -> Clip:
    """Generate the person of the reference clip's first frame on its background, with its motion.

    Args:
        pipe: The pipeline, whose defaults are used for everything else.
        reference: The clip to regenerate.
        num_inference_steps: Denoising steps; the pipeline's default if None.

    Returns:
        A clip of the same size and length; without depth if the pipeline produces none.
    """
    made = generate_clip(
        pipe, inputs_from_clip(reference), settings_for_clip(pipe, reference, num_inference_steps), SILENT
    )
    return replace(made, subject=reference.subject, source=reference.source)


def inputs_from_clip(reference: Clip) -> RunInputs:
    """Return the inputs of a pipeline that stand in a reference clip."""
    return RunInputs(
        reference.video[0],
        reference.mask[0],
        reference.pose.select([0]),
        reference.pose,
        reference.background,
    )


def settings_for_clip(
    pipe: IdolPipeline, reference: Clip, num_inference_steps: int | None = None
) -> RunSettings:
    """Return the pipeline's defaults at the reference clip's size, with seed 0.

    Args:
        pipe: The pipeline.
        reference: The clip to regenerate.
        num_inference_steps: Denoising steps; the pipeline's default if None.
    """
    return RunSettings(
        weights="",
        num_inference_steps=num_inference_steps or pipe.defaults.num_inference_steps,
        guidance_scale=pipe.defaults.guidance_scale,
        seed=0,
        fps=reference.fps,
        height=reference.height,
        width=reference.width,
        device=str(pipe.device),
        threads=torch.get_num_threads(),
        detail=pipe.defaults.detail,
    )


def make_clips(
    clips: Mapping[str, Clip],
    folder: Path,
    make: Callable[[Clip], Clip],
    progress: ProgressCallback = SILENT,
    count: int | None = None,
) -> None:
    """Transform clips and write the results to folders of the same names; existing ones are kept.

    Args:
        clips: The clips to start from.
        folder: Receives one folder per clip.
        make: Makes the clip to write.
        progress: Receives one step per clip.
        count: Only the first clips; all if None.
    """
    names = list(clips)[:count]
    for done, name in enumerate(names, 1):
        if not (folder / name).exists():
            make(clips[name]).save(folder / name)
        progress.step(done, len(names))
