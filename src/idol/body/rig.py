"""A body on its bones: the rig, one body at rest, its bones over time, and points that go with them.

Y up, facing +Z, meters, standing on y = 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sparse
from jaxtyping import Float

from idol.body.rotations import transpose


@dataclass(frozen=True)
class Rig:
    """Bones and what hangs on them, the same for every body.

    Attributes:
        bones: Names, parents first.
        parents: Position of each bone's parent, -1 for the root.
        weights: (v, b) sparse; rows sum to 1.
        keypoints: (18, v) sparse: OpenPose joints as weighted means of vertices.
    """

    bones: tuple[str, ...]
    parents: tuple[int, ...]
    weights: sparse.csr_matrix
    keypoints: sparse.csr_matrix

    def number(self, bone: str) -> int:
        """Return the position of a bone by its name."""
        return self.bones.index(bone)


@dataclass(frozen=True)
class Body:
    """One body at rest.

    Attributes:
        vertices: (v, 3) meters.
        heads: (b, 3) where the bones start, meters.
        rig: Bones and weights of these vertices.
    """

    vertices: Float[np.ndarray, "v 3"]
    heads: Float[np.ndarray, "b 3"]
    rig: Rig

    def head(self, bone: str) -> Float[np.ndarray, " 3"]:
        """Return where a bone starts at rest, meters."""
        return self.heads[self.rig.number(bone)]


@dataclass(frozen=True)
class BonePoses:
    """Bones over time: a point x at rest goes to rotation @ x + shift.

    Attributes:
        rotation: (f, b, 3, 3).
        shift: (f, b, 3) in meters.
    """

    rotation: Float[np.ndarray, "f b 3 3"]
    shift: Float[np.ndarray, "f b 3"]

    def turned(self, rotation: np.ndarray) -> BonePoses:
        """Return all of it turned about the origin by (3, 3)."""
        return BonePoses(rotation @ self.rotation, self.shift @ rotation.T)

    def moved(self, by: np.ndarray) -> BonePoses:
        """Return all of it moved by (3,) or, frame by frame, (f, 3) meters."""
        return BonePoses(self.rotation, self.shift + np.broadcast_to(by, (len(self.shift), 3))[:, None])

    def heads(self, body: Body) -> Float[np.ndarray, "f b 3"]:
        """Return where the bones start, meters."""
        return np.einsum("fbij,bj->fbi", self.rotation, body.heads) + self.shift


@dataclass(frozen=True)
class PointSet:
    """Points that are weighted means of skinned vertices, folded per bone so that posing them is cheap.

    Attributes:
        share: (n, b) weight of each bone.
        place: (n, b, 3) weighted rest position per bone, meters.
    """

    share: np.ndarray
    place: np.ndarray

    @classmethod
    def of(cls, means: sparse.csr_matrix, weights: sparse.csr_matrix, rest: np.ndarray) -> PointSet:
        """Fold points (n, v) over vertices at `rest` (v, 3) meters, skinned by `weights` (v, b)."""
        share = (means @ weights).toarray()
        place = np.stack([(means @ weights.multiply(rest[:, k : k + 1])).toarray() for k in range(3)], -1)
        return cls(share, place)

    def posed(self, poses: BonePoses) -> Float[np.ndarray, "f n 3"]:
        """Return the points of each frame, meters."""
        turned = np.einsum("fbij,nbj->fni", poses.rotation, self.place, optimize=True)
        return turned + np.einsum("nb,fbi->fni", self.share, poses.shift, optimize=True)


def relative(parent: np.ndarray, child: np.ndarray) -> np.ndarray:
    """Return the rotation of the child seen from the parent; (f, 3, 3) each."""
    return transpose(parent) @ child
