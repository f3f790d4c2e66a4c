"""Draws a textured mesh in numpy: for machines without OpenGL, and to hold OpenGL's images against."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8

from idol.body.pinhole import PinholeCamera
from idol.body.textured_mesh import (
    BLOCK,
    CUT_OUT,
    LEAST_FACING,
    MAGNIFIED,
    SAME_SURFACE,
    SLIVER_FACING,
    AvatarMesh,
    DrawnFrame,
    image_box,
)
from idol.body.zbuffer import Hits, find_hits

# Share of alpha above which each sample of a pixel is covered.
_THRESHOLDS = (np.array([[0, 2], [3, 1]]) + 0.5) / 4


def draw_into(
    frame: DrawnFrame,
    mesh: AvatarMesh,
    vertices: Float32[np.ndarray, "n 3"],
    normals: Float32[np.ndarray, "n 3"],
    camera: PinholeCamera,
) -> None:
    """Draw a mesh.

    Args:
        frame: Of the camera's size, empty; it is written into.
        mesh: What is drawn.
        vertices: Where its vertices are, meters before the camera.
        normals: Unit vectors.
        camera: What sees it.
    """
    seen = camera.project(vertices.astype(np.float64))
    box = image_box(seen, camera.height, camera.width)
    if box is None or seen[:, 2].min() <= 0:
        return
    x0, y0, x1, y1 = box
    samples = np.column_stack([(seen[:, :2] - (x0, y0) + 0.5) * BLOCK - 0.5, seen[:, 2]])
    shape = ((y1 - y0) * BLOCK, (x1 - x0) * BLOCK)
    # What is cut out by alpha must not hide what lies behind it: solid and soft surfaces are drawn apart.
    is_soft = mesh.soft[mesh.triangles].min(1) > 0
    share = shares_in_view(mesh, vertices, normals)
    layers = [
        _shaded(
            mesh, find_hits(samples, np.ascontiguousarray(mesh.triangles[of]), *shape), of, normals, share
        )
        for of in (np.flatnonzero(~is_soft), np.flatnonzero(is_soft))
        if of.size
    ]
    window = np.s_[y0:y1, x0:x1]
    for whole, part in zip(frame, _resolved(_front(layers)), strict=True):
        whole[window] = part


class _Samples(dict[str, np.ndarray]):
    """Values of covered samples, and `at`, which they are, (h, w) bool."""


def shares_in_view(
    mesh: AvatarMesh, vertices: Float32[np.ndarray, "n 3"], normals: Float32[np.ndarray, "n 3"]
) -> Float32[np.ndarray, "n 3"]:
    """Return the weights of own, other and guess as they are where a mesh is now.

    Args:
        mesh: What is drawn.
        vertices: Where its vertices are, meters before the camera.
        normals: Unit vectors.
    """
    now = -np.einsum("ni,ni->n", vertices, normals) / np.sqrt(np.einsum("ni,ni->n", vertices, vertices))
    start, end = MAGNIFIED
    magnified = now[:, None] / np.maximum(mesh.facing, LEAST_FACING)
    kept = np.clip((end - magnified) / (end - start), 0, 1)
    own = mesh.share[:, 0] * kept[:, 0]
    other = (mesh.share[:, 1] + (mesh.share[:, 0] - own) * mesh.spare) * kept[:, 1]
    return np.stack([own, other, 1 - own - other], -1).astype(np.float32)


def _shaded(
    mesh: AvatarMesh, hits: Hits, numbers: np.ndarray, normals: np.ndarray, shares: np.ndarray
) -> _Samples:
    """Colors and all else of the samples that a mesh covers."""
    covered = hits.triangle >= 0
    corners, weights = mesh.triangles[numbers][hits.triangle[covered]], hits.corners[covered]

    def mixed(values: np.ndarray) -> np.ndarray:
        return np.einsum("pk,pkc->pc", weights, values[corners])

    share, turned = mixed(shares), mixed(normals)
    own, other = bilinear(mesh.photo, mixed(mesh.own)), bilinear(mesh.photo, mixed(mesh.other))
    color = share[:, :1] * own[:, :3] + share[:, 1:2] * other[:, :3] + share[:, 2:] * mixed(mesh.guess)
    alpha = _alpha(mesh.soft[corners[:, 2]], own[:, 3] / 255, turned[:, 2])
    rows, columns = np.nonzero(covered)
    kept = alpha > _THRESHOLDS[rows % BLOCK, columns % BLOCK]
    covered[rows[~kept], columns[~kept]] = False
    last = corners[kept, 2]
    return _Samples(
        at=covered,
        color=color[kept],
        normals=turned[kept],
        distance=hits.distance[covered],
        label=np.stack([mesh.part[last] + 1, mesh.source[last] + 1], -1),
    )


def _alpha(soft: np.ndarray, photo: np.ndarray, facing: np.ndarray) -> np.ndarray:
    """Alpha of samples from that of the photo; see `AvatarMesh.soft`."""
    low, high = SLIVER_FACING
    shown = np.where(soft > CUT_OUT, np.clip((facing - low) / (high - low), 0, 1), 1)
    return np.where(soft > 0, photo * shown, 1)


def _front(layers: list[_Samples]) -> dict[str, np.ndarray]:
    """Return the nearest of several layers as full grids of samples; distance is infinity where empty."""
    shape = layers[0]["at"].shape
    grids: dict[str, np.ndarray] = {
        "distance": np.full(shape, np.inf),
        "color": np.zeros((*shape, 3)),
        "normals": np.zeros((*shape, 3)),
        "label": np.zeros((*shape, 2), np.uint8),
    }
    for layer in layers:
        rows, columns = np.nonzero(layer["at"])
        nearer = layer["distance"] < grids["distance"][rows, columns]
        place = rows[nearer], columns[nearer]
        for name, grid in grids.items():
            grid[place] = layer[name][nearer]
    return grids


def _resolved(grids: dict[str, np.ndarray]) -> DrawnFrame:
    """Pixels from blocks of samples."""
    h, w = (n // BLOCK for n in grids["distance"].shape)
    distance = _blocks(grids["distance"], h, w)
    covered = np.isfinite(distance)
    count = covered.sum(-1)
    nearest = distance.min(-1)
    front = distance <= nearest[..., None] + SAME_SURFACE
    front &= covered
    depth = np.where(front, distance, 0).sum(-1) / np.maximum(front.sum(-1), 1)
    color = _blocks(grids["color"], h, w).sum(-2) / np.maximum(count, 1)[..., None]
    normals = (_blocks(grids["normals"], h, w) * front[..., None]).sum(-2)
    normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-9)
    first = distance.argmin(-1)
    label = np.take_along_axis(_blocks(grids["label"], h, w), first[..., None, None], -2)[..., 0, :]
    return DrawnFrame(
        np.rint(color).clip(0, 255).astype(np.uint8),
        np.where(count > 0, depth, np.inf).astype(np.float32),
        normals.astype(np.float32),
        label[..., 0],
        label[..., 1],
        (count / BLOCK**2).astype(np.float32),
    )


def _blocks(grid: np.ndarray, h: int, w: int) -> np.ndarray:
    """(h * k, w * k, ...) -> (h, w, k * k, ...)."""
    split = grid.reshape(h, BLOCK, w, BLOCK, *grid.shape[2:]).swapaxes(1, 2)
    return split.reshape(h, w, BLOCK * BLOCK, *grid.shape[2:])


def bilinear(image: UInt8[np.ndarray, "h w c"], at: Float[np.ndarray, "n 2"]) -> Float32[np.ndarray, "n c"]:
    """Return colors between pixels; beyond the border those of the border.

    Args:
        image: Any number of channels.
        at: Column and row in pixels.
    """
    h, w = image.shape[:2]
    x, y = np.clip(at[:, 0], 0, w - 1), np.clip(at[:, 1], 0, h - 1)
    left, top = np.minimum(x.astype(int), max(w - 2, 0)), np.minimum(y.astype(int), max(h - 2, 0))
    right, bottom = np.minimum(left + 1, w - 1), np.minimum(top + 1, h - 1)
    fx, fy = (x - left)[:, None].astype(np.float32), (y - top)[:, None].astype(np.float32)
    above = image[top, left] * (1 - fx) + image[top, right] * fx
    below = image[bottom, left] * (1 - fx) + image[bottom, right] * fx
    return above * (1 - fy) + below * fy


def covered_samples(
    vertices: Float[np.ndarray, "n 3"], triangles: np.ndarray, camera: PinholeCamera
) -> tuple[Hits, Bool[np.ndarray, "h w"]]:
    """Return what each pixel's center shows, and whether it shows anything.

    Args:
        vertices: Meters before the camera.
        triangles: (t, 3), counterclockwise seen from outside.
        camera: What sees them.
    """
    hits = find_hits(camera.project(vertices.astype(np.float64)), triangles, camera.height, camera.width)
    return hits, hits.triangle >= 0
