"""Pose control: a ControlNet or a T2I-Adapter, both of which return `Control`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import torch
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
from idol.model.convert.diffusers_configs import encoder_options
from idol.model.convert.state_dict import transfer
from idol.model.layers import BlockConfig
from idol.model.modality import ClipShape, PerModality, apply_per_modality
from idol.model.unet import UnifiedUNet
from idol.model.unet_encoder import Control, ForegroundKV, UNetEncoder, skip_channels

PoseInput = Literal["rgb", "latent"]


class PoseControlNet(UNetEncoder):
    """A trainable copy of the U-Net's encoder that reads the pose, shared by both modalities (Sec. 3.1).

    In DisCo the background enters through a second one that reads latents: there "pose" is E(b), one for all
    frames.

    Args:
        in_channels: channels of the noisy latents.
        block_out_channels: width at each resolution, as of the U-Net.
        layers_per_block: layers in a block.
        attention: per resolution, whether its layers have transformers.
        attention_head_dim: the *number* of heads.
        cross_attention_dim: width of the foreground tokens.
        norm_num_groups: groups of every GroupNorm.
        transformer_depth: transformer blocks per layer.
        num_modalities: number of modality labels.
        temporal: "handcrafted" temporal layers, or None.
        norm_over_frames: GroupNorm statistics over frames and space (DisCo's weights).
        pose_input: skeleton image ("rgb") or its latent.
        pose_channels: channels of the pose input.
        pose_embedding_channels: widths of the skeleton image's encoder, which halves once between each two.
        shared: one set of weights for all modalities, else one for each.
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
        shared: bool = True,
    ) -> None:
        super().__init__()
        widths = list(block_out_channels)
        config = BlockConfig(
            time_dim=4 * widths[0],
            heads=attention_head_dim,
            context_dim=cross_attention_dim,
            groups=norm_num_groups,
            depth=transformer_depth,
            temporal=temporal,
            over_frames=norm_over_frames,
            copies=1 if shared else num_modalities,
        )
        self.conv_in = config.per_modality(
            partial(nn.Conv2d, in_channels, widths[0], kernel_size=3, padding=1)
        )
        self._build_encoder(widths, layers_per_block, attention, num_modalities, config)
        self.controlnet_cond_embedding = config.per_modality(
            partial(ControlNetConditioningEmbedding, widths[0], pose_channels, tuple(pose_embedding_channels))
            if pose_input == "rgb"
            else partial(nn.Conv2d, pose_channels, widths[0], kernel_size=3, padding=1)
        )
        self.controlnet_down_blocks = nn.ModuleList(
            config.per_modality(partial(_zero_convolution, c))
            for c in skip_channels(widths, layers_per_block)
        )
        self.controlnet_mid_block = config.per_modality(partial(_zero_convolution, widths[-1]))

    @classmethod
    def from_unet(
        cls,
        unet: UnifiedUNet,
        *,
        pose_input: PoseInput = "rgb",
        pose_embedding_channels: Sequence[int] = (16, 32, 96, 256),
    ) -> PoseControlNet:
        """Copy the encoder of `unet`; the residuals are zero until trained.

        AnimateDiff's motion modules are not copied: the copy then works on single frames.

        Args:
            unet: copied.
            pose_input: what the copy reads.
            pose_embedding_channels: widths of the encoder of skeleton images.
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
            shared=config["coupling"] == "shared",
        )
        weights = unet.state_dict()  # new tensors may replace entries: the U-Net keeps its own
        for name in [name for name in weights if name.startswith("conv_in.")]:
            if name.endswith(".weight"):
                # With a concatenated background the first convolution has more inputs than the control sees.
                weights[name] = weights[name][:, : config["in_channels"]]
            if pose_input == "latent":  # latents are read as the noisy sample is
                weights[name.replace("conv_in", "controlnet_cond_embedding")] = weights[name]
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

        Args:
            controlnet: its weights are copied.
            temporal: kind of temporal layers, initialized to zero.
            num_modalities: number of modality labels.

        Raises:
            UserError: a network of a kind that this one can't hold.
        """
        config = controlnet.config
        if config["controlnet_conditioning_channel_order"] != "rgb":
            raise UserError("controlnet", "its images are not RGB", "give one with channel order rgb")
        control = cls(
            **encoder_options(controlnet),
            pose_channels=config["conditioning_channels"],
            pose_embedding_channels=config["conditioning_embedding_out_channels"],
            temporal=temporal,
            num_modalities=num_modalities,
        )
        transfer(control, controlnet.state_dict(), strict=True)
        return control

    @property
    def reads_latents(self) -> bool:
        """Whether the pose is given as latents rather than as skeleton images."""
        return self.config["pose_input"] == "latent"

    def embed_pose(self, pose: Float[Tensor, "b f c height width"]) -> Float[Tensor, "b k f d h w"]:
        """Return what is added to the first convolution's output, the same at every denoising step.

        k is 1 where the weights are shared, else the number of modalities.
        """
        return _encode_pose(self.controlnet_cond_embedding, pose)

    def forward(
        self,
        sample: Float[Tensor, "b m f c h w"],
        timestep: Shaped[Tensor, " b"] | Shaped[Tensor, "b m"],
        foreground: Float[Tensor, "b n d"] | ForegroundKV,
        pose: Float[Tensor, "b g p height width"] | None = None,
        *,
        pose_embedded: Float[Tensor, "b k g e h w"] | None = None,
        modality: Int[Tensor, " m"] | None = None,
    ) -> Control:
        """Return residuals for `UnifiedUNet`.

        Args:
            sample: noisy latents.
            timestep: one per clip, or one per clip and modality.
            foreground: tokens of the person's image, or `encode_foreground` of them.
            pose: skeleton images in [0, 1], or their latents; g is f, or 1 for all frames.
            pose_embedded: `embed_pose` of the pose, in place of `pose`.
            modality: label of each modality; 0 (video), 1 (depth) by default.

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
        # the pose is added after the first convolution, as in ControlNet
        x = clip.add(apply_per_modality(self.conv_in, clip, sample.flatten(0, 2)), pose_embedded)
        x, skips = self._encode(x, time, clip, kv, None)
        down = (
            apply_per_modality(conv, clip, skip)
            for conv, skip in zip(self.controlnet_down_blocks, skips, strict=True)
        )
        return Control(
            down=tuple(clip.unfold(residual) for residual in down),
            mid=clip.unfold(apply_per_modality(self.controlnet_mid_block, clip, x)),
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
    """A T2I-Adapter that reads skeleton images; its residuals are the same at every denoising step.

    Args:
        in_channels: channels of the skeleton image.
        channels: width at each resolution of the U-Net it steers.
        num_res_blocks: residual blocks per resolution.
        downscale_factor: pixels of the skeleton image per latent, a power of two.
        adapter_type: kind of T2I-Adapter (diffusers' name).
        modalities: number of adapters, one for each modality, or 1 for all.
    """

    @register_to_config
    def __init__(
        self,
        in_channels: int = 3,
        channels: Sequence[int] = (320, 640, 1280, 1280),
        num_res_blocks: int = 2,
        downscale_factor: int = 8,
        adapter_type: str = "full_adapter",
        modalities: int = 1,
    ) -> None:
        super().__init__()
        options = in_channels, list(channels), num_res_blocks, downscale_factor, adapter_type
        self.adapter = (
            T2IAdapter(*options)
            if modalities == 1
            else PerModality(partial(T2IAdapter, *options), modalities)
        )

    @classmethod
    def from_t2i_adapter(cls, adapter: T2IAdapter) -> PoseAdapter:
        """Wrap a diffusers adapter (its weights are shared, not copied)."""
        names = ("in_channels", "channels", "num_res_blocks", "downscale_factor", "adapter_type")
        options: dict[str, Any] = {name: adapter.config[name] for name in names}
        pose_adapter = cls(**options)
        pose_adapter.adapter = adapter
        return pose_adapter

    def forward(self, pose: Float[Tensor, "b f c h w"]) -> Control:
        """Return residuals of skeleton images in [0, 1]."""
        return Control(intrablock=tuple(_encode_pose(self.adapter, pose)))


def _zero_convolution(channels: int) -> nn.Module:
    return zero_module(nn.Conv2d(channels, channels, kernel_size=1))


def _encode_pose(encoder: nn.Module, pose: Tensor) -> Any:
    """Encode poses (b, f, ...) by an encoder or each copy of it: to a tensor (b, k, f, ...), or several."""
    copies = list(encoder.copies) if isinstance(encoder, PerModality) else [encoder]
    # (b f) c y x for each of the k copies
    encoded = [copy(pose.flatten(0, 1)) for copy in copies]

    def stack(parts: Sequence[Tensor]) -> Tensor:
        return torch.stack([part.unflatten(0, pose.shape[:2]) for part in parts], 1)

    return stack(encoded) if isinstance(encoded[0], Tensor) else list(map(stack, zip(*encoded, strict=True)))
