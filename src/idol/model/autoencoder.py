"""The small autoencoder of `mini`: 16 pixels a side become one latent position.

It is trained by `idol.training.train_autoencoder`. `sd14` uses Stable Diffusion's `AutoencoderKL` instead;
`idol.diffusion.latents.LatentCodec` wraps either.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from jaxtyping import Float
from torch import Tensor, nn


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions, residual; the second is initialized to zero, so no normalization is needed."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        for parameter in self.second.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block to (n, c, h, w)."""
        hidden = self.first(nn.functional.silu(x))
        return x + self.second(nn.functional.silu(hidden))


class Autoencoder(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Images to latents and back: a linear transform of patches, and convolutions that correct it.

    The linear path is initialized as the best linear code (`fit_patches`), the convolutions to zero: an
    untrained autoencoder is as good as principal components. Latents are deterministic; a decoder that is
    trained under small latent noise is robust to the errors of a diffusion model.

    Args:
        latent_channels: Channels of the latent.
        channels: Channels at 1/4, 1/8 and 1/16 of the image's size.
        encoder_blocks: Residual blocks of the encoder, per level.
        decoder_blocks: Residual blocks of the decoder, per level.
        in_channels: Of the images: 3, or 6 for a frame and its colored depth in one latent (LDM3D).
    """

    patch = 4

    @register_to_config
    def __init__(
        self,
        latent_channels: int = 32,
        channels: Sequence[int] = (64, 128, 192),
        encoder_blocks: int = 1,
        decoder_blocks: int = 2,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        k = self.downscale
        self.analysis = nn.Conv2d(in_channels, latent_channels, k, stride=k)
        self.synthesis = nn.ConvTranspose2d(latent_channels, in_channels, k, stride=k)
        pixels = in_channels * self.patch**2
        self.encoder = _encoder(pixels, latent_channels, channels, encoder_blocks, self.patch)
        self.decoder = _decoder(pixels, latent_channels, channels, decoder_blocks, self.patch)
        self._keep_variance()
        for last in (
            self.encoder[-1],
            self.decoder[-2],
        ):  # the last convolutions; decoder[-1] shuffles pixels
            for parameter in last.parameters():
                nn.init.zeros_(parameter)

    @torch.no_grad()
    def fit_patches(self, images: Float[Tensor, "n k h w"]) -> None:
        """Set the linear path to the principal components of the images' patches.

        Components are divided by the square root of their standard deviation: large ones, which matter most
        to the eye, stay larger and so suffer least from noise, but less so than in pixels. The mean square
        over all channels is 1.

        Args:
            images: In [-1, 1].

        Raises:
            ValueError: If there are fewer patches than latent channels.
        """
        k, channels = self.downscale, self.config["latent_channels"]
        patches = nn.functional.pixel_unshuffle(images.double(), k).movedim(1, -1).flatten(0, -2)  # n (c k k)
        if len(patches) < channels:
            raise ValueError(f"images: found {len(patches)} patches, expected at least {channels}")
        mean = patches.mean(0)
        # the largest eigenvalues are last
        variances, vectors = torch.linalg.eigh((patches - mean).T.cov())
        deviations = variances[-channels:].clamp_min(1e-8).sqrt()
        scale = deviations.sqrt() * deviations.mean().sqrt()  # latents have standard deviation d / scale
        channels_per_pixel = images.shape[1]
        basis = vectors[:, -channels:].T.unflatten(1, (channels_per_pixel, k, k))
        self.analysis.weight.copy_(basis / scale[:, None, None, None])
        self.analysis.bias = _bias(-(basis.flatten(1) @ mean) / scale)
        self.synthesis.weight.copy_(basis * scale[:, None, None, None])
        # the transposed convolution has one bias per channel: the mean color of the patch
        self.synthesis.bias = _bias(mean.unflatten(0, (channels_per_pixel, -1)).mean(1))

    def _keep_variance(self) -> None:
        """Initialize convolutions so that they keep the variance, as there are no normalization layers."""
        for name, module in self.named_modules():
            if isinstance(module, nn.Conv2d) and not name.endswith(".second"):
                nn.init.kaiming_normal_(module.weight, nonlinearity="linear")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    @property
    def downscale(self) -> int:
        """Pixels per latent position, per side."""
        return self.patch * 2 ** (len(self.config["channels"]) - 1)

    def encode(self, images: Float[Tensor, "n k h w"]) -> Float[Tensor, "n c i j"]:
        """Encode images in [-1, 1] to latents, float32.

        Raises:
            ValueError: If height or width is not a multiple of `downscale`.
        """
        if images.shape[-1] % self.downscale or images.shape[-2] % self.downscale:
            raise ValueError(f"image size {tuple(images.shape[-2:])} is not a multiple of {self.downscale}")
        return self.analysis(images).float() + self.encoder(images).float()

    def decode(self, latents: Float[Tensor, "n c i j"]) -> Float[Tensor, "n k h w"]:
        """Decode latents to images, about [-1, 1], float32, not clamped."""
        return self.synthesis(latents).float() + self.decoder(latents).float()

    def forward(self, images: Float[Tensor, "n k h w"]) -> Float[Tensor, "n k h w"]:
        """Encode and decode images in [-1, 1]."""
        return self.decode(self.encode(images))


def _bias(values: Tensor) -> nn.Parameter:
    return nn.Parameter(values.float())


def _encoder(
    pixels: int, latent_channels: int, channels: Sequence[int], blocks: int, patch: int
) -> nn.Sequential:
    layers: list[nn.Module] = [nn.PixelUnshuffle(patch), nn.Conv2d(pixels, channels[0], 3, padding=1)]
    for wide, wider in zip(channels, channels[1:], strict=False):
        layers += [ResidualBlock(wide) for _ in range(blocks)]
        layers.append(nn.Conv2d(wide, wider, 3, stride=2, padding=1))
    layers += [ResidualBlock(channels[-1]) for _ in range(blocks)]
    return nn.Sequential(*layers, nn.SiLU(), nn.Conv2d(channels[-1], latent_channels, 3, padding=1))


def _decoder(
    pixels: int, latent_channels: int, channels: Sequence[int], blocks: int, patch: int
) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv2d(latent_channels, channels[-1], 3, padding=1)]
    for wider, wide in zip(channels[::-1], channels[-2::-1], strict=False):
        layers += [ResidualBlock(wider) for _ in range(blocks)]
        layers += [nn.Conv2d(wider, 4 * wide, 1), nn.PixelShuffle(2)]
    layers += [ResidualBlock(channels[0]) for _ in range(blocks)]
    last = nn.Conv2d(channels[0], pixels, 3, padding=1)
    return nn.Sequential(*layers, nn.SiLU(), last, nn.PixelShuffle(patch))
