"""Detail that the autoencoder loses, put back where it is known: background and draft are given in full.

Where a decoded frame shows what the autoencoder makes of a known picture, the difference between the two is
just what the autoencoder lost of it. Or, simpler still, the person can be cut out and put before the given
background.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import conv2d, max_pool2d, pad

from idol.errors import UserError
from idol.model.codec import decode_raw, encode_raw

_AGREE = 0.12  # difference, of the range 2 of pictures, at which a frame does not show the known picture
_BLUR = 2.0  # pixels at a height of 256
_EDGE = 1.0
_SOFT = 0.6


Detail = Literal["none", "restore", "composite"]
"""`restore`: what the autoencoder loses of background and draft is put back where frames show them; shadows
stay. `composite`: outside the person frames are the background itself, without shadows."""


@dataclass(frozen=True)
class KnownPictures:
    """What of a clip was given in full, and the autoencoder that frames have passed.

    Attributes:
        vae: The autoencoder.
        plates: Backgrounds in [-1, 1], (b, 3, h, w) or (b, f, 3, h, w).
        drafts: (b, f, 3, h, w) in [-1, 1], or None.
        chunk: Pictures that pass the autoencoder at a time.
    """

    vae: Any
    plates: Tensor
    drafts: Tensor | None
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
        if self.drafts is not None:
            video = restore_person(video, self.drafts, self._through(self.drafts), person)
        if detail == "composite":
            video = composite(video, plates, person)
        else:
            video = restore_background(video, plates, self._through(plates), person)
        return (video + 1) / 2

    def _through(self, pictures: Tensor) -> Tensor:
        """Pictures (b, f, 3, h, w) after a way through the autoencoder."""
        parts = pictures.flatten(0, 1).split(self.chunk)
        made = torch.cat([decode_raw(self.vae, encode_raw(self.vae, part)) for part in parts])
        return made.clamp(-1, 1).unflatten(0, pictures.shape[:2])


def composite(
    video: Float[Tensor, "b f 3 h w"],
    plate: Float[Tensor, "b g 3 h w"],
    silhouette: Float[Tensor, "b f h w"],
) -> Float[Tensor, "b f 3 h w"]:
    """The person before the background, with an edge as soft as a camera's.

    Args:
        video: Frames in [-1, 1].
        plate: The background, one picture or one per frame.
        silhouette: 1 on the person.
    """
    alpha = _blurred(silhouette, _SOFT * silhouette.shape[-2] / 256)[:, :, None]
    return alpha * video + (1 - alpha) * plate


def restore_background(
    video: Float[Tensor, "b f 3 h w"],
    plate: Float[Tensor, "b g 3 h w"],
    decoded_plate: Float[Tensor, "b g 3 h w"],
    silhouette: Float[Tensor, "b f h w"],
) -> Float[Tensor, "b f 3 h w"]:
    """Outside the person, add what the autoencoder lost of the background; shadows on it stay.

    Args:
        video: Decoded frames in [-1, 1].
        plate: The background, one picture or one per frame.
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
        draft: See `idol.posing`.
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
    """Gaussian blur of (b, f, h, w)."""
    reach = max(1, round(3 * sigma))
    places = x.new_tensor(range(-reach, reach + 1))
    kernel = (-places.square() / (2 * sigma**2)).exp()
    kernel = kernel / kernel.sum()
    flat = pad(x.flatten(0, 1)[:, None], (reach,) * 4, mode="replicate")
    flat = conv2d(conv2d(flat, kernel[None, None, None]), kernel[None, None, :, None])
    return flat[:, 0].unflatten(0, x.shape[:2])
