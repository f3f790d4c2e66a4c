"""The rig, a body at rest, its bones over time, and points that move with them.

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
    """Bones and skinning weights, the same for every body.

    Attributes:
        bones: Names of the bones, parents first.
        parents: Index of each bone's parent, -1 for the root.
        weights: (v, b) sparse skinning weights; rows sum to 1.
        keypoints: (18, v) sparse weights of the vertices in OpenPose joints.
    """

    bones: tuple[str, ...]
    parents: tuple[int, ...]
    weights: sparse.csr_matrix
    keypoints: sparse.csr_matrix

    def number(self, bone: str) -> int:
        """Return the index of a bone."""
        return self.bones.index(bone)


@dataclass(frozen=True)
class Body:
    """One body at rest.

    Attributes:
        vertices: (v, 3) in meters.
        heads: (b, 3) starts of the bones, meters.
        rig: Bones and weights of these vertices.
    """

    vertices: Float[np.ndarray, "v 3"]
    heads: Float[np.ndarray, "b 3"]
    rig: Rig

    def head(self, bone: str) -> Float[np.ndarray, " 3"]:
        """Return the start of a bone at rest, meters."""
        return self.heads[self.rig.number(bone)]


@dataclass(frozen=True)
class BonePoses:
    """Bone transforms over time: a point x at rest moves to rotation @ x + shift.

    Attributes:
        rotation: (f, b, 3, 3) linear maps; rotations, unless limbs are stretched.
        shift: (f, b, 3) translations in meters.
    """

    rotation: Float[np.ndarray, "f b 3 3"]
    shift: Float[np.ndarray, "f b 3"]

    def turned(self, rotation: np.ndarray) -> BonePoses:
        """Rotate all bones about the origin by a rotation matrix (3, 3)."""
        return BonePoses(rotation @ self.rotation, self.shift @ rotation.T)

    def moved(self, by: np.ndarray) -> BonePoses:
        """Move all bones by (3,) or, frame by frame, (f, 3) meters."""
        return BonePoses(self.rotation, self.shift + np.broadcast_to(by, (len(self.shift), 3))[:, None])

    def heads(self, body: Body) -> Float[np.ndarray, "f b 3"]:
        """Return the starts of the bones, meters."""
        return np.einsum("fbij,bj->fbi", self.rotation, body.heads) + self.shift


@dataclass(frozen=True)
class PointSet:
    """Points that are weighted means of skinned vertices, summed per bone so that posing them is cheap.

    Attributes:
        share: (n, b) weight of each bone.
        position: (n, b, 3) weighted rest position per bone, meters.
    """

    share: np.ndarray
    position: np.ndarray

    @classmethod
    def of(cls, means: sparse.csr_matrix, weights: sparse.csr_matrix, rest: np.ndarray) -> PointSet:
        """Sum the weights of points per bone.

        Args:
            means: (n, v) weights of the vertices in each point.
            weights: (v, b) skinning weights.
            rest: (v, 3) vertices at rest, meters.
        """
        # Linear blend skinning is linear in the vertices: sum over v first, and only bones remain.
        share = (means @ weights).toarray()
        position = np.stack([(means @ weights.multiply(rest[:, k : k + 1])).toarray() for k in range(3)], -1)
        return cls(share, position)

    def posed(self, poses: BonePoses) -> Float[np.ndarray, "f n 3"]:
        """Return the points in each frame, meters."""
        turned = np.einsum("fbij,nbj->fni", poses.rotation, self.position, optimize=True)
        return turned + np.einsum("nb,fbi->fni", self.share, poses.shift, optimize=True)


def relative(parent: np.ndarray, child: np.ndarray) -> np.ndarray:
    """Return rotations (f, 3, 3) relative to a parent.

    Args:
        parent: Global rotations (f, 3, 3) of the parent.
        child: Global rotations (f, 3, 3) of the child.
    """
    return transpose(parent) @ child
