"""`generate` on the bundled files: `idol.demo`."""

from __future__ import annotations

from pathlib import Path

from idol import media
from idol.generation.generate import Run, generate
from idol.progress import SILENT, ProgressCallback


def demo(
    out: str | Path = "out/demo",
    *,
    frames: int = 24,
    fps: float = 10.0,
    num_inference_steps: int | None = None,
    seed: int = 0,
    overwrite: bool = False,
    progress: ProgressCallback = SILENT,
) -> Run:
    """Run `generate` on the bundled photo, background and motion with the bundled weights.

    Args:
        out: The run folder to write.
        frames: Number of frames of the result.
        fps: Frames per second; the motion was recorded at 30, so fewer show more of it.
        num_inference_steps: Denoising steps; the checkpoint's default if None.
        seed: Seed of the initial noise.
        overwrite: Replace a run folder at `out`.
        progress: Receives stages, notes, steps and previews.

    Raises:
        UserError: As `generate`.
    """
    return generate(
        media.path(media.PERSON),
        media.path(media.BACKGROUND),
        media.path(media.MOTION),
        out,
        num_inference_steps=num_inference_steps,
        frames=frames,
        fps=fps,
        seed=seed,
        overwrite=overwrite,
        progress=progress,
    )
