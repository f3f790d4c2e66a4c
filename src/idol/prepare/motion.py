"""The motion that a person is to follow: from a video, from OpenPose's files, or built in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from idol.clip import Pose
from idol.clip.video import read_video
from idol.errors import UserError
from idol.pose.openpose_json import read_openpose_json
from idol.pose.smoothing import fill_gaps, runs, smooth
from idol.prepare import builtin_motions
from idol.prepare.estimators.detection import PersonDetection
from idol.prepare.estimators.registry import pose_estimator
from idol.prepare.outlier_removal import remove_outliers
from idol.prepare.person import confident_people, to_pose
from idol.prepare.tracking import Track, track_people

MAX_GAP = 0.4  # seconds without a pose that are still interpolated
MAX_SIDE = 1280  # pixels: larger frames are shrunk while they are decoded, poses lose nothing by it
SMOOTHING_SIGMA = (
    0.03  # seconds, standard deviation: takes the jitter of single frames off, leaves the motion
)


@dataclass(frozen=True)
class DrivingMotion:
    """A motion in two dimensions.

    Attributes:
        pose: (f, k, 3) joints of one person, in pixels of frames of `pose.height` x `pose.width`.
        fps: Frames per second.
        audio: File whose sound belongs to the motion, or None.
        notes: What the user should know, one line each.
    """

    pose: Pose
    fps: float
    audio: Path | None = None
    notes: tuple[str, ...] = ()


def load_motion(
    spec: str | Path, *, max_frames: int | None = None, fps: float | None = None, estimator: str = "rtmpose"
) -> DrivingMotion:
    """Reads a motion.

    Args:
        spec: A video file, a folder of OpenPose JSON files (one a frame), or `builtin:NAME`.
        max_frames: Stop after so many frames; a built-in motion goes round until it has them.
        fps: Frames per second wanted of a video or a built-in motion, or the rate of the OpenPose files (30
            unless said). None: the video's own.
        estimator: Name of the pose estimator, for videos.

    Raises:
        UserError: If there is no such motion, it cannot be read, shows nobody, or loses them for too long.
    """
    kind, _, name = str(spec).partition(":")
    if kind == "builtin":
        rate = fps or builtin_motions.FPS
        return DrivingMotion(builtin_motions.builtin_pose(name, max_frames, rate), rate)
    path = Path(spec)
    if path.is_dir():
        return _from_openpose(path, max_frames, fps or 30.0)
    if not path.exists():
        known = ", ".join(builtin_motions.names())
        hint = f"give a video, a folder of OpenPose JSON files, or builtin:NAME ({known})"
        raise UserError("motion", f"there is no file or folder {spec}", hint)
    return _from_video(path, max_frames, fps, estimator)


def _from_openpose(folder: Path, max_frames: int | None, fps: float) -> DrivingMotion:
    try:
        pose = read_openpose_json(folder)
    except UserError as wrong:
        raise UserError("motion", f"{folder}: {wrong.found}", wrong.remedy) from wrong
    pose = pose.select(slice(0, max_frames))
    pose, notes = fill_short_gaps(pose, fps, folder)
    return DrivingMotion(pose, fps, None, notes)


def _from_video(path: Path, max_frames: int | None, fps: float | None, estimator: str) -> DrivingMotion:
    try:
        video = read_video(path, max_frames, fps, max_side=MAX_SIDE)
    except UserError as wrong:
        raise UserError("motion", f"{path}: {wrong.found}", wrong.remedy) from wrong
    found = [confident_people(people) for people in pose_estimator(estimator).estimate(video.frames)]
    track, notes = main_person(found, video.fps, path)
    pose = remove_outliers(pose_of_track(track, video.frames))
    pose, filled = fill_short_gaps(pose, video.fps, path)
    return DrivingMotion(smooth(pose, SMOOTHING_SIGMA * video.fps), video.fps, video.audio, notes + filled)


def main_person(
    found: list[list[PersonDetection]], fps: float, source: str | Path = "the motion"
) -> tuple[Track, tuple[str, ...]]:
    """The person who takes most of a video, and a note if there are others.

    Args:
        found: The people of each frame.
        fps: Frames per second.
        source: The video, for errors.

    Raises:
        UserError: If nobody is found in any frame.
    """
    tracks = track_people(found, patience=round(MAX_GAP * fps))
    if not tracks:
        hint = "give a video in which a person is clearly visible"
        raise UserError("motion", f"{source}: no person in any of {len(found)} frames", hint)
    most = max(len(people) for people in found)
    note = f"up to {most} people in the motion video: the one who takes most of the image is followed"
    return tracks[0], (note,) if most > 1 else ()


def pose_of_track(track: Track, frames: NDArray[np.uint8]) -> Pose:
    """The poses of a track; a frame in which the person was not seen has no joints."""
    count, _, height, width = frames.shape
    anyone = next(iter(track.seen.values()))
    nobody = PersonDetection(np.zeros(4, np.float32), 0.0, np.zeros_like(anyone.keypoints))
    return to_pose([track.seen.get(frame, nobody) for frame in range(count)], height, width)


def fill_short_gaps(pose: Pose, fps: float, source: str | Path = "the motion") -> tuple[Pose, tuple[str, ...]]:
    """Interpolates what is missing for a short while.

    Args:
        pose: The poses; frames without any joint are gaps, single joints may be missing too.
        fps: Frames per second: gaps of up to 0.4 s (at least one frame) are filled.
        source: The file or folder of the motion, for errors.

    Returns:
        The poses, and notes that name the filled frames.

    Raises:
        UserError: If a gap is longer, naming its frames.
    """
    longest = max(1, round(MAX_GAP * fps))
    gaps = runs(pose.keypoints[..., 2].max(axis=1) <= 0)
    long = [gap for gap in gaps if gap[1] - gap[0] > longest]
    if long:
        shown = ", ".join(f"{first}-{end - 1}" for first, end in long[:4]) + (" ..." if len(long) > 4 else "")
        found = f"the person is not visible in frames {shown} of {pose.frames} (counted from 0)"
        hint = f"cut the motion to where the person is seen; up to {longest} frames in a row are interpolated"
        raise UserError("motion", f"{source}: {found}", hint)
    filled, _ = fill_gaps(pose, longest)
    named = ", ".join(str(a) if b == a + 1 else f"{a}-{b - 1}" for a, b in gaps)
    return filled, (f"no person was found in frames {named}: their poses are interpolated",) if gaps else ()
