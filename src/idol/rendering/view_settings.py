"""The settings and inputs of one rendering, and the writer of its videos."""

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
"""Number of video frames that are marked and encoded at once."""


@dataclass(frozen=True)
class ViewSettings:
    """Settings of a rendering; recorded in `render.json`.

    Attributes:
        kind: Names of `kinds.KINDS`.
        path: A built-in move or a file of keyframes (`camera_paths.camera_path`); None: sway for parallax,
            still for stereo.
        amount: Extent of a built-in move in distances of the person; None: the move's default.
        stereo: Layout of the stereo video.
        baseline: Distance between the eyes in meters; negative swaps them.
        convergence: Distance in meters of what appears on the screen; None: the person's.
        fov: Vertical field of view of the clip in degrees; None: see `metric_scale.estimate_camera`.
        person_height: Height of the person in meters.
        height: Height of the videos in pixels; None: the clip's.
        width: Width of the videos in pixels; None: the clip's.
        mesh_step: Side of a cell of the person's mesh in pixels, 1 to 4.
        watermark: Whether videos and colors carry the invisible watermark (`idol.provenance`).
    """

    kind: tuple[str, ...] = ("parallax",)
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
    """One clip to be rendered into a folder.

    Attributes:
        layers: The clip's layers.
        video: The clip's frames, sRGB.
        camera: The clip's camera with the size of the videos.
        settings: Settings of the rendering.
        folder: Destination.
        provenance: Marks videos and colors.
        audio: File whose sound is copied into the videos, or None.
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
        """The layers with the watermark in their colors, for files that contain the colors unchanged."""
        return watermark_layers(self.layers, self.video, self.provenance)

    def write_video(self, name: str, draw: Callable[[int], UInt8[np.ndarray, "3 h w"]]) -> Path:
        """Write one video at the clip's frame rate and with its sound, as all videos of a rendering are.

        Frames are marked and encoded in chunks while the next ones are rendered, so that memory does not grow
        with the length of the clip.

        Args:
            name: File name.
            draw: Renders the frame of an index; called from several threads.

        Returns:
            Path of the video.
        """
        path, layers = self.folder / name, self.layers
        chunks = _chunks(imap_frames(draw, layers.frames))
        first = next(chunks)
        height, width = first.shape[2:]
        mark = self.provenance.marker(first)
        with video_writer(path, height, width, layers.fps, preset="superfast") as writer:
            if self.audio is not None:
                writer.add_sound(self.audio, layers.frames / layers.fps)
            done = 0
            for chunk in chain([first], chunks):
                writer.add(mark(chunk))
                done += len(chunk)
                self.progress.step(done, layers.frames)
        return path


def _chunks(frames: Iterator[UInt8[np.ndarray, "3 h w"]]) -> Iterator[UInt8[np.ndarray, "f 3 h w"]]:
    """Yield the frames in chunks of up to `CHUNK_FRAMES`."""
    while chunk := list(islice(frames, CHUNK_FRAMES)):
        yield np.stack(chunk)
