"""What one run leaves on disk, and how it is read back to be repeated.

A run folder is a clip's folder (`Clip.load` reads it: `frames/`, `depth/`, `mask/`, `background.png`,
`clip.json`) with the videos, a contact sheet, and everything that made it: `person.png`, `person_mask.png`,
`pose.json` are the prepared inputs, `run.json` the settings. Nothing else but the weights is needed to make
the same frames again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8

from idol.assets import sha256_of
from idol.atomic_io import FolderKind
from idol.clip import Clip, Pose
from idol.clip.depth import Colormap, colorize
from idol.clip.images import read_image, write_image
from idol.clip.video import video_writer
from idol.clip.writer import ClipWriter
from idol.config import from_dict, to_dict
from idol.errors import UserError
from idol.generation.contact_sheet import contact_sheet, shown_frames
from idol.pipeline.compositing import Detail


@dataclass(frozen=True)
class Settings:
    """What decides the frames, next to the prepared inputs and the weights.

    Attributes:
        weights: Name, folder or hub id of the checkpoint.
        steps: Number of denoising steps.
        guidance: Classifier-free guidance scale; 1 is none.
        seed: Of the starting noise.
        fps: Frames per second of the result.
        height: Of the frames, in pixels.
        width: Of the frames, in pixels.
        device: Where it was computed: "cpu", "cuda", ...
        threads: Number of CPU threads: sums depend on it in the last bit.
        colormap: Color map of `depth.mp4` and of the contact sheet.
        detail: What became of the background's and the draft's detail (`model.detail`).
        watermark: Whether the frames carry the invisible mark; those of the first versions do not.
    """

    weights: str
    steps: int
    guidance: float
    seed: int
    fps: float
    height: int
    width: int
    device: str
    threads: int
    colormap: Colormap = "hot"
    detail: Detail = "none"
    watermark: bool = False


@dataclass(frozen=True)
class Inputs:
    """A person, a background and a motion, ready for the pipeline.

    Attributes:
        person: (3, h, w) photo of the person, sRGB.
        mask: (h, w) where the person is in it.
        person_pose: The person's joints in it, one frame.
        pose: The driving motion, in the pixels of the result.
        background: (3, height, width) of the result's size.
        audio: A file whose sound goes with the motion, or None.
    """

    person: UInt8[np.ndarray, "3 h w"]
    mask: Bool[np.ndarray, "h w"]
    person_pose: Pose
    pose: Pose
    background: UInt8[np.ndarray, "3 height width"]
    audio: Path | None = None


@dataclass(frozen=True)
class Checksum:
    """A file and its SHA-256; `sha256` is "" for what is not a file (a color, a built-in motion)."""

    name: str
    sha256: str


@dataclass(frozen=True)
class Record:
    """The whole of `run.json`.

    Attributes:
        settings: See `Settings`.
        frames: Number of frames.
        preparation: How the inputs were asked for, one `argument=value` each; not needed to repeat the run.
        sources: The files that were given.
        inputs: The prepared inputs in the run folder, checked before a run is repeated.
        checkpoint: The weight files.
        versions: One `package==version` each.
        notes: What the user was told while it ran.
        seconds: Time spent in the pipeline.
    """

    settings: Settings
    frames: int
    preparation: tuple[str, ...]
    sources: tuple[Checksum, ...]
    inputs: tuple[Checksum, ...]
    checkpoint: tuple[Checksum, ...]
    versions: tuple[str, ...]
    notes: tuple[str, ...]
    seconds: float


RUN = FolderKind("a run folder", "run.json")


def write_run(
    folder: Path, parts: Iterable[Clip], inputs: Inputs, settings: Settings
) -> tuple[Checksum, ...]:
    """Write everything of a run folder but `run.json` into the new `folder`.

    Args:
        folder: Where to; new or empty.
        parts: The clip, some frames after the others: no more than one part need be in memory.
        inputs: What it was made from.
        settings: What decided it.

    Returns:
        The checksums of the prepared inputs, for the record.
    """
    folder.mkdir(exist_ok=True)
    shown = shown_frames(inputs.pose.frames)
    frames, depths = _write_parts(folder, parts, inputs, settings, shown)
    sheet = contact_sheet(frames, depths, inputs.pose.select(shown), inputs.person, inputs.background)
    write_image(folder / "preview.png", sheet)
    write_image(folder / "person.png", inputs.person)
    write_image(folder / "person_mask.png", inputs.mask)
    poses = {"driving": _pose_to_json(inputs.pose), "person": _pose_to_json(inputs.person_pose)}
    (folder / "pose.json").write_text(json.dumps(poses))
    return _checksums(folder)


def _write_parts(
    folder: Path, parts: Iterable[Clip], inputs: Inputs, settings: Settings, shown: list[int]
) -> tuple[np.ndarray, np.ndarray]:
    """The clip's files and both videos; returns the frames that are `shown`, and their colored depth."""
    clip, kept = ClipWriter(folder), []
    form = settings.height, settings.width, settings.fps
    with (
        video_writer(folder / "video.mp4", *form) as video,
        video_writer(folder / "depth.mp4", *form) as depth,
    ):
        if inputs.audio is not None:
            video.add_sound(inputs.audio, inputs.pose.frames / settings.fps)
        for part in parts:
            colored = colorize(part.depth, settings.colormap)
            kept += [
                (part.video[i - clip.frames].copy(), colored[i - clip.frames].copy())  # not the whole part
                for i in shown
                if clip.frames <= i < clip.frames + part.frames
            ]
            clip.add(part)
            video.add(part.video)
            depth.add(colored)
    clip.finish()
    return np.stack([frame for frame, _ in kept]), np.stack([depth for _, depth in kept])


SIGNED = {"video.mp4": "video", "depth.mp4": "depth", "preview.png": "preview"}
"""Files of a run folder that bear content credentials, and what they show. Frames do not: they are compared
and trained on, and signed files of equal runs differ in their bytes."""


def write_record(folder: Path, record: Record) -> None:
    """Write `run.json`; a run folder is complete once it is there."""
    (folder / "run.json").write_text(json.dumps(to_dict(record), indent=2) + "\n")


def read_record(path: Path) -> Record:
    """Read `run.json` (or the one in a given run folder).

    Raises:
        UserError: If it cannot be read or is not such a file.
    """
    path = path / "run.json" if path.is_dir() else path
    try:
        values = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not JSON"
        raise UserError("run", f"{path} cannot be read ({reason})", "give the run.json of a run") from error
    return from_dict(Record, values, str(path))


def read_inputs(path: Path, record: Record) -> Inputs:
    """The prepared inputs that lie beside a `run.json`, unchanged since.

    Raises:
        UserError: If a file is missing or is not the one the run was made from.
    """
    folder = path if path.is_dir() else path.parent
    for entry in record.inputs:
        if not (folder / entry.name).is_file():
            raise UserError("run", f"{folder / entry.name} is missing", "give a whole run folder")
    if _checksums(folder) != record.inputs:
        raise UserError(
            "run", f"the inputs in {folder} are not those of the run", "make a new run from the originals"
        )
    poses = json.loads((folder / "pose.json").read_text())
    return Inputs(
        person=read_image(folder / "person.png"),
        mask=read_image(folder / "person_mask.png")[0] > 127,
        person_pose=_pose_from_json(poses["person"]),
        pose=_pose_from_json(poses["driving"]),
        background=read_image(folder / "background.png"),
        audio=folder / "video.mp4",
    )


def _checksums(folder: Path) -> tuple[Checksum, ...]:
    names = ("person.png", "person_mask.png", "background.png", "pose.json")
    return tuple(Checksum(name, sha256_of(folder / name)) for name in names)


def _pose_to_json(pose: Pose) -> dict[str, Any]:
    # float32 -> decimal -> float32 is exact, so a repeated run is driven by the very same joints.
    return {"height": pose.height, "width": pose.width, "keypoints": pose.keypoints.tolist()}


def _pose_from_json(values: dict[str, Any]) -> Pose:
    keypoints = np.asarray(values["keypoints"], dtype=np.float32)
    return Pose(keypoints, height=values["height"], width=values["width"])
