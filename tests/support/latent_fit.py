"""The normalization of latents, measured on clips."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from idol.clip.depth import Colormap
from idol.diffusion.latents import LatentCodec, LatentConfig, LatentReference, Moments, encode_raw


@torch.no_grad()
def fit_latent_config(
    vae: Any,
    clips: Iterable[tuple[Tensor, Tensor, Tensor]],
    latent_reference: LatentReference = "none",
    colormap: Colormap = "hot",
) -> LatentConfig:
    """Measure the normalization on clips: every channel of every modality then has mean square 1.

    Args:
        vae: The trained autoencoder.
        clips: Triples of video (b, f, 3, h, w), colored depth (b, f, 3, h, w) and background (b, 3, h, w) or
            (b, f, 3, h, w), all in [-1, 1].
        latent_reference: As in `LatentConfig`. With one no mean is subtracted: an empty scene stays 0.
        colormap: Colors of the depth.

    Raises:
        ValueError: If there are no clips.
    """
    unit: LatentCodec | None = None
    modalities, images = [Moments(), Moments()], Moments()
    for video, depth, background in clips:
        if unit is None:
            unit = LatentCodec(vae, _unit_config(vae, background, latent_reference, colormap))
        image = unit.encode_image(background)
        latents = unit.encode(video, depth, image)
        images.add(image.flatten(0, -4))
        for moments, one in zip(modalities, latents.unbind(1), strict=True):
            moments.add(one.flatten(0, 1))
    if unit is None:
        raise ValueError("clips: found none, expected at least one")
    centered = latent_reference == "none"
    scales, shifts = zip(*(m.scale_and_shift(centered) for m in modalities), strict=True)
    image_scale, image_shift = images.scale_and_shift(True)
    return LatentConfig(scales, shifts, image_scale, image_shift, latent_reference, colormap)


def _unit_config(
    vae: Any, image: Tensor, latent_reference: LatentReference, colormap: Colormap
) -> LatentConfig:
    c = encode_raw(vae, image.flatten(0, -4)[:1]).shape[1]
    one, zero = (1.0,) * c, (0.0,) * c
    return LatentConfig((one, one), (zero, zero), one, zero, latent_reference, colormap)
