"""What of a person no body covers: skirts, robes, long hair, bags, and slivers along the outline.

What is wide becomes a cushion, a front and a back that meet at the mask's outline, cut out by the mask. It
hangs on the bones of the body beside it; between two legs it follows both, so that a robe stays one piece.
Between an arm and the trunk it is parted. Slivers are flat, follow one limb, and are shown only while it
faces the camera as it did in the photo: from elsewhere they would be rags.
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

_CELL = 1 / 110  # side of a cell, as a share of the photo's rows
_OVERLAP = 3.0  # pixels at 256 rows by which a layer reaches over the body beside it
_HALF_THICKNESS = 0.09  # meters, well inside the mask
_CLOTH = 0.025  # meters: what is half as wide as that somewhere is cloth, and not parted between legs
_NEAR_CORE = 2.5  # of that radius round the widest places
_BACKWARD = 0.01  # meters behind the body's outline
_FORWARD = 0.02  # meters before it, of slivers: along the outline they show the photo's own pixels
_KEPT_BONES = 1e-3  # lighter bones do not count

_GROUPS = {"upperarm": 1, "forearm": 1, "thigh": 3, "shin": 3}
_GROUP_OF_PART = np.array([_GROUPS.get(p[:-2], 0) for p in PARTS])
_GROUP_OF_PART += np.array([int(p.endswith(".R")) for p in PARTS])  # 0 trunk and head, arms, legs
_FIRST_LEG = 3


@dataclass(frozen=True)
class SoftLayer:
    """A cushion in the photo, at rest.

    Attributes:
        at_rest: (n, 3) meters.
        normals: (n, 3) at rest, about unit length.
        triangles: (t, 3) counterclockwise seen from outside.
        weights: (n, b) of the bones.
        own: (n, 2) column and row in the photo, pixels.
        is_back: (n,) whether a vertex lies on the back.
        is_sliver: Whether it is flat, with a front alone.
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
    """Corners of the cells that hold a layer: their rows and columns in the photo, and the cells."""

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
    """Return the layers that cover what of the mask the body leaves uncovered.

    Args:
        mesh: The body's skin.
        poses: Its bones in the photo, one frame.
        hits: What each pixel of the photo shows of it.
        camera: The photo's.
        mask: The person in the photo.
        strange: Where the photo does not show what the body has there: it is hung on what stands before it.
    """
    covered = hits.triangle >= 0
    left = mask & ~covered
    if not left.any() or not covered.any():
        return []
    vertex = np.where(covered, mesh.triangles[hits.triangle.clip(0), 0], -1)
    group = np.where(covered, _GROUP_OF_PART[mesh.part[vertex]], -1)
    meter = camera.focal / float(np.median(hits.distance[covered]))
    # What is left beside hands and feet is theirs, or the mask's fault.
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
    """Slivers of what the photo shows beside a limb: it is the limb's, which is wider than the body's."""
    before = occluders(photo.hits.distance, len(strange)) & ~strange
    if not before.any() or not strange.any():
        return []
    y, x = distance_transform_edt(~before, return_distances=False, return_indices=True)
    owner = group[y, x]
    numbers = np.unique(owner[strange]).tolist()
    return [_make_layer(photo, strange & (owner == k), before & (group == k), True) for k in numbers]


@dataclass(frozen=True)
class _Photo:
    """The arguments of `cut_layers`, and the body's vertex that each pixel shows."""

    mesh: SkinMesh
    poses: BonePoses
    hits: Hits
    camera: PinholeCamera
    mask: np.ndarray
    vertex: np.ndarray


_LOWER_BODY = 9  # cloth round both legs and the trunk


def _anchor_groups(number: int) -> list[int]:
    return [0, _FIRST_LEG, _FIRST_LEG + 1] if number == _LOWER_BODY else [number]


def _wide(left: np.ndarray, radius: float) -> np.ndarray:
    """Where something is that is wider than twice the radius somewhere near."""
    core = distance_transform_edt(left) > radius
    if not core.any():
        return core
    return left & (distance_transform_edt(~core) < _NEAR_CORE * radius)


def _beside(chosen: np.ndarray, covered: np.ndarray) -> np.ndarray:
    """Pixels whose nearest covered pixel is a chosen one."""
    y, x = distance_transform_edt(~covered, return_distances=False, return_indices=True)
    return chosen[y, x]


def _owners(covered: np.ndarray, group: np.ndarray, is_cloth: bool) -> np.ndarray:
    """The group of the nearest part of the body of each pixel; cloth is not parted between legs."""
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
    """Triangles of a front, then of a back whose vertices follow those of the front."""
    front = np.concatenate([cells[:, [0, 2, 1]], cells[:, [1, 2, 3]]])
    return np.concatenate([front, front[:, ::-1] + corners]).astype(np.int32)


def _lattice(left: np.ndarray, overlap: float) -> _Lattice:
    """Cells that touch what is left uncovered or lie over the body beside it, by pixels at 256 rows."""
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
    """Corners whose bones are known: those on the body, and of pieces that touch none, all."""
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
    """Bones that move the vertices (n,), and their weights (n, k)."""
    rows = mesh.weights[vertex]
    columns = np.flatnonzero(np.asarray(rows.max(0).todense()).ravel() > _KEPT_BONES)
    return columns, rows[:, columns].toarray()


def _harmonic(lattice: _Lattice, held: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Values (n, c) as they are where held, and elsewhere the mean of their neighbors'."""
    free = np.flatnonzero(~held)
    made = values.astype(float).copy()
    if free.size:
        edges = _edges(lattice)
        system = sparse.diags(np.asarray(edges.sum(1)).ravel()) - edges
        inner = system.tocsr()[free]
        made[free] = splu(inner[:, free].tocsc()).solve(-(inner[:, held] @ made[held]))
    return made


def _half_thickness(mask: np.ndarray, y: np.ndarray, x: np.ndarray, meters: np.ndarray) -> np.ndarray:
    """Meters from the middle to the front: as of a round body whose outline is the mask's."""
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
    """Points in the photo, and normals that face its camera or look away, turned back to rest."""
    bones = np.concatenate([poses.rotation[0].reshape(-1, 9), poses.shift[0]], 1)
    mixed = weights @ bones
    maps = mixed[:, :9].reshape(-1, 3, 3)
    rest = np.linalg.solve(maps, (points - mixed[:, 9:])[..., None])[..., 0]
    outward = np.where(is_back, -1.0, 1.0)[:, None] * np.array([0.0, 0.0, 1.0])
    normals = np.linalg.solve(maps, outward[..., None])[..., 0]
    return rest.astype(np.float32), normals.astype(np.float32)


def uncovered_share(hits: Hits, mask: Bool[np.ndarray, "h w"]) -> float:
    """Return the share of a mask that a body leaves uncovered: a third for a robe, else a few percent."""
    return float((mask & (hits.triangle < 0)).sum() / max(int(mask.sum()), 1))


def layer_parts(layer: SoftLayer, part_of_bone: Int[np.ndarray, " b"]) -> Int[np.ndarray, " n"]:
    """Return the part of the body that each vertex of a layer hangs on, an index of `PARTS`."""
    return part_of_bone[np.asarray(layer.weights.argmax(1)).ravel()]
