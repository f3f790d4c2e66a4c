"""What every kind of view is made from, and where it goes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, islice
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from idol.clip.video import video_writer
from idol.progress import SILENT, ProgressCallback
from idol.provenance import Provenance
from idol.rendering.geometry.camera import Camera, Layers
from idol.rendering.layers.metric_scale import PERSON_HEIGHT
from idol.rendering.outputs.stereo import BASELINE, Layout
from idol.rendering.parallel import imap_frames
from idol.rendering.provenance import watermark_layers

CHUNK_FRAMES = 16
"""Frames of a video that are marked and encoded together."""


@dataclass(frozen=True)
class ViewSettings:
    """What decides the views of a clip; recorded in `render.json`.

    Attributes:
        kinds: Names of `kinds.KINDS`.
        path: A built-in move or a file of keyframes (`paths.camera_path`); None: sway for parallax, still
            for stereo.
        amount: How far a move goes, in distances of the person; None is the move's default.
        stereo: Layout of the stereo video.
        baseline: Meters between the eyes; a negative one swaps them.
        convergence: Meters to what appears at the screen; None: the person.
        fov: Vertical field of view of the clip in degrees; None: see `scale.estimate_camera`.
        person_height: Meters.
        height: Of the videos in pixels; None: the clip's.
        width: Of the videos in pixels; None: the clip's.
        mesh_step: Pixels along a side of a cell of the person's mesh, 1 to 4.
        watermark: Whether videos and colors carry the invisible mark (`idol.provenance`).
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
    mesh_step: int = 1
    watermark: bool = True


@dataclass(frozen=True)
class RenderJob:
    """One clip to be written as views into a folder.

    Attributes:
        layers: The clip, taken apart.
        video: Its frames, sRGB.
        camera: The clip's, with the pixels of the videos.
        settings: What was asked for.
        folder: Where files go.
        provenance: Marks videos and colors.
        audio: A file whose sound goes with the videos, or None.
        progress: Receives one step per frame.
    """

    layers: Layers
    video: UInt8[np.ndarray, "f 3 h w"]
    camera: Camera
    settings: ViewSettings
    folder: Path
    provenance: Provenance
    audio: Path | None = None
    progress: ProgressCallback = SILENT

    @cached_property
    def watermarked_layers(self) -> Layers:
        """The layers with the watermark in their colors, for files that hold these as they are."""
        return watermark_layers(self.layers, self.video, self.provenance)

    def write_video(self, name: str, draw: Callable[[int], UInt8[np.ndarray, "3 h w"]]) -> Path:
        """Write one video with the clip's rate and sound; every video of a render goes through here.

        Frames are marked and encoded a few at a time while the next ones are drawn, so that no clip is too
        long for memory.

        Args:
            name: Of the file.
            draw: Gets the index of a frame; called by several threads.
        """
        path, layers = self.folder / name, self.layers
        parts = _parts(imap_frames(draw, layers.frames))
        first = next(parts)
        height, width = first.shape[2:]
        mark = self.provenance.marker(first)
        with video_writer(path, height, width, layers.fps, preset="superfast") as writer:
            if self.audio is not None:
                writer.add_sound(self.audio, layers.frames / layers.fps)
            done = 0
            for part in chain([first], parts):
                writer.add(mark(part))
                done += len(part)
                self.progress.step(done, layers.frames)
        return path


def _parts(frames: Iterator[UInt8[np.ndarray, "3 h w"]]) -> Iterator[UInt8[np.ndarray, "f 3 h w"]]:
    """Frames, up to `CHUNK_FRAMES` together."""
    while part := list(islice(frames, CHUNK_FRAMES)):
        yield np.stack(part)
