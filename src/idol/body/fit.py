"""Fit of a body's shape to a photo: the outline of the body is moved toward the outline of the mask.

The first rounds move vertices along their normals, so that a coat seen from the front is thick from the side
too. Further rounds move them in the image plane. The moves of the outline are spread smoothly over the body
and transformed back to rest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sparse
from jaxtyping import Bool, Float, Float32
from scipy.ndimage import binary_erosion, distance_transform_edt, gaussian_filter

from idol.body.draw_numpy import covered_samples
from idol.body.pinhole import PinholeCamera
from idol.body.rig import BonePoses
from idol.body.skin_mesh import HEAD, SkinMesh, vertex_normals
from idol.body.spread import laplacian, spread
from idol.body.zbuffer import Hits


@dataclass(frozen=True)
class FitConfig:
    """Settings of the fit of a body to a mask.

    Attributes:
        normal_rounds: Number of rounds along the normals.
        plane_rounds: Number of rounds in the image plane.
        reach: Largest move of the outline, meters.
        end_reach: The same for hands and feet, which would be inflated otherwise.
        head_reach: The same for the head.
        hold: Weight that pulls moves in the image plane to 0 away from the outline.
        firmness: Weight of moves in the image plane against smoothness.
    """

    normal_rounds: int = 2
    plane_rounds: int = 4
    reach: float = 0.16
    end_reach: float = 0.035
    head_reach: float = 0.07
    hold: float = 1e-3
    firmness: float = 4.0


_BORDER = 2  # pixels along the border of the photo, where the outline is cut off
_LEAST_AGREEMENT = 0.5  # least cosine between the normals of the two outlines
_GRAZING = 0.3  # least cosine between normal and image plane


@dataclass(frozen=True)
class _Outline:
    """The signed distance from an outline in pixels, negative inside, and its gradient."""

    distance: np.ndarray
    down: np.ndarray
    right: np.ndarray

    @classmethod
    def of(cls, mask: np.ndarray) -> _Outline:
        distance = gaussian_filter(distance_transform_edt(~mask) - distance_transform_edt(mask), 1.0)
        return cls(distance, *np.gradient(distance))


@dataclass(frozen=True)
class _Pulls:
    """Moves of vertices on the outline: (k,) pixels along directions (k, 2), right and down."""

    vertex: np.ndarray
    move: np.ndarray
    direction: np.ndarray


def fit_offsets(
    mesh: SkinMesh,
    poses: BonePoses,
    camera: PinholeCamera,
    mask: Bool[np.ndarray, "h w"],
    config: FitConfig | None = None,
) -> Float32[np.ndarray, "n 3"]:
    """Return offsets of the skin at rest, in meters, with which it fills the mask.

    Args:
        mesh: The skin.
        poses: Its bones in the photo, one frame.
        camera: The camera of the photo.
        mask: The person in the photo.
        config: Settings of the fit.
    """
    config = config or FitConfig()
    offsets = np.zeros(mesh.vertices.shape, np.float32)
    differences, target = laplacian(mesh.neighbors), _Outline.of(mask)
    reach = np.where(mesh.part == HEAD, config.head_reach, config.reach)
    reach = np.where(mesh.is_end, config.end_reach, reach)
    for number in range(config.normal_rounds + config.plane_rounds):
        vertices, maps = mesh.skinned(poses, 0, offsets)
        meters = -vertices[:, 2] / camera.focal  # of one pixel, at each vertex
        pulls = _find_pulls(vertices, mesh, camera, target, reach / meters)
        if not pulls.vertex.size:
            break
        if number < config.normal_rounds:
            step = _along_normals(vertices, mesh, pulls, differences)
        else:
            step = _in_plane(len(vertices), pulls, differences, config)
        step *= meters[:, None]
        offsets += np.linalg.solve(maps, step[..., None])[..., 0].astype(np.float32)
    return offsets


def _find_pulls(
    vertices: np.ndarray, mesh: SkinMesh, camera: PinholeCamera, target: _Outline, reach: np.ndarray
) -> _Pulls:
    """Match pixels on the outline of the drawn body with the outline of the mask."""
    hits, covered = covered_samples(vertices, mesh.triangles, camera)
    own = _Outline.of(covered)
    y, x = np.nonzero(covered & ~binary_erosion(covered))
    inner = np.s_[_BORDER:-_BORDER]
    within = np.zeros(covered.shape, bool)
    within[inner, inner] = True
    y, x = y[within[y, x]], x[within[y, x]]
    agree = _agreement(own, target, y, x)
    move = -(target.distance[y, x] - own.distance[y, x].clip(-1, 0))
    vertex = _front_vertex(hits, mesh, y, x)
    good = (agree > _LEAST_AGREEMENT) & (np.abs(move) < reach[vertex])
    direction = np.stack([target.right[y, x], target.down[y, x]], -1)
    return _Pulls(vertex[good], move[good], direction[good])


def _agreement(own: _Outline, target: _Outline, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    dot = own.right[y, x] * target.right[y, x] + own.down[y, x] * target.down[y, x]
    sizes = np.hypot(own.right[y, x], own.down[y, x]) * np.hypot(target.right[y, x], target.down[y, x])
    return dot / np.maximum(sizes, 1e-6)


def _front_vertex(hits: Hits, mesh: SkinMesh, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return the nearest vertex of the triangle that each pixel shows."""
    return mesh.triangles[hits.triangle[y, x], hits.corners[y, x].argmax(1)]


def _along_normals(
    vertices: np.ndarray, mesh: SkinMesh, pulls: _Pulls, differences: sparse.csr_matrix
) -> Float[np.ndarray, "n 3"]:
    normals = vertex_normals(vertices, mesh.triangles)
    right, up = normals[pulls.vertex, 0], normals[pulls.vertex, 1]
    facing = right * pulls.direction[:, 0] - up * pulls.direction[:, 1]
    amount = pulls.move * np.clip(facing, _GRAZING, 1)
    count = np.bincount(pulls.vertex, minlength=len(vertices))
    mean = np.bincount(pulls.vertex, amount, minlength=len(vertices)) / np.maximum(count, 1)
    return spread(differences, np.minimum(count, 1.0), mean[:, None]) * normals


def _in_plane(
    n: int, pulls: _Pulls, differences: sparse.csr_matrix, config: FitConfig
) -> Float[np.ndarray, "n 3"]:
    count = np.bincount(pulls.vertex, minlength=n)
    moves = (pulls.move[:, None] * pulls.direction).T
    total = np.stack([np.bincount(pulls.vertex, move, minlength=n) for move in moves], -1)
    mean = total / np.maximum(count, 1)[:, None]
    plane = spread(differences, np.minimum(count, 1) * config.firmness, mean, config.hold)
    return np.stack([plane[:, 0], -plane[:, 1], np.zeros(n)], -1)  # rows grow downward, Y upward
