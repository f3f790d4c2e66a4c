"""Clips on disk to numbers: who reads them, and which networks look at them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from idol.clip import Clip, Pose
from idol.errors import UserError
from idol.evaluation.baselines import pasted, plate_alone
from idol.evaluation.folders import ClipFolders, Derived
from idol.evaluation.score import Judge
from idol.evaluation.tables import Report, compare

if TYPE_CHECKING:
    from idol.prepare.people import Detection


def evaluate(
    generated: str | Path,
    true: str | Path,
    *,
    others: Mapping[str, str | Path] | None = None,
    baselines: bool = True,
    pose: str = "rtmpose",
    mask: str = "mediapipe",
    lpips: Literal["vgg", "alex", "none"] = "vgg",
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Judge generated clips against the true ones of the same names.

    Args:
        generated: A folder of clips' folders, one clip's folder, or shards.
        true: The same; may hold more clips. Clips of shards are called by their keys.
        others: More sets to judge beside it, by name.
        baselines: Judge the reference person pasted without moving, and the clean plate alone, too.
        pose: Estimator that finds the joints anew; "none" leaves that figure out.
        mask: Estimator that finds the person in the video; "none" leaves that figure out.
        lpips: Network of LPIPS; "none" leaves it out.
        device: Where LPIPS is computed.
        progress: Told (clips done, clips) after each.

    Raises:
        UserError: If a folder holds no clips, a clip has no partner of its size, or an estimator is unknown.
    """
    truth = open_clips(true)
    columns: dict[str, Mapping[str, Clip]] = {"generated": open_clips(generated)}
    columns |= {name: open_clips(folder) for name, folder in (others or {}).items()}
    if baselines:
        columns |= {"pasted": Derived(truth, pasted), "plate": Derived(truth, plate_alone)}
    return compare(columns, truth, judge(pose, mask, lpips, device), progress)


def judge(pose: str = "rtmpose", mask: str = "mediapipe", lpips: str = "vgg", device: str = "cpu") -> Judge:
    """The networks of those names; "none" for none.

    Raises:
        UserError: If one is unknown or cannot be downloaded.
    """
    from idol.perceptual import LPIPS

    if lpips not in ("vgg", "alex", "none"):
        raise UserError("--lpips", f"{lpips!r}", "choose one of vgg, alex, none")
    return Judge(
        find_joints=None if pose == "none" else joint_finder(pose),
        find_person=None if mask == "none" else person_finder(mask),
        perceptual=None if lpips == "none" else LPIPS(lpips).to(device),  # type: ignore[arg-type]
    )


def joint_finder(name: str) -> Callable[[np.ndarray], Pose]:
    """Frames (f, 3, h, w) uint8 -> 18 joints of the largest person of each; missing where there is none."""
    from idol.prepare.estimators import pose_estimator
    from idol.skeleton import body_18

    estimator = pose_estimator(name)

    def find(frames: np.ndarray) -> Pose:
        people = estimator.estimate(frames)
        found = [_joints(person[0]) if person else None for person in people]
        count = next((len(joints) for joints in found if joints is not None), 18)
        blank = np.zeros((count, 3), np.float32)
        joints = np.stack([blank if j is None else j for j in found])
        return body_18(Pose(joints, *frames.shape[2:]))

    return find


def person_finder(name: str, threshold: float = 0.5) -> Callable[[np.ndarray], np.ndarray]:
    """Frames (f, 3, h, w) uint8 -> where the largest person is, (f, h, w) bool."""
    from idol.prepare.estimators import mask_estimator

    estimator = mask_estimator(name)
    return lambda frames: estimator.estimate(frames) > threshold


class ClipShards(Mapping[str, Clip]):
    """The clips of a folder of shards, by their keys; read when asked for.

    Args:
        folder: Finished shards.

    Raises:
        UserError: If it is not.
    """

    def __init__(self, folder: Path) -> None:
        from idol.data.shards import ShardReader

        self.reader = ShardReader(folder)
        self.numbers = {self.reader.entry(i).key: i for i in range(len(self.reader))}

    def __getitem__(self, name: str) -> Clip:
        return self.reader[self.numbers[name]]

    def __iter__(self) -> Iterator[str]:
        return iter(self.numbers)

    def __len__(self) -> int:
        return len(self.numbers)


def open_clips(folder: str | Path) -> Mapping[str, Clip]:
    """The clips of a folder by name: shards if it has a manifest, else clips' folders.

    Raises:
        UserError: If there is no such folder or no clip in it.
    """
    from idol.data.shards import MANIFEST

    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(str(folder), "no such folder", "give a folder of clips or shards")
    return ClipShards(folder) if (folder / MANIFEST).is_file() else ClipFolders(folder)


def _joints(person: Detection) -> np.ndarray:
    joints = person.keypoints.astype(np.float32)
    joints[..., 2] = joints[..., 2].clip(0, 1)
    return joints
