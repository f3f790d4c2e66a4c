"""The scale of the latents that the networks are trained on, measured on the data."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from idol.clip.depth import Colormap
from idol.data.batch import Batch, Samples
from idol.diffusion.latents import LatentCodec, LatentConfig, Moments, Offset, encode_raw


class TrainingCodec(LatentCodec):
    """The codec of latents that are already encoded."""

    def normalize_image(self, raw: Tensor) -> Tensor:
        """What `encode_image` gives, from the autoencoder's own latents (..., c, i, j)."""
        shift, scale = (
            raw.new_tensor(row)[:, None, None] for row in (self.config.image_shift, self.config.image_scale)
        )
        return (raw - shift) / scale

    def normalize_background(self, raw: Tensor) -> Tensor:
        """Still backgrounds (b, 1, c, i, j) to (b, c, i, j), moving ones (b, f, c, i, j) as they are."""
        image = self.normalize_image(raw)
        return image[:, 0] if image.shape[1] == 1 else image

    def normalize_batch(self, batch: Batch) -> Tensor:
        """The latents (b, m, f, c, i, j) that the networks learn."""
        return self.normalize(batch.latents, self.reference(batch))

    def reference(self, batch: Batch) -> Tensor:
        """What latents are counted from, normalized: the draft of every stream, or the background."""
        if self.config.offset != "draft":
            return self.normalize_background(batch.background)
        if batch.draft is None:
            raise ValueError("offset 'draft' needs drafts: set data.images.draft")
        return self.normalize_draft(batch.draft)


@torch.no_grad()
def measure(
    samples: Samples,
    vae: nn.Module,
    offset: Offset,
    colormap: Colormap,
    per_channel: bool = True,
    count: int = 256,
) -> LatentConfig:
    """Scale every stream to mean square 1 over the first `count` samples of a data set.

    Args:
        samples: The data.
        vae: The autoencoder.
        offset: As in `LatentConfig`.
        colormap: Colors of the depth.
        per_channel: Scale each channel on its own; else those of a stream keep their proportions.
        count: Samples.
    """
    device = next(vae.parameters()).device
    codec: TrainingCodec | None = None
    streams: list[Moments] = []
    images = Moments()
    for number in range(min(count, len(samples))):
        batch = as_latents(samples[number].to(device), vae)
        if codec is None:
            codec = TrainingCodec(vae, _unit(batch, offset, colormap))
            streams = [Moments() for _ in range(batch.latents.shape[1])]
        images.add(batch.background.flatten(0, 1))
        for moments, stream in zip(streams, codec.normalize_batch(batch).unbind(1), strict=True):
            moments.add(stream.flatten(0, 1))
    scales, shifts = zip(*(m.scale_and_shift(offset == "none", per_channel) for m in streams), strict=True)
    image_scale, image_shift = images.scale_and_shift(True, per_channel)
    return LatentConfig(scales, shifts, image_scale, image_shift, offset, colormap)


@torch.no_grad()
def as_latents(batch: Any, vae: nn.Module) -> Batch:
    """The batch itself, or a batch of images with its latents."""
    return batch if isinstance(batch, Batch) else batch.encode(lambda images: encode_raw(vae, images))


def _unit(batch: Batch, offset: Offset, colormap: Colormap) -> LatentConfig:
    m, c = batch.latents.shape[1], batch.latents.shape[3]
    one, zero = (1.0,) * c, (0.0,) * c
    return LatentConfig((one,) * m, (zero,) * m, one, zero, offset, colormap)
