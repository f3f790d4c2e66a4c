"""Foreground encoders: the person's crop to the tokens that cross-attention attends to."""

from typing import TYPE_CHECKING, Any, Literal

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from jaxtyping import Bool, Float
from torch import Tensor, nn

from idol.model.attention import attend

if TYPE_CHECKING:
    from transformers import CLIPVisionModelWithProjection

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


def drop_foreground(
    tokens: Float[Tensor, "b n d"],
    unconditional: Float[Tensor, "b n d"],
    dropped: Bool[Tensor, "b"],  # noqa: UP037
) -> Float[Tensor, "b n d"]:
    """Replace the foreground of some clips by the unconditional one, to train guidance.

    Args:
        tokens: Of the persons.
        unconditional: Tokens of no person.
        dropped: Which clips.
    """
    return torch.where(dropped[:, None, None], unconditional.to(tokens.dtype), tokens)


class CLIPForeground(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """The paper's foreground encoder: CLIP's patch tokens through a trained projection.

    It consists of CLIP up to the last hidden state, CLIP's final layer norm and a linear layer without bias.
    CLIP is frozen and runs outside autocast; the projection is trained.

    Args:
        vision_config: Fields of transformers' `CLIPVisionConfig`.
        cross_attention_dim: Width of the tokens.
        unconditional: Tokens of no person: CLIP's of an all-zero input (mean gray), or zeros.
    """

    @register_to_config
    def __init__(
        self,
        vision_config: dict[str, Any] | None = None,
        cross_attention_dim: int = 768,
        unconditional: Literal["zero_image", "zeros"] = "zero_image",
    ) -> None:
        from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

        super().__init__()
        fields = vision_config or VIT_L_14
        config = CLIPVisionConfig(**fields)
        self.image_size: int = fields["image_size"]
        self.vision_model = CLIPVisionModelWithProjection(config).vision_model.requires_grad_(False)
        self.projection = nn.Linear(config.hidden_size, cross_attention_dim, bias=False)

    @classmethod
    def from_clip(
        cls,
        clip: "CLIPVisionModelWithProjection",
        unconditional: Literal["zero_image", "zeros"] = "zero_image",
    ) -> "CLIPForeground":
        """Copy a CLIP image encoder.

        Args:
            clip: Its `visual_projection` initializes the projection.
            unconditional: Tokens of no person.
        """
        fields = {name: getattr(clip.config, name) for name in VIT_L_14}
        encoder = cls(fields, clip.config.projection_dim, unconditional)
        encoder.vision_model.load_state_dict(clip.vision_model.state_dict())
        encoder.projection.load_state_dict(clip.visual_projection.state_dict())
        return encoder

    def forward(
        self, image: Float[Tensor, "b 3 h w"], mask: Float[Tensor, "b 1 h w"]
    ) -> Float[Tensor, "b n d"]:
        """Encode the person.

        Args:
            image: RGB in [0, 1], any size, square for undistorted proportions.
            mask: 1 on the person, 0 elsewhere.
        """
        # without anti-aliasing, as the image-variations network that the weights come from was trained
        size = (self.image_size, self.image_size)
        image = F.interpolate(image.float(), size, mode="bicubic", align_corners=False).clamp(0, 1)
        mask = F.interpolate(mask.float(), size, mode="nearest")
        mean, std = (image.new_tensor(x)[:, None, None] for x in (CLIP_MEAN, CLIP_STD))
        return self._encode((image - mean) / std * mask)

    def unconditional(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        """Return as many tokens as `tokens`, of no person."""
        if self.config["unconditional"] == "zeros":
            return torch.zeros_like(tokens)
        black = self.projection.weight.new_zeros(1, 3, self.image_size, self.image_size)
        return self._encode(black).expand_as(tokens)

    def _encode(self, pixels: Tensor) -> Tensor:
        # CLIP is frozen: without gradients, and at its full precision
        with torch.no_grad(), torch.autocast(pixels.device.type, enabled=False):
            hidden = self.vision_model(pixels.to(self.vision_model.dtype)).last_hidden_state
            hidden = self.vision_model.post_layernorm(hidden)
        return self.projection(hidden.to(self.projection.weight.dtype))


class LatentForeground(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """The small model's foreground encoder: a transformer over the latents of the person's crop.

    Each latent position becomes one token, together with its patch of the crop's skeleton image and mask.

    Args:
        in_channels: Channels of the latents.
        patch_size: Pixels of the crop per latent position.
        grid_size: Latent positions per side of the learned position code; other sizes are interpolated.
        cross_attention_dim: Width of the tokens.
        num_layers: Transformer layers.
        num_heads: Attention heads.
        unconditional: Tokens of no person: one learned vector for every token, or zeros.
    """

    _supports_gradient_checkpointing = True

    @register_to_config
    def __init__(
        self,
        in_channels: int = 16,
        patch_size: int = 16,
        grid_size: int = 8,
        cross_attention_dim: int = 192,
        num_layers: int = 4,
        num_heads: int = 6,
        unconditional: Literal["learned", "zeros"] = "learned",
    ) -> None:
        super().__init__()
        width = cross_attention_dim
        self.embed = nn.Linear(in_channels + 4 * patch_size**2, width)
        self.position = nn.Parameter(torch.randn(1, width, grid_size, grid_size) * 0.02)
        self.layers = nn.ModuleList(EncoderLayer(width, num_heads) for _ in range(num_layers))
        self.norm = nn.LayerNorm(width)
        self.empty = nn.Parameter(torch.randn(width) * 0.02) if unconditional == "learned" else None

    def forward(
        self,
        latents: Float[Tensor, "b c h w"],
        pose: Float[Tensor, "b 3 y x"],
        mask: Float[Tensor, "b 1 y x"],
    ) -> Float[Tensor, "b n d"]:
        """Encode the person to tokens, row by row of the crop.

        Args:
            latents: `LatentCodec.encode_image` of the crop.
            pose: Skeleton image of the crop in [0, 1], `patch_size` times as large.
            mask: 1 on the person, 0 elsewhere, of the same size.

        Raises:
            ValueError: If the sizes do not match.
        """
        patch = self.config["patch_size"]
        if pose.shape[-2:] != tuple(patch * s for s in latents.shape[-2:]):
            raise ValueError(
                f"pose: found {tuple(pose.shape)}, expected {patch} times {tuple(latents.shape)}"
            )
        pixels = F.pixel_unshuffle(torch.cat([pose, mask], 1), patch)  # b (4 patch^2) h w
        # b n (c + 4 patch^2), one token per latent position
        tokens = self.embed(torch.cat([latents, pixels.to(latents.dtype)], 1).flatten(2).mT)
        tokens = tokens + self._positions(latents.shape[-2], latents.shape[-1]).flatten(2).mT
        for layer in self.layers:
            tokens = layer(tokens)
        return self.norm(tokens)

    def unconditional(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        """Return as many tokens as `tokens`, of no person."""
        return torch.zeros_like(tokens) if self.empty is None else self.empty.expand_as(tokens)

    def _positions(self, height: int, width: int) -> Tensor:
        if (height, width) == self.position.shape[-2:]:
            return self.position
        return F.interpolate(self.position, (height, width), mode="bicubic", align_corners=False)


class EncoderLayer(nn.Module):
    """A pre-norm transformer layer: self-attention and a feed-forward network, both residual.

    Args:
        width: Width of the tokens.
        heads: Attention heads.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, tokens: Tensor) -> Tensor:
        """Apply the layer to tokens (b, n, d)."""
        q, k, v = self.qkv(self.norm1(tokens)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attended = attend(q, k, v)  # b heads n d
        tokens = tokens + self.out(attended.transpose(1, 2).flatten(2))
        return tokens + self.mlp(self.norm2(tokens))


VIT_L_14: dict[str, Any] = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "image_size": 224,
    "patch_size": 14,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
}
"""CLIP ViT-L/14, with which Stable Diffusion's image variations were trained."""
