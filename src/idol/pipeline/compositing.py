"""Restore detail that the autoencoder loses, where it is known: background and draft are known in full.

Where a decoded frame shows the autoencoder's reconstruction of a known image, the difference between image
and reconstruction is the lost detail ("restore"). Or the person is cut out by the depth, shown with the
draft's own pixels wherever the frame agrees with it, and put before the known background ("composite").
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from scipy.ndimage import distance_transform_edt
from torch import Tensor
from torch.nn.functional import max_pool2d

from idol.diffusion.latents import LatentCodec
from idol.errors import UserError
from idol.pipeline.image_inputs import Drafts

_AGREE = 0.12  # difference, of the range 2 of images, at which a frame does not show the known image
_BLUR = 2.0  # pixels at a height of 256
_EDGE = 1.0  # pixels at a height of 256: width of the edge of mixed colors
_SOFT = 0.6  # pixels at a height of 256: blur of the composited edge


Detail = Literal["none", "restore", "composite"]
"""`none`: frames are left as they are decoded. `restore`: detail of background and draft that the autoencoder
loses is added where frames show them; shadows stay. `composite`: outside the person frames are the background
itself, without shadows; the person is opaque, with the draft's own pixels where the frame shows the draft, or
draft and background mixed."""


@dataclass(frozen=True)
class Compositor:
    """Puts detail of the known images into frames.

    Attributes:
        codec: Of the autoencoder that the frames have passed.
        backgrounds: In [-1, 1], (b, 3, h, w) or (b, f, 3, h, w).
        drafts: The drafts, or None.
        chunk: Images that pass the autoencoder at a time.
    """

    codec: LatentCodec
    backgrounds: Tensor
    drafts: Drafts | None
    chunk: int = 8

    def apply(self, video: Any, depth: Any, detail: Detail) -> Tensor:
        """Return the video (b, f, 3, h, w) in [0, 1] with known detail.

        Args:
            video: Decoded frames (b, f, 3, h, w) in [0, 1].
            depth: Their depth (b, f, h, w); the person is where it is positive.
            detail: How known detail is used.

        Raises:
            UserError: If there is no depth.
        """
        if depth is None:
            raise UserError("detail", f"{detail} needs the person's depth", "use a network of both, or none")
        video, person = video * 2 - 1, (depth > 0).float()
        backgrounds = self.backgrounds if self.backgrounds.ndim == 5 else self.backgrounds[:, None]
        if detail == "none":
            return (video + 1) / 2
        if detail == "composite":
            layer = video
            if self.drafts is not None:
                layer = sharpen_person(video, backgrounds, self.drafts, person)
            return (composite(layer, backgrounds, person) + 1) / 2
        if self.drafts is not None:
            decoded = self._reconstructed(self.drafts.video)
            video = restore_person(video, self.drafts.video, decoded, person)
        return (restore_background(video, backgrounds, self._reconstructed(backgrounds), person) + 1) / 2

    def _reconstructed(self, images: Tensor) -> Tensor:
        """Return images (b, f, 3, h, w) after encoding and decoding."""
        parts = images.flatten(0, 1).split(self.chunk)
        return torch.cat([self.codec.reconstruct(part) for part in parts]).unflatten(0, images.shape[:2])


def composite(
    video: Float[Tensor, "b f 3 h w"],
    background: Float[Tensor, "b g 3 h w"],
    silhouette: Float[Tensor, "b f h w"],
) -> Float[Tensor, "b f 3 h w"]:
    """Composite the person over the background, with an edge as soft as a camera's.

    Args:
        video: Frames in [-1, 1].
        background: The background, one image or one per frame.
        silhouette: 1 on the person.
    """
    alpha = _blurred(silhouette, _SOFT * silhouette.shape[-2] / 256)[:, :, None]
    return alpha * video + (1 - alpha) * background


def sharpen_person(
    video: Float[Tensor, "b f 3 h w"],
    background: Float[Tensor, "b g 3 h w"],
    drafts: Drafts,
    silhouette: Float[Tensor, "b f h w"],
) -> Float[Tensor, "b f 3 h w"]:
    """Make the person opaque, with the draft's detail.

    Where a network is uncertain whether a position belongs to the draft's person, it shows the mean of person
    and background. The depth has decided that: where a frame's color lies between those of draft and
    background, but for noise, the draft is shown; where it shows something else, it is left as it is.

    Args:
        video: Frames in [-1, 1].
        background: One image or one per frame.
        drafts: See `idol.body.draft`; extended beyond their own edge by the nearest colors within.
        silhouette: 1 on the person.
    """
    scale = video.shape[-2] / 256
    draft = _extended(drafts, silhouette, max(1, round(_EDGE * scale)))
    background = background.expand_as(video)
    smooth = [
        _blurred(x.flatten(1, 2), _BLUR * scale).unflatten(1, video.shape[1:3])
        for x in (video, draft, background)
    ]
    seen, person, behind = smooth
    # the nearest point to `seen` on the line of colors from background (0) to draft (1)
    across = person - behind
    share = ((seen - behind) * across).sum(2) / across.square().sum(2).clamp_min(1e-4)
    between = behind + share.clamp(0, 1)[:, :, None] * across
    differ = (seen - between).abs().mean(2)
    agree = (-(_blurred(differ, _BLUR * scale) / _AGREE).square()).exp()[:, :, None]
    return agree * draft + (1 - agree) * video


def _extended(drafts: Drafts, silhouette: Tensor, edge: int) -> Tensor:
    """Return drafts (b, f, 3, h, w) whose persons fill the silhouettes.

    Args:
        drafts: The drafts.
        silhouette: (b, f, h, w) 1 on the person.
        edge: Width of the drafts' rim, whose colors are mixed with the background's, pixels.
    """
    inside = -max_pool2d(-(drafts.depth > 0).float(), 2 * edge + 1, stride=1, padding=edge) > 0
    filled = drafts.video.clone()
    for i, j in np.ndindex(*inside.shape[:2]):
        if inside[i, j].any():
            away = ~inside[i, j].cpu().numpy()
            rows, columns = distance_transform_edt(away, return_distances=False, return_indices=True)
            missing = torch.from_numpy(away).to(silhouette.device) & (silhouette[i, j] > 0)
            nearest = drafts.video[i, j][:, rows, columns]
            filled[i, j] = torch.where(missing, nearest, filled[i, j])
    return filled


def restore_background(
    video: Float[Tensor, "b f 3 h w"],
    background: Float[Tensor, "b g 3 h w"],
    decoded_background: Float[Tensor, "b g 3 h w"],
    silhouette: Float[Tensor, "b f h w"],
) -> Float[Tensor, "b f 3 h w"]:
    """Outside the person, add what the autoencoder lost of the background; shadows on it stay.

    Args:
        video: Decoded frames in [-1, 1].
        background: One image or one per frame.
        decoded_background: Its reconstruction by the autoencoder.
        silhouette: 1 on the person.
    """
    outside = 1 - _grown(silhouette)[:, :, None]
    return (video + outside * (background - decoded_background)).clamp(-1, 1)


def restore_person(
    video: Float[Tensor, "b f 3 h w"],
    draft: Float[Tensor, "b f 3 h w"],
    decoded_draft: Float[Tensor, "b f 3 h w"],
    silhouette: Float[Tensor, "b f h w"],
) -> Float[Tensor, "b f 3 h w"]:
    """On the person, add what the autoencoder lost of the draft, as far as the frame shows the draft.

    Args:
        video: Decoded frames in [-1, 1].
        draft: See `idol.body.draft`.
        decoded_draft: Its reconstruction by the autoencoder.
        silhouette: 1 on the person.
    """
    scale = video.shape[-2] / 256
    differ = (video - decoded_draft).abs().mean(2)
    agree = (-(_blurred(differ, _BLUR * scale) / _AGREE).square()).exp() * silhouette
    return (video + agree[:, :, None] * (draft - decoded_draft)).clamp(-1, 1)


def _grown(silhouette: Tensor) -> Tensor:
    """Return the silhouette a little larger and with a soft edge."""
    scale = silhouette.shape[-2] / 256
    reach = max(1, round(_EDGE * scale))
    grown = max_pool2d(silhouette, 2 * reach + 1, stride=1, padding=reach)
    return _blurred(grown, _EDGE * scale)


def _blurred(x: Tensor, sigma: float) -> Tensor:
    """Blur (..., h, w) by a Gaussian, which is linear in rows and in columns: two products of matrices."""
    down, across = (_gaussian(n, sigma).to(x) for n in x.shape[-2:])
    return down @ x @ across.T


@lru_cache(maxsize=32)
def _gaussian(n: int, sigma: float) -> Float[Tensor, "n n"]:
    """Return the matrix that blurs a row of `n` values, whose ends are repeated."""
    reach = max(1, round(3 * sigma))
    offsets = torch.arange(-reach, reach + 1)
    kernel = (-offsets.double().square() / (2 * sigma**2)).exp()
    taken = (torch.arange(n)[:, None] + offsets).clamp(0, n - 1)
    weights = (kernel / kernel.sum()).expand(taken.shape)
    return torch.zeros(n, n, dtype=torch.float64).scatter_add_(1, taken, weights).float()
