"""Meshes: the pixel grid as triangles, split at depth discontinuities and textured by the frame.

The person's silhouette is not cut along pixels. Triangles extend slightly beyond it and the texture's alpha
cuts them (glTF's `alphaMode: MASK`), which is smooth whatever the size of the triangles.

Where one part of the body is in front of another, such as an arm before the chest, a plain grid would span
the gap with stretched triangles. A grid cell with a depth discontinuity is therefore written twice, once at
the near and once at the far depth: no stretched triangles, and no hole between the parts.
"""

import numpy as np
from jaxtyping import Bool, Float32, Int, UInt8, UInt32

from idol.rendering.geometry.camera import Camera, Layers
from idol.rendering.geometry.coordinates import y_up
from idol.rendering.layers.depth_discontinuities import is_discontinuity, remove_floating_pixels
from idol.rendering.outputs.gltf import Node, TexturedMesh, to_glb

MESH_STEPS = range(1, 5)
"""Sides of a cell of the person's grid in pixels: depth is extrapolated beyond the silhouette only so far."""

_CUT = 128  # the smallest 8-bit alpha that glTF's cutoff of one half keeps


def person_mesh(layers: Layers, frame: int, step: int = 1) -> TexturedMesh | None:
    """Return the mesh of the person in one frame.

    Args:
        layers: The clip.
        frame: Index of the frame.
        step: Side of a grid cell in pixels, 1 to 4; larger cells give fewer triangles.

    Returns:
        The mesh, textured by its part of the frame; None if nobody is visible.

    Raises:
        ValueError: If the step is not 1 to 4: depth is extrapolated beyond the silhouette only that far.
    """
    if step not in MESH_STEPS:
        raise ValueError(f"step: found {step}, expected 1 to 4")
    alpha = np.rint(layers.alpha[frame] * 255).astype(np.uint8)
    if not (alpha >= _CUT).any():
        return None
    rows, columns = _window(alpha >= _CUT)
    texture = np.concatenate([layers.color[frame], alpha[None]])[:, rows, columns]
    return _grid_mesh(layers.camera, layers.z[frame], rows, columns, texture, step, tear=True)


def background_mesh(layers: Layers, frame: int, step: int = 4) -> TexturedMesh:
    """Return the mesh of the complete background of one frame.

    Args:
        layers: The clip.
        frame: Index of the frame.
        step: Side of a grid cell in pixels.
    """
    z, everything = layers.background_z_at(frame), slice(0, None)
    # a floor plane is seen at so flat an angle that its slope may exceed the limit of a discontinuity
    tear = not layers.planes
    return _grid_mesh(layers.camera, z, everything, everything, layers.background_at(frame), step, tear)


def frame_glb(layers: Layers, frame: int, step: int = 1) -> bytes:
    """Return a GLB file of one frame: the person, the background and the camera.

    Args:
        layers: The clip.
        frame: Index of the frame.
        step: Side of a cell of the person's grid in pixels; the background's cells are four times as wide.
    """
    nodes = [Node("background", background_mesh(layers, frame, 4 * step))]
    person = person_mesh(layers, frame, step)
    if person is not None:
        nodes.append(Node("person", person))
    return to_glb(nodes, layers.camera)


def clip_glb(layers: Layers, step: int = 1) -> bytes:
    """Return a GLB file of the clip, with an animation that shows each frame at its time.

    Args:
        layers: The clip.
        step: Side of a cell of the person's grid in pixels; the background's cells are four times as wide.
    """
    nodes = _background_nodes(layers, 4 * step)
    for frame in range(layers.frames):
        person = person_mesh(layers, frame, step)
        if person is not None:
            nodes.append(Node(f"person {frame:05d}", person, _interval(layers, frame)))
    return to_glb(nodes, layers.camera)


def _background_nodes(layers: Layers, step: int) -> list[Node]:
    if layers.static:
        return [Node("background", background_mesh(layers, 0, step))]
    return [
        Node(f"background {frame:05d}", background_mesh(layers, frame, step), _interval(layers, frame))
        for frame in range(layers.frames)
    ]


def _interval(layers: Layers, frame: int) -> tuple[float, float]:
    return frame / layers.fps, (frame + 1) / layers.fps


def _window(mask: Bool[np.ndarray, "h w"]) -> tuple[slice, slice]:
    """Return rows and columns of a mask's bounding box, one pixel larger on all sides inside the image."""
    bounds = []
    for axis in (1, 0):
        inside = np.flatnonzero(mask.any(axis))
        bounds.append(slice(max(0, int(inside[0]) - 1), min(mask.shape[1 - axis], int(inside[-1]) + 2)))
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
    """Return the mesh of a window of a depth map, without cells whose alpha is entirely below the cut."""
    window = remove_floating_pixels(z[rows, columns], camera.focal) if tear else z[rows, columns]
    ys, xs = _grid_lines(window.shape[0], step), _grid_lines(window.shape[1], step)
    corners, depth = _cell_corners(len(ys), len(xs)), window[np.ix_(ys, xs)].ravel()
    torn = np.zeros(len(corners), bool)
    if tear:
        torn = _torn_cells(window, camera.focal, ys, xs, depth[corners])
    if len(texture) == 4:
        kept = _cell_max(texture[3], ys, xs).ravel() >= _CUT
        corners, torn = corners[kept], torn[kept]
    at, depths, faces = _split_cells(corners, torn, depth)
    x, y = xs[at % len(xs)], ys[at // len(xs)]  # pixels within the window
    rays = camera.rays()[rows, columns][y, x]
    # glTF's uv counts from the outer edge of the texture, pixel coordinates from the center of a pixel
    uv = np.stack([(x + 0.5) / window.shape[1], (y + 0.5) / window.shape[0]], 1).astype(np.float32)
    return TexturedMesh(y_up(rays * depths[:, None]), uv, faces, texture)


def _grid_lines(size: int, step: int) -> Int[np.ndarray, " n"]:
    """Return the pixels that the grid lines pass through, including the first and the last."""
    return np.unique(np.append(np.arange(0, size, step), size - 1))


def _cell_corners(rows: int, columns: int) -> Int[np.ndarray, "cells 4"]:
    """Return the corner indices of all cells of a grid: top left, bottom left, bottom right, top right."""
    first = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).ravel()
    return first[:, None] + np.array([0, columns, columns + 1, 1])


def _cell_max(
    values: UInt8[np.ndarray, "h w"], ys: Int[np.ndarray, " n"], xs: Int[np.ndarray, " k"]
) -> UInt8[np.ndarray, "n-1 k-1"]:
    """Return the largest value in each cell of a grid, its edges included."""
    # reduceat excludes each cell's end line, which belongs to both of its neighbors
    rows = np.maximum(np.maximum.reduceat(values, ys[:-1], axis=0), values[ys[1:]])
    return np.maximum(np.maximum.reduceat(rows, xs[:-1], axis=1), rows[:, xs[1:]])


def _torn_cells(
    z: Float32[np.ndarray, "h w"],
    focal: float,
    ys: Int[np.ndarray, " n"],
    xs: Int[np.ndarray, " k"],
    depth: Float32[np.ndarray, "cells 4"],
) -> Bool[np.ndarray, " cells"]:
    """Return which cells contain a discontinuity, both from pixel to pixel and between their corners."""
    down, across = np.zeros(z.shape, bool), np.zeros(z.shape, bool)
    down[:-1] = is_discontinuity(z[:-1], z[1:], focal)
    across[:, :-1] = is_discontinuity(z[:, :-1], z[:, 1:], focal)
    inside = _cell_max((down | across).astype(np.uint8), ys, xs).ravel() > 0
    return inside & is_discontinuity(depth.min(1), depth.max(1), focal)


def _split_cells(
    corners: Int[np.ndarray, "cells 4"], torn: Bool[np.ndarray, " cells"], depth: Float32[np.ndarray, " n"]
) -> tuple[Int[np.ndarray, " v"], Float32[np.ndarray, " v"], UInt32[np.ndarray, "t 3"]]:
    """Return vertices and triangles of all cells, with torn cells written twice.

    Returns:
        The grid index of each vertex, its depth, and the triangles as vertex indices.
    """
    # whole cells share their vertices; torn cells have eight of their own
    used, shared = np.unique(corners[~torn], return_inverse=True)
    twice = corners[torn]
    near, far = _two_depths(depth[twice])
    at = np.concatenate([used, twice.ravel(), twice.ravel()])
    depths = np.concatenate([depth[used], near.ravel(), far.ravel()])
    separate = len(used) + np.arange(2 * twice.size).reshape(-1, 4)
    quads = np.concatenate([shared.reshape(-1, 4), separate])
    # two counter-clockwise triangles per quad
    return at, depths, quads[:, [0, 1, 2, 0, 2, 3]].reshape(-1, 3).astype(np.uint32)


def _two_depths(
    depth: Float32[np.ndarray, "cells 4"],
) -> tuple[Float32[np.ndarray, "cells 4"], Float32[np.ndarray, "cells 4"]]:
    """Return each cell entirely at the near depth and entirely at the far depth.

    Corners belong to the part whose disparity is closer; the others get the mean depth of that part.
    """
    disparity = 1 / depth
    is_near = disparity >= (disparity.max(1, keepdims=True) + disparity.min(1, keepdims=True)) / 2
    near = depth.mean(1, keepdims=True, where=is_near)
    far = depth.mean(1, keepdims=True, where=~is_near)
    return np.where(is_near, depth, near), np.where(is_near, far, depth)
