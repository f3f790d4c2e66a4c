"""Pose control: a ControlNet or a T2I-Adapter, behind one kind of result, `Control`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.adapter import T2IAdapter
from diffusers.models.controlnets.controlnet import (
    ControlNetConditioningEmbedding,
    ControlNetModel,
    zero_module,
)
from diffusers.models.modeling_utils import ModelMixin
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from idol.errors import UserError
from idol.model.blocks import Sizes
from idol.model.modality import ClipShape
from idol.model.stable_diffusion import trunk_options
from idol.model.transfer import transfer
from idol.model.trunk import Control, ForegroundKV, Trunk, skip_channels
from idol.model.unet import UnifiedUNet

PoseInput = Literal["rgb", "latent"]


class PoseControlNet(Trunk):
    """A trainable copy of the U-Net's trunk that reads the pose, shared by both modalities (Sec. 3.1).

    Args:
        in_channels: channels of the noisy latents.
        block_out_channels: as the U-Net's; so are the next six.
        layers_per_block: layers in a block.
        attention: per resolution, whether its layers have transformers.
        attention_head_dim: the *number* of heads.
        cross_attention_dim: width of the foreground tokens.
        norm_num_groups: groups of every GroupNorm.
        transformer_depth: transformer blocks per layer.
        num_modalities: labels it knows.
        temporal: "handcrafted" temporal layers, or None.
        norm_over_frames: GroupNorm statistics over frames and space (DisCo's weights).
        pose_input: skeleton image ("rgb") or its latent.
        pose_channels: channels of the pose input.
        pose_embedding_channels: widths of the skeleton image's encoder, which halves once between each two.
    """

    _supports_gradient_checkpointing = True

    @register_to_config
    def __init__(
        self,
        in_channels: int = 4,
        block_out_channels: Sequence[int] = (320, 640, 1280, 1280),
        layers_per_block: int = 2,
        attention: Sequence[bool] = (True, True, True, False),
        attention_head_dim: int = 8,
        cross_attention_dim: int = 768,
        norm_num_groups: int = 32,
        transformer_depth: int = 1,
        num_modalities: int = 2,
        temporal: Literal["handcrafted"] | None = "handcrafted",
        norm_over_frames: bool = False,
        pose_input: PoseInput = "rgb",
        pose_channels: int = 3,
        pose_embedding_channels: Sequence[int] = (16, 32, 96, 256),
    ) -> None:
        super().__init__()
        widths = list(block_out_channels)
        sizes = Sizes(
            time_dim=4 * widths[0],
            heads=attention_head_dim,
            context_dim=cross_attention_dim,
            groups=norm_num_groups,
            depth=transformer_depth,
            temporal=temporal,
            over_frames=norm_over_frames,
        )
        self.conv_in = nn.Conv2d(in_channels, widths[0], kernel_size=3, padding=1)
        self._build_trunk(widths, layers_per_block, attention, num_modalities, sizes)
        self.controlnet_cond_embedding = (
            ControlNetConditioningEmbedding(widths[0], pose_channels, tuple(pose_embedding_channels))
            if pose_input == "rgb"
            else nn.Conv2d(pose_channels, widths[0], kernel_size=3, padding=1)
        )
        self.controlnet_down_blocks = nn.ModuleList(
            zero_module(nn.Conv2d(c, c, kernel_size=1)) for c in skip_channels(widths, layers_per_block)
        )
        self.controlnet_mid_block = zero_module(nn.Conv2d(widths[-1], widths[-1], kernel_size=1))

    @classmethod
    def from_unet(
        cls,
        unet: UnifiedUNet,
        *,
        pose_input: PoseInput = "rgb",
        pose_embedding_channels: Sequence[int] = (16, 32, 96, 256),
    ) -> PoseControlNet:
        """Copy the trunk of `unet`; the residuals are zero until trained.

        AnimateDiff's motion modules stay with the U-Net: the copy is then one of single frames.
        """
        config = unet.config
        temporal = "handcrafted" if config["temporal"] == "handcrafted" else None
        shared = {name: config[name] for name in SHARED_WITH_UNET}
        pose_channels = 3 if pose_input == "rgb" else config["in_channels"]
        control = cls(
            **shared,
            temporal=temporal,
            pose_input=pose_input,
            pose_channels=pose_channels,
            pose_embedding_channels=pose_embedding_channels,
        )
        weights = unet.state_dict()
        # With a concatenated background the first convolution has more inputs than the control sees.
        weights["conv_in.weight"] = weights["conv_in.weight"][:, : config["in_channels"]]
        if pose_input == "latent":
            for part in ("weight", "bias"):
                weights[f"controlnet_cond_embedding.{part}"] = weights[f"conv_in.{part}"]
        transfer(control, weights)
        return control

    @classmethod
    def from_controlnet(
        cls,
        controlnet: ControlNetModel,
        *,
        temporal: Literal["handcrafted"] | None = "handcrafted",
        num_modalities: int = 2,
    ) -> PoseControlNet:
        """Inflate a trained 2-D pose ControlNet; on single frames of one modality it computes the same.

        Raises:
            UserError: a network of a kind that this one can't hold.
        """
        config = controlnet.config
        if config["controlnet_conditioning_channel_order"] != "rgb":
            raise UserError("controlnet", "its images are not RGB", "give one with channel order rgb")
        control = cls(
            **trunk_options(controlnet),
            pose_channels=config["conditioning_channels"],
            pose_embedding_channels=config["conditioning_embedding_out_channels"],
            temporal=temporal,
            num_modalities=num_modalities,
        )
        transfer(control, controlnet.state_dict(), strict=True)
        return control

    def embed_pose(self, pose: Float[Tensor, "b f c height width"]) -> Float[Tensor, "b 1 f d h w"]:
        """What the first convolution's output is moved by: the same at every step of a sampling run."""
        return self.controlnet_cond_embedding(pose.flatten(0, 1)).unflatten(0, (pose.shape[0], 1, -1))

    def forward(
        self,
        sample: Float[Tensor, "b m f c h w"],
        timestep: Shaped[Tensor, " b"] | Shaped[Tensor, "b m"],
        foreground: Float[Tensor, "b n d"] | ForegroundKV,
        pose: Float[Tensor, "b f p height width"] | None = None,
        *,
        pose_embedded: Float[Tensor, "b 1 f e h w"] | None = None,
        modality: Int[Tensor, " m"] | None = None,
    ) -> Control:
        """Residuals for `UnifiedUNet`.

        Args:
            sample: noisy latents.
            timestep: diffusion time, one per clip or one per clip and modality.
            foreground: tokens of the person's image, or `encode_foreground` of them.
            pose: skeleton images in [0, 1], or their latents.
            pose_embedded: `embed_pose` of the pose, in place of `pose`.
            modality: label of each stream; 0 (video), 1 (depth) by default.

        Raises:
            ValueError: neither `pose` nor `pose_embedded` is given.
        """
        clip = ClipShape(*sample.shape[:3])
        kv = foreground if isinstance(foreground, ForegroundKV) else self.encode_foreground(foreground)
        if pose_embedded is None:
            if pose is None:
                raise ValueError("pose: give it, or pose_embedded")
            pose_embedded = self.embed_pose(pose)

        time = self._embed_time(timestep, clip, modality)
        x = clip.add(self.conv_in(sample.flatten(0, 2)), pose_embedded)
        x, skips = self._descend(x, time, clip, kv, None)
        down = (conv(skip) for conv, skip in zip(self.controlnet_down_blocks, skips, strict=True))
        return Control(
            down=tuple(clip.unfold(residual) for residual in down),
            mid=clip.unfold(self.controlnet_mid_block(x)),
        )


SHARED_WITH_UNET = (
    "in_channels",
    "block_out_channels",
    "layers_per_block",
    "attention",
    "attention_head_dim",
    "cross_attention_dim",
    "norm_num_groups",
    "transformer_depth",
    "num_modalities",
    "norm_over_frames",
)


class PoseAdapter(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """A T2I-Adapter that reads the skeleton images; its result serves both modalities and every step.

    Args:
        in_channels: channels of the skeleton image.
        channels: width at each resolution of the U-Net it steers.
        num_res_blocks: residual blocks per resolution.
        downscale_factor: pixels of the skeleton image per latent, a power of two.
        adapter_type: kind of T2I-Adapter (diffusers' name).
    """

    @register_to_config
    def __init__(
        self,
        in_channels: int = 3,
        channels: Sequence[int] = (320, 640, 1280, 1280),
        num_res_blocks: int = 2,
        downscale_factor: int = 8,
        adapter_type: str = "full_adapter",
    ) -> None:
        super().__init__()
        self.adapter = T2IAdapter(in_channels, list(channels), num_res_blocks, downscale_factor, adapter_type)

    @classmethod
    def from_t2i_adapter(cls, adapter: T2IAdapter) -> PoseAdapter:
        """Wrap a diffusers adapter (its weights are shared, not copied)."""
        names = ("in_channels", "channels", "num_res_blocks", "downscale_factor", "adapter_type")
        options: dict[str, Any] = {name: adapter.config[name] for name in names}
        pose_adapter = cls(**options)
        pose_adapter.adapter = adapter
        return pose_adapter

    def forward(self, pose: Float[Tensor, "b f c h w"]) -> Control:
        """Residuals of skeleton images in [0, 1]."""
        features = self.adapter(pose.flatten(0, 1))
        return Control(intrablock=tuple(x.unflatten(0, (pose.shape[0], 1, -1)) for x in features))
