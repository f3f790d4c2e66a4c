"""The small autoencoder of `mini`: 16 pixels a side become one latent position.

It is trained by `idol.train_autoencoder`. `sd14` uses Stable Diffusion's `AutoencoderKL` instead;
`idol.model.encoders.LatentCodec` is over both.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from jaxtyping import Float
from torch import Tensor, nn


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside an identity; the second starts at zero: no normalisation is needed."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        for parameter in self.second.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, h, w) -> (n, c, h, w)."""
        hidden = self.first(nn.functional.silu(x))
        return x + self.second(nn.functional.silu(hidden))


class Autoencoder(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Images to latents and back: patches of 4x4 pixels, then two levels of strided convolutions.

    The latent is deterministic and bounded (`bound * tanh`): a decoder trained under small latent noise
    stays sensible on what a diffusion model emits.

    Args:
        latent_channels: Channels of the latent.
        channels: Channels at 1/4, 1/8 and 1/16 of the image's size.
        encoder_blocks: Residual blocks of the encoder, per level.
        decoder_blocks: Residual blocks of the decoder, per level.
        bound: Latents lie in (-bound, bound).
    """

    patch = 4

    @register_to_config
    def __init__(
        self,
        latent_channels: int = 16,
        channels: Sequence[int] = (48, 96, 192),
        encoder_blocks: int = 2,
        decoder_blocks: int = 3,
        bound: float = 3.0,
    ) -> None:
        super().__init__()
        pixels = 3 * self.patch**2
        encoder: list[nn.Module] = [
            nn.PixelUnshuffle(self.patch),
            nn.Conv2d(pixels, channels[0], 3, padding=1),
        ]
        decoder: list[nn.Module] = [nn.Conv2d(latent_channels, channels[-1], 3, padding=1)]
        for wide, wider in zip(channels, channels[1:], strict=False):
            encoder += [ResidualBlock(wide) for _ in range(encoder_blocks)]
            encoder.append(nn.Conv2d(wide, wider, 3, stride=2, padding=1))
        encoder += [ResidualBlock(channels[-1]) for _ in range(encoder_blocks)]
        encoder += [nn.SiLU(), nn.Conv2d(channels[-1], latent_channels, 3, padding=1)]
        for wider, wide in zip(channels[::-1], channels[-2::-1], strict=False):
            decoder += [ResidualBlock(wider) for _ in range(decoder_blocks)]
            decoder += [nn.Conv2d(wider, 4 * wide, 1), nn.PixelShuffle(2)]
        decoder += [ResidualBlock(channels[0]) for _ in range(decoder_blocks)]
        decoder += [nn.SiLU(), nn.Conv2d(channels[0], pixels, 3, padding=1), nn.PixelShuffle(self.patch)]
        self.encoder = nn.Sequential(*encoder)
        self.decoder = nn.Sequential(*decoder)
        self._keep_variance()

    def _keep_variance(self) -> None:
        """Without normalisation layers, the default initialisation would lose the signal on its way."""
        for name, module in self.named_modules():
            if isinstance(module, nn.Conv2d) and not name.endswith(".second"):
                for parameter in module.parameters():
                    if parameter.ndim == 4:
                        nn.init.kaiming_normal_(parameter, nonlinearity="linear")
                    else:
                        nn.init.zeros_(parameter)

    @property
    def downscale(self) -> int:
        """Pixels a side for one latent position."""
        return self.patch * 2 ** (len(self.config["channels"]) - 1)

    def encode(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n c i j"]:
        """Images in [-1, 1] to latents in (-bound, bound), float32.

        Raises:
            ValueError: If height or width is not a multiple of `downscale`.
        """
        if images.shape[-1] % self.downscale or images.shape[-2] % self.downscale:
            raise ValueError(f"image size {tuple(images.shape[-2:])} is not a multiple of {self.downscale}")
        bound = self.config["bound"]
        return torch.tanh(self.encoder(images).float() / bound) * bound

    def decode(self, latents: Float[Tensor, "n c i j"]) -> Float[Tensor, "n 3 h w"]:
        """Latents to images, about [-1, 1], float32, not clamped."""
        return self.decoder(latents).float()

    def forward(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 h w"]:
        """Reconstruction of the images."""
        return self.decode(self.encode(images))
