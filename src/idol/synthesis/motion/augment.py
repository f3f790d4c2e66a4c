"""Augmentation of motions: short windows, limbs exchanged between recordings, random arm poses, joint noise.

Recorded motion is scarce, while poses in use are diverse. So arms of one recording are combined with legs of
another, arms also take random poses, and smooth noise is added to every joint.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.interpolate import CubicSpline

from idol.body.motion import (
    ARMS,
    INDEX,
    LEGS,
    SEGMENTS,
    Motion,
    joint_positions,
    to_global,
    to_local,
)
from idol.body.rotations import from_vector, interpolate, shortest, transpose, unit
from idol.synthesis.splits import is_acrobatic, motion_weight

_FPS = np.array([6.0, 8.0, 10.0, 12.5, 15.0, 25.0, 30.0])
_FPS_SHARE = np.array([0.1, 0.15, 0.2, 0.2, 0.15, 0.1, 0.1])
_TRUNK = [INDEX["chest"], INDEX["head"]]
# Standard deviation of joint noise in degrees: constant over the clip, and varying during it.
_WANDER = {
    "pelvis": (3, 1.5),
    "chest": (6, 3),
    "head": (9, 5),
    "upperarm": (9, 5),
    "forearm": (4, 2),
    "hand": (10, 5),
    "thigh": (2.5, 1.5),
    "shin": (0, 0),
    "foot": (3, 1.5),
}
# Hinges along x: sign of flexion, and standard deviation of noise in degrees.
_FLEX = {"forearm": (-1.0, 14.0), "shin": (1.0, 4.0)}
_TRIES = 8


@dataclass(frozen=True)
class Style:
    """How far performances depart from recordings.

    Attributes:
        mix: Probability that limbs come from other recordings.
        invent: Probability that an arm takes a random pose.
        wander: Scale of the joint noise.
    """

    mix: float = 0.6
    invent: float = 0.18
    wander: float = 1.0


def perform(rng: np.random.Generator, motions: Sequence[Motion], frames: int, style: Style) -> Motion:
    """Draw a performance at a random frame rate.

    Args:
        rng: Random generator.
        motions: Motions to draw from.
        frames: Number of frames.
        style: How far the performance departs from the motions.
    """
    base = window(rng, motions, frames, float(rng.choice(_FPS, p=_FPS_SHARE)))
    calm = [m for m in motions if not is_acrobatic(m.name)]
    if is_acrobatic(base.name) or not calm:
        return wandered(rng, base, 0.4 * style.wander)
    for _ in range(_TRIES):
        mixed = mix_limbs(rng, base, calm, style)
        mixed = wandered(rng, mixed, style.wander)
        if not arms_enter_body(mixed):
            return mixed
    return base


def window(rng: np.random.Generator, motions: Sequence[Motion], frames: int, fps: float) -> Motion:
    """Draw a random window of a random motion, at a random speed, perhaps mirrored.

    A motion that is too short is continued backward.

    Args:
        rng: Random generator.
        motions: Motions to draw from.
        frames: Number of frames.
        fps: Frames per second of the result.
    """
    weights = np.array([motion_weight(m.name) for m in motions])
    motion = motions[int(rng.choice(len(motions), p=weights / weights.sum()))]
    speed = float(np.exp(rng.uniform(np.log(0.6), np.log(1.5))))
    length = (frames - 1) / fps * speed
    start = rng.uniform(0, max(motion.seconds - length, 0.0))
    times = start + np.linspace(0, length, frames)
    lap = 2 * motion.seconds  # forward and back
    times = np.where(times > motion.seconds, np.abs((times + motion.seconds) % lap - motion.seconds), times)
    chosen = motion.at(times, fps)
    return chosen.mirrored() if rng.uniform() < 0.5 else chosen


def mix_limbs(rng: np.random.Generator, base: Motion, motions: Sequence[Motion], style: Style) -> Motion:
    """Replace arms and trunk by those of other recordings, as rotations relative to the parent segments.

    Args:
        rng: Random generator.
        base: The motion that keeps its legs and path.
        motions: Motions that arms and trunk are drawn from.
        style: Probabilities of replacement.
    """
    local = to_local(base.rotation)
    names = [base.name]

    def take(segments: list[int], from_segments: list[int] | None = None) -> None:
        other = window(rng, motions, len(base), base.fps)
        local[:, segments] = to_local(other.rotation)[:, from_segments or segments]
        names.append(other.name)

    if rng.uniform() < style.mix:
        if rng.uniform() < 0.5:
            take(ARMS["L"] + ARMS["R"])
        else:
            take(ARMS["L"])
            take(ARMS["R"])
        if rng.uniform() < 0.4:
            take(_TRUNK)
    for side in "LR":
        if rng.uniform() < style.invent:
            local[:, ARMS[side]] = invented_arm(rng, len(base), side)
            names.append("invented")
    return replace(base, name="+".join(dict.fromkeys(names)), rotation=to_global(local))


def invented_arm(rng: np.random.Generator, frames: int, side: str) -> np.ndarray:
    """Return local rotations (f, 3, 3, 3) of an arm that moves from one random pose toward another.

    Args:
        rng: Random generator.
        frames: Number of frames.
        side: "L" or "R".
    """
    first, second = _arm_pose(rng, side), _arm_pose(rng, side)
    way = np.linspace(0, rng.uniform(0, 0.8), frames)
    return interpolate(np.repeat(first[None], frames, 0), np.repeat(second[None], frames, 0), way)


def _arm_pose(rng: np.random.Generator, side: str) -> np.ndarray:
    out = 1.0 if side == "L" else -1.0
    reach = unit(np.array([out * rng.uniform(-0.25, 1.0), rng.uniform(-1.0, 0.95), rng.uniform(-0.35, 1.0)]))
    twist = from_vector(np.array([0.0, np.radians(rng.uniform(-50, 50)), 0.0]))
    upper = shortest(np.array([0.0, -1.0, 0.0]), reach) @ twist
    bend = from_vector(np.array([-np.radians(rng.uniform(0, 140) * rng.uniform()), 0.0, 0.0]))
    hand = from_vector(np.radians(rng.normal(0, 15, 3)))
    return np.stack([upper, bend, hand])


def wandered(rng: np.random.Generator, motion: Motion, scale: float) -> Motion:
    """Add smooth noise to every joint; elbows and knees only bend further, never backward.

    Args:
        rng: Random generator.
        motion: The motion.
        scale: Factor of the noise; 1 is the usual strength.
    """
    frames, local = len(motion), to_local(motion.rotation)
    for i, segment in enumerate(SEGMENTS):
        part = segment.split(".")[0]
        held, moving = _WANDER[part]
        turn = rng.normal(0, held, 3) + _smooth(rng, frames, 3) * moving
        if part in _FLEX:
            sign, most = _FLEX[part]
            bend = abs(rng.normal(0, most)) + np.abs(_smooth(rng, frames, 1)[:, 0]) * most / 2
            turn = np.stack([sign * bend, turn[:, 1], np.zeros(frames)], -1)
        local[:, i] = local[:, i] @ from_vector(np.radians(turn) * scale)
    return replace(motion, rotation=to_global(local))


def _smooth(rng: np.random.Generator, frames: int, channels: int) -> np.ndarray:
    """Return (frames, channels) smooth noise: a cubic spline through four standard normal values."""
    knots = rng.standard_normal((4, channels))
    return CubicSpline(np.linspace(0, 1, 4), knots)(np.linspace(0, 1, frames))


def arms_enter_body(motion: Motion) -> bool:
    """Return whether an arm enters the trunk or the head of a standard body in any frame."""
    points = joint_positions(motion.rotation, motion.hips)
    chest = motion.rotation[:, INDEX["chest"]]
    tips = {"L": len(SEGMENTS) + 1, "R": len(SEGMENTS) + 2}
    arms = []
    for side in "LR":
        _, elbow, wrist = ARMS[side]
        arms += [points[:, elbow], points[:, wrist], points[:, tips[side]]]
        arms.append((points[:, elbow] + points[:, wrist]) / 2)
    at = np.stack(arms, 1)
    seen = np.einsum("fij,fnj->fni", transpose(chest), at - points[:, None, INDEX["chest"]])
    # The trunk is an elliptic cylinder in the axes of the chest, the head a sphere; lengths are in legs.
    x, y, z = np.moveaxis(seen, -1, 0)
    trunk = (np.abs(x / 0.19) ** 2 + np.abs(z / 0.15) ** 2 < 1) & (y > -0.36) & (y < 0.32)
    head = points[:, INDEX["head"]] + motion.rotation[:, INDEX["head"]] @ np.array([0.0, 0.16, 0.03])
    near_head = np.linalg.norm(at - head[:, None], axis=-1) < 0.13
    return bool((trunk | near_head).any())


def is_upright(motion: Motion) -> bool:
    """Return whether the trunk is upright and the knees are below the hips, as a bust shot needs."""
    up = motion.rotation[:, [INDEX["pelvis"], INDEX["chest"]], 1, 1].min()
    thighs = motion.rotation[:, [LEGS["L"][0], LEGS["R"][0]], 1, 1].min()
    return bool(up > 0.85 and thighs > 0.6)
