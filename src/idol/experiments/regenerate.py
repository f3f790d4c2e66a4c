"""A clip made anew by a pipeline: from its first frame, its clean plate and its joints."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import torch

from idol.clip import Clip
from idol.generation.generate import denoised
from idol.generation.run_folder import Inputs, Settings
from idol.pipeline.pipeline import IdolPipeline
from idol.progress import Reporter


def anew(pipe: IdolPipeline, true: Clip, steps: int | None = None) -> Clip:
    """The person of the true clip's first frame on its clean plate, moving as it did.

    Args:
        pipe: With its own defaults of everything that is not said here.
        true: The clip that is made anew.
        steps: Denoising steps; the pipeline's own by default.

    Returns:
        A clip of the same size and length; without depth if the pipeline makes none.
    """
    made = denoised(pipe, inputs_of(true), settings_of(pipe, true, steps), Reporter())
    return replace(made, subject=true.subject, source=true.source)


def inputs_of(true: Clip) -> Inputs:
    """What a pipeline is given of the true clip."""
    return Inputs(true.video[0], true.mask[0], true.pose.select([0]), true.pose, true.background)


def settings_of(pipe: IdolPipeline, true: Clip, steps: int | None = None) -> Settings:
    """The pipeline's defaults at the true clip's size; seed 0."""
    return Settings(
        weights="",
        steps=steps or pipe.defaults.num_inference_steps,
        guidance=pipe.defaults.guidance_scale,
        seed=0,
        fps=true.fps,
        height=true.height,
        width=true.width,
        device=str(pipe.device),
        threads=torch.get_num_threads(),
        detail=pipe.defaults.detail,
    )


def make_all(
    clips: Mapping[str, Clip],
    folder: Path,
    make: Callable[[Clip], Clip],
    progress: Callable[[int, int], None] | None = None,
    count: int | None = None,
) -> None:
    """Make a clip from each (of the first `count`), into folders of the same names; those there are kept."""
    names = list(clips)[:count]
    for done, name in enumerate(names, 1):
        if not (folder / name).exists():
            make(clips[name]).save(folder / name)
        if progress:
            progress(done, len(names))
