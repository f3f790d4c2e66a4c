"""Layers for what the body does not cover: skirts, robes, long hair, bags, and slivers along the outline.

A wide region becomes a cushion: a front and a back that meet at the outline of the mask. It moves with the
bones of the body beside it. Between two legs it follows both, so that a robe stays in one piece; between an
arm and the trunk it is split. Slivers are flat, follow one limb, and are shown only while the limb faces the
camera as in the photo, because they look wrong from other directions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sparse
from jaxtyping import Bool, Float32, Int, Int32
from scipy.ndimage import binary_dilation, distance_transform_edt
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import splu

from idol.body.pinhole import PinholeCamera
from idol.body.rig import BonePoses
from idol.body.skin_mesh import PARTS, SkinMesh
from idol.body.texture import core_pixels, occluders
from idol.body.zbuffer import Hits

_CELL = 1 / 110  # side of a lattice cell, as a fraction of the height of the photo
_OVERLAP = 3.0  # pixels at a height of 256 by which a layer overlaps the body beside it
_HALF_THICKNESS = 0.09  # meters, far from the outline of the mask
_CLOTH = 0.025  # meters; regions with a larger half width are cloth, and not split between legs
_NEAR_CORE = 2.5  # distance from the widest parts that belongs to them, as a multiple of that half width
_BACKWARD = 0.01  # meters that cloth lies behind the outline of the body
_FORWARD = 0.02  # meters that slivers lie in front of it, so that pixels of the photo show at the outline
_KEPT_BONES = 1e-3  # smaller bone weights are dropped

_GROUPS = {"upperarm": 1, "forearm": 1, "thigh": 3, "shin": 3}
_GROUP_OF_PART = np.array([_GROUPS.get(p[:-2], 0) for p in PARTS])
_GROUP_OF_PART += np.array([int(p.endswith(".R")) for p in PARTS])  # 0 trunk and head, arms, legs
_FIRST_LEG = 3


@dataclass(frozen=True)
class SoftLayer:
    """A cushion or sliver of the photo, at rest.

    Attributes:
        at_rest: (n, 3) vertices at rest, meters.
        normals: (n, 3) normals at rest, of about unit length.
        triangles: (t, 3) vertices of the triangles, counterclockwise from outside.
        weights: (n, b) bone weights.
        own: (n, 2) column and row in the photo, pixels.
        is_back: (n,) whether a vertex lies on the back.
        is_sliver: Whether the layer is flat and has a front only.
    """

    at_rest: Float32[np.ndarray, "n 3"]
    normals: Float32[np.ndarray, "n 3"]
    triangles: Int32[np.ndarray, "t 3"]
    weights: sparse.csr_matrix
    own: Float32[np.ndarray, "n 2"]
    is_back: Bool[np.ndarray, " n"]
    is_sliver: bool


@dataclass(frozen=True)
class _Lattice:
    """Square cells over a layer: rows and columns of their corners, and corner indices (c, 4)."""

    y: np.ndarray
    x: np.ndarray
    cells: np.ndarray


def cut_layers(
    mesh: SkinMesh,
    poses: BonePoses,
    hits: Hits,
    camera: PinholeCamera,
    mask: Bool[np.ndarray, "h w"],
    strange: Bool[np.ndarray, "h w"] | None = None,
) -> list[SoftLayer]:
    """Return layers for the part of the mask that the body does not cover.

    Args:
        mesh: The skin of the body.
        poses: Its bones in the photo, one frame.
        hits: The triangle of the skin at each pixel of the photo.
        camera: The camera of the photo.
        mask: The person in the photo.
        strange: Pixels whose color does not belong to the part of the body there. They are attached to the
            part in front of it.
    """
    covered = hits.triangle >= 0
    left = mask & ~covered
    if not left.any() or not covered.any():
        return []
    vertex = np.where(covered, mesh.triangles[hits.triangle.clip(0), 0], -1)
    group = np.where(covered, _GROUP_OF_PART[mesh.part[vertex]], -1)
    meter = camera.focal / float(np.median(hits.distance[covered]))
    # Uncovered pixels beside hands and feet belong to them, or are errors of the mask.
    cloth = _wide(left, _CLOTH * meter) & ~_beside(covered & mesh.is_end[vertex], covered)
    rim = mask & (distance_transform_edt(mask) <= core_pixels(len(mask)) + 1)
    photo = _Photo(mesh, poses, hits, camera, mask, vertex)
    made = []
    for which, is_sliver in ((left & cloth, False), ((left | rim) & ~cloth, True)):
        owner = _owners(covered, group, not is_sliver)
        for number in np.unique(owner[which]).tolist():
            anchors = covered & np.isin(group, _anchor_groups(number))
            made.append(_make_layer(photo, which & (owner == number), anchors, is_sliver))
    return made + ([] if strange is None else _hang_strange(photo, strange & covered, group))


def _hang_strange(photo: _Photo, strange: np.ndarray, group: np.ndarray) -> list[SoftLayer]:
    """Make slivers of pixels beside a limb that is wider in the photo than on the body."""
    before = occluders(photo.hits.distance, len(strange)) & ~strange
    if not before.any() or not strange.any():
        return []
    y, x = distance_transform_edt(~before, return_distances=False, return_indices=True)
    owner = group[y, x]
    numbers = np.unique(owner[strange]).tolist()
    return [_make_layer(photo, strange & (owner == k), before & (group == k), True) for k in numbers]


@dataclass(frozen=True)
class _Photo:
    """The arguments of `cut_layers`, and the vertex of the body at each pixel."""

    mesh: SkinMesh
    poses: BonePoses
    hits: Hits
    camera: PinholeCamera
    mask: np.ndarray
    vertex: np.ndarray


_LOWER_BODY = 9  # group of cloth around both legs and the trunk


def _anchor_groups(number: int) -> list[int]:
    return [0, _FIRST_LEG, _FIRST_LEG + 1] if number == _LOWER_BODY else [number]


def _wide(left: np.ndarray, radius: float) -> np.ndarray:
    """Return the pixels near parts of a region whose half width exceeds a radius in pixels."""
    core = distance_transform_edt(left) > radius
    if not core.any():
        return core
    return left & (distance_transform_edt(~core) < _NEAR_CORE * radius)


def _beside(chosen: np.ndarray, covered: np.ndarray) -> np.ndarray:
    """Return the pixels whose nearest covered pixel is a chosen one."""
    y, x = distance_transform_edt(~covered, return_distances=False, return_indices=True)
    return chosen[y, x]


def _owners(covered: np.ndarray, group: np.ndarray, is_cloth: bool) -> np.ndarray:
    """Return the group of the nearest part of the body of each pixel; cloth is not split between legs."""
    y, x = distance_transform_edt(~covered, return_distances=False, return_indices=True)
    owner = group[y, x]
    lower = (owner == 0) | (owner >= _FIRST_LEG)
    return np.where(lower, _LOWER_BODY, owner) if is_cloth else owner


def _make_layer(photo: _Photo, left: np.ndarray, anchors: np.ndarray, is_sliver: bool) -> SoftLayer:
    lattice = _lattice(left, 0.0 if is_sliver else _OVERLAP)
    y, x = lattice.y.clip(0, left.shape[0] - 1), lattice.x.clip(0, left.shape[1] - 1)
    nearest = distance_transform_edt(~anchors, return_distances=False, return_indices=True)
    at = nearest[0][y, x], nearest[1][y, x]
    columns, weights = _bone_weights(photo.mesh, photo.vertex[at])
    values = np.column_stack([weights, photo.hits.distance[at]])
    fields = _harmonic(lattice, _held(lattice, anchors[y, x]), values)
    distance = fields[:, -1] + (-_FORWARD if is_sliver else _BACKWARD)
    half = _half_thickness(photo.mask, y, x, distance / photo.camera.focal) * (not is_sliver)
    count = 1 if is_sliver else 2
    bones = _as_weights(fields[:, :-1], columns, photo.mesh.weights.shape[1])
    bones = sparse.vstack([bones] * count).tocsr()
    sides = [np.stack([lattice.x, lattice.y, distance + sign * half], -1) for sign in (-1, 1)[:count]]
    points, is_back = photo.camera.unproject(np.concatenate(sides)), np.arange(count * len(y)) >= len(y)
    at_rest, normals = _to_rest(points, is_back, bones, photo.poses)
    own = np.tile(np.stack([lattice.x, lattice.y], -1), (count, 1)).astype(np.float32)
    triangles = _triangles(lattice.cells, len(y))[: count * 2 * len(lattice.cells)]
    return SoftLayer(at_rest, normals, triangles, bones, own, is_back, is_sliver)


def _triangles(cells: np.ndarray, corners: int) -> Int32[np.ndarray, "t 3"]:
    """Return triangles of the front, then of the back, whose vertices follow those of the front."""
    front = np.concatenate([cells[:, [0, 2, 1]], cells[:, [1, 2, 3]]])
    return np.concatenate([front, front[:, ::-1] + corners]).astype(np.int32)


def _lattice(left: np.ndarray, overlap: float) -> _Lattice:
    """Return the cells over an uncovered region and an overlap, in pixels at a height of 256."""
    h, w = left.shape
    cell = max(2, round(_CELL * h))
    reach = 1 + round(overlap * h / 256)
    grown = binary_dilation(left, np.ones((3, 3)), reach)
    rows, columns = -(-h // cell), -(-w // cell)
    padded = np.zeros((rows * cell, columns * cell), bool)
    padded[:h, :w] = grown
    i, j = np.nonzero(padded.reshape(rows, cell, columns, cell).any((1, 3)))
    corners = np.stack([i * (columns + 1) + j + k for k in (0, 1, columns + 1, columns + 2)], -1)
    used, numbers = np.unique(corners, return_inverse=True)
    y, x = np.divmod(used, columns + 1)
    return _Lattice(y * cell, x * cell, numbers.reshape(-1, 4))


def _held(lattice: _Lattice, on_body: np.ndarray) -> np.ndarray:
    """Return the corners whose bone weights are fixed: on the body, and all of a piece that touches none."""
    count, pieces = connected_components(_edges(lattice), directed=False)
    touches = np.zeros(count, bool)
    touches[pieces[on_body]] = True
    return on_body | ~touches[pieces]


def _edges(lattice: _Lattice) -> sparse.csr_matrix:
    c, n = lattice.cells, len(lattice.y)
    pairs = np.concatenate([c[:, [0, 1]], c[:, [2, 3]], c[:, [0, 2]], c[:, [1, 3]]])
    once = sparse.coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), (n, n)).tocsr()
    return ((once + once.T) > 0).astype(float).tocsr()


def _bone_weights(mesh: SkinMesh, vertex: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the k bones that move vertices (n,), and their weights (n, k)."""
    rows = mesh.weights[vertex]
    columns = np.flatnonzero(np.asarray(rows.max(0).todense()).ravel() > _KEPT_BONES)
    return columns, rows[:, columns].toarray()


def _harmonic(lattice: _Lattice, held: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the harmonic extension of values (n, c) from the held corners to all others."""
    free = np.flatnonzero(~held)
    made = values.astype(float).copy()
    if free.size:
        edges = _edges(lattice)
        system = sparse.diags(np.asarray(edges.sum(1)).ravel()) - edges
        inner = system.tocsr()[free]
        made[free] = splu(inner[:, free].tocsc()).solve(-(inner[:, held] @ made[held]))
    return made


def _half_thickness(mask: np.ndarray, y: np.ndarray, x: np.ndarray, meters: np.ndarray) -> np.ndarray:
    """Return the half thickness in meters: elliptic, 0 at the outline of the mask."""
    inside = distance_transform_edt(mask)[y, x] * meters
    rest = 1 - np.minimum(inside / _HALF_THICKNESS, 1)
    return _HALF_THICKNESS * np.sqrt(1 - rest**2)


def _as_weights(values: np.ndarray, columns: np.ndarray, bones: int) -> sparse.csr_matrix:
    values = np.where(values > _KEPT_BONES, values, 0)
    values /= np.maximum(values.sum(1, keepdims=True), 1e-9)
    rows, which = np.nonzero(values)
    shape = (len(values), bones)
    return sparse.csr_matrix((values[rows, which].astype(np.float32), (rows, columns[which])), shape)


def _to_rest(
    points: np.ndarray, is_back: np.ndarray, weights: sparse.csr_matrix, poses: BonePoses
) -> tuple[Float32[np.ndarray, "n 3"], Float32[np.ndarray, "n 3"]]:
    """Transform points in the photo, and normals toward or away from its camera, back to rest."""
    bones = np.concatenate([poses.rotation[0].reshape(-1, 9), poses.shift[0]], 1)
    mixed = weights @ bones
    maps = mixed[:, :9].reshape(-1, 3, 3)
    rest = np.linalg.solve(maps, (points - mixed[:, 9:])[..., None])[..., 0]
    outward = np.where(is_back, -1.0, 1.0)[:, None] * np.array([0.0, 0.0, 1.0])
    normals = np.linalg.solve(maps, outward[..., None])[..., 0]
    return rest.astype(np.float32), normals.astype(np.float32)


def uncovered_share(hits: Hits, mask: Bool[np.ndarray, "h w"]) -> float:
    """Return the share of a mask that a body does not cover: a third for a robe, else a few percent.

    Args:
        hits: The triangle of the skin at each pixel.
        mask: The person.
    """
    return float((mask & (hits.triangle < 0)).sum() / max(int(mask.sum()), 1))


def layer_parts(layer: SoftLayer, part_of_bone: Int[np.ndarray, " b"]) -> Int[np.ndarray, " n"]:
    """Return the part of the body that each vertex of a layer moves with, an index into `PARTS`.

    Args:
        layer: The layer.
        part_of_bone: Part of each bone, as `idol.body.skin_mesh.parts_of_bones` returns it.
    """
    return part_of_bone[np.asarray(layer.weights.argmax(1)).ravel()]
