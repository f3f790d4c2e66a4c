"""The main job on what comes with the package: a real person, a real background, a real motion."""

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
    steps: int | None = None,
    seed: int = 0,
    overwrite: bool = False,
    progress: ProgressCallback = SILENT,
) -> Run:
    """Run `generate` on the bundled photo, background and motion with the bundled weights.

    Args:
        out: The run folder.
        frames: Length of the result.
        fps: Frames per second; the motion was filmed at 30, fewer show more of it in as many frames.
        steps: Denoising steps; the checkpoint's own number by default.
        seed: Of the starting noise.
        overwrite: Replace a run folder at `out`.
        progress: Receives stages, notes, steps and previews.

    Raises:
        UserError: As of `generate`.
    """
    return generate(
        media.path(media.PERSON),
        media.path(media.BACKGROUND),
        media.path(media.MOTION),
        out,
        steps=steps,
        frames=frames,
        fps=fps,
        seed=seed,
        overwrite=overwrite,
        progress=progress,
    )
