"""Matting against a known background: alpha, foreground color and depth at the person's edge.

A pixel on the edge shows I = alpha F + (1 - alpha) B. In general neither F nor B is known; here B is, because
the clean background is an input of the generation. F is extrapolated from the person's interior, so alpha is
the projection of I - B onto F - B. Where F and B are similar the image carries no information about alpha,
and the smoothed silhouette decides. Depth is extrapolated like F: the edge keeps the person's depth, and no
sheet spans the gap to the background. Each frame is processed alone and without randomness, so a still edge
stays still.
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
_OUTSIDE = 2  # pixels outside the mask that may show the person
_BLEED = 4  # pixels inside the mask whose generated depth fades to the background's 0
_REACH = 8  # pixels by which color and depth are extrapolated beyond the core
_MAX_COLOR_OFFSET = 48.0  # gray levels by which an edge pixel may differ from the extrapolated color
_CONTRAST = 24.0  # gray levels between F and B at which image and silhouette have equal weight


@dataclass(frozen=True)
class Mattes:
    """The person in a few frames.

    Attributes:
        color: (f, 3, h, w) uint8 sRGB foreground color without the background's contribution, extrapolated
            beyond the edge.
        alpha: (f, h, w) float32 in [0, 1].
        disparity: (f, h, w) float32, extrapolated beyond the edge.
    """

    color: UInt8[np.ndarray, "f 3 h w"]
    alpha: Float32[np.ndarray, "f h w"]
    disparity: Float32[np.ndarray, "f h w"]


def extract_mattes(
    frames: UInt8[np.ndarray, "f 3 h w"],
    backgrounds: UInt8[np.ndarray, "f 3 h w"],
    masks: Bool[np.ndarray, "f h w"],
    disparity: Float32[np.ndarray, "f h w"],
    clean: bool,
) -> Mattes:
    """Extract the person from a few frames; the result for each does not depend on the others.

    Args:
        frames: sRGB frames.
        backgrounds: sRGB frames without the person.
        masks: The person.
        disparity: Any values that are larger when nearer; used inside the masks only.
        clean: Whether to replace the disparity near the edge by the interior's, because it comes from a
            network and runs into the background's; exact disparity is kept.

    Returns:
        Color, alpha and disparity; beyond the extrapolated margin they are 0, 0 and the person's median.
    """
    color, alpha = np.zeros_like(frames), np.zeros(masks.shape, np.float32)
    filled = np.empty(masks.shape, np.float32)
    for each, depth, mask in zip(filled, disparity, masks, strict=True):
        each[:] = np.median(depth[mask]) if mask.any() else 0
    if not masks.any():
        return Mattes(color, alpha, filled)
    # one window for all frames: everything beyond it is already right
    part = (slice(None), *_window(np.asarray(masks.any(0))))
    image, background = (_tensor(each[:, :, *part[1:]]) for each in (frames, backgrounds))
    inside, depth = _tensor(masks[part])[:, None], _tensor(disparity[part])[:, None]  # f h w -> f 1 h w
    core = _core(inside, _INSIDE)
    extrapolated = _extrapolate(image, core)
    depth, reached = (_clean_depth if clean else _extrapolate_depth)(depth, inside)
    matte = _solve_alpha(image, background, extrapolated, inside, core)
    extrapolated = _foreground_color(image, background, extrapolated, matte)
    color[:, :, *part[1:]] = extrapolated.round_().to(torch.uint8).numpy()
    alpha[part] = matte[:, 0].numpy()
    np.copyto(filled[part], depth[:, 0].numpy(), where=reached[:, 0].numpy())
    return Mattes(color, alpha, filled)


def _window(mask: Bool[np.ndarray, "h w"]) -> tuple[slice, slice]:
    """Return the rows and columns that contain the person and the extrapolated margin."""
    found = []
    for axis in (1, 0):
        (index,) = np.nonzero(mask.any(axis))
        found.append(slice(max(index[0] - _REACH - 1, 0), index[-1] + _REACH + 2))
    return found[0], found[1]


def _tensor(values: np.ndarray) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))


def dilate(values: Num[Tensor, "*b h w"], rows: int, columns: int) -> Num[Tensor, "*b h w"]:
    """Return the maximum over a (2 rows + 1) x (2 columns + 1) window; only pixels inside the image count.

    Combining shifted copies doubles the reach each time, which is several times as fast as torch's pooling.

    Args:
        values: Any values.
        rows: Reach up and down, at least 0.
        columns: Reach to the left and right, at least 0.
    """
    for dim, reach in ((-2, rows), (-1, columns)):
        done, reach = 0, min(reach, values.shape[dim] - 1)
        while done < reach:
            step = min(done + 1, reach - done)  # steps of 2 done + 1 would miss pixels near the border
            values, done = _spread(values, step, dim), done + step
    return values


def _spread(values: Num[Tensor, "*b h w"], by: int, dim: int) -> Num[Tensor, "*b h w"]:
    """Return the maximum of values and their copies shifted by `by` to either side."""
    spread, kept = values.clone(), values.shape[dim] - by
    for to, source in ((0, by), (by, 0)):
        part = spread.narrow(dim, to, kept)
        torch.maximum(part, values.narrow(dim, source, kept), out=part)
    return spread


def _erode(mask: Num[Tensor, "f 1 h w"], by: int) -> Num[Tensor, "f 1 h w"]:
    # a person who is cut off by the image continues beyond it, so its border does not erode
    return 1 - dilate(1 - mask, by, by)


def _core(inside: Float[Tensor, "f 1 h w"], edge: int) -> Float[Tensor, "f 1 h w"]:
    """Return the pixels more than `edge` pixels inside; of thinner limbs, those farthest inside."""
    inside = inside.to(torch.uint8)  # a quarter of the memory traffic
    core = torch.zeros_like(inside)
    for by in range(edge, -1, -1):
        eroded = _erode(inside, by)
        near_core = dilate(core, by + edge + 1, by + edge + 1)
        core = torch.maximum(core, eroded * (1 - near_core))
    return core.float()


def _clean_depth(
    depth: Float[Tensor, "f 1 h w"], inside: Float[Tensor, "f 1 h w"]
) -> tuple[Float[Tensor, "f 1 h w"], Bool[Tensor, "f 1 h w"]]:
    """Return depth that does not fade towards the edge, where it becomes the interior's or its own if nearer.

    What bleeds in is the background's 0, so the nearest neighbor is the most reliable one: thin limbs take
    that. Specks that are disconnected from the body have no reliable depth and take what surrounds them.
    """
    body = _drop_specks(inside)
    core = _core(body, _BLEED)
    thin = core * (1 - dilate(_erode(body, _BLEED), 1, 1))
    nearest = dilate(depth * body, 2, 2)
    within, reached = _extrapolate_depth(torch.where(thin > 0, nearest, depth), core)
    edge = (core == 0) & (body > 0)
    return torch.where(edge, torch.maximum(within, depth), within), reached | edge


def _drop_specks(inside: Float[Tensor, "f 1 h w"]) -> Float[Tensor, "f 1 h w"]:
    """Return the masks without connected components smaller than a hundredth of the total area."""
    bodies = np.empty(inside.shape, np.float32)
    for body, mask in zip(bodies[:, 0], inside[:, 0].numpy(), strict=True):
        parts, _ = label(mask, np.ones((3, 3)))
        sizes = np.bincount(parts.ravel())
        kept = sizes >= sizes[1:].sum() / 100
        kept[0] = False
        body[:] = kept[parts]
    return torch.from_numpy(bodies)


def _extrapolate_depth(
    depth: Float[Tensor, "f 1 h w"], known: Float[Tensor, "f 1 h w"]
) -> tuple[Float[Tensor, "f 1 h w"], Bool[Tensor, "f 1 h w"]]:
    """Return extrapolated depth, and where it is defined."""
    values = _extrapolate_rings(depth, known)
    return values[:, :1], values[:, 1:] > 0


def _extrapolate(
    values: Float[Tensor, "f c h w"], known: Float[Tensor, "f 1 h w"]
) -> Float[Tensor, "f c h w"]:
    """Return values extrapolated ring by ring as the mean of known neighbors; 0 beyond `_REACH` pixels."""
    return _extrapolate_rings(values, known)[:, :-1]


def _extrapolate_rings(
    values: Float[Tensor, "f c h w"], known: Float[Tensor, "f 1 h w"]
) -> Float[Tensor, "f c1 h w"]:
    """Return the extrapolated values with a channel appended that is 1 where they are defined, else 0."""
    values = torch.cat([values * known, known], 1)  # f (c + 1) h w: the last channel counts neighbors
    for _ in range(_REACH):
        near = _box_sum(values)
        found = (near[:, -1:] > 0).float().sub_(values[:, -1:])  # 1 on the next ring, else 0
        values += near.mul_(found / near[:, -1:].clamp_min(1))
    return values


def _box_sum(values: Float[Tensor, "f c h w"]) -> Float[Tensor, "f c h w"]:
    """Return zero-padded sums over 3 x 3 pixels; several times as fast as torch's pooling of this size."""
    wide = pad(values, (1, 1, 1, 1))
    rows = (wide[..., :-2, :] + wide[..., 1:-1, :]).add_(wide[..., 2:, :])
    return (rows[..., :-2] + rows[..., 1:-1]).add_(rows[..., 2:])


def _solve_alpha(
    image: Float[Tensor, "f 3 h w"],
    background: Float[Tensor, "f 3 h w"],
    extrapolated: Float[Tensor, "f 3 h w"],
    inside: Float[Tensor, "f 1 h w"],
    core: Float[Tensor, "f 1 h w"],
) -> Float[Tensor, "f 1 h w"]:
    """Return alpha: 1 in the core, 0 outside of the edge, the solution of the matting equation between."""
    contrast = extrapolated - background
    square = (contrast * contrast).sum(1, keepdim=True)
    solved = (((image - background) * contrast).sum(1, keepdim=True) / square.clamp_min(1e-6)).clamp(0, 1)
    trust = square / (square + 3 * _CONTRAST**2)  # 3 channels
    # the smoothed silhouette; averages near the image's border divide by the pixels inside it
    count = _box_sum(torch.ones_like(inside))
    smooth = _box_sum(_box_sum(inside) / count) / count
    alpha = trust * solved + (1 - trust) * smooth
    # farther out, a difference from the background is the person's shadow
    alpha = torch.where(inside > 0, alpha, torch.minimum(alpha, 2 * smooth))
    return torch.where(core > 0, 1.0, alpha * dilate(inside, _OUTSIDE, _OUTSIDE))


def _foreground_color(
    image: Float[Tensor, "f 3 h w"],
    background: Float[Tensor, "f 3 h w"],
    extrapolated: Float[Tensor, "f 3 h w"],
    alpha: Float[Tensor, "f 1 h w"],
) -> Float[Tensor, "f 3 h w"]:
    """Return F = (I - (1 - alpha) B) / alpha where that is well-posed, else the extrapolated color."""
    own = (image - (1 - alpha) * background) / alpha.clamp_min(0.1) - extrapolated
    # dividing by a small alpha amplifies noise to black and white dots
    own = own.clamp(-_MAX_COLOR_OFFSET, _MAX_COLOR_OFFSET) * ((alpha - 0.3) / 0.5).clamp(0, 1)
    return torch.where(alpha >= 1, image, extrapolated + own).clamp(0, 255)
