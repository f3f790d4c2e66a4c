"""Clips on disk to numbers: who reads them, and which networks look at them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from idol.atomic_io import check_file, write_json
from idol.clip import Clip, Pose
from idol.errors import UserError
from idol.evaluation.baselines import pasted, plate_alone
from idol.evaluation.clip_sets import ClipFolders, Derived, check_names
from idol.evaluation.report import TRUE, Report, compare
from idol.evaluation.score import Judge
from idol.progress import Bar, no_bar

if TYPE_CHECKING:
    from rich.table import Table

    from idol.evaluation.distribution_metrics import SetReport
    from idol.evaluation.feature_extraction import Networks
    from idol.prepare.estimators.detection import Detection

RESERVED = "generated", "pasted", "plate", TRUE
"""Names of the sets that `evaluate` judges anyway."""


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` found.

    Attributes:
        clips: Numbers of each clip, and their means.
        sets: Numbers of whole sets; None if they were not asked for.
    """

    clips: Report
    sets: SetReport | None

    def to_json(self, per_clip: bool = False) -> dict[str, Any]:
        """Plain values; `per_clip` also every number of every clip."""
        sets = {} if self.sets is None else {"sets": self.sets.to_json()}
        return {**self.clips.to_json(per_clip), **sets}

    def tables(self) -> tuple[Table, ...]:
        """For people."""
        return (self.clips.table(), *(() if self.sets is None else (self.sets.table(),)))


def evaluate(
    generated: str | Path,
    true: str | Path,
    *,
    others: Mapping[str, str | Path] | None = None,
    baselines: bool = True,
    pose: str = "rtmpose",
    mask: str = "mediapipe",
    lpips: Literal["vgg", "alex", "none"] = "vgg",
    identity: Literal["inception", "none"] = "inception",
    sets: bool = True,
    resnet3d: str | Path | None = None,
    stride: int | None = None,
    plots: str | Path | None = None,
    out: str | Path | None = None,
    device: str = "cpu",
    bar: Bar = no_bar,
) -> Evaluation:
    """Judge generated clips against the true ones of the same names.

    Args:
        generated: A folder of clips' folders, one clip's folder, or shards.
        true: The same; may hold more clips. Clips of shards are called by their keys.
        others: More sets to judge beside it, by name.
        baselines: Judge the reference person pasted without moving, and the clean plate alone, too.
        pose: Estimator that finds the joints anew; "none" leaves that figure out.
        mask: Estimator that finds the person in the video; "none" leaves that figure out.
        lpips: Network of LPIPS; "none" leaves it out.
        identity: How alike two persons look: by Inception's features, as no network of faces is at hand.
        sets: FID, KID, FVD and FID-VID of the sets as a whole; they take the longest.
        resnet3d: Weights of the 3-D ResNet-50 of FID-VID; without them the same distance on I3D's features.
        stride: Frames from one window of FVD to the next; default half a window.
        plots: Folder for images of the numbers: scatter, errors of the best and worst clips.
        out: JSON file for the numbers of every clip, written before the sets are looked at, too.
        device: Where networks run.
        bar: Shows how far the judging of clips, and looking at the sets, is.

    Raises:
        UserError: If a folder holds no clips, a clip has no partner of its size, a name of `others` is taken,
            an estimator is unknown, weights or a package are missing, or `out` or `plots` cannot be written;
            but for the sizes of clips, before any is judged.
    """
    _check_settings(stride, others or {})
    truth = open_clips(true)
    columns: dict[str, Mapping[str, Clip]] = {"generated": open_clips(generated)}
    columns |= {name: open_clips(folder) for name, folder in (others or {}).items()}
    if baselines:
        columns |= {"pasted": Derived(truth, pasted), "plate": Derived(truth, plate_alone)}
    # The true clips right after the generated: what is derived from them lacks what they lack.
    check_names({"generated": columns["generated"], TRUE: truth, **columns})
    _check_places(out, plots, columns)
    of_clips = judge(pose, mask, lpips, identity, device)
    networks = _networks(resnet3d, stride, device) if sets else None
    with bar("judging clips") as progress:
        clips = compare(columns, truth, of_clips, progress)
    found = Evaluation(clips, None)
    if out is not None:
        write_json(Path(out), found.to_json(per_clip=True))
    if plots is not None:
        from idol.evaluation.plots import write_plots

        write_plots(clips, columns, truth, Path(plots))
    if networks is None:
        return found
    from idol.evaluation.distribution_metrics import set_metrics

    with bar("looking at the sets as a whole") as progress:
        found = Evaluation(clips, set_metrics(columns, truth, networks, progress))
    if out is not None:
        write_json(Path(out), found.to_json(per_clip=True))
    return found


def _check_settings(stride: int | None, others: Iterable[str]) -> None:
    if stride is not None and stride < 1:
        raise UserError("--stride", str(stride), "give at least 1")
    for name in others:
        if name in RESERVED:
            raise UserError("--other", f"{name} is the name of a set that is there anyway", "choose another")


def _check_places(out: str | Path | None, plots: str | Path | None, columns: Iterable[str]) -> None:
    if out is not None:
        check_file(Path(out))
    if plots is not None:
        from idol.evaluation.plots import check_plots

        check_plots(plots, columns)


def _networks(resnet3d: str | Path | None, stride: int | None, device: str) -> Networks:
    from idol.evaluation.feature_extraction import Networks

    return Networks(resnet3d=None if resnet3d is None else Path(resnet3d), stride=stride, device=device)


def judge(
    pose: str = "rtmpose",
    mask: str = "mediapipe",
    lpips: str = "vgg",
    identity: str = "inception",
    device: str = "cpu",
) -> Judge:
    """The networks of those names; "none" for none.

    Raises:
        UserError: If one is unknown or cannot be downloaded.
    """
    from idol.evaluation.networks.lpips import LPIPS

    for option, name, known in (
        ("--lpips", lpips, ("vgg", "alex", "none")),
        ("--identity", identity, ("inception", "none")),
    ):
        if name not in known:
            raise UserError(option, f"{name!r}", f"choose one of {', '.join(known)}")
    return Judge(
        find_joints=None if pose == "none" else joint_finder(pose),
        find_person=None if mask == "none" else person_finder(mask),
        perceptual=None if lpips == "none" else LPIPS(lpips).to(device),  # type: ignore[arg-type]
        embed_person=None if identity == "none" else person_embedding(device),
    )


def person_embedding(device: str = "cpu", batch: int = 16) -> Callable[[np.ndarray], np.ndarray]:
    """Images of persons (n, 3, h, w) uint8 -> Inception's 2048 features of each."""
    import torch

    from idol.evaluation.networks.inception import Inception

    network = Inception().to(device)

    @torch.inference_mode()
    def embed(images: np.ndarray) -> np.ndarray:
        parts = [torch.from_numpy(images[i : i + batch]) for i in range(0, len(images), batch)]
        return np.concatenate([network(part.to(device)).cpu().numpy() for part in parts])

    return embed


def joint_finder(name: str) -> Callable[[np.ndarray], Pose]:
    """Frames (f, 3, h, w) uint8 -> 18 joints of the largest person of each; missing where there is none."""
    from idol.pose.skeleton import body_18
    from idol.prepare.estimators.registry import pose_estimator

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
    from idol.prepare.estimators.registry import mask_estimator

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

    def __contains__(self, name: object) -> bool:
        return name in self.numbers  # Mapping's own would read the clip

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
