"""Rotations of bones: batches of 3x3 matrices, Y up, right-handed."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

Array = np.ndarray
IDENTITY = np.eye(3)


def unit(v: Array) -> Array:
    """Vectors (..., 3) scaled to length 1; zero stays zero."""
    return v / np.maximum(np.linalg.norm(v, axis=-1, keepdims=True), 1e-9)


def to_vector(matrix: Array) -> Array:
    """Rotation matrices (..., 3, 3) as axis times angle in radians, (..., 3)."""
    return Rotation.from_matrix(matrix.reshape(-1, 3, 3)).as_rotvec().reshape(matrix.shape[:-1])


def from_vector(vector: Array) -> Array:
    """Axis times angle in radians, (..., 3), as rotation matrices (..., 3, 3)."""
    return Rotation.from_rotvec(vector.reshape(-1, 3)).as_matrix().reshape(*vector.shape, 3)


def part_of(matrix: Array, fraction: float) -> Array:
    """The given fraction of each rotation (..., 3, 3), about its own axis."""
    return from_vector(to_vector(matrix) * fraction)


def interpolate(first: Array, second: Array, fraction: Array) -> Array:
    """Shortest-path interpolation: (f, ..., 3, 3) twice and (f,) in [0, 1]."""
    step = to_vector(transpose(first) @ second)
    return first @ from_vector(step * fraction.reshape(-1, *(1,) * (step.ndim - 1)))


def transpose(matrix: Array) -> Array:
    """Inverse of rotation matrices (..., 3, 3)."""
    return np.swapaxes(matrix, -1, -2)


def shortest(a: Array, b: Array) -> Array:
    """The smallest rotations that turn directions a into b; (..., 3) twice, gives (..., 3, 3)."""
    a, b = np.broadcast_arrays(unit(a), unit(b))
    cross, dot = np.cross(a, b), (a * b).sum(-1, keepdims=True)
    angle = np.arctan2(np.linalg.norm(cross, axis=-1, keepdims=True), dot)
    return from_vector(unit(cross) * angle)


def bone_frame(direction: Array, hinge: Array) -> Array:
    """Frames (..., 3, 3) whose first column is the bone's direction and second its hinge, made orthogonal."""
    d = unit(direction)
    h = unit(hinge - d * (hinge * d).sum(-1, keepdims=True))
    return np.stack([d, h, np.cross(d, h)], -1)


def trunk_frame(left: Array, up: Array) -> Array:
    """Frames (..., 3, 3) with columns left (x), up (y), forward (z); left is kept, up made orthogonal."""
    x = unit(left)
    z = unit(np.cross(x, up))
    return np.stack([x, np.cross(z, x), z], -1)


def swing_twist(matrix: Array, axis: Array) -> tuple[Array, Array]:
    """Split rotations (f, 3, 3) into swing @ twist, the twist being about `axis` (3,), before the swing."""
    q = Rotation.from_matrix(matrix).as_quat()
    twist = np.concatenate([(q[:, :3] @ axis)[:, None] * axis, q[:, 3:]], 1)
    norm = np.linalg.norm(twist, axis=1, keepdims=True)
    twist = np.where(norm < 1e-6, [0.0, 0.0, 0.0, 1.0], twist / np.maximum(norm, 1e-9))
    turned = Rotation.from_quat(twist).as_matrix()
    return matrix @ transpose(turned), turned


def mean_rotation(matrix: Array) -> Array:
    """The rotation nearest to the mean of (n, 3, 3)."""
    u, _, v = np.linalg.svd(matrix.mean(0))
    return u @ np.diag([1.0, 1.0, np.linalg.det(u @ v)]) @ v
