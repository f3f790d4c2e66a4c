"""Clean edges: what part of a pixel the person covers, in which colour, and how far away.

A pixel on the person's edge shows I = alpha F + (1 - alpha) B. As a rule neither F nor B is known; here B is,
for the clean plate is an input of the generation. F is continued outward from the person's inside, which
leaves alpha as the projection of I - B onto F - B. Where F and B look alike the picture says nothing about
alpha, and the smoothed silhouette decides. Depth is continued outward like F: an edge keeps the person's
distance and no sheet hangs between person and background. Frames are treated alike and one by one; there is
nothing random in it, so an edge that stands still stays still.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, UInt8
from scipy.ndimage import label
from torch import Tensor
from torch.nn.functional import max_pool2d, pad

_INSIDE = 2  # pixels inside the mask that may show background
_OUTSIDE = 2  # pixels outside it that may show the person
_BLEED = 4  # pixels inside it whose generated depth is drawn towards the background's 0
_REACH = 8  # pixels that colours and depth are continued beyond the inside
_ODD = 48.0  # grey levels by which an edge pixel may differ from the inside's continuation
_CONTRAST = 24.0  # grey levels between F and B at which picture and silhouette are trusted alike


@dataclass(frozen=True)
class Matte:
    """One frame's person.

    Attributes:
        colour: (3, h, w) uint8 sRGB without the background's part, continued beyond the edge.
        alpha: (h, w) float32 in [0, 1].
        disparity: (h, w) float32, continued beyond the edge.
    """

    colour: UInt8[np.ndarray, "3 h w"]
    alpha: Float32[np.ndarray, "h w"]
    disparity: Float32[np.ndarray, "h w"]


def matte(
    frame: UInt8[np.ndarray, "3 h w"],
    plate: UInt8[np.ndarray, "3 h w"],
    mask: Bool[np.ndarray, "h w"],
    disparity: Float32[np.ndarray, "h w"],
    clean: bool,
) -> Matte:
    """The person of one frame.

    Args:
        frame: What is seen.
        plate: The same without the person.
        mask: Where the person is.
        disparity: Numbers that grow towards the camera; used inside the mask alone.
        clean: Whether the disparity near the edge is a network's, which runs into the background, and is to
            be replaced by the inside's; an exact one is kept.

    Returns:
        Colours, coverage and disparity; outside of the edge's reach they are 0, 0 and the person's median.
    """
    h, w = mask.shape
    colour, alpha = np.zeros((3, h, w), np.uint8), np.zeros((h, w), np.float32)
    far = np.full((h, w), np.median(disparity[mask]) if mask.any() else 0, np.float32)
    if not mask.any():
        return Matte(colour, alpha, far)
    rows, columns = _window(mask)
    seen, behind = _tensor(frame[:, rows, columns]), _tensor(plate[:, rows, columns])
    inside = torch.from_numpy(mask[rows, columns].astype(np.float32))[None]
    core = _core(inside, _INSIDE)
    paint = _continued(seen, core)
    depth = torch.from_numpy(np.ascontiguousarray(disparity[rows, columns]))[None]
    depth, reached = (_cleaned if clean else _continued_depth)(depth, inside)
    depth = torch.where(reached, depth, torch.from_numpy(far[rows, columns]))
    coverage = _coverage(seen, behind, paint, inside, core)
    paint = _own_colour(seen, behind, paint, coverage)
    colour[:, rows, columns] = paint.round_().to(torch.uint8).numpy()
    alpha[rows, columns] = coverage[0].numpy()
    far[rows, columns] = depth.numpy()
    return Matte(colour, alpha, far)


def _window(mask: np.ndarray) -> tuple[slice, slice]:
    """The rows and columns that hold the person and all that is continued beyond."""
    found = []
    for axis in (1, 0):
        (index,) = np.nonzero(mask.any(axis))
        found.append(slice(max(index[0] - _REACH - 1, 0), index[-1] + _REACH + 2))
    return found[0], found[1]


def _tensor(picture: np.ndarray) -> Tensor:
    return torch.from_numpy(picture.astype(np.float32))


def _grown(mask: Float[Tensor, "1 h w"], by: int) -> Float[Tensor, "1 h w"]:
    """The maximum over a square window, in two passes."""
    size = 2 * by + 1
    return max_pool2d(max_pool2d(mask, (size, 1), 1, (by, 0)), (1, size), 1, (0, by))


def _shrunk(mask: Float[Tensor, "1 h w"], by: int) -> Float[Tensor, "1 h w"]:
    # max_pool2d pads with -inf: beyond the picture's border the person goes on
    return -_grown(-mask, by)


def _core(inside: Float[Tensor, "1 h w"], edge: int) -> Float[Tensor, "1 h w"]:
    """What is more than `edge` pixels inside; of a limb that is too thin for it, what is farthest inside."""
    core = torch.zeros_like(inside)
    for by in range(edge, -1, -1):
        fresh = _shrunk(inside, by)
        covered = _grown(core, by + edge + 1)
        core = torch.maximum(core, fresh * (1 - covered))
    return core


def _cleaned(
    depth: Float[Tensor, "1 h w"], inside: Float[Tensor, "1 h w"]
) -> tuple[Float[Tensor, "1 h w"], Bool[Tensor, "1 h w"]]:
    """Depth that does not sink towards the edge: there, that of the inside or its own, whichever is nearer.

    What bleeds in is the background's 0, so of neighbours the nearest is the truest: thin limbs take that.
    Specks apart from the body have no depth that could be trusted, and take what is around.
    """
    body = _without_specks(inside)
    core = _core(body, _BLEED)
    thin = core * (1 - _grown(_shrunk(body, _BLEED), 1))
    nearest = _grown(depth * body, 2)
    within, reached = _continued_depth(torch.where(thin > 0, nearest, depth), core)
    edge = (core == 0) & (body > 0)
    return torch.where(edge, torch.maximum(within, depth), within), reached | edge


def _without_specks(inside: Float[Tensor, "1 h w"]) -> Float[Tensor, "1 h w"]:
    """The mask without its connected parts of less than a hundredth of the whole."""
    parts, _ = label(inside[0].numpy(), np.ones((3, 3)))
    sizes = np.bincount(parts.ravel())
    kept = sizes >= sizes[1:].sum() / 100
    kept[0] = False
    return torch.from_numpy(kept[parts].astype(np.float32))[None]


def _continued_depth(
    depth: Float[Tensor, "1 h w"], known: Float[Tensor, "1 h w"]
) -> tuple[Float[Tensor, "1 h w"], Bool[Tensor, "1 h w"]]:
    """Depth continued, and where it is now known."""
    values = _continued(torch.cat([depth, torch.ones_like(depth)]), known)
    return values[:1], values[1:] > 0


def _continued(values: Float[Tensor, "c h w"], known: Float[Tensor, "1 h w"]) -> Float[Tensor, "c h w"]:
    """Values where they are known; beyond, ring by ring, the mean of the known neighbours; 0 out of reach."""
    values, known = values * known, known.clone()
    for _ in range(_REACH):
        near = _summed(torch.cat([values, known]))
        found = (known == 0) & (near[-1:] > 0)
        values = torch.where(found, near[:-1] / near[-1:].clamp_min(1e-6), values)
        known = torch.where(found, 1.0, known)
    return values


def _summed(values: Float[Tensor, "c h w"]) -> Float[Tensor, "c h w"]:
    """Sums over 3 x 3 pixels, 0 beyond the border; several times as fast as torch's pooling of this size."""
    wide = pad(values, (1, 1, 1, 1))
    rows = wide[:, :-2] + wide[:, 1:-1] + wide[:, 2:]
    return rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]


def _coverage(
    seen: Float[Tensor, "3 h w"],
    behind: Float[Tensor, "3 h w"],
    paint: Float[Tensor, "3 h w"],
    inside: Float[Tensor, "1 h w"],
    core: Float[Tensor, "1 h w"],
) -> Float[Tensor, "1 h w"]:
    """Alpha: 1 in the core, 0 outside of the edge, the matting equation's solution between."""
    contrast = paint - behind
    square = (contrast * contrast).sum(0, keepdim=True)
    solved = (((seen - behind) * contrast).sum(0, keepdim=True) / square.clamp_min(1e-6)).clamp(0, 1)
    trust = square / (square + 3 * _CONTRAST**2)
    # the silhouette, smoothed; what lies beyond the picture's border is not counted
    counted = _summed(torch.ones_like(inside))
    smooth = _summed(_summed(inside) / counted) / counted
    alpha = trust * solved + (1 - trust) * smooth
    # what differs from the plate farther out is the person's shadow, not the person
    alpha = torch.where(inside > 0, alpha, torch.minimum(alpha, 2 * smooth))
    return torch.where(core > 0, 1.0, alpha * _grown(inside, _OUTSIDE))


def _own_colour(
    seen: Float[Tensor, "3 h w"],
    behind: Float[Tensor, "3 h w"],
    paint: Float[Tensor, "3 h w"],
    alpha: Float[Tensor, "1 h w"],
) -> Float[Tensor, "3 h w"]:
    """F = (I - (1 - alpha) B) / alpha where that is well-posed, the continued colour where it is not."""
    own = (seen - (1 - alpha) * behind) / alpha.clamp_min(0.1) - paint
    # a small alpha turns noise into black and white dots
    own = own.clamp(-_ODD, _ODD) * ((alpha - 0.3) / 0.5).clamp(0, 1)
    return torch.where(alpha >= 1, seen, paint + own).clamp(0, 255)
