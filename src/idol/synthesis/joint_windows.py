"""Short windows of joints in space: people of many shapes performing, without images.

What the lifter of joints learns from. Skinning and drawing are not needed, so thousands are made in a minute.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float16

from idol.body.bones_from_points import EXTRA_BONES
from idol.body.motion import Motion
from idol.body.retarget import retarget
from idol.body.rig import Body, PointSet
from idol.synthesis.human.body import shape_body
from idol.synthesis.human.person import random_phenotype
from idol.synthesis.motion.augment import Style, perform
from idol.synthesis.splits import Split, generator

_WINDOWS = 2  # kind of random stream, beside people and clips
_BODIES = 16  # in a chunk
_RACES = ("african", "asian", "caucasian")


def joint_windows(
    motions: Sequence[Motion],
    split: Split,
    seed: int,
    chunk: int,
    *,
    count: int,
    frames: int,
    style: Style,
) -> Float16[np.ndarray, "n f 22 3"]:
    """Make one chunk of windows; the same arguments give the same windows.

    Args:
        motions: What is performed.
        split: Whose people; names the random stream with `seed` and `chunk`.
        seed: Of the set.
        chunk: Number of the chunk, from 0 on.
        count: Windows in it.
        frames: Frames in a window.
        style: How freely the performances depart from the motions.

    Returns:
        The 18 OpenPose joints, bases of the second toes and bases of the middle fingers, meters, Y up, each
        window around the middle of the hips of its first frame.
    """
    rng = generator(seed, split, _WINDOWS, chunk)
    bodies = [_random_body(rng) for _ in range(_BODIES)]
    found = np.zeros((count, frames, 18 + len(EXTRA_BONES), 3), np.float16)
    for i in range(count):
        body, joints = bodies[int(rng.integers(len(bodies)))]
        poses = retarget(perform(rng, motions, frames, style), body, (0.5, 0.5))
        extra = poses.heads(body)[:, [body.rig.number(bone) for bone in EXTRA_BONES]]
        points = np.concatenate([joints.posed(poses), extra], 1)
        found[i] = points - points[:1, [8, 11]].mean(1, keepdims=True)
    return found


def _random_body(rng: np.random.Generator) -> tuple[Body, PointSet]:
    body = shape_body(random_phenotype(rng, bool(rng.uniform() < 0.5), str(rng.choice(_RACES))))
    return body, PointSet.of(body.rig.keypoints, body.rig.weights, body.vertices)
