"""Where on the photo each place of a body finds its color.

A vertex is seen, or shows its left-right twin, or what lies before it in the photo (through), or a color
spread over the body from where one is known (guessed). Sources give way to one another over some
centimeters.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sparse
from jaxtyping import Bool, Float32, Int, UInt8
from scipy.ndimage import (
    binary_dilation,
    binary_erosion,
    distance_transform_edt,
    maximum_filter,
    minimum_filter,
    spline_filter1d,
)

from idol.body.draw_numpy import bilinear
from idol.body.pinhole import PinholeCamera
from idol.body.skin_mesh import HEAD, PARTS, SkinMesh
from idol.body.spread import laplacian, spread, steps_away
from idol.body.textured_mesh import SOURCES
from idol.body.zbuffer import Hits, find_hits

_SEEN, _TWIN, _THROUGH, _GUESSED = range(len(SOURCES))
_RIM_SLACK = 8  # of 255
_RIM_SHARE = 0.9  # of the person in a pixel along the mask's outline
_FACING = 0.35  # least cosine between a seen vertex' normal and the way to the camera
_FACING_HEAD = 0.1  # the same for heads, of whose hair the photo may show no more than a border
_GRAZING = 0.1  # cosine up to which a place looks past the camera: the photo shows it as a streak
_BEHIND = 0.05  # meters: farther behind what the photo shows, a vertex is hidden
_FAR_BEHIND = 0.1  # the same for what stands some pixels beside it: hands are drawn as mittens
_OCCLUDER_RIM = 3  # pixels at 256 rows
_EXPECTED = 20.0  # difference of colors, of 255
_NEAR_MASK = 2.5  # pixels at 256 rows: farther outside the mask, a vertex is not in the photo
_FIRM = 10.0  # how firmly a color that the photo shows from the front holds the guess
_FIRMNESS_POWER = 4  # of the cosine: what the photo passes at a grazing angle hardly counts
_BLEND = 0.03  # meters over which a source comes in
_BLEND_SEEN = 0.008  # the same where the photo shows a place: it is to be reproduced
_FACE_DEPTH = 0.02  # meters before the ears' plane at rest: there a head is face, not hair
_TRUNK_LIKE = [PARTS.index(name) for name in ("trunk", "thigh.L", "thigh.R")]


@dataclass(frozen=True)
class Texture:
    """Sources of color of a body's vertices; see `idol.body.textured_mesh.AvatarMesh` for the fields."""

    own: Float32[np.ndarray, "n 2"]
    other: Float32[np.ndarray, "n 2"]
    guess: Float32[np.ndarray, "n 3"]
    share: Float32[np.ndarray, "n 3"]
    facing: Float32[np.ndarray, "n 2"]
    spare: Float32[np.ndarray, " n"]
    source: UInt8[np.ndarray, " n"]


@dataclass(frozen=True)
class _Photo:
    """A photo, the person's mask, and the body in it."""

    pixels: np.ndarray
    mask: np.ndarray
    seen: np.ndarray
    normals: np.ndarray
    hits: Hits


def photo_atlas(
    image: UInt8[np.ndarray, "3 h w"], mask: Bool[np.ndarray, "h w"]
) -> UInt8[np.ndarray, "g w 4"]:
    """Return the colors of bodies, over the colors of layers, with the mask as alpha; g is 2 h.

    A body's colors are continued outward from within the mask: its sides see the outline at a grazing angle,
    and would be painted with pixels that mix person and background. Layers keep those pixels.

    Args:
        image: The photo, sRGB.
        mask: The person in it.
    """
    solid = np.full((*mask.shape, 1), 255, np.uint8)
    body = np.dstack([_sharpened(continued_colors(image, mask)), solid])
    layers = np.dstack([_sharpened(_rim_colors(image, mask)), solid * mask[..., None]])
    return np.concatenate([body, layers])


def continued_colors(
    image: UInt8[np.ndarray, "3 h w"], mask: Bool[np.ndarray, "h w"]
) -> UInt8[np.ndarray, "h w 3"]:
    """Return the photo with the person's colors continued outward, from a pixel or more inside the mask.

    Args:
        image: sRGB.
        mask: The person.
    """
    core = binary_erosion(mask, iterations=core_pixels(mask.shape[0]))
    return np.ascontiguousarray(image.transpose(1, 2, 0)[_nearest(core if core.any() else mask)])


def _rim_colors(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Extend the colors inside the mask outward, after removing the share of the background at the rim."""
    pixels, rim = image.transpose(1, 2, 0).astype(np.float32), rim_pixels(mask.shape[0])
    inner, outer = binary_erosion(mask, iterations=rim), binary_dilation(mask, iterations=rim)
    pure = pixels[_nearest(inner)] if inner.any() else pixels
    behind = pixels[_nearest(~outer)] if not outer.all() else pixels
    unmixed = np.where((mask & ~inner)[..., None], (pixels - (1 - _RIM_SHARE) * behind) / _RIM_SHARE, pixels)
    # No color that neither the photo nor the person has nearby.
    low, high = np.minimum(pure, pixels) - _RIM_SLACK, np.maximum(pure, pixels) + _RIM_SLACK
    return np.rint(unmixed.clip(low, high)[_nearest(mask)]).clip(0, 255).astype(np.uint8)


def _nearest(known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the row and column of the nearest known pixel of each pixel."""
    rows, columns = distance_transform_edt(~known, return_distances=False, return_indices=True)
    return rows, columns


def _sharpened(photo: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w 3"]:
    """Sharpen a photo so that sampling it between pixels, in means of 2 x 2 samples, reproduces it.

    Such means weight neighbors by 1/8, 3/4, 1/8 in each direction, as quadratic splines do, so the prefilter
    of the spline inverts them.
    """
    made = photo.astype(float)
    for axis in (0, 1):
        made = spline_filter1d(made, 2, axis, mode="mirror")
    return np.rint(made).clip(0, 255).astype(np.uint8)


def rim_pixels(height: int) -> int:
    """Return how many pixels along an outline mix two colors, in a photo of so many rows."""
    return max(1, round(height / 256))


def core_pixels(height: int) -> int:
    """Return how far inside a mask a body's colors begin: photos are often blurred, or enlarged."""
    return max(1, height // 170)


def find_texture(
    mesh: SkinMesh,
    vertices: Float32[np.ndarray, "n 3"],
    normals: Float32[np.ndarray, "n 3"],
    camera: PinholeCamera,
    image: UInt8[np.ndarray, "3 h w"],
    mask: Bool[np.ndarray, "h w"],
) -> Texture:
    """Return where a body finds its colors.

    Args:
        mesh: The body's skin.
        vertices: Where they are in the photo, meters before its camera.
        normals: Of the vertices there, unit vectors.
        camera: The photo's.
        image: The photo, sRGB.
        mask: The person in it.
    """
    seen_at = camera.project(vertices.astype(np.float64))
    hits = find_hits(seen_at, mesh.triangles, camera.height, camera.width)
    towards = vertices / np.linalg.norm(vertices, axis=1, keepdims=True)
    facing = -(normals * towards).sum(1)
    photo = _Photo(continued_colors(image, mask), mask, seen_at, facing, hits)
    inside = _in_photo(photo)
    through = inside & (facing < -_GRAZING) & _same_part_before(mesh, photo)
    in_front, beside = _unhidden(photo)
    facing_enough = facing > np.where(mesh.part == HEAD, _FACING_HEAD, _FACING)
    own = seen_at[:, :2].astype(np.float32)
    color = bilinear(photo.pixels, own)
    seen = inside & facing_enough & in_front & ~beside
    # Beside an occluder a color counts that is as one expects there, and not the occluder's.
    expected = _guessed(mesh, color, facing, seen, through)
    seen |= inside & facing_enough & in_front & (np.abs(color - expected).mean(1) < _EXPECTED)
    guess = _guessed(mesh, color, facing, seen, through)
    share, source = _shares(mesh, seen, through)
    both = np.abs(np.stack([facing, facing[mesh.twin]], -1)).astype(np.float32)
    return Texture(own, own[mesh.twin], guess, share, both, _ramp(mesh, seen[mesh.twin], _BLEND), source)


def _in_photo(photo: _Photo) -> Bool[np.ndarray, " n"]:
    """Return whether vertices lie in the photo, in or very near the mask."""
    h, w = photo.mask.shape
    x, y = photo.seen[:, 0], photo.seen[:, 1]
    inside = (x > -0.5) & (x < w - 0.5) & (y > -0.5) & (y < h - 0.5)
    away = distance_transform_edt(~photo.mask)
    return inside & (away[_pixel(photo)] < _NEAR_MASK * h / 256)


def _pixel(photo: _Photo) -> tuple[np.ndarray, np.ndarray]:
    h, w = photo.mask.shape
    x, y = (np.rint(photo.seen[:, k]).astype(int) for k in (0, 1))
    return np.clip(y, 0, h - 1), np.clip(x, 0, w - 1)


def _unhidden(photo: _Photo) -> tuple[Bool[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
    """Return whether nothing stands before a vertex, and whether something does beside it.

    Registration may be pixels off.
    """
    distance, at = photo.hits.distance, _pixel(photo)
    step = rim_pixels(len(distance))
    near = minimum_filter(distance, 2 * step + 1)[at]
    far = minimum_filter(distance, 2 * _OCCLUDER_RIM * step + 1)[at]
    z = photo.seen[:, 2]
    return z < distance[at] + _BEHIND, (z >= near + _BEHIND) | (z >= far + _FAR_BEHIND)


def occluders(distance: Float32[np.ndarray, "h w"], height: int) -> Bool[np.ndarray, "h w"]:
    """Return where a body stands before itself, some pixels from where that ends.

    Args:
        distance: Of what each pixel shows, meters; infinity where there is nothing.
        height: Rows of the photo.
    """
    finite = np.where(np.isfinite(distance), distance, 0)
    farthest = maximum_filter(finite, 2 * _OCCLUDER_RIM * rim_pixels(height) + 1)
    return (finite > 0) & (finite + _FAR_BEHIND < farthest)


def find_strange(
    texture: Texture, mesh: SkinMesh, hits: Hits, image: UInt8[np.ndarray, "3 h w"]
) -> Bool[np.ndarray, "h w"]:
    """Return where, beside what stands before a body, the photo does not show what is expected of the body.

    Args:
        texture: Of the body.
        mesh: The body's skin.
        hits: What each pixel of the photo shows of it.
        image: The photo, sRGB.
    """
    corners = mesh.triangles[hits.triangle.clip(0)]
    expected = np.einsum("yxk,yxkc->yxc", hits.corners, texture.guess[corners])
    differ = np.abs(image.transpose(1, 2, 0) - expected).mean(-1) > _EXPECTED
    near = minimum_filter(hits.distance, 2 * _OCCLUDER_RIM * rim_pixels(len(differ)) + 1)
    return differ & (hits.triangle >= 0) & (hits.distance > near + _FAR_BEHIND)


def _same_part_before(mesh: SkinMesh, photo: _Photo) -> Bool[np.ndarray, " n"]:
    """Return whether the photo shows the same part before a vertex; trunk and thighs count as one.

    A head's back never shows its face.
    """
    whole = np.where(np.isin(mesh.part, _TRUNK_LIKE), 0, mesh.part)
    shown = photo.hits.triangle[_pixel(photo)]
    before = np.where(shown >= 0, whole[mesh.triangles[shown.clip(0), 0]], -1)
    return (before == whole) & (mesh.part != HEAD)


def _shares(
    mesh: SkinMesh, seen: Bool[np.ndarray, " n"], through: Bool[np.ndarray, " n"]
) -> tuple[Float32[np.ndarray, "n 3"], UInt8[np.ndarray, " n"]]:
    """Weights of own, other and guess, and the main source.

    A vertex' own place in the photo counts whether it is seen or looked through to; the twin's comes first
    where the vertex itself is not seen, and fades in from where it is.
    """
    own_in, twin_in = (_ramp(mesh, valid, _BLEND) for valid in (seen | through, seen[mesh.twin]))
    seen_in = _ramp(mesh, seen, _BLEND_SEEN)
    # Leaving what is seen, own colors go on for as far as one can look through, then the twin's take over.
    left = 1 - _ramp(mesh, ~seen, _BLEND)
    own = np.maximum(seen_in, own_in * np.where(seen, 1, left))
    other = (1 - own) * np.where(seen, 0, twin_in)
    rest = 1 - own - other
    late = np.where(through, own_in, 0) * rest  # looked through to where there is no twin
    share = np.stack([own + late, other, rest - late], -1).astype(np.float32)
    main = share.argmax(1)
    source = np.choose(main, [np.where(seen, _SEEN, _THROUGH), _TWIN, _GUESSED]).astype(np.uint8)
    return share, source


def _ramp(mesh: SkinMesh, inside: Bool[np.ndarray, " n"], width: float) -> Float32[np.ndarray, " n"]:
    """0 outside a set, rising to 1 over some meters within it."""
    away = steps_away(mesh.neighbors, _edge_lengths(mesh), inside)
    return np.clip(away / width, 0, 1).astype(np.float32)


def _edge_lengths(mesh: SkinMesh) -> sparse.csr_matrix:
    edges = mesh.neighbors.tocoo()
    length = np.linalg.norm(mesh.vertices[edges.row] - mesh.vertices[edges.col], axis=1)
    return sparse.csr_matrix((np.maximum(length, 1e-6), (edges.row, edges.col)), edges.shape)


def _guessed(
    mesh: SkinMesh, color: np.ndarray, facing: np.ndarray, seen: np.ndarray, through: np.ndarray
) -> Float32[np.ndarray, "n 3"]:
    """Colors spread over the body; those of head, face and trunk stay apart.

    Each side counts for both, as far as it faces the photo's camera.
    """
    twin = mesh.twin
    firm = np.where(seen | (through & ~seen[twin]), np.abs(facing) ** _FIRMNESS_POWER, 0)
    total = firm + firm[twin]
    known = total > 0
    mean = (firm[:, None] * color + firm[twin, None] * color[twin]) / np.maximum(total, 1e-12)[:, None]
    color = np.where(known[:, None], mean, color)
    regions = _regions(mesh)
    edges = mesh.neighbors.tocoo()
    same = regions[edges.row] == regions[edges.col]
    cut = sparse.csr_matrix((edges.data[same], (edges.row[same], edges.col[same])), edges.shape)
    average = np.zeros(color.shape)
    for region in np.unique(regions):
        of = regions == region
        source = of & known if (of & known).any() else known
        average[of] = np.median(color[source], 0) if source.any() else 128
    made = spread(laplacian(cut), total * _FIRM, color - average, 1e-6) + average
    return made.clip(0, 255).astype(np.float32)


def _regions(mesh: SkinMesh) -> Int[np.ndarray, " n"]:
    """0 the body, 1 the hair's part of the head, 2 the face."""
    head = mesh.part == HEAD
    ears = mesh.body.rig.keypoints[16:18] @ mesh.body.vertices
    face = head & (mesh.vertices[:, 2] > ears[:, 2].mean() + _FACE_DEPTH)
    eyes = (mesh.body.rig.keypoints[14:16] @ mesh.body.vertices)[:, 1].mean()
    forehead = eyes + 0.55 * (mesh.vertices[head, 1].max() - eyes)
    neck = head & ~face & (mesh.vertices[:, 1] < ears[:, 1].mean() - 0.05)
    face &= mesh.vertices[:, 1] < forehead
    return np.where(face | neck, 2, np.where(head, 1, 0))
