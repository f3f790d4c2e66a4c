"""The compared methods, built at the sizes of one training config with random weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from idol.config import to_dict
from idol.diffusion.latents import LatentConfig
from idol.diffusion.schedule import build_scheduler
from idol.model.autoencoder import Autoencoder
from idol.pipeline.pipeline import IdolPipeline
from idol.training.config import TrainConfig
from idol.training.export import with_training_settings
from idol.training.trainable import build_networks

Precision = Literal["float32", "bfloat16", "float16"]
"""Precision of all weights and all arithmetic of all methods; nothing is converted on the way."""


@dataclass(frozen=True)
class Method:
    """A compared method as changes of IDOL's config.

    Attributes:
        unet: Changed fields of `UNetConfig`.
        stacked: Whether frame and depth are stacked in one latent.
        estimates_depth: Whether the network generates the video alone, and depth is estimated on its frames.
    """

    unet: dict[str, Any]
    stacked: bool = False
    estimates_depth: bool = False


_ONE = {"num_modalities": 1, "cross_modal": False}
METHODS: dict[str, Method] = {
    "idol": Method({}),
    "separate": Method({"coupling": "separate"}),
    "mm-diffusion": Method({"coupling": "random_shift"}),
    "ldm3d": Method(_ONE, stacked=True),
    "estimate": Method(_ONE, estimates_depth=True),
}
TITLES = {
    "idol": "IDOL",
    "separate": "separate U-Nets",
    "mm-diffusion": "MM-Diffusion",
    "ldm3d": "LDM3D",
    "estimate": "video, then depth by DPT (ViT-B)",
}


def build_pipeline(config: TrainConfig, method: Method, precision: Precision = "float32") -> IdolPipeline:
    """Build the method's pipeline with random weights.

    Args:
        config: Sizes, autoencoder, pose control and defaults. An autoencoder of our own kind has `mini`'s
            sizes.
        method: How the method differs.
        precision: Precision of weights and arithmetic.
    """
    unet = dataclasses.replace(config.model.unet, **method.unet)
    model = dataclasses.replace(config.model, unet=unet, init=None)
    torch.manual_seed(0)
    with _default_dtype(precision):  # 2.8 B parameters are never there in float32 first
        vae = _autoencoder(config, method.stacked)
        networks = build_networks(model, _downscale(vae), pretrained=False)
    streams, channels = unet.num_modalities, unet.in_channels
    ones, zeros = (1.0,) * channels, (0.0,) * channels
    latents = LatentConfig(
        (ones,) * streams, (zeros,) * streams, ones, zeros, config.autoencoder.latent_reference
    )
    # without depth there is no silhouette to composite with
    defaults = dataclasses.replace(
        with_training_settings(config.generation, config.data), detail="none", window=None, autocast=False
    )
    scheduler: Any = build_scheduler(config.schedule)
    pipe = IdolPipeline(
        vae=vae,
        unet=networks.unet,
        control=networks.control,
        foreground_encoder=networks.foreground,
        scheduler=scheduler,
        background_control=networks.background,
        latent_config=to_dict(latents),
        generation_config=to_dict(defaults),
    )
    for part in pipe.networks:
        nn.Module.to(part, getattr(torch, precision))
    return pipe


class DptDepthEstimator(nn.Module):
    """A depth estimator of MiDaS 3's design, on ViT-B; cheaper than the published one."""

    def __init__(self, precision: Precision = "float32") -> None:
        super().__init__()
        from transformers import DPTConfig, DPTForDepthEstimation

        with _default_dtype(precision):
            self.network = DPTForDepthEstimation(DPTConfig()).eval()
        nn.Module.to(self.network, getattr(torch, precision))

    def forward(self, video: Float[Tensor, "f 3 h w"]) -> Float[Tensor, "f 384 384"]:
        """Return the inverse depth of frames in [0, 1], all at once."""
        resized = nn.functional.interpolate(video.float() * 2 - 1, (384, 384), mode="bicubic")
        return self.network(resized.to(self.network.dtype)).predicted_depth


def _autoencoder(config: TrainConfig, stacked: bool) -> Any:
    channels = 6 if stacked else 3
    if config.autoencoder.kind == "idol":
        return Autoencoder(config.model.unet.in_channels, in_channels=channels).eval()
    from diffusers import AutoencoderKL

    vae: Any = AutoencoderKL(  # Stable Diffusion's
        in_channels=channels,
        out_channels=channels,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(128, 256, 512, 512),
        layers_per_block=2,
    )
    return vae.eval()


def _downscale(vae: Any) -> int:
    return vae.downscale if isinstance(vae, Autoencoder) else 8


@contextmanager
def _default_dtype(precision: Precision) -> Iterator[None]:
    """Create networks with weights of this precision within the context."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, precision))
    try:
        yield
    finally:
        torch.set_default_dtype(before)
