"""Meshes: the grid of pixels as triangles, torn where the depth jumps, textured by the frame itself.

The person's silhouette is not cut along the pixels. Triangles reach a little beyond it and the texture's
alpha cuts them (glTF's `alphaMode: MASK`), which is smooth whatever the size of the triangles.

Where one part of the body is before another, an arm before the chest, a plain grid would span the gap with
stretched triangles. A cell of the grid that the depth jumps in is therefore made twice, once at the nearer
depth and once at the farther one: no stretched triangles, and no hole between the two either.
"""

import numpy as np
from jaxtyping import Bool, Float32, Int, UInt8, UInt32

from idol.rendering.geometry.camera import Camera, Layers
from idol.rendering.geometry.coordinates import y_up
from idol.rendering.layers.depth_discontinuities import is_discontinuity, remove_floating_pixels
from idol.rendering.outputs.gltf import Node, TexturedMesh, to_glb

MESH_STEPS = range(1, 5)
"""Pixels along a side of a cell of the person's grid: depth goes on beyond the silhouette only so far."""

_CUT = 128  # of 255: the first 8-bit alpha that glTF's cutoff of one half keeps


def person_mesh(layers: Layers, frame: int, step: int = 1) -> TexturedMesh | None:
    """The person in one frame.

    Args:
        layers: The clip's.
        frame: Which.
        step: Pixels along a side of a cell of the grid, 1 to 4; a larger one makes fewer triangles.

    Returns:
        Triangles textured by the part of the frame they lie in; None if nobody is in it.

    Raises:
        ValueError: If the step is not 1 to 4: depth goes on beyond the silhouette only so far.
    """
    if step not in MESH_STEPS:
        raise ValueError(f"step: found {step}, expected 1 to 4 pixels")
    alpha = np.rint(layers.alpha[frame] * 255).astype(np.uint8)
    if not (alpha >= _CUT).any():
        return None
    rows, columns = _window(alpha >= _CUT)
    texture = np.concatenate([layers.color[frame], alpha[None]])[:, rows, columns]
    return _grid_mesh(layers.camera, layers.z[frame], rows, columns, texture, step, tear=True)


def background_mesh(layers: Layers, frame: int, step: int = 4) -> TexturedMesh:
    """What is behind the person in one frame, whole: textured by the clean background.

    Args:
        layers: The clip's.
        frame: Which.
        step: Pixels along a side of a cell of the grid.
    """
    z, everything = layers.background_z_at(frame), slice(0, None)
    # The floor of a stage is seen so flatly that its slope may pass for a jump, but it has none.
    tear = not layers.planes
    return _grid_mesh(layers.camera, z, everything, everything, layers.background_at(frame), step, tear)


def frame_glb(layers: Layers, frame: int, step: int = 1) -> bytes:
    """One frame as a GLB file: the person, the scene behind and the camera.

    Args:
        layers: The clip's.
        frame: Which.
        step: Of the person's grid, in pixels; that of the background is four times as wide.
    """
    nodes = [Node("background", background_mesh(layers, frame, 4 * step))]
    person = person_mesh(layers, frame, step)
    if person is not None:
        nodes.append(Node("person", person))
    return to_glb(nodes, layers.camera)


def clip_glb(layers: Layers, step: int = 1) -> bytes:
    """The whole clip as one GLB file with an animation that shows each frame in its time.

    Args:
        layers: The clip's.
        step: Of the person's grid, in pixels; that of the background is four times as wide.
    """
    nodes = _background_nodes(layers, 4 * step)
    for frame in range(layers.frames):
        person = person_mesh(layers, frame, step)
        if person is not None:
            nodes.append(Node(f"person {frame:05d}", person, _shown(layers, frame)))
    return to_glb(nodes, layers.camera)


def _background_nodes(layers: Layers, step: int) -> list[Node]:
    if layers.static:
        return [Node("background", background_mesh(layers, 0, step))]
    return [
        Node(f"background {frame:05d}", background_mesh(layers, frame, step), _shown(layers, frame))
        for frame in range(layers.frames)
    ]


def _shown(layers: Layers, frame: int) -> tuple[float, float]:
    return frame / layers.fps, (frame + 1) / layers.fps


def _window(counts: Bool[np.ndarray, "h w"]) -> tuple[slice, slice]:
    """Rows and columns of what counts, and one pixel more on all sides where there is one."""
    bounds = []
    for axis in (1, 0):
        there = np.flatnonzero(counts.any(axis))
        bounds.append(slice(max(0, int(there[0]) - 1), min(counts.shape[1 - axis], int(there[-1]) + 2)))
    return bounds[0], bounds[1]


def _grid_mesh(
    camera: Camera,
    z: Float32[np.ndarray, "h w"],
    rows: slice,
    columns: slice,
    texture: UInt8[np.ndarray, "c wh ww"],
    step: int,
    tear: bool,
) -> TexturedMesh:
    """The triangles of a window of a depth map, without cells whose alpha is all cut away."""
    window = remove_floating_pixels(z[rows, columns], camera.focal) if tear else z[rows, columns]
    ys, xs = _grid_lines(window.shape[0], step), _grid_lines(window.shape[1], step)
    corners, depth = _cell_corners(len(ys), len(xs)), window[np.ix_(ys, xs)].ravel()
    jumps = (
        _torn_cells(window, camera.focal, ys, xs, depth[corners]) if tear else np.zeros(len(corners), bool)
    )
    if len(texture) == 4:
        kept = _cell_max(texture[3], ys, xs).ravel() >= _CUT
        corners, jumps = corners[kept], jumps[kept]
    at, depths, faces = _split_cells(corners, jumps, depth)
    x, y = xs[at % len(xs)], ys[at // len(xs)]
    rays = camera.rays()[rows, columns][y, x]
    uv = np.stack([(x + 0.5) / window.shape[1], (y + 0.5) / window.shape[0]], 1).astype(np.float32)
    return TexturedMesh(y_up(rays * depths[:, None]), uv, faces, texture)


def _grid_lines(size: int, step: int) -> Int[np.ndarray, " n"]:
    """The pixels that the lines of a grid run through; the first and the last are among them."""
    return np.unique(np.append(np.arange(0, size, step), size - 1))


def _cell_corners(rows: int, columns: int) -> Int[np.ndarray, "cells 4"]:
    """Indices of the corners of all cells of a grid: top left, bottom left, bottom right, top right."""
    first = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).ravel()
    return first[:, None] + np.array([0, columns, columns + 1, 1])


def _cell_max(
    values: UInt8[np.ndarray, "h w"], ys: Int[np.ndarray, " n"], xs: Int[np.ndarray, " k"]
) -> UInt8[np.ndarray, "n-1 k-1"]:
    """The largest value in each cell of a grid, its edges included."""
    tall = np.maximum(np.maximum.reduceat(values, ys[:-1], axis=0), values[ys[1:]])
    return np.maximum(np.maximum.reduceat(tall, xs[:-1], axis=1), tall[:, xs[1:]])


def _torn_cells(
    z: Float32[np.ndarray, "h w"],
    focal: float,
    ys: Int[np.ndarray, " n"],
    xs: Int[np.ndarray, " k"],
    depth: Float32[np.ndarray, "cells 4"],
) -> Bool[np.ndarray, " cells"]:
    """In which cells the depth jumps: from one pixel to the next, and between the corners too."""
    down, across = np.zeros(z.shape, bool), np.zeros(z.shape, bool)
    down[:-1] = is_discontinuity(z[:-1], z[1:], focal)
    across[:, :-1] = is_discontinuity(z[:, :-1], z[:, 1:], focal)
    inside = _cell_max((down | across).astype(np.uint8), ys, xs).ravel() > 0
    return inside & is_discontinuity(depth.min(1), depth.max(1), focal)


def _split_cells(
    corners: Int[np.ndarray, "cells 4"], jumps: Bool[np.ndarray, " cells"], depth: Float32[np.ndarray, " n"]
) -> tuple[Int[np.ndarray, " v"], Float32[np.ndarray, " v"], UInt32[np.ndarray, "t 3"]]:
    """Vertices and triangles of the cells, where cells that the depth jumps in are made twice.

    Returns:
        Where on the grid each vertex is, its depth, and the triangles as indices of vertices.
    """
    used, ordinary = np.unique(corners[~jumps], return_inverse=True)
    torn = corners[jumps]
    near, far = _two_depths(depth[torn])
    at = np.concatenate([used, torn.ravel(), torn.ravel()])
    depths = np.concatenate([depth[used], near.ravel(), far.ravel()])
    own = len(used) + np.arange(2 * torn.size).reshape(-1, 4)
    quads = np.concatenate([ordinary.reshape(-1, 4), own])
    return at, depths, quads[:, [0, 1, 2, 0, 2, 3]].reshape(-1, 3).astype(np.uint32)


def _two_depths(
    depth: Float32[np.ndarray, "cells 4"],
) -> tuple[Float32[np.ndarray, "cells 4"], Float32[np.ndarray, "cells 4"]]:
    """Each cell wholly on the nearer part of what it shows, and wholly on the farther one.

    Corners fall to the part that their disparity is closer to; the others get the mean depth of that part.
    """
    disparity = 1 / depth
    is_near = disparity >= (disparity.max(1, keepdims=True) + disparity.min(1, keepdims=True)) / 2
    near = depth.mean(1, keepdims=True, where=is_near)
    far = depth.mean(1, keepdims=True, where=~is_near)
    return np.where(is_near, depth, near), np.where(is_near, far, depth)
