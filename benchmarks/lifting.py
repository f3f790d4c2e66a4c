"""Accuracy of lifting joints to three dimensions: `python benchmarks/lifting.py --motion-dir FOLDER`.

People of the synthetic test split perform recordings that training has not seen, in front of the cameras of
synthetic clips. Joints hidden by the body or outside the image are not given. Only the depth of the unclothed
body is rendered. Errors are those of the 18 joints in depth, relative to the middle of the hips, in
centimeters; intervals are over recordings. The flat baseline predicts no depth. Joints alone cannot tell a
tilted camera from a leaning person: `untilted_cm` is the error after each clip is rotated about the
horizontal axis of the image by the angle that fits best.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from idol.body.bones_from_points import EXTRA_BONES, PointRig
from idol.body.distance import bone_scale
from idol.body.lift import LiftConfig, default_lifter, lift
from idol.body.lifter import SEEN, Lifter, load_lifter
from idol.body.limb_depths import limb_reach
from idol.body.model import load_body
from idol.body.motion import Motion
from idol.body.pinhole import PinholeCamera
from idol.body.retarget import retarget
from idol.body.rotations import from_vector
from idol.body.zbuffer import find_hits
from idol.clip import Pose
from idol.evaluation.bootstrap import resample_counts, widen_for_few_people
from idol.synthesis.clips import STYLES, read_motions, visible_joints
from idol.synthesis.human.person import random_phenotype
from idol.synthesis.motion.augment import perform
from idol.synthesis.rendering.camera import SceneCamera
from idol.synthesis.rendering.framing import frame_points
from idol.synthesis.rendering.rasterizer import Rendering
from idol.synthesis.splits import Split, generator, recording_of

SIZE = 256
_STREAM = 3  # kind of random stream, beside people, clips and windows
_RACES = ("african", "asian", "caucasian")
_BENT = 8.0  # cm of depth from which a limb counts as pointing toward or away from the camera
_TILTS = np.arange(-20.0, 20.5, 0.5)  # degrees
_DRAWS = 2000
_FEWEST = 4  # least number of recordings for an interval


@dataclass(frozen=True)
class Case:
    """A performance as a camera sees it, and its reference points.

    Attributes:
        recording: Name of the recording that was performed.
        pose: The visible joints.
        points: (f, 22, 3) reference points, as `idol.body.lift.Lifted.points`.
        scale: (f,) pixels per meter at the hips.
        camera: The camera.
    """

    recording: str
    pose: Pose
    points: np.ndarray
    scale: np.ndarray
    camera: PinholeCamera


def main() -> None:
    """Measure, print the table, and write it with `--json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--motion-dir", type=Path, help="folder of more motion files")
    parser.add_argument("--clips", type=int, default=240, help="number of performances")
    parser.add_argument("--frames", type=int, default=8, help="frames of each")
    parser.add_argument("--split", default="test", choices=("val", "test"))
    parser.add_argument("--noise", type=float, default=0.0, help="noise of joints, pixels of 256")
    parser.add_argument("--weights", type=Path, help="weights of the lifter (default: the package's)")
    parser.add_argument("--length-share", type=float, default=LiftConfig.length_share, help="see LiftConfig")
    parser.add_argument("--json", type=Path, help="also write the results to this file")
    options = parser.parse_args()
    network = load_lifter(options.weights) if options.weights else default_lifter()
    motions = read_motions(options.split, options.motion_dir)
    cases = [
        make_case(motions, options.split, i, options.frames, options.noise) for i in range(options.clips)
    ]
    scores = [score(case, network, LiftConfig(length_share=options.length_share)) for case in cases]
    table = tabulate([case.recording for case in cases], scores)
    print(as_text(table))
    if options.json:
        options.json.write_text(json.dumps(table, indent=1) + "\n")


def make_case(motions: Sequence[Motion], split: Split, index: int, frames: int, noise: float) -> Case:
    """Return one performance of a split; the same arguments give the same performance.

    Args:
        motions: Motions of the split.
        split: Split whose style of performing is used.
        index: Index of the performance, from 0.
        frames: Number of frames.
        noise: Standard deviation of noise on the visible joints, pixels.
    """
    rng = generator(0, split, _STREAM, index)
    model = load_body()
    body = model.shaped(random_phenotype(rng, bool(rng.uniform() < 0.5), str(rng.choice(_RACES))))
    motion = perform(rng, motions, frames, STYLES[split])
    poses = retarget(motion, body, (0.5, 0.5))
    facing = poses.rotation[:, 0, :, 2].mean(0)
    turn = rng.uniform(-0.9, 0.9) if rng.uniform() < 0.65 else rng.uniform(-np.pi, np.pi)
    poses = poses.turned(from_vector(np.array([0.0, turn - np.arctan2(facing[0], facing[2]), 0.0])))
    skin = model.posed(body, poses)
    up = motion.clearance * float(body.head("upperleg01.L")[1]) - skin[..., 1].min(1)
    poses = poses.moved(np.stack([np.zeros(frames), up, np.zeros(frames)], -1))
    skin = model.posed(body, poses)
    camera = frame_points(rng, skin[:, ::40].reshape(-1, 3), SIZE)
    rig = PointRig(body)
    joints = rig.joints.posed(poses)
    extra = poses.heads(body)[:, [body.rig.number(bone) for bone in EXTRA_BONES]]
    margin = float(rng.uniform(0.18, 0.45))
    keypoints = np.stack(
        [
            visible_joints(camera, joints[k], _depth(camera, skin[k], model.triangles), margin)
            for k in range(frames)
        ]
    )
    seen = keypoints[..., 2:] > 0
    keypoints[..., :2] += np.float32(noise) * rng.standard_normal(keypoints[..., :2].shape).astype(np.float32)
    at = camera.project(np.concatenate([joints, extra], 1))
    hips = at[:, [8, 11], 2].mean(1)[:, None]
    points = np.concatenate([at[..., :2], ((hips - at[..., 2]) * camera.focal / hips)[..., None]], -1)
    middle = (SIZE - 1) / 2
    return Case(
        recording_of(motion.name.split("+")[0]),
        Pose(np.where(seen, keypoints, 0).astype(np.float32), SIZE, SIZE),
        points,
        camera.focal / hips[:, 0],
        PinholeCamera(camera.focal, middle, middle, SIZE, SIZE),
    )


def _depth(camera: SceneCamera, skin: np.ndarray, triangles: np.ndarray) -> Rendering:
    """Render the distances of the unclothed body."""
    hits = find_hits(camera.project(skin.astype(float)), triangles, SIZE, SIZE)
    return Rendering(np.zeros((SIZE, SIZE, 3), np.uint8), hits.distance, hits.triangle >= 0)


def score(case: Case, network: Lifter, config: LiftConfig) -> dict[str, float]:
    """Return the errors of one case.

    Args:
        case: The performance.
        network: The lifter.
        config: Settings of lifting.
    """
    # As in generation, the camera is unknown: lifting assumes one.
    lifted = lift(case.pose, network=network, config=config)
    away = np.abs(lifted.points - case.points)[:, :SEEN] / case.scale[:, None, None] * 100
    deep = np.abs(case.points[:, :SEEN, 2]) / case.scale[:, None] * 100
    reach, true = limb_reach(lifted.points), limb_reach(case.points)
    counts = np.abs(true) / case.scale[:, None] * 100 > _BENT
    raw, _ = bone_scale(
        lifted.points - [(SIZE - 1) / 2, (SIZE - 1) / 2, 0],
        PointRig(load_body().average).rest,
        lifted.camera.focal,
    )
    return {
        "depth_cm": float(away[..., 2].mean()),
        "untilted_cm": _untilted(lifted.points[:, :SEEN], case) * 100,
        "flat_cm": float(deep.mean()),
        "plane_cm": float(np.linalg.norm(away[..., :2], axis=-1).mean()),
        "bent_right": float((np.sign(reach) == np.sign(true))[counts].mean()) if counts.any() else np.nan,
        "scale_wobble": float(np.std(np.log(lifted.pixels_per_meter / case.scale))),
        "scale_wobble_bones": float(np.std(np.log(raw / case.scale))),
        "scale_wobble_constant": float(np.std(np.log(case.scale))),
    }


def _untilted(points: np.ndarray, case: Case) -> float:
    """Return the mean error in depth, meters, at the best tilt of the clip."""
    hips = points[:, [8, 11]].mean(1, keepdims=True)
    y, z = (points - hips)[..., 1], points[..., 2]
    target, scale = case.points[:, :SEEN, 2], case.scale[:, None]
    errors = [
        (np.abs(np.cos(angle) * z + np.sin(angle) * y - target) / scale).mean()
        for angle in np.radians(_TILTS)
    ]
    return float(min(errors))


def tabulate(recordings: list[str], scores: list[dict[str, float]]) -> dict[str, dict[str, list[float]]]:
    """Return the mean and 95 % interval of each score: over all cases, dances, others and each recording.

    Args:
        recordings: Name of the recording of each case.
        scores: Scores of each case.
    """
    kinds: dict[str, list[int]] = defaultdict(list)
    for i, name in enumerate(recordings):
        kinds["all"].append(i)
        kinds["dances" if "dance" in name else "other than dances"].append(i)
    for name in sorted(set(recordings)):
        kinds[f"  {name}"] = [i for i, other in enumerate(recordings) if other == name]
    return {
        kind: {
            "clips": [float(len(at))],
            **{
                key: _interval([scores[i][key] for i in at], [recordings[i] for i in at]) for key in scores[0]
            },
        }
        for kind, at in kinds.items()
    }


def _interval(values: list[float], recordings: list[str]) -> list[float]:
    numbers = np.array(values)
    known = np.isfinite(numbers)
    numbers, names = numbers[known], [n for n, k in zip(recordings, known, strict=True) if k]
    count = len(set(names))
    if count < _FEWEST:
        return [float(numbers.mean())] if len(numbers) else []
    drawn = resample_counts(len(numbers), names, _DRAWS)
    low, high = np.percentile(
        widen_for_few_people(drawn @ numbers / drawn.sum(1), float(numbers.mean()), count), [2.5, 97.5]
    )
    return [float(numbers.mean()), float(low), float(high)]


def as_text(table: dict[str, dict[str, list[float]]]) -> str:
    """Format a table of `tabulate` as plain text."""
    keys = list(next(iter(table.values())))
    lines = ["".join(f"{word:>24}" for word in ("", *keys))]
    for kind, row in table.items():
        cells = [_cell(row[key]) for key in keys]
        lines.append(f"{kind:<24}" + "".join(f"{cell:>24}" for cell in cells))
    return "\n".join(lines)


def _cell(numbers: list[float]) -> str:
    if not numbers:
        return "-"
    ends = f" [{numbers[1]:.3g}, {numbers[2]:.3g}]" if len(numbers) == 3 else ""
    return f"{numbers[0]:.3g}{ends}"


if __name__ == "__main__":
    main()
