"""Normalization of the latents in training, with its statistics measured on the data."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from idol.clip.depth import Colormap
from idol.data.batch import Batch, Samples
from idol.diffusion.latents import LatentCodec, LatentConfig, LatentReference, Moments, encode_raw


class TrainingCodec(LatentCodec):
    """Codec that normalizes latents which are encoded already."""

    def normalize_image(self, raw: Tensor) -> Tensor:
        """Normalize raw latents (..., c, i, j) of images to those of `encode_image`."""
        shift, scale = (
            raw.new_tensor(row)[:, None, None] for row in (self.config.image_shift, self.config.image_scale)
        )
        return (raw - shift) / scale

    def normalize_background(self, raw: Tensor) -> Tensor:
        """Normalize raw latents (b, 1 or f, c, i, j) of backgrounds.

        Returns:
            (b, c, i, j) for still backgrounds, (b, f, c, i, j) for moving ones.
        """
        image = self.normalize_image(raw)
        return image[:, 0] if image.shape[1] == 1 else image

    def normalize_batch(self, batch: Batch) -> Tensor:
        """Return the latents (b, m, f, c, i, j) that the networks learn."""
        return self.normalize(batch.latents, self.reference(batch))

    def reference(self, batch: Batch) -> Tensor:
        """Return the normalized latent reference of a batch.

        Returns:
            The draft's latents (b, m, f, c, i, j), or the background's (b, c, i, j) or (b, f, c, i, j).

        Raises:
            ValueError: If the codec needs drafts and the batch has none.
        """
        if self.config.latent_reference != "draft":
            return self.normalize_background(batch.background)
        if batch.draft is None:
            raise ValueError("latent_reference 'draft' needs drafts: set data.images.draft")
        return self.normalize_draft(batch.draft)


@torch.no_grad()
def measure_latents(
    samples: Samples,
    vae: nn.Module,
    latent_reference: LatentReference,
    colormap: Colormap,
    per_channel: bool = True,
    count: int = 256,
) -> LatentConfig:
    """Measure the normalization that gives every modality mean square 1.

    Args:
        samples: The data set; its first samples are measured.
        vae: The autoencoder.
        latent_reference: Latents that are subtracted from those of each modality, see `LatentConfig`.
        colormap: Colormap of the depth images.
        per_channel: Scale each channel separately; otherwise one scale per modality, which keeps the
            proportions of its channels.
        count: Number of samples to measure.
    """
    device = next(vae.parameters()).device
    codec: TrainingCodec | None = None
    modalities: list[Moments] = []
    images = Moments()
    for index in range(min(count, len(samples))):
        batch = encode_batch(samples[index].to(device), vae)
        if codec is None:
            codec = TrainingCodec(vae, _unit(batch, latent_reference, colormap))
            modalities = [Moments() for _ in range(batch.latents.shape[1])]
        images.add(batch.background.flatten(0, 1))
        for moments, latents in zip(modalities, codec.normalize_batch(batch).unbind(1), strict=True):
            moments.add(latents.flatten(0, 1))  # (b f) c i j
    # with a reference 0 has a meaning (an empty scene, a perfect draft), so the mean is not subtracted
    scales, shifts = zip(
        *(m.scale_and_shift(latent_reference == "none", per_channel) for m in modalities), strict=True
    )
    image_scale, image_shift = images.scale_and_shift(True, per_channel)
    return LatentConfig(scales, shifts, image_scale, image_shift, latent_reference, colormap)


@torch.no_grad()
def encode_batch(batch: Any, vae: nn.Module) -> Batch:
    """Encode a batch of images; a batch of latents is returned as it is.

    Args:
        batch: `Batch` or `ImageBatch`.
        vae: The autoencoder, on the batch's device.
    """
    return batch if isinstance(batch, Batch) else batch.encode(lambda images: encode_raw(vae, images))


def _unit(batch: Batch, latent_reference: LatentReference, colormap: Colormap) -> LatentConfig:
    m, c = batch.latents.shape[1], batch.latents.shape[3]
    one, zero = (1.0,) * c, (0.0,) * c
    return LatentConfig((one,) * m, (zero,) * m, one, zero, latent_reference, colormap)
