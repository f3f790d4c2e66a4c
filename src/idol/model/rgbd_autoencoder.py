"""Stable Diffusion's autoencoder with room for depth: LDM3D's change of its first and last convolution."""

from __future__ import annotations

from typing import cast

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import nn


@torch.no_grad()
def widen_to_rgbd(vae: AutoencoderKL) -> AutoencoderKL:
    """Widen an autoencoder to six channels, a frame and its colored depth, to be fine-tuned.

    Until then it encodes and decodes the frame exactly as `vae` does, whatever the depth: the encoder's new
    weights are zero, so latents are those that Stable Diffusion's U-Net knows. The decoder's new weights are
    copies of the frame's: depth is first decoded as an image with the frame's outlines, and its error reaches
    every layer from the first step, which it would not through zeros.

    Args:
        vae: Of three channels, any size; not modified.

    Raises:
        ValueError: If it does not take and give three channels.
    """
    channels = vae.config["in_channels"], vae.config["out_channels"]
    if channels != (3, 3):
        raise ValueError(f"vae: takes {channels[0]} and gives {channels[1]} channels, expected 3 and 3")
    wide = cast(AutoencoderKL, AutoencoderKL.from_config(vae.config, in_channels=6, out_channels=6))
    weights = vae.state_dict()
    first = weights["encoder.conv_in.weight"]
    weights["encoder.conv_in.weight"] = torch.cat([first, torch.zeros_like(first)], 1)
    for name in ("decoder.conv_out.weight", "decoder.conv_out.bias"):
        weights[name] = torch.cat([weights[name]] * 2)
    wide.load_state_dict(weights)
    nn.Module.to(wide, device=vae.device, dtype=vae.dtype)
    return wide
