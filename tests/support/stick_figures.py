"""Poses of stick figures: random joints, and a person who walks and swings every limb."""

import numpy as np

from idol.clip import Pose
from idol.pose.skeleton import LIMBS

# Limb lengths of a person 100 high, by LIMBS, and directions (degrees, 90 is down) of a standing posture.
LENGTHS = np.array([11, 11, 16, 14, 16, 14, 30, 23, 23, 30, 23, 23, 10, 3, 4, 3, 4], float)
STANDING = np.array([180, 0, 100, 95, 80, 85, 100, 90, 90, 80, 90, 90, -90, -135, 170, -45, 10], float)
HEIGHT, WIDTH = 240, 320


def build(lengths, degrees, neck):
    """Joints (f, 18, 3) of limb directions (f, 17) and neck positions (f, 2)."""
    joints = np.ones((len(degrees), 18, 3))
    joints[:, 1, :2] = neck
    for i, (a, b) in enumerate(LIMBS):
        angle = np.radians(degrees[:, i])
        joints[:, b, :2] = joints[:, a, :2] + lengths[i] * np.stack([np.cos(angle), np.sin(angle)], -1)
    return joints.astype(np.float32)


def dance(lengths=LENGTHS, frames=12, seed=0, swing=25.0, neck=(150.0, 60.0)):
    """A person swinging every limb while walking to the right and hopping."""
    rng = np.random.default_rng(seed)
    phase = np.linspace(0, 2 * np.pi, frames)[:, None] + rng.uniform(0, 6, 17)
    drift = np.stack([np.linspace(0, 40, frames), -4 * np.abs(np.sin(np.arange(frames)))], -1)
    return Pose(build(lengths, STANDING + swing * np.sin(phase), np.array(neck) + drift), HEIGHT, WIDTH)


def random_pose(seed, frames=2, size=(60, 48), missing=0.2):
    rng = np.random.default_rng(seed)
    xy = rng.uniform(-6, 6 + np.array(size[::-1]), (frames, 18, 2))
    confidence = (rng.uniform(size=(frames, 18, 1)) > missing) * rng.uniform(0.3, 1, (frames, 18, 1))
    return Pose(np.concatenate([xy, confidence], -1).astype(np.float32), *size)
