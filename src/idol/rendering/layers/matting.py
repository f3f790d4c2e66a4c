"""Clean edges: what part of a pixel the person covers, in which color, and how far away.

A pixel on the person's edge shows I = alpha F + (1 - alpha) B. As a rule neither F nor B is known; here B is,
for the clean plate is an input of the generation. F is continued outward from the person's inside, which
leaves alpha as the projection of I - B onto F - B. Where F and B look alike the image says nothing about
alpha, and the smoothed silhouette decides. Depth is continued outward like F: an edge keeps the person's
distance and no sheet hangs between person and background. Frames are treated alike and one by one; there is
nothing random in it, so an edge that stands still stays still.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Num, UInt8
from scipy.ndimage import label
from torch import Tensor
from torch.nn.functional import pad

_INSIDE = 2  # pixels inside the mask that may show background
_OUTSIDE = 2  # pixels outside it that may show the person
_BLEED = 4  # pixels inside it whose generated depth is drawn towards the background's 0
_REACH = 8  # pixels that colors and depth are continued beyond the inside
_ODD = 48.0  # gray levels by which an edge pixel may differ from the inside's continuation
_CONTRAST = 24.0  # gray levels between F and B at which image and silhouette are trusted alike


@dataclass(frozen=True)
class Mattes:
    """The person of a few frames.

    Attributes:
        color: (f, 3, h, w) uint8 sRGB without the background's part, continued beyond the edge.
        alpha: (f, h, w) float32 in [0, 1].
        disparity: (f, h, w) float32, continued beyond the edge.
    """

    color: UInt8[np.ndarray, "f 3 h w"]
    alpha: Float32[np.ndarray, "f h w"]
    disparity: Float32[np.ndarray, "f h w"]


def mattes(
    frames: UInt8[np.ndarray, "f 3 h w"],
    plates: UInt8[np.ndarray, "f 3 h w"],
    masks: Bool[np.ndarray, "f h w"],
    disparity: Float32[np.ndarray, "f h w"],
    clean: bool,
) -> Mattes:
    """The person of a few frames; the result for each is the same whatever the others are.

    Args:
        frames: What is seen.
        plates: The same without the person.
        masks: Where the person is.
        disparity: Numbers that grow towards the camera; used inside the masks alone.
        clean: Whether the disparity near the edge is a network's, which runs into the background, and is to
            be replaced by the inside's; an exact one is kept.

    Returns:
        Colors, coverage and disparity; outside of the edge's reach they are 0, 0 and the person's median.
    """
    color, alpha = np.zeros_like(frames), np.zeros(masks.shape, np.float32)
    far = np.empty(masks.shape, np.float32)
    for each, depth, mask in zip(far, disparity, masks, strict=True):
        each[:] = np.median(depth[mask]) if mask.any() else 0
    if not masks.any():
        return Mattes(color, alpha, far)
    part = (slice(None), *_window(np.asarray(masks.any(0))))
    seen, behind = (_tensor(each[:, :, *part[1:]]) for each in (frames, plates))
    inside, depth = _tensor(masks[part])[:, None], _tensor(disparity[part])[:, None]
    core = _core(inside, _INSIDE)
    paint = _continued(seen, core)
    depth, reached = (_cleaned if clean else _continued_depth)(depth, inside)
    coverage = _coverage(seen, behind, paint, inside, core)
    paint = _own_color(seen, behind, paint, coverage)
    color[:, :, *part[1:]] = paint.round_().to(torch.uint8).numpy()
    alpha[part] = coverage[:, 0].numpy()
    np.copyto(far[part], depth[:, 0].numpy(), where=reached[:, 0].numpy())
    return Mattes(color, alpha, far)


def _window(mask: Bool[np.ndarray, "h w"]) -> tuple[slice, slice]:
    """The rows and columns that hold the person and all that is continued beyond."""
    found = []
    for axis in (1, 0):
        (index,) = np.nonzero(mask.any(axis))
        found.append(slice(max(index[0] - _REACH - 1, 0), index[-1] + _REACH + 2))
    return found[0], found[1]


def _tensor(values: np.ndarray) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))


def grown(values: Num[Tensor, "*b h w"], rows: int, columns: int) -> Num[Tensor, "*b h w"]:
    """The maximum over windows that reach so many rows and columns to either side.

    Only what is inside the image counts. Shifted copies double the reach each time, which is several times
    as fast as torch's pooling.

    Args:
        values: Any.
        rows: Up and down from the middle, 0 or more.
        columns: To the left and the right.
    """
    for dim, reach in ((-2, rows), (-1, columns)):
        done, reach = 0, min(reach, values.shape[dim] - 1)
        while done < reach:
            step = min(done + 1, reach - done)  # no farther, or places near the border would miss it
            values, done = _spread(values, step, dim), done + step
    return values


def _spread(values: Num[Tensor, "*b h w"], by: int, dim: int) -> Num[Tensor, "*b h w"]:
    """The maximum of values and of their copies shifted by so much to either side."""
    spread, kept = values.clone(), values.shape[dim] - by
    for to, source in ((0, by), (by, 0)):
        part = spread.narrow(dim, to, kept)
        torch.maximum(part, values.narrow(dim, source, kept), out=part)
    return spread


def _shrunk(mask: Num[Tensor, "f 1 h w"], by: int) -> Num[Tensor, "f 1 h w"]:
    # beyond the image's border nothing counts: the person goes on there
    return 1 - grown(1 - mask, by, by)


def _core(inside: Float[Tensor, "f 1 h w"], edge: int) -> Float[Tensor, "f 1 h w"]:
    """What is more than `edge` pixels inside; of a limb that is too thin for it, what is farthest inside."""
    inside = inside.to(torch.uint8)  # bytes: less to move
    core = torch.zeros_like(inside)
    for by in range(edge, -1, -1):
        fresh = _shrunk(inside, by)
        covered = grown(core, by + edge + 1, by + edge + 1)
        core = torch.maximum(core, fresh * (1 - covered))
    return core.float()


def _cleaned(
    depth: Float[Tensor, "f 1 h w"], inside: Float[Tensor, "f 1 h w"]
) -> tuple[Float[Tensor, "f 1 h w"], Bool[Tensor, "f 1 h w"]]:
    """Depth that does not sink towards the edge: there, that of the inside or its own, whichever is nearer.

    What bleeds in is the background's 0, so of neighbors the nearest is the truest: thin limbs take that.
    Specks apart from the body have no depth that could be trusted, and take what is around.
    """
    body = _without_specks(inside)
    core = _core(body, _BLEED)
    thin = core * (1 - grown(_shrunk(body, _BLEED), 1, 1))
    nearest = grown(depth * body, 2, 2)
    within, reached = _continued_depth(torch.where(thin > 0, nearest, depth), core)
    edge = (core == 0) & (body > 0)
    return torch.where(edge, torch.maximum(within, depth), within), reached | edge


def _without_specks(inside: Float[Tensor, "f 1 h w"]) -> Float[Tensor, "f 1 h w"]:
    """The masks without their connected parts of less than a hundredth of the whole."""
    bodies = np.empty(inside.shape, np.float32)
    for body, mask in zip(bodies[:, 0], inside[:, 0].numpy(), strict=True):
        parts, _ = label(mask, np.ones((3, 3)))
        sizes = np.bincount(parts.ravel())
        kept = sizes >= sizes[1:].sum() / 100
        kept[0] = False
        body[:] = kept[parts]
    return torch.from_numpy(bodies)


def _continued_depth(
    depth: Float[Tensor, "f 1 h w"], known: Float[Tensor, "f 1 h w"]
) -> tuple[Float[Tensor, "f 1 h w"], Bool[Tensor, "f 1 h w"]]:
    """Depth continued, and where it is now known."""
    values = _spread_rings(depth, known)
    return values[:, :1], values[:, 1:] > 0


def _continued(values: Float[Tensor, "f c h w"], known: Float[Tensor, "f 1 h w"]) -> Float[Tensor, "f c h w"]:
    """Values where they are known; beyond, ring by ring, the mean of the known neighbors; 0 out of reach."""
    return _spread_rings(values, known)[:, :-1]


def _spread_rings(
    values: Float[Tensor, "f c h w"], known: Float[Tensor, "f 1 h w"]
) -> Float[Tensor, "f c1 h w"]:
    """The values of `_continued`, and as one more channel 1 where they are now known, else 0."""
    values = torch.cat([values * known, known], 1)
    for _ in range(_REACH):
        near = _summed(values)
        found = (near[:, -1:] > 0).float().sub_(values[:, -1:])  # 1 where the last ring is beside, else 0
        values += near.mul_(found / near[:, -1:].clamp_min(1))
    return values


def _summed(values: Float[Tensor, "f c h w"]) -> Float[Tensor, "f c h w"]:
    """Sums over 3 x 3 pixels, 0 beyond the border; several times as fast as torch's pooling of this size."""
    wide = pad(values, (1, 1, 1, 1))
    rows = (wide[..., :-2, :] + wide[..., 1:-1, :]).add_(wide[..., 2:, :])
    return (rows[..., :-2] + rows[..., 1:-1]).add_(rows[..., 2:])


def _coverage(
    seen: Float[Tensor, "f 3 h w"],
    behind: Float[Tensor, "f 3 h w"],
    paint: Float[Tensor, "f 3 h w"],
    inside: Float[Tensor, "f 1 h w"],
    core: Float[Tensor, "f 1 h w"],
) -> Float[Tensor, "f 1 h w"]:
    """Alpha: 1 in the core, 0 outside of the edge, the matting equation's solution between."""
    contrast = paint - behind
    square = (contrast * contrast).sum(1, keepdim=True)
    solved = (((seen - behind) * contrast).sum(1, keepdim=True) / square.clamp_min(1e-6)).clamp(0, 1)
    trust = square / (square + 3 * _CONTRAST**2)
    # the silhouette, smoothed; what lies beyond the image's border is not counted
    counted = _summed(torch.ones_like(inside))
    smooth = _summed(_summed(inside) / counted) / counted
    alpha = trust * solved + (1 - trust) * smooth
    # what differs from the plate farther out is the person's shadow, not the person
    alpha = torch.where(inside > 0, alpha, torch.minimum(alpha, 2 * smooth))
    return torch.where(core > 0, 1.0, alpha * grown(inside, _OUTSIDE, _OUTSIDE))


def _own_color(
    seen: Float[Tensor, "f 3 h w"],
    behind: Float[Tensor, "f 3 h w"],
    paint: Float[Tensor, "f 3 h w"],
    alpha: Float[Tensor, "f 1 h w"],
) -> Float[Tensor, "f 3 h w"]:
    """F = (I - (1 - alpha) B) / alpha where that is well-posed, the continued color where it is not."""
    own = (seen - (1 - alpha) * behind) / alpha.clamp_min(0.1) - paint
    # a small alpha turns noise into black and white dots
    own = own.clamp(-_ODD, _ODD) * ((alpha - 0.3) / 0.5).clamp(0, 1)
    return torch.where(alpha >= 1, seen, paint + own).clamp(0, 255)
