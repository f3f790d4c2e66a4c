"""A modality that is known, so that only the other one is generated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from idol.clip.depth import colorize_tensor
from idol.clip.modality import Modality
from idol.diffusion.latents import LatentCodec
from idol.errors import UserError
from idol.pipeline.disk_tensor import FrameStore, PerFrame, of_frames
from idol.pipeline.image_inputs import as_images


@dataclass(frozen=True)
class KnownModality:
    """The modality that is not generated, if any: it stays clean, at diffusion time 0.

    Attributes:
        modality: Which one; None: both are generated.
        images: The video (b, f, 3, h, w) or the depth (b, f, h, w), in [0, 1].
        latents: Its clean latents (b, f, c, h', w').
    """

    modality: Modality | None = None
    images: Tensor | None = None
    latents: FrameStore | None = None

    def put_into(self, latents: Tensor, frames: slice) -> Tensor:
        """Return latents in which the known modality is clean.

        Args:
            latents: (b, m, n, c, h, w) of some of the frames; left as they are.
            frames: These frames.
        """
        if self.modality is None or self.latents is None:
            return latents
        latents = latents.clone()
        latents[:, self.modality] = self.latents[frames]
        return latents

    def timesteps(self, t: Tensor, b: int, m: int) -> Tensor:
        """Return diffusion times (b, m), 0 for the known modality.

        Args:
            t: Diffusion time of the step, a scalar.
            b: Number of clips.
            m: Number of modalities.
        """
        timesteps = t.expand(b, m).clone()
        if self.modality is not None:
            timesteps[:, self.modality] = 0
        return timesteps


def encode_known(
    codec: LatentCodec,
    video: Any,
    depth: Any,
    reference: PerFrame,
    shape: tuple[int, int, int, int, int],
    parts: list[slice],
    device: torch.device,
) -> KnownModality:
    """Encode the modality that is known, if one is.

    Args:
        codec: Of both modalities.
        video: Images as for `as_images`, or None.
        depth: (b, f, h, w) in [0, 1], or None.
        reference: As for `LatentCodec.encode`.
        shape: b, m, f, h, w of the clips.
        parts: Frames that are encoded at a time.
        device: Where they are encoded.

    Raises:
        UserError: If both are given, the network has one modality, or shape or values do not fit.
    """
    if video is None and depth is None:
        return KnownModality()
    if (video is not None and depth is not None) or shape[1] != len(Modality):
        raise UserError(
            "video, depth", "nothing is left to generate", "give at most one, to a network of both"
        )
    if video is not None:
        modality, images = Modality.VIDEO, as_images(video, "video")
        shown = images * 2 - 1
    else:
        modality, images = Modality.DEPTH, torch.as_tensor(depth).float()
        if not (images.isfinite().all() and images.min() >= 0 and images.max() <= 1):
            raise UserError("depth", "holds values outside [0, 1]", "normalize it over the clip")
        shown = colorize_tensor(images, codec.config.colormap)
    expected = shape[0], *shape[2:]
    if (*shown.shape[:-3], *shown.shape[-2:]) != expected:
        found = f"has shape {tuple(images.shape)}"
        raise UserError(modality.name.lower(), found, f"give b, f, h, w = {expected}")

    def encoded(part: slice) -> Tensor:
        # both modalities are encoded as if they were this one; the other is thrown away
        frames = shown[:, part].to(device)
        return codec.encode(frames, frames, of_frames(reference, part))[:, modality]

    return KnownModality(modality, images, FrameStore.of(map(encoded, parts), shape[2], 1))
