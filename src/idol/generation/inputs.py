"""What the user gives - a photo, a background, a motion - made ready for the pipeline."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from idol.assets import sha256_of
from idol.clip import Pose
from idol.errors import UserError
from idol.generation.run_folder import Checksum, Inputs
from idol.pose.retarget import retarget

if TYPE_CHECKING:
    from idol.prepare.person import Person

LONGEST = 64
"""How many frames of a motion are taken unless told otherwise."""


@dataclass(frozen=True)
class Given:
    """What was given, and how it is to be prepared: arguments of `idol.generation.generate.generate`."""

    person: str
    background: str
    motion: str
    retarget: bool = True
    person_index: int | None = None
    estimator: str = "rtmpose"

    def listed(self) -> tuple[str, ...]:
        """One `argument=value` each."""
        return tuple(f"{name}={value}" for name, value in vars(self).items())

    def checksums(self) -> tuple[Checksum, ...]:
        """Person, background and motion by name, with the checksum of what is a file."""
        named = (self.person, self.background, self.motion)
        return tuple(Checksum(name, sha256_of(Path(name)) if Path(name).is_file() else "") for name in named)


@dataclass(frozen=True)
class Prepared:
    """What `prepare_inputs` made.

    Attributes:
        inputs: For the pipeline.
        fps: Frames per second of the motion.
        notes: What the user should know, one line each.
    """

    inputs: Inputs
    fps: float
    notes: tuple[str, ...]


def prepare_inputs(
    given: Given, height: int, width: int, frames: int | None = None, fps: float | None = None
) -> Prepared:
    """Find the person, follow the motion, fit one to the other, and bring the background to size.

    Args:
        given: What the user gave.
        height: Of the result, in pixels.
        width: Of the result, in pixels.
        frames: How many frames of the motion at most; None takes `LONGEST`.
        fps: Rate at which the motion is sampled; None takes its own.

    Raises:
        UserError: If something given cannot be used; it names which.
    """
    # Here, so that repeating a run, which has its inputs already, does without the estimators.
    from idol.prepare.background import load_background
    from idol.prepare.motion import load_motion
    from idol.prepare.person import load_person

    person = load_person(given.person, given.person_index, estimator=given.estimator)
    background = load_background(given.background, height, width, person)
    motion = load_motion(given.motion, max_frames=frames or LONGEST, fps=fps, estimator=given.estimator)
    if given.retarget:
        pose = _fitted(motion.pose, _standing(person, given.background == "photo", height, width))
    else:
        pose = _whole(motion.pose, height, width)
    inputs = Inputs(person.image, person.mask, person.pose, pose, background, motion.audio)
    notes = (*person.notes, *motion.notes, *_length_notes(pose.frames, frames))
    return Prepared(inputs, motion.fps, notes)


def _standing(person: Person, before_photo: bool, height: int, width: int) -> Pose:
    """The person's joints in the frame to be made: where they are in the photo, cropped to the frame's shape.

    Where that would cut the person the photo is shown whole instead, unless it is also the background.
    """
    from idol.prepare.background import crop_window

    x0, y0, x1, y1 = crop_window(person.image, height, width, person.mask)
    if before_photo or person.mask[y0:y1, x0:x1].sum() == person.mask.sum():
        return person.pose.cropped(x0, y0, x1, y1).resized(height, width)
    return _whole(person.pose, height, width)


def _fitted(motion: Pose, person: Pose) -> Pose:
    try:
        return retarget(motion, person, frame_height=person.height, frame_width=person.width)
    except ValueError as error:
        found = f"cannot be fitted to the person ({error})"
        raise UserError("motion", found, "try `retarget=False`") from error


def _whole(pose: Pose, height: int, width: int) -> Pose:
    """The pose with its frame shown whole, in the middle, proportions kept."""
    scale = min(height / pose.height, width / pose.width)
    wide, high = round(width / scale), round(height / scale)
    x0, y0 = (pose.width - wide) // 2, (pose.height - high) // 2
    return pose.cropped(x0, y0, x0 + wide, y0 + high).resized(height, width)


def _length_notes(there: int, wanted: int | None) -> tuple[str, ...]:
    if wanted is not None and there < wanted:
        return (f"the motion has {there} frames, not {wanted}: the result is that long",)
    if wanted is None and there == LONGEST:
        return (f"the first {LONGEST} frames of the motion are taken (`frames` takes more)",)
    return ()
