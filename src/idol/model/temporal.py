"""Layers along the frame axis, and normalization that may span it.

Two families (Sec. 3.1 and App. B of the paper): *handcrafted*, a zero-initialized convolution in each
ResBlock and a self-attention in each transformer block; and AnimateDiff's motion modules.
"""

from __future__ import annotations

from diffusers.models.unets.unet_motion_model import AnimateDiffTransformer3D
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import conv2d, silu

from idol.model.modality import ClipShape, PerModality


def group_norm(norm: nn.Module, x: Tensor, clip: ClipShape, over_frames: bool) -> Tensor:
    """Apply a GroupNorm.

    Args:
        norm: The GroupNorm, or one for each modality.
        x: Folded (b·m·f, c, h, w).
        clip: Sizes of the folded axes.
        over_frames: Take statistics over the clip's frames, too.
    """
    if isinstance(norm, PerModality):
        return norm.run(clip, group_norm, x, clip, over_frames)
    if not over_frames or clip.f == 1:
        return norm(x)
    # frames become part of the image, so that each channel group has one mean over all of them
    y = norm(rearrange(x, "(n f) c h w -> n c f h w", f=clip.f))
    return rearrange(y, "n c f h w -> (n f) c h w")


class TemporalConv(nn.Conv1d):
    """Convolution of width 3 over the frames of each pixel, initialized to zero."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, kernel_size=3, padding=1)

    def reset_parameters(self) -> None:
        """Initialize to zero: the residual branch is silent until trained."""
        nn.init.zeros_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def convolve_frames(self, x: Tensor, clip: ClipShape) -> Tensor:
        """Convolve along the frames.

        Args:
            x: Folded (b·m·f, c, h, w).
            clip: Sizes of the folded axes.
        """
        h, w = x.shape[-2:]
        # One 2-D convolution with a 3x1 kernel over (f, h·w): far faster than h·w batches of 1-D ones.
        planes = rearrange(x, "(n f) c h w -> n c f (h w)", f=clip.f)
        y = conv2d(planes, self.weight[..., None], self.bias, padding=(1, 0))
        return rearrange(y, "n c f (h w) -> (n f) c h w", h=h, w=w)


class TemporalResidual(nn.Module):
    """The ResBlock's temporal layer: x + conv(silu(norm(x))) over frames.

    Args:
        channels: Of the input and output.
        groups: Groups of the GroupNorm.
        eps: Epsilon of the GroupNorm.
        over_frames: Whether its statistics span the frames.
    """

    def __init__(self, channels: int, groups: int, eps: float, over_frames: bool) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels, eps=eps)
        self.conv = TemporalConv(channels)
        self.over_frames = over_frames

    def forward(self, x: Tensor, clip: ClipShape) -> Tensor:
        """Apply the layer.

        Args:
            x: Folded (b·m·f, c, h, w).
            clip: Sizes of the folded axes.
        """
        return x + self.conv.convolve_frames(silu(group_norm(self.norm, x, clip, self.over_frames)), clip)


def motion_module(
    channels: int, heads: int, layers: int, max_frames: int, groups: int
) -> AnimateDiffTransformer3D:
    """Make AnimateDiff's motion module, as in `MotionAdapter`, with its output initialized to zero.

    Args:
        channels: Of the input and output.
        heads: Attention heads.
        layers: Transformer blocks.
        max_frames: Longest clip that the position code covers.
        groups: Groups of the GroupNorm.
    """
    module = AnimateDiffTransformer3D(
        in_channels=channels,
        num_layers=layers,
        num_attention_heads=heads,
        attention_head_dim=channels // heads,
        norm_num_groups=groups,
        activation_fn="geglu",
        attention_bias=False,
        positional_embeddings="sinusoidal",
        num_positional_embeddings=max_frames,
    )
    # the module's last layer is added to its input: it starts as the identity
    nn.init.zeros_(module.proj_out.weight)
    nn.init.zeros_(module.proj_out.bias)
    return module
