"""Quality and speed of avatar drafts on synthetic clips: `python benchmarks/avatar.py`.

The photo is the frame of the person's next clip that shows the most joints. The avatar made from it follows
the joints of the clip in front of the clip's background. Joints of photo and motion are the reference joints
in three dimensions, or lifted from the image. The diffusion network is not used.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from idol.body.avatar import Avatar
from idol.body.bones_from_points import EXTRA_BONES, PointRig, place_points
from idol.body.distance import steady_scale
from idol.body.gl_context import has_gl
from idol.body.lift import lift
from idol.body.pinhole import PinholeCamera
from idol.body.rig import BonePoses
from idol.body.skin_mesh import average_adult
from idol.body.textured_mesh import Drawn
from idol.clip import Clip, Pose
from idol.clip.depth import normalize_person
from idol.evaluation.metrics.clip import depth_l2, iou, lpips, silhouette
from idol.evaluation.metrics.depth import fit_to_reference
from idol.evaluation.metrics.image import psnr
from idol.evaluation.networks.lpips import LPIPS
from idol.synthesis import clips as synthesis
from idol.synthesis.splits import Split, generator

SEED, SIZE, FRAMES = 20241015, 256, 8
GOALS = {256: 15.0, 512: 30.0}
"""Target processor time of a frame in milliseconds, by size, through OpenGL on llvmpipe."""


@dataclass(frozen=True)
class Shot:
    """A clip, and the person's reference 22 points: column, row and nearness in pixels, 0 at the hips."""

    clip: Clip
    points: np.ndarray


@dataclass(frozen=True)
class Case:
    """A photo, the person's points in it, and the clip to draft."""

    image: np.ndarray
    mask: np.ndarray
    pose: Pose
    points: np.ndarray
    drive: Shot


def shoot(index: int, split: Split) -> Shot:
    """Return a synthetic clip with the person's 22 points, which `Clip` does not hold.

    Args:
        index: Index of the clip in the set.
        split: Split of the set.
    """
    clip = synthesis.make_clip(SEED, index, size=SIZE, frames=FRAMES, split=split)
    person = synthesis.synthetic_person(SEED, split, index // synthesis.CLIPS_PER_PERSON)
    motions = synthesis.read_motions(split)
    for attempt in range(synthesis.ATTEMPTS):
        rng = generator(SEED, split, synthesis.CLIP_STREAM, index, attempt)
        performance = synthesis.perform_clip(rng, person, motions, FRAMES, synthesis.STYLES[split])
        camera = synthesis.clip_camera(rng, performance, person, SIZE)
        heads = performance.poses.heads(person.body)[
            :, [person.body.rig.number(bone) for bone in EXTRA_BONES]
        ]
        at = camera.project(np.concatenate([performance.joints, heads], 1))
        # The attempt whose projected joints are those of the clip is the one that was kept.
        shown = clip.pose.keypoints[..., 2] > 0
        if np.abs(at[:, :18, :2] - clip.pose.keypoints[..., :2])[shown].max() < 0.01:
            hips = at[:, [8, 11], 2].mean(1)[:, None]
            near = (hips - at[..., 2]) * camera.focal / hips
            return Shot(clip, np.concatenate([at[..., :2], near[..., None]], -1))
    raise RuntimeError(f"clip {index} cannot be reproduced")


def make_case(number: int, split: Split) -> Case:
    """Return the photo and the clip of one person.

    Args:
        number: Index of the person.
        split: Split of the set.
    """
    first = number * synthesis.CLIPS_PER_PERSON
    drive, other = shoot(first, split), shoot(first + 1, split)
    best = int((other.clip.pose.keypoints[..., 2] > 0).sum(1).argmax())
    clip = other.clip
    return Case(clip.video[best], clip.mask[best], clip.pose.select([best]), other.points[best], drive)


Drafted = tuple[np.ndarray, np.ndarray]  # video (f, 3, h, w) uint8 and depth (f, h, w)


def avatar_draft(case: Case, reference_photo: bool, reference_motion: bool) -> Drafted:
    """Draft the clip from an avatar.

    Args:
        case: Photo and clip.
        reference_photo: Whether the avatar is fitted to the reference points of the photo or to lifted ones.
        reference_motion: The same for the motion.
    """
    camera, body = PinholeCamera.assumed(SIZE, SIZE), average_adult().body
    points = in_meters(case.points[None], camera)[0] if reference_photo else None
    avatar = Avatar.from_photo(case.image, case.mask, case.pose, points=points, camera=camera)
    if reference_motion:
        poses = avatar.point_rig.pose(in_meters(case.drive.points, camera))
    else:
        poses = lift(case.drive.clip.pose, camera=camera, body=body).bones(body)
    drawn = avatar.draw(poses)
    return drawn.over(case.drive.clip.background), person_depth(drawn)


def in_meters(points: np.ndarray, camera: PinholeCamera) -> np.ndarray:
    """Convert points (f, 22, 3) from pixels to meters, at the distance that bone lengths give.

    Args:
        points: Column, row and nearness in pixels, 0 at the hips.
        camera: The camera that sees them.
    """
    from_axis = points - [camera.center_x, camera.center_y, 0]
    scale = steady_scale(from_axis, PointRig(average_adult().body).rest, camera.focal)
    return place_points(points, scale, camera)


def person_depth(drawn: Drawn) -> np.ndarray:
    """Return the normalized depth, of kind "person", of drawn frames."""
    mask = drawn.alpha >= 0.5
    return normalize_person(np.where(mask, drawn.depth, 1.0), mask)[0]


def score(made: Drafted, clip: Clip, metric: LPIPS) -> dict[str, float]:
    """Return the metrics of one draft.

    Args:
        made: The draft.
        clip: The reference clip.
        metric: The LPIPS network.
    """
    video, depth = made
    person = silhouette(clip.depth)
    both = person & silhouette(depth)
    fitted = fit_to_reference(depth, clip.depth, both)
    squared = np.square(video.astype(float) - clip.video)
    return {
        "depth L2": depth_l2(depth, clip.depth),
        "L2 person": depth_l2(depth, clip.depth, person),
        "RMSE fitted": float(np.sqrt(np.square(fitted - clip.depth)[both].mean())),
        "IoU": iou(silhouette(depth), person),
        "LPIPS": lpips(metric, [video], clip.video)[0],
        "PSNR": psnr(video, clip.video),
        "PSNR person": float(10 * np.log10(255**2 / squared.transpose(0, 2, 3, 1)[person].mean())),
    }


METHODS: dict[str, Callable[[Case], Drafted]] = {
    "reference points": partial(avatar_draft, reference_photo=True, reference_motion=True),
    "motion lifted": partial(avatar_draft, reference_photo=True, reference_motion=False),
    "all lifted": partial(avatar_draft, reference_photo=False, reference_motion=False),
}


def quality(cases: list[Case]) -> dict[str, dict[str, float]]:
    """Return the mean metrics over cases, by method."""
    metric, table = LPIPS("alex"), {}
    for name, method in METHODS.items():
        scores = [score(method(case), case.drive.clip, metric) for case in cases]
        table[name] = {key: statistics.fmean(each[key] for each in scores) for key in scores[0]}
    return table


def speed(case: Case, repeat: int) -> dict[str, dict[str, float]]:
    """Return milliseconds of processor time, by backend and size.

    Args:
        case: Photo and clip.
        repeat: Number of measurements; the least counts.
    """
    table = {}
    for backend in ("gl", "numpy") if has_gl() else ("numpy",):
        for size in GOALS:
            table[f"{backend} {size}"] = _timed(case, backend, size, repeat)
    return table


def _timed(case: Case, backend, size: int, repeat: int) -> dict[str, float]:
    camera, by = PinholeCamera.assumed(size, size), size / SIZE
    image = np.asarray(Image.fromarray(case.image.transpose(1, 2, 0)).resize((size, size))).transpose(2, 0, 1)
    mask, pose = np.asarray(Image.fromarray(case.mask).resize((size, size))), case.pose.resized(size, size)
    motion = in_meters(case.drive.points * by, camera)

    def made() -> Avatar:
        points = in_meters(case.points[None] * by, camera)[0]
        return Avatar.from_photo(image, mask, pose, points=points, camera=camera, backend=backend)

    avatar = made()
    poses = avatar.point_rig.pose(motion)
    avatar.draw(poses)  # compile shaders and warm up memory
    count = len(motion)
    return {
        "fit": _spent(made, 1),
        "pose": _spent(lambda: avatar.point_rig.pose(motion), repeat) / count,
        "skin": _spent(lambda: [avatar.posed(poses, k) for k in range(count)], repeat) / count,
        "draw": _spent(lambda: _drawn_in_parts(avatar, poses), repeat) / count,
    }


def _drawn_in_parts(avatar: Avatar, poses: BonePoses) -> None:
    """Draw four frames at a time, as drafts of long clips do."""
    for start in range(0, len(poses.shift), 4):
        part = slice(start, start + 4)
        avatar.draw(BonePoses(poses.rotation[part], poses.shift[part]))


def _spent(job: Callable[[], object], repeat: int) -> float:
    """Return the least processor time of a job in milliseconds, summed over threads."""
    times = []
    for _ in range(repeat):
        start = time.process_time()
        job()
        times.append(time.process_time() - start)
    return 1e3 * min(times)


def main() -> None:
    """Measure, print the tables, and write them with `--json`."""
    options = _options()
    cases = [make_case(k, options.split) for k in range(options.clips)]
    result = {
        "split": options.split,
        "clips": options.clips,
        "load": os.getloadavg()[0],
        "quality": quality(cases),
        "milliseconds": speed(cases[min(3, len(cases) - 1)], options.repeat),
    }
    for title, digits in (("quality", 4), ("milliseconds", 1)):
        rows = result[title]
        table = Table(title, *next(iter(rows.values())))
        for name, values in rows.items():
            table.add_row(name, *(f"{value:.{digits}f}" for value in values.values()))
        Console(width=120).print(table)
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--split", default="val", choices=("val", "test"))
    parser.add_argument("--clips", type=int, default=12, help="number of people, one clip each")
    parser.add_argument("--repeat", type=int, default=5, help="number of measurements; the fastest counts")
    parser.add_argument("--json", type=Path, help="also write the results to this file")
    return parser.parse_args()


if __name__ == "__main__":
    main()
