"""What every kind of view is made from, and where it goes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from idol.provenance import Provenance
from idol.render.scale import PERSON_HEIGHT
from idol.render.space import Camera, Layers
from idol.render.stereo import BASELINE, Layout
from idol.video import write_video


@dataclass(frozen=True)
class Settings:
    """What decides the views of a clip; recorded in `render.json`.

    Attributes:
        kinds: Names of `kinds.KINDS`.
        path: A built-in move or a file of keyframes (`paths.camera_path`); None: sway for parallax, still
            for stereo.
        amount: How far a move goes, in distances of the person; None is the move's default.
        stereo: Layout of the stereo video.
        baseline: Metres between the eyes; a negative one swaps them.
        convergence: Metres to what appears at the screen; None: the person.
        fov: Vertical field of view of the clip in degrees; None: see `scale.camera_of`.
        person_height: Metres.
        height: Of the videos in pixels; None: the clip's.
        width: Of the videos in pixels; None: the clip's.
        watermark: Whether videos carry the invisible mark (`idol.provenance`).
    """

    kinds: tuple[str, ...] = ("parallax",)
    path: str | None = None
    amount: float | None = None
    stereo: Layout = "side-by-side"
    baseline: float = BASELINE
    convergence: float | None = None
    fov: float | None = None
    person_height: float = PERSON_HEIGHT
    height: int | None = None
    width: int | None = None
    watermark: bool = True


@dataclass(frozen=True)
class Job:
    """One clip to be written as views into a folder.

    Attributes:
        layers: The clip.
        camera: The clip's, with the pixels of the videos.
        settings: What was asked for.
        folder: Where files go.
        provenance: Marks the videos.
        audio: A file whose sound goes with the videos, or None.
        progress: Told (frames done, frames) after each frame.
    """

    layers: Layers
    camera: Camera
    settings: Settings
    folder: Path
    provenance: Provenance
    audio: Path | None = None
    progress: Callable[[int, int], None] | None = None

    def write_video(self, name: str, frames: UInt8[np.ndarray, "f 3 h w"]) -> Path:
        """Write one video with the clip's rate and sound; every video of a render goes through here."""
        path = self.folder / name
        marked = self.provenance.marked(frames)
        write_video(path, marked, self.layers.fps, audio_from=self.audio, preset="veryfast")
        return path
