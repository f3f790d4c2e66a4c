"""A modality that is given, so that the other alone is generated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from idol.clip.depth import colorize_tensor
from idol.diffusion.latents import LatentCodec
from idol.errors import UserError
from idol.pipeline.disk_tensor import FrameStore, PerFrame, of_frames
from idol.pipeline.image_inputs import as_images


@dataclass(frozen=True)
class Given:
    """A modality that is not generated but given, if any.

    Attributes:
        modality: 0 video, 1 depth, None: both are generated.
        images: The video (b, f, 3, h, w) or the depth (b, f, h, w), in [0, 1].
        latents: Its clean latents (b, f, c, h', w').
    """

    modality: int | None = None
    images: Tensor | None = None
    latents: FrameStore | None = None

    def put_into(self, latents: Tensor, frames: slice) -> Tensor:
        """Latents (b, m, n, c, h, w) of some of the frames with the given modality clean."""
        if self.modality is None or self.latents is None:
            return latents
        latents = latents.clone()
        latents[:, self.modality] = self.latents[frames]
        return latents

    def times(self, t: Tensor, b: int, m: int) -> Tensor:
        """Diffusion times (b, m): 0 for the given modality."""
        times = t.expand(b, m).clone()
        if self.modality is not None:
            times[:, self.modality] = 0
        return times


def encode_given(
    codec: LatentCodec,
    video: Any,
    depth: Any,
    reference: PerFrame,
    shape: tuple[int, int, int, int, int],
    parts: list[slice],
    device: torch.device,
) -> Given:
    """Encode the modality that is given, if one is.

    Args:
        codec: Of both modalities.
        video: Images as for `conditions.as_images`, or None.
        depth: (b, f, h, w) in [0, 1], or None.
        reference: As for `LatentCodec.encode`.
        shape: b, m, f, h, w of the clips.
        parts: Frames that are encoded at a time.
        device: Where it is encoded.

    Raises:
        UserError: If both are given, the network has one modality, or what is given does not fit.
    """
    if video is None and depth is None:
        return Given()
    if (video is not None and depth is not None) or shape[1] != 2:
        raise UserError(
            "video, depth", "nothing is left to generate", "give at most one, to a network of both"
        )
    if video is not None:
        images = as_images(video, "video")
        shown, modality = images * 2 - 1, 0
    else:
        images = torch.as_tensor(depth).float()
        if not (images.isfinite().all() and images.min() >= 0 and images.max() <= 1):
            raise UserError("depth", "holds values outside [0, 1]", "normalize it over the clip")
        shown, modality = colorize_tensor(images, codec.config.colormap), 1
    expected = shape[0], *shape[2:]
    if (*shown.shape[:-3], *shown.shape[-2:]) != expected:
        name = ("video", "depth")[modality]
        raise UserError(name, f"has shape {tuple(images.shape)}", f"give b, f, h, w = {expected}")

    def encoded(part: slice) -> Tensor:
        # both streams are encoded as if they were this one; the other is thrown away
        frames = shown[:, part].to(device)
        return codec.encode(frames, frames, of_frames(reference, part))[:, modality]

    return Given(modality, images, FrameStore.of(map(encoded, parts), shape[2], 1))
