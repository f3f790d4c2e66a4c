"""What the user gives - a photo, a background, a motion - is prepared for the pipeline."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from idol.assets import sha256_of
from idol.clip import Pose
from idol.errors import UserError
from idol.generation.run_folder import FileChecksum, RunInputs
from idol.pose.retarget import retarget

if TYPE_CHECKING:
    from idol.prepare.person import Person

LONGEST = 64
"""Number of frames of a motion that are taken by default, at most."""


@dataclass(frozen=True)
class Sources:
    """What the user gives, and how to prepare it.

    Attributes:
        person: As argument of `idol.generate`, and so are the others.
        background: An image file, a color, or "photo".
        motion: A video file, a folder of OpenPose JSON files, or "builtin:NAME".
        retarget: Whether the motion is fitted to the person.
        person_index: Which person of the photo; None is the largest.
        estimator: Name of the pose estimator.
    """

    person: str
    background: str
    motion: str
    retarget: bool = True
    person_index: int | None = None
    estimator: str = "rtmpose"

    def as_lines(self) -> tuple[str, ...]:
        """Return one `argument=value` for each attribute."""
        return tuple(f"{name}={value}" for name, value in vars(self).items())

    def checksums(self) -> tuple[FileChecksum, ...]:
        """Return person, background and motion, with a checksum where they are files."""
        names = (self.person, self.background, self.motion)
        return tuple(
            FileChecksum(name, sha256_of(Path(name)) if Path(name).is_file() else "") for name in names
        )


@dataclass(frozen=True)
class PreparedInputs:
    """The result of `prepare_inputs`.

    Attributes:
        inputs: Inputs of the pipeline.
        fps: Frames per second of the motion.
        notes: Remarks for the user, one sentence each.
    """

    inputs: RunInputs
    fps: float
    notes: tuple[str, ...]


def prepare_inputs(
    sources: Sources, height: int, width: int, frames: int | None = None, fps: float | None = None
) -> PreparedInputs:
    """Detect the person, estimate the motion, fit it to the person, and resize the background.

    Args:
        sources: What the user gave.
        height: Height of the result, pixels.
        width: Width of the result, pixels.
        frames: Number of frames of the motion to take, at least 1; at most `LONGEST` if None.
        fps: Rate at which the motion is sampled, at least 0.1; its own rate if None.

    Raises:
        UserError: If a source cannot be used, or a number is out of range.
    """
    _check_at_least("frames", frames, 1)
    _check_at_least("fps", fps, 0.1)
    # Here, so that repeating a run, which has its inputs already, does without the estimators.
    from idol.prepare.background import load_background
    from idol.prepare.motion import load_motion
    from idol.prepare.person import load_person

    person = load_person(sources.person, sources.person_index, estimator=sources.estimator)
    background = load_background(sources.background, height, width, person)
    motion = load_motion(sources.motion, max_frames=frames or LONGEST, fps=fps, estimator=sources.estimator)
    if sources.retarget:
        pose = _fitted(motion.pose, _standing(person, sources.background == "photo", height, width))
    else:
        pose = _letterboxed(motion.pose, height, width)
    inputs = RunInputs(person.image, person.mask, person.pose, pose, background, motion.audio)
    notes = (*person.notes, *motion.notes, *_length_notes(pose.frames, frames))
    return PreparedInputs(inputs, motion.fps, notes)


def _standing(person: Person, before_photo: bool, height: int, width: int) -> Pose:
    """Return the person's joints in the frame to generate: the photo is cropped to the frame's shape.

    Where that would cut the person, the whole photo is shown instead, unless it is also the background.
    """
    from idol.prepare.background import crop_window

    x0, y0, x1, y1 = crop_window(person.image, height, width, person.mask)
    if before_photo or person.mask[y0:y1, x0:x1].sum() == person.mask.sum():
        return person.pose.cropped(x0, y0, x1, y1).resized(height, width)
    return _letterboxed(person.pose, height, width)


def _fitted(motion: Pose, person: Pose) -> Pose:
    try:
        return retarget(motion, person, frame_height=person.height, frame_width=person.width)
    except ValueError as error:
        found = f"cannot be fitted to the person ({error})"
        raise UserError("motion", found, "try `retarget=False`") from error


def _letterboxed(pose: Pose, height: int, width: int) -> Pose:
    """Return the pose with all of its frame shown, centered, in its own proportions."""
    scale = min(height / pose.height, width / pose.width)
    wide, high = round(width / scale), round(height / scale)
    x0, y0 = (pose.width - wide) // 2, (pose.height - high) // 2
    return pose.cropped(x0, y0, x0 + wide, y0 + high).resized(height, width)


def _length_notes(found: int, wanted: int | None) -> tuple[str, ...]:
    if wanted is not None and found < wanted:
        return (f"the motion has {found} frames, not {wanted}: so has the result",)
    if wanted is None and found == LONGEST:
        return (f"the first {LONGEST} frames of the motion are used (`frames` sets another number)",)
    return ()


def _check_at_least(argument: str, value: float | None, minimum: float) -> None:
    if value is not None and not (math.isfinite(value) and value >= minimum):
        raise UserError(argument, str(value), f"give a number of at least {minimum}")
