"""The driving motion: from a video, from OpenPose's files, or built in."""

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

MAX_GAP = 0.4  # seconds: longer gaps without a pose are refused
MAX_SIDE = 1280  # pixels: larger frames are shrunk while decoding, which does not affect the poses
SMOOTHING_SIGMA = 0.03  # seconds, standard deviation: removes jitter of single frames, keeps the motion


@dataclass(frozen=True)
class DrivingMotion:
    """The 2-D motion that the person is to follow.

    Attributes:
        pose: Joints of one person over f frames.
        fps: Frames per second.
        audio: File that holds the sound, or None.
        notes: Remarks for the user, one sentence each.
    """

    pose: Pose
    fps: float
    audio: Path | None = None
    notes: tuple[str, ...] = ()


def load_motion(
    spec: str | Path, *, max_frames: int | None = None, fps: float | None = None, estimator: str = "rtmpose"
) -> DrivingMotion:
    """Load a motion.

    Args:
        spec: Path of a video, of a folder of OpenPose JSON files (one per frame), or `builtin:NAME`.
        max_frames: Largest number of frames; a built-in motion is repeated to reach it. None: all frames.
        fps: Frames per second at which a video or a built-in motion is sampled, or the rate of the OpenPose
            files. None: the video's own rate, 30 otherwise.
        estimator: Name of the pose estimator for videos, as in `pose_estimator`.

    Raises:
        UserError: If the motion does not exist, cannot be read, shows no person, or loses them for more than
            0.4 s.
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
    """Choose the person who covers most of a video.

    Args:
        found: Detections of each frame.
        fps: Frames per second.
        source: Name of the video in errors.

    Returns:
        The person's track, and a note if there are other people.

    Raises:
        UserError: If no frame shows a person.
    """
    tracks = track_people(found, patience=round(MAX_GAP * fps))
    if not tracks:
        hint = "give a video in which a person is clearly visible"
        raise UserError("motion", f"{source}: no person in any of {len(found)} frames", hint)
    most = max(len(people) for people in found)
    note = f"up to {most} people in the motion video: the one who takes most of the image is followed"
    return tracks[0], (note,) if most > 1 else ()


def pose_of_track(track: Track, frames: NDArray[np.uint8]) -> Pose:
    """Convert a track to a pose.

    Args:
        track: Detections of the person by frame.
        frames: (f, 3, h, w) uint8, the video.

    Returns:
        f frames; one without a detection has no visible joint.
    """
    count, _, height, width = frames.shape
    anyone = next(iter(track.seen.values()))
    nobody = PersonDetection(np.zeros(4, np.float32), 0.0, np.zeros_like(anyone.keypoints))
    return to_pose([track.seen.get(frame, nobody) for frame in range(count)], height, width)


def fill_short_gaps(
    pose: Pose, fps: float, source: str | Path = "the motion"
) -> tuple[Pose, tuple[str, ...]]:
    """Interpolate joints and whole frames that are missing for at most 0.4 s (at least one frame).

    Args:
        pose: The pose; frames or single joints may be missing.
        fps: Frames per second.
        source: Name of the motion in errors.

    Returns:
        The filled pose, and a note that names the filled frames.

    Raises:
        UserError: If the person is missing for longer; it names the frames.
    """
    longest = max(1, round(MAX_GAP * fps))
    gaps = runs(pose.keypoints[..., 2].max(axis=1) <= 0)
    long = [gap for gap in gaps if gap[1] - gap[0] > longest]
    if long:
        shown = ", ".join(f"{first}-{end - 1}" for first, end in long[:4]) + (" ..." if len(long) > 4 else "")
        found = f"the person is not visible in frames {shown} of {pose.frames} (counted from 0)"
        hint = f"cut the motion to where the person is seen; up to {longest} frames in a row are interpolated"
        raise UserError("motion", f"{source}: {found}", hint)
    named = ", ".join(str(a) if b == a + 1 else f"{a}-{b - 1}" for a, b in gaps)
    return fill_gaps(pose, longest), (
        f"no person was found in frames {named}: their poses are interpolated",
    ) if gaps else ()
