"""The run folder: what it holds, how it is written, and how it is read back to be repeated.

A run folder is a clip's folder (`Clip.load` reads it: `frames/`, `depth/`, `mask/`, `background.png`,
`clip.json`) with the videos, a contact sheet, and everything it was generated from: `person.png`,
`person_mask.png` and `pose.json` are the prepared inputs, `run.json` the settings. Together with the weights
they are all that is needed to generate the same frames again. The folder appears as a whole: `generate`
writes it into a folder of `idol.atomic_io.staged_folder`.
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
from idol.atomic_io import FolderKind, write_json
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
class RunSettings:
    """The settings that decide the frames, together with the prepared inputs and the weights.

    Attributes:
        weights: Name, folder or hub id of the checkpoint.
        num_inference_steps: Number of denoising steps.
        guidance_scale: Scale of classifier-free guidance; 1 is none.
        seed: Seed of the initial noise.
        fps: Frames per second of the result.
        height: Height of the frames, pixels.
        width: Width of the frames, pixels.
        device: Where it is computed: "cpu", "cuda", ...
        threads: Number of CPU threads: sums depend on it in the last bit.
        colormap: Color map of `depth.mp4` and of the contact sheet.
        detail: How known detail is restored (`idol.pipeline.compositing`).
        watermark: Whether the frames carry the invisible watermark; those of the first versions do not.
    """

    weights: str
    num_inference_steps: int
    guidance_scale: float
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
class RunInputs:
    """A person, a background and a motion, ready for the pipeline.

    Attributes:
        person: (3, h, w) photo of the person, sRGB.
        mask: (h, w) True on the person's pixels.
        person_pose: The person's joints in the photo, one frame.
        pose: The driving motion, in pixels of the result.
        background: (3, height, width) of the result's size, sRGB.
        audio: File whose sound goes with the motion, or None.
    """

    person: UInt8[np.ndarray, "3 h w"]
    mask: Bool[np.ndarray, "h w"]
    person_pose: Pose
    pose: Pose
    background: UInt8[np.ndarray, "3 height width"]
    audio: Path | None = None


@dataclass(frozen=True)
class FileChecksum:
    """A file and its checksum.

    Attributes:
        name: Name or path of the file, or what was given in its place (a color, a built-in motion).
        sha256: Hexadecimal SHA-256; "" for what is not a file.
    """

    name: str
    sha256: str


@dataclass(frozen=True)
class RunRecord:
    """The contents of `run.json`.

    Attributes:
        settings: The settings that decide the frames.
        frames: Number of frames.
        preparation: Arguments of the preparation, `argument=value` each; not needed to repeat the run.
        sources: The files that were given.
        inputs: The prepared inputs in the run folder, verified before a run is repeated.
        checkpoint: The config and weight files.
        versions: Package versions, `package==version` each.
        notes: Remarks that were shown while it ran.
        seconds: Time spent in the pipeline.
    """

    settings: RunSettings
    frames: int
    preparation: tuple[str, ...]
    sources: tuple[FileChecksum, ...]
    inputs: tuple[FileChecksum, ...]
    checkpoint: tuple[FileChecksum, ...]
    versions: tuple[str, ...]
    notes: tuple[str, ...]
    seconds: float


RUN = FolderKind("a run folder", "run.json")

_RENAMED = {"steps": "num_inference_steps", "guidance": "guidance_scale", "cmap": "colormap"}
"""Settings in `run.json` of the first versions -> their present names."""


def write_run(
    folder: Path, parts: Iterable[Clip], inputs: RunInputs, settings: RunSettings
) -> tuple[FileChecksum, ...]:
    """Write everything of a run folder except `run.json`.

    Args:
        folder: The folder, new or empty.
        parts: Consecutive frames of the clip; one part is in memory at a time.
        inputs: What the clip was generated from.
        settings: The settings of the run.

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
    folder: Path, parts: Iterable[Clip], inputs: RunInputs, settings: RunSettings, shown: list[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Write the clip's files and both videos; return the frames `shown`, and their colored depth."""
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
"""Files of a run folder that carry content credentials, and what they show. Frames do not: they are compared
and trained on, and signed files of equal runs differ in their bytes."""


def write_record(folder: Path, record: RunRecord) -> None:
    """Write `run.json` into a run folder, which is complete then.

    Args:
        folder: The run folder.
        record: The contents.
    """
    write_json(folder / "run.json", to_dict(record))


def read_record(path: Path) -> RunRecord:
    """Read the record of a run.

    Args:
        path: The `run.json`, or its run folder.

    Raises:
        UserError: If it cannot be read, or is no such file.
    """
    path = path / "run.json" if path.is_dir() else path
    try:
        values = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not JSON"
        raise UserError("run", f"{path} cannot be read ({reason})", "give the run.json of a run") from error
    if isinstance(values, dict) and isinstance(values.get("settings"), dict):
        values["settings"] = {_RENAMED.get(name, name): value for name, value in values["settings"].items()}
    return from_dict(RunRecord, values, str(path))


def read_inputs(path: Path, record: RunRecord) -> RunInputs:
    """Read the prepared inputs of a run.

    Args:
        path: The `run.json`, or its run folder.
        record: The record of the run.

    Raises:
        UserError: If a file is missing, or has changed since the run.
    """
    folder = path if path.is_dir() else path.parent
    for entry in record.inputs:
        if not (folder / entry.name).is_file():
            raise UserError("run", f"{folder / entry.name} is missing", "give a complete run folder")
    if _checksums(folder) != record.inputs:
        raise UserError(
            "run", f"the inputs in {folder} are not those of the run", "run `idol generate` on the originals"
        )
    poses = json.loads((folder / "pose.json").read_text())
    return RunInputs(
        person=read_image(folder / "person.png"),
        mask=read_image(folder / "person_mask.png")[0] > 127,
        person_pose=_pose_from_json(poses["person"]),
        pose=_pose_from_json(poses["driving"]),
        background=read_image(folder / "background.png"),
        audio=folder / "video.mp4",
    )


def _checksums(folder: Path) -> tuple[FileChecksum, ...]:
    names = ("person.png", "person_mask.png", "background.png", "pose.json")
    return tuple(FileChecksum(name, sha256_of(folder / name)) for name in names)


def _pose_to_json(pose: Pose) -> dict[str, Any]:
    # float32 -> decimal -> float32 is exact: a repeated run has the very same joints
    return {"height": pose.height, "width": pose.width, "keypoints": pose.keypoints.tolist()}


def _pose_from_json(values: dict[str, Any]) -> Pose:
    keypoints = np.asarray(values["keypoints"], dtype=np.float32)
    return Pose(keypoints, height=values["height"], width=values["width"])
