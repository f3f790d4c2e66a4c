"""The unified dual-modal U-Net (Sec. 3.1): Stable Diffusion's U-Net, inflated to `(b, m, f, c, h, w)`.

Both modalities and all frames pass through the same weights as a batch of images. A label tells the
modalities apart; temporal layers work along `f`, cross-modal attention along `m`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import torch
from diffusers.configuration_utils import register_to_config
from diffusers.models.modeling_utils import ModelMixin  # noqa: F401 - diffusers looks for it here to load us
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.models.unets.unet_motion_model import MotionAdapter
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn
from torch.nn.functional import silu

from idol.clip.modality import Modality
from idol.model.attention import Maps
from idol.model.blocks import UpBlock
from idol.model.convert.diffusers_configs import adapter_options, encoder_options
from idol.model.convert.state_dict import for_copies, transfer
from idol.model.layers import BlockConfig, BlockFeatures, Temporal
from idol.model.modality import ClipShape, apply_per_modality
from idol.model.temporal import group_norm
from idol.model.unet_encoder import Control, ForegroundKV, UNetEncoder, skip_channels, window_at

Background = Literal["add", "concat", "controlnet"]
Output = Literal["prediction", "clean", "mixed"]
Coupling = Literal["shared", "separate", "random_shift"]
FLOW_STEPS = 1000
"""Timestep of pure noise in rectified flow (`ScheduleConfig.steps`)."""
LEAST_SIGMA = 0.05
"""Noise level below which it is clamped: a velocity divides the network's errors by it."""


@dataclass(frozen=True)
class UNetOutput:
    """What the U-Net returns.

    Attributes:
        sample: the prediction (b, m, f, c, h, w).
        features: one for each up block with attention, deepest first; None unless requested.
    """

    sample: Tensor
    features: tuple[BlockFeatures, ...] | None = None


class UnifiedUNet(UNetEncoder):
    """Denoises the video and the depth of a clip together.

    Args:
        in_channels: channels of the latents.
        out_channels: channels of the prediction.
        block_out_channels: width at each resolution.
        layers_per_block: layers in a down block; an up block has one more.
        attention: per resolution, whether its layers have transformers.
        attention_head_dim: the *number* of heads (Stable Diffusion 1.x calls it so).
        cross_attention_dim: width of the foreground tokens.
        norm_num_groups: groups of every GroupNorm.
        num_modalities: 2 for video and depth, 1 for video alone.
        temporal: "handcrafted" (Sec. 3.1), "animatediff", or None for single frames.
        cross_modal: cross-modal attention at the end of every down and up block with attention, where the
            weights are shared.
        background: how the background's latent enters: added to the sample, concatenated to it, or through a
            ControlNet that reads latents (as in DisCo).
        draft: also concatenate the latents of each modality's draft (`idol.body.draft`).
        output: what the last convolution computes. "prediction": the prediction itself. "clean": the clean
            latents x, from which the prediction follows, the velocity (z - x) / sigma at timestep sigma N of
            rectified flow (Li & He 2025); where the scene is known x is 0, and no noise has to pass through
            the network. "mixed": x = r + p background - q draft with r, p and q from the network, p and q one
            number for each position: where the background is uncovered (of depth: nothing), and where the
            draft is replaced.
        norm_over_frames: GroupNorm statistics of the ResBlocks over frames and space (DisCo's weights).
        transformer_depth: transformer blocks per layer.
        motion_heads: heads of AnimateDiff's motion modules.
        motion_depth: transformer blocks of each motion module.
        motion_frames: longest clip a motion module's position code covers.
        motion_mid: whether the middle block has a motion module.
        coupling: "shared" weights and a label (the paper's); "separate" networks without any exchange (Table
            4, row 1); "random_shift": separate networks with MM-Diffusion's attention between them.
        cross_attention_maps: the maps onto the foreground that both modalities apply: each its "own", their
            "average", or those of the "video" (App. A, Table 8), in every cross-attention of the U-Net. A
            pose ControlNet, whose maps the consistency loss does not see either, applies each modality's own.
            With shared weights the values are the same for both modalities, too.

    Raises:
        ValueError: shared cross-attention maps with one modality, or without shared weights.
    """

    _supports_gradient_checkpointing = True

    @register_to_config
    def __init__(
        self,
        in_channels: int = 4,
        out_channels: int = 4,
        block_out_channels: Sequence[int] = (320, 640, 1280, 1280),
        layers_per_block: int = 2,
        attention: Sequence[bool] = (True, True, True, False),
        attention_head_dim: int = 8,
        cross_attention_dim: int = 768,
        norm_num_groups: int = 32,
        num_modalities: int = 2,
        temporal: Temporal | None = "handcrafted",
        cross_modal: bool = True,
        background: Background = "add",
        draft: bool = False,
        output: Output = "prediction",
        norm_over_frames: bool = False,
        transformer_depth: int = 1,
        motion_heads: int = 8,
        motion_depth: int = 1,
        motion_frames: int = 32,
        motion_mid: bool = True,
        coupling: Coupling = "shared",
        cross_attention_maps: Maps = "own",
    ) -> None:
        super().__init__()
        check_maps(cross_attention_maps, num_modalities, coupling)
        widths = list(block_out_channels)
        config = self.block_config
        # noisy latents, then the background's, then the draft's
        inputs = in_channels * (1 + (background == "concat") + draft)
        self.conv_in = config.per_modality(partial(nn.Conv2d, inputs, widths[0], kernel_size=3, padding=1))
        self._build_encoder(widths, layers_per_block, attention, num_modalities, config)
        if not motion_mid:
            self.mid_block.motion_modules = nn.ModuleList()
        self._build_decoder(widths, layers_per_block, attention, config)
        self.conv_norm_out = config.per_modality(partial(nn.GroupNorm, norm_num_groups, widths[0], eps=1e-5))
        # "mixed" adds p and q, one channel each
        outputs = out_channels + (2 if output == "mixed" else 0)
        self.conv_out = config.per_modality(partial(nn.Conv2d, widths[0], outputs, kernel_size=3, padding=1))

    @property
    def block_config(self) -> BlockConfig:
        """Settings that all layers share."""
        c = self.config
        return BlockConfig(
            time_dim=4 * c["block_out_channels"][0],
            heads=c["attention_head_dim"],
            context_dim=c["cross_attention_dim"],
            groups=c["norm_num_groups"],
            depth=c["transformer_depth"],
            temporal=c["temporal"],
            # separate networks exchange nothing but by random-shift attention
            cross_modal=c["cross_modal"] and c["num_modalities"] > 1 and c["coupling"] == "shared",
            over_frames=c["norm_over_frames"],
            motion_heads=c["motion_heads"],
            motion_depth=c["motion_depth"],
            motion_frames=c["motion_frames"],
            copies=1 if c["coupling"] == "shared" else c["num_modalities"],
            random_shift=c["coupling"] == "random_shift" and c["num_modalities"] > 1,
            maps=c["cross_attention_maps"],
        )

    @property
    def produces_depth(self) -> bool:
        """Whether depth is one of the modalities."""
        return self.config["num_modalities"] > Modality.DEPTH

    @classmethod
    def from_unet2d(
        cls,
        unet2d: UNet2DConditionModel,
        *,
        temporal: Temporal | None = "handcrafted",
        cross_modal: bool = True,
        background: Background = "add",
        motion_adapter: MotionAdapter | None = None,
        num_modalities: int = 2,
        coupling: Coupling = "shared",
        cross_attention_maps: Maps = "own",
    ) -> UnifiedUNet:
        """Inflate Stable Diffusion's U-Net; on one frame of one modality the result computes the same.

        Args:
            unet2d: the trained 2-D network; its weights are copied.
            temporal: kind of temporal layers; those without weights are initialized to zero.
            cross_modal: add cross-modal attention, initialized to zero.
            background: how the background enters; "concat" adds zero weights to the first convolution.
            motion_adapter: weights for `temporal="animatediff"`.
            num_modalities: number of modalities.
            coupling: how modalities share weights; separate networks are all initialized from `unet2d`.
            cross_attention_maps: the maps that each modality applies.

        Raises:
            ValueError: the modalities can't share cross-attention maps.
            UserError: a network of a kind that this one can't hold.
        """
        options = encoder_options(unet2d) | {"out_channels": unet2d.config["out_channels"]}
        if motion_adapter is not None:
            options |= adapter_options(motion_adapter, options, temporal)
        unet = cls(
            **options,
            temporal=temporal,
            cross_modal=cross_modal,
            background=background,
            num_modalities=num_modalities,
            coupling=coupling,
            cross_attention_maps=cross_attention_maps,
        )
        # what neither source has (temporal layers, cross-modal attention, labels) is initialized to zero
        weights = unet2d.state_dict() | ({} if motion_adapter is None else motion_adapter.state_dict())
        transfer(unet, for_copies(weights, unet), strict=True)
        return unet

    def _build_decoder(
        self, channels: Sequence[int], layers: int, attention: Sequence[bool], config: BlockConfig
    ) -> None:
        skips = skip_channels(channels, layers)
        before = channels[-1]
        for i, width in reversed(list(enumerate(channels))):
            taken = [skips.pop() for _ in range(layers + 1)]
            self.up_blocks.append(UpBlock(before, width, taken, attention[i], config, i > 0, window_at(i)))
            before = width

    def forward(
        self,
        sample: Float[Tensor, "b m f c h w"],
        timestep: Shaped[Tensor, " b"] | Shaped[Tensor, "b m"],
        foreground: Float[Tensor, "b n d"] | ForegroundKV,
        background: Float[Tensor, "b c h w"] | Float[Tensor, "b f c h w"] | None = None,
        control: Control | None = None,
        return_features: bool = False,
        modality: Int[Tensor, " m"] | None = None,
        draft: Float[Tensor, "b m f c h w"] | None = None,
    ) -> UNetOutput:
        """Predict the noise (or velocity) of all modalities.

        Args:
            sample: noisy latents.
            timestep: one per clip, or one per clip and modality.
            foreground: tokens of the person's image, or `encode_foreground` of them.
            background: latent of the background, one per clip or one per frame.
            control: residuals of the pose.
            return_features: also return what the consistency losses need.
            modality: label of each modality; 0 (video), 1 (depth) by default.
            draft: latents of each modality's draft, where the network takes one; zeros by default.

        Raises:
            ValueError: more modalities than labels, more frames than the motion modules cover, a draft that
                the network does not take, or cross-attention maps to share and no video.
        """
        clip = ClipShape(*sample.shape[:3])
        clip = replace(clip, shift=self._shift(timestep), video=self._video(modality))
        self._check(clip)
        control = control or Control()
        kv = foreground if isinstance(foreground, ForegroundKV) else self.encode_foreground(foreground)

        time = self._embed_time(timestep, clip, modality)
        x = self._with_draft(sample, self._with_background(sample, background), draft)
        x = apply_per_modality(self.conv_in, clip, x.flatten(0, 2))  # (b m f) c h w
        x, skips = self._encode(x, time, clip, kv, control.intrablock)
        # a ControlNet enters the skip connections and the bottom, an adapter has entered the down blocks
        if control.down is not None:
            skips = [clip.add(s, r) for s, r in zip(skips, control.down, strict=True)]
        if control.mid is not None:
            x = clip.add(x, control.mid)

        features: list[BlockFeatures] = []
        for block, block_kv in zip(self.up_blocks, kv.up, strict=True):
            x, block_features = block(x, skips, time, clip, block_kv, return_features)
            features += [] if block_features is None else [block_features]
        x = silu(group_norm(self.conv_norm_out, x, clip, self.config["norm_over_frames"]))
        predicted = clip.unfold(apply_per_modality(self.conv_out, clip, x))  # b m f c h w
        if self.config["output"] == "mixed":
            predicted = _mixed(predicted, background, draft)
        if self.config["output"] != "prediction":
            predicted = _velocity(predicted, sample, timestep)
        return UNetOutput(predicted, tuple(features) if return_features else None)

    def _shift(self, timestep: Tensor) -> float:
        """Return a number in [0, 1) that is a fixed random function of the timestep: runs are repeatable.

        It is that of the batch's first clip: with random-shift attention a clip depends on its batch.
        """
        if self.config["coupling"] != "random_shift":
            return 0.0
        seed = round(1000 * float(timestep.flatten()[0]))
        return float(torch.rand((), generator=torch.Generator().manual_seed(seed)))

    def _video(self, modality: Tensor | None) -> int:
        """Return the index of the video on the m axis, where others apply its maps."""
        if self.config["cross_attention_maps"] != "video" or modality is None:
            return 0
        labels = modality.tolist()
        if Modality.VIDEO not in labels:
            raise ValueError(f"modality: {labels} has no video, whose maps the others apply")
        return labels.index(Modality.VIDEO)

    def _check(self, clip: ClipShape) -> None:
        labels, frames = self.config["num_modalities"], self.config["motion_frames"]
        if clip.m > labels:
            raise ValueError(f"sample: {clip.m} modalities, the model has labels for {labels}")
        if self.config["cross_attention_maps"] != "own" and clip.m < 2:
            raise ValueError("sample: 1 modality, the model shares the cross-attention maps of 2")
        if self.config["temporal"] == "animatediff" and clip.f > frames:
            raise ValueError(f"sample: {clip.f} frames, the motion modules cover {frames}")

    def _with_background(self, sample: Tensor, background: Tensor | None) -> Tensor:
        """Return the sample with the background added or concatenated (b, m, f, c or 2c, h, w)."""
        kind: Background = self.config["background"]
        if kind == "controlnet" or (background is None and kind == "add"):
            return sample
        if background is None:  # the first convolution still has its inputs
            return torch.cat([sample, torch.zeros_like(sample)], dim=3)
        per_frame = background if background.ndim == 5 else background[:, None]
        shared = per_frame[:, None]  # b 1 (f or 1) c h w: the same for every modality
        if kind == "add":
            return sample + shared
        return torch.cat([sample, shared.expand_as(sample)], dim=3)

    def _with_draft(self, sample: Tensor, x: Tensor, draft: Tensor | None) -> Tensor:
        """Concatenate the drafts to `x` along the channels."""
        if not self.config["draft"]:
            if draft is not None:
                raise ValueError("draft: the network takes none")
            return x
        if draft is None:
            return torch.cat([x, torch.zeros_like(sample)], dim=3)
        return torch.cat([x, draft], dim=3)


def check_maps(maps: Maps, modalities: int, coupling: Coupling) -> None:
    """Check that modalities can share cross-attention maps.

    Args:
        maps: the maps that each modality applies.
        modalities: number of modalities.
        coupling: how modalities share weights.

    Raises:
        ValueError: they can't share them.
    """
    if maps == "own":
        return
    if modalities < 2:
        raise ValueError(f'cross_attention_maps: "{maps}" of 1 modality: nothing to share; set "own"')
    if coupling != "shared":
        raise ValueError(f'cross_attention_maps: "{maps}" needs coupling "shared", found "{coupling}"')


def _mixed(predicted: Tensor, background: Tensor | None, draft: Tensor | None) -> Tensor:
    """Return x = r + p background - q draft (b, m, f, c, h, w), from c + 2 channels; see `UnifiedUNet`."""
    r, p, q = predicted.float().split([predicted.shape[3] - 2, 1, 1], dim=3)
    if background is not None:
        per_frame = background if background.ndim == 5 else background[:, None]
        # depth does not show the background
        video = torch.arange(r.shape[1], device=r.device) == Modality.VIDEO
        r = r + p * video[:, None, None, None, None] * per_frame[:, None]
    return r if draft is None else r - q * draft


def _velocity(clean: Tensor, noisy: Tensor, timestep: Tensor) -> Tensor:
    """Return the flow (b, m, f, c, h, w) from the noisy latents to the clean ones, float32."""
    sigma = (timestep.float() / FLOW_STEPS).clamp_min(LEAST_SIGMA)
    # (b) or (b, m) to (b, 1 or m, 1, 1, 1, 1)
    sigma = sigma.reshape(*sigma.shape, *(1,) * (noisy.ndim - sigma.ndim)).to(noisy.device)
    return (noisy.float() - clean.float()) / sigma
