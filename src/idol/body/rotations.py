"""Rotations of bones: batches of 3x3 matrices, Y up, right-handed."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

Array = np.ndarray
IDENTITY = np.eye(3)


def unit(v: Array) -> Array:
    """Scale vectors (..., 3) to length 1; zero stays zero."""
    return v / np.maximum(np.linalg.norm(v, axis=-1, keepdims=True), 1e-9)


def to_vector(matrix: Array) -> Array:
    """Convert rotation matrices (..., 3, 3) to rotation vectors (..., 3), axis times angle in radians."""
    return Rotation.from_matrix(matrix.reshape(-1, 3, 3)).as_rotvec().reshape(matrix.shape[:-1])


def from_vector(vector: Array) -> Array:
    """Convert rotation vectors (..., 3), axis times angle in radians, to matrices (..., 3, 3)."""
    return Rotation.from_rotvec(vector.reshape(-1, 3)).as_matrix().reshape(*vector.shape, 3)


def part_of(matrix: Array, fraction: float) -> Array:
    """Scale the angle of rotations.

    Args:
        matrix: Rotations (..., 3, 3).
        fraction: Factor of the angles.
    """
    return from_vector(to_vector(matrix) * fraction)


def interpolate(first: Array, second: Array, fraction: Array) -> Array:
    """Interpolate rotations along the shortest path.

    Args:
        first: Rotations (f, ..., 3, 3) at fraction 0.
        second: Rotations (f, ..., 3, 3) at fraction 1.
        fraction: (f,) in [0, 1].
    """
    step = to_vector(transpose(first) @ second)
    return first @ from_vector(step * fraction.reshape(-1, *(1,) * (step.ndim - 1)))


def transpose(matrix: Array) -> Array:
    """Transpose, and so invert, rotation matrices (..., 3, 3)."""
    return np.swapaxes(matrix, -1, -2)


def shortest(a: Array, b: Array) -> Array:
    """Return the smallest rotations (..., 3, 3) that turn directions into others.

    Args:
        a: Directions (..., 3) of any length.
        b: Directions (..., 3) that they are turned to.
    """
    a, b = np.broadcast_arrays(unit(a), unit(b))
    cross, dot = np.cross(a, b), (a * b).sum(-1, keepdims=True)
    angle = np.arctan2(np.linalg.norm(cross, axis=-1, keepdims=True), dot)
    return from_vector(unit(cross) * angle)


def bone_frame(direction: Array, hinge: Array) -> Array:
    """Return orthonormal frames (..., 3, 3) of bones, with the direction in the first column.

    Args:
        direction: Directions (..., 3) of the bones.
        hinge: Axes (..., 3) of the second column, before they are made orthogonal to the direction.
    """
    d = unit(direction)
    h = unit(hinge - d * (hinge * d).sum(-1, keepdims=True))
    return np.stack([d, h, np.cross(d, h)], -1)


def trunk_frame(left: Array, up: Array) -> Array:
    """Return orthonormal frames (..., 3, 3) with the columns left (x), up (y) and forward (z).

    Args:
        left: Directions (..., 3), which are kept.
        up: Directions (..., 3), which are made orthogonal to `left`.
    """
    x = unit(left)
    z = unit(np.cross(x, up))
    return np.stack([x, np.cross(z, x), z], -1)


def swing_twist(matrix: Array, axis: Array) -> tuple[Array, Array]:
    """Split rotations into swing @ twist.

    Args:
        matrix: Rotations (f, 3, 3).
        axis: (3,) unit axis of the twist, which is applied first.

    Returns:
        Swing and twist, (f, 3, 3) each.
    """
    q = Rotation.from_matrix(matrix).as_quat()
    twist = np.concatenate([(q[:, :3] @ axis)[:, None] * axis, q[:, 3:]], 1)
    norm = np.linalg.norm(twist, axis=1, keepdims=True)
    twist = np.where(norm < 1e-6, [0.0, 0.0, 0.0, 1.0], twist / np.maximum(norm, 1e-9))
    turned = Rotation.from_quat(twist).as_matrix()
    return matrix @ transpose(turned), turned


def mean_rotation(matrix: Array) -> Array:
    """Return the rotation nearest to the mean of rotations (n, 3, 3)."""
    # Orthogonal Procrustes; the determinant excludes reflections.
    u, _, v = np.linalg.svd(matrix.mean(0))
    return u @ np.diag([1.0, 1.0, np.linalg.det(u @ v)]) @ v
