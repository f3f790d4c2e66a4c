"""The skin of a body at rest, with bone weights, mirror vertices and parts of the body."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import scipy.sparse as sparse
from jaxtyping import Bool, Float, Float32, Int
from scipy.spatial import cKDTree

from idol.body.model import load_body
from idol.body.rig import Body, BonePoses, Rig

PARTS = (
    "trunk",
    "head",
    "upperarm.L",
    "upperarm.R",
    "forearm.L",
    "forearm.R",
    "thigh.L",
    "thigh.R",
    "shin.L",
    "shin.R",
)
"""Parts of the body. Hands belong to forearms, feet to shins."""

HEAD = PARTS.index("head")
_STARTS = {
    "upperarm": ("upperarm",),
    "forearm": ("lowerarm", "wrist", "finger", "metacarpal"),
    "thigh": ("upperleg",),
    "shin": ("lowerleg", "foot", "toe"),
}
_TRUNK = ("root", "spine", "pelvis", "clavicle", "shoulder", "breast", "neck")
_ENDS = ("wrist", "finger", "metacarpal", "foot", "toe")


@dataclass(frozen=True)
class SkinMesh:
    """The skin of one body at rest.

    Attributes:
        body: The body, whose first n vertices are those of the skin.
        triangles: (t, 3) vertices of each triangle, counterclockwise from outside.
    """

    body: Body
    triangles: Int[np.ndarray, "t 3"]

    @cached_property
    def vertices(self) -> Float32[np.ndarray, "n 3"]:
        """Vertices of the skin at rest, meters."""
        return self.body.vertices[: int(self.triangles.max()) + 1].astype(np.float32)

    @cached_property
    def weights(self) -> sparse.csr_matrix:
        """(n, b) float32 bone weights."""
        return self.body.rig.weights[: len(self.vertices)].astype(np.float32).tocsr()

    @cached_property
    def main_bone(self) -> Int[np.ndarray, " n"]:
        """Index of the bone with the largest weight of each vertex."""
        return np.asarray(self.weights.argmax(1)).ravel()

    @cached_property
    def part(self) -> Int[np.ndarray, " n"]:
        """Part of the body of each vertex, an index into `PARTS`."""
        return parts_of_bones(self.body.rig)[self.main_bone]

    @cached_property
    def is_end(self) -> Bool[np.ndarray, " n"]:
        """Whether a vertex belongs to a hand or a foot."""
        ends = np.array([name.startswith(_ENDS) for name in self.body.rig.bones])
        return ends[self.main_bone]

    @cached_property
    def twin(self) -> Int[np.ndarray, " n"]:
        """Mirror image of each vertex; the vertex itself on the middle line."""
        mirrored = self.vertices * np.array([-1, 1, 1], np.float32)
        _, nearest = cKDTree(self.vertices).query(mirrored)
        # Keep mutual pairs only, so that the mapping is an involution.
        own = np.arange(len(nearest))
        return np.where(nearest[nearest] == own, nearest, own)

    @cached_property
    def neighbors(self) -> sparse.csr_matrix:
        """(n, n) 1 where two vertices share an edge."""
        t, n = self.triangles, len(self.vertices)
        ends = np.concatenate([t[:, [0, 1]], t[:, [1, 2]], t[:, [2, 0]]])
        once = sparse.coo_matrix((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), (n, n)).tocsr()
        return ((once + once.T) > 0).astype(float).tocsr()

    def skinned(
        self, poses: BonePoses, frame: int, offsets: Float[np.ndarray, "n 3"] | None = None
    ) -> tuple[Float32[np.ndarray, "n 3"], Float32[np.ndarray, "n 3 3"]]:
        """Return the vertices in one frame, and the linear map of each.

        Args:
            poses: Bone transforms; they may stretch.
            frame: Index of the frame.
            offsets: Offsets of the vertices at rest, meters.
        """
        at_rest = self.vertices if offsets is None else self.vertices + offsets.astype(np.float32)
        return skin(self.weights, at_rest, poses, frame)


def skin(
    weights: sparse.csr_matrix, at_rest: Float32[np.ndarray, "n 3"], poses: BonePoses, frame: int
) -> tuple[Float32[np.ndarray, "n 3"], Float32[np.ndarray, "n 3 3"]]:
    """Move points with bones by linear blend skinning; return the points and the linear map of each.

    Args:
        weights: (n, b) bone weights.
        at_rest: The points at rest, meters.
        poses: Bone transforms.
        frame: Index of the frame.
    """
    bones = np.concatenate([poses.rotation[frame].reshape(-1, 9), poses.shift[frame]], 1)
    mixed = weights @ bones.astype(np.float32)
    maps = mixed[:, :9].reshape(-1, 3, 3)
    return np.einsum("nij,nj->ni", maps, at_rest) + mixed[:, 9:], maps


def parts_of_bones(rig: Rig) -> Int[np.ndarray, " b"]:
    """Return the part of the body of each bone, an index into `PARTS`."""
    parts: list[int] = []
    for name, parent in zip(rig.bones, rig.parents, strict=True):
        parts.append(_part_of_bone(name, parts[parent] if parent >= 0 else 0))
    return np.array(parts)


def _part_of_bone(name: str, parent: int) -> int:
    for part, starts in _STARTS.items():
        if name.startswith(starts):
            return PARTS.index(f"{part}.{name[-1]}")
    if name.startswith(("head", "neck03")):
        return HEAD
    return 0 if name.startswith(_TRUNK) else parent


def vertex_normals(
    vertices: Float[np.ndarray, "n 3"], triangles: Int[np.ndarray, "t 3"]
) -> Float[np.ndarray, "n 3"]:
    """Return outward unit normals of vertices, area-weighted means over triangles.

    Args:
        vertices: Vertices in any unit, right-handed axes.
        triangles: Vertices of the triangles, counterclockwise from outside.
    """
    a, b, c = (vertices[triangles[:, k]] for k in range(3))
    faces = np.cross(b - a, c - a)
    total = np.zeros(vertices.shape)
    for axis in range(3):
        for k in range(3):
            total[:, axis] += np.bincount(triangles[:, k], faces[:, axis], minlength=len(vertices))
    lengths = np.linalg.norm(total, axis=1, keepdims=True)
    return (total / np.maximum(lengths, 1e-12)).astype(vertices.dtype)


@lru_cache(1)
def average_adult() -> SkinMesh:
    """Return the skin of the average adult, made once per process."""
    model = load_body()
    return SkinMesh(model.average, model.triangles)
