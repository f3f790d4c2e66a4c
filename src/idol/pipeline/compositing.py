"""Detail that the autoencoder loses, put back where it is known: background and draft are given in full.

Where a decoded frame shows what the autoencoder makes of a known image, the difference between the two is
just what the autoencoder lost of it. Or, bolder, the person is cut out by the depth, shown with the draft's
own pixels wherever the frame does not show something else, and put before the given background.
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
_EDGE = 1.0
_SOFT = 0.6


Detail = Literal["none", "restore", "composite"]
"""`restore`: what the autoencoder loses of background and draft is put back where frames show them; shadows
stay. `composite`: outside the person frames are the background itself, without shadows; the person is opaque,
and the draft's own pixels where the frame shows the draft or less of it."""


@dataclass(frozen=True)
class KnownImages:
    """What of a clip was given in full, and the autoencoder that frames have passed.

    Attributes:
        codec: Of the autoencoder.
        plates: Backgrounds in [-1, 1], (b, 3, h, w) or (b, f, 3, h, w).
        drafts: The drafts, or None.
        chunk: Images that pass the autoencoder at a time.
    """

    codec: LatentCodec
    plates: Tensor
    drafts: Drafts | None
    chunk: int = 8

    def put_back(self, video: Any, depth: Any, detail: Detail) -> Tensor:
        """The video (b, f, 3, h, w) in [0, 1] with known detail; the person is where its depth is not 0.

        Raises:
            UserError: If there is no depth.
        """
        if depth is None:
            raise UserError("detail", f"{detail} needs the person's depth", "use a network of both, or none")
        video, person = video * 2 - 1, (depth > 0).float()
        plates = self.plates if self.plates.ndim == 5 else self.plates[:, None]
        if detail == "none":
            return (video + 1) / 2
        if detail == "composite":
            layer = video if self.drafts is None else opaque(video, plates, self.drafts, person)
            return (composite(layer, plates, person) + 1) / 2
        if self.drafts is not None:
            video = restore_person(video, self.drafts.video, self._through(self.drafts.video), person)
        return (restore_background(video, plates, self._through(plates), person) + 1) / 2

    def _through(self, images: Tensor) -> Tensor:
        """Images (b, f, 3, h, w) after a way through the autoencoder."""
        parts = images.flatten(0, 1).split(self.chunk)
        return torch.cat([self.codec.reconstructed(part) for part in parts]).unflatten(0, images.shape[:2])


def composite(
    video: Float[Tensor, "b f 3 h w"],
    plate: Float[Tensor, "b g 3 h w"],
    silhouette: Float[Tensor, "b f h w"],
) -> Float[Tensor, "b f 3 h w"]:
    """The person before the background, with an edge as soft as a camera's.

    Args:
        video: Frames in [-1, 1].
        plate: The background, one image or one per frame.
        silhouette: 1 on the person.
    """
    alpha = _blurred(silhouette, _SOFT * silhouette.shape[-2] / 256)[:, :, None]
    return alpha * video + (1 - alpha) * plate


def opaque(
    video: Float[Tensor, "b f 3 h w"],
    plate: Float[Tensor, "b g 3 h w"],
    drafts: Drafts,
    silhouette: Float[Tensor, "b f h w"],
) -> Float[Tensor, "b f 3 h w"]:
    """The person without haze, with the draft's detail.

    Where a network doubts whether the draft's person is at a place, it shows the mean of person and
    background. The depth has settled that question: a frame that lies between the draft and the background
    (in color, but for noise) shows the draft there, one that shows something else is left as it is.

    Args:
        video: Frames in [-1, 1].
        plate: The background, one image or one per frame.
        drafts: See `idol.pose.limb_warp`. Beyond their own edge they have the
            colors of the nearest place within.
        silhouette: 1 on the person.
    """
    scale = video.shape[-2] / 256
    draft = _extended(drafts, silhouette, max(1, round(_EDGE * scale)))
    plate = plate.expand_as(video)
    smooth = [
        _blurred(x.flatten(1, 2), _BLUR * scale).unflatten(1, video.shape[1:3]) for x in (video, draft, plate)
    ]
    seen, person, behind = smooth
    across = person - behind
    share = ((seen - behind) * across).sum(2) / across.square().sum(2).clamp_min(1e-4)
    between = behind + share.clamp(0, 1)[:, :, None] * across
    differ = (seen - between).abs().mean(2)
    agree = (-(_blurred(differ, _BLUR * scale) / _AGREE).square()).exp()[:, :, None]
    return agree * draft + (1 - agree) * video


def _extended(drafts: Drafts, silhouette: Tensor, edge: int) -> Tensor:
    """Drafts (b, f, 3, h, w) whose persons fill the silhouettes; `edge`: pixels of rim with mixed colors."""
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
    plate: Float[Tensor, "b g 3 h w"],
    decoded_plate: Float[Tensor, "b g 3 h w"],
    silhouette: Float[Tensor, "b f h w"],
) -> Float[Tensor, "b f 3 h w"]:
    """Outside the person, add what the autoencoder lost of the background; shadows on it stay.

    Args:
        video: Decoded frames in [-1, 1].
        plate: The background, one image or one per frame.
        decoded_plate: The same after a way through the autoencoder.
        silhouette: 1 on the person.
    """
    outside = 1 - _grown(silhouette)[:, :, None]
    return (video + outside * (plate - decoded_plate)).clamp(-1, 1)


def restore_person(
    video: Float[Tensor, "b f 3 h w"],
    draft: Float[Tensor, "b f 3 h w"],
    decoded_draft: Float[Tensor, "b f 3 h w"],
    silhouette: Float[Tensor, "b f h w"],
) -> Float[Tensor, "b f 3 h w"]:
    """On the person, add what the autoencoder lost of the draft, as far as the frame shows the draft.

    Args:
        video: Decoded frames in [-1, 1].
        draft: See `idol.pose.limb_warp`.
        decoded_draft: The same after a way through the autoencoder.
        silhouette: 1 on the person.
    """
    scale = video.shape[-2] / 256
    differ = (video - decoded_draft).abs().mean(2)
    agree = (-(_blurred(differ, _BLUR * scale) / _AGREE).square()).exp() * silhouette
    return (video + agree[:, :, None] * (draft - decoded_draft)).clamp(-1, 1)


def _grown(silhouette: Tensor) -> Tensor:
    """The silhouette, a little larger and with a soft edge."""
    scale = silhouette.shape[-2] / 256
    reach = max(1, round(_EDGE * scale))
    grown = max_pool2d(silhouette, 2 * reach + 1, stride=1, padding=reach)
    return _blurred(grown, _EDGE * scale)


def _blurred(x: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of (..., h, w), which is linear in rows and in columns: two products of matrices."""
    down, across = (_gaussian(n, sigma).to(x) for n in x.shape[-2:])
    return down @ x @ across.T


@lru_cache(maxsize=32)
def _gaussian(n: int, sigma: float) -> Float[Tensor, "n n"]:
    """The matrix that blurs a row of `n` values, whose ends are repeated."""
    reach = max(1, round(3 * sigma))
    places = torch.arange(-reach, reach + 1)
    kernel = (-places.double().square() / (2 * sigma**2)).exp()
    taken = (torch.arange(n)[:, None] + places).clamp(0, n - 1)
    weights = (kernel / kernel.sum()).expand(taken.shape)
    return torch.zeros(n, n, dtype=torch.float64).scatter_add_(1, taken, weights).float()
