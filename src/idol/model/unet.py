"""The unified dual-modal U-Net (Sec. 3.1): Stable Diffusion's U-Net, inflated to `(b, m, f, c, h, w)`.

Both modalities and all frames pass through the same weights as a batch of images; a modality label tells the
streams apart, temporal layers look along `f`, cross-modal attention along `m`.
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

from idol.model.attention import Maps
from idol.model.blocks import BlockFeatures, Sizes, Temporal, UpBlock
from idol.model.convert.stable_diffusion import adapter_options, trunk_options
from idol.model.convert.state_dict import for_copies, transfer
from idol.model.modality import ClipShape, on
from idol.model.temporal import group_norm
from idol.model.unet_encoder import Control, ForegroundKV, Trunk, skip_channels, window_at

Background = Literal["add", "concat", "controlnet"]
Output = Literal["prediction", "clean", "mixed"]
Coupling = Literal["shared", "separate", "random_shift"]
FLOW_STEPS = 1000
"""Diffusion time of pure noise in rectified flow (`ScheduleConfig.steps`)."""
LEAST_SIGMA = 0.05
"""Below it a velocity would magnify the network's errors without end."""


@dataclass(frozen=True)
class UNetOutput:
    """What the U-Net returns.

    Attributes:
        sample: the prediction (b, m, f, c, h, w).
        features: per up block with attention, deepest first, when asked for.
    """

    sample: Tensor
    features: tuple[BlockFeatures, ...] | None = None


class UnifiedUNet(Trunk):
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
        background: add the background latent to the sample, concatenate it, or leave it to a ControlNet
            of its own that reads latents (DisCo's way).
        draft: concatenate the latents of the stream's draft (`idol.pose.limb_warp`), too.
        output: what the last convolution computes: the prediction itself, or the "clean" latents x, of which
            the prediction is made: the velocity (z - x) / sigma at time sigma N of rectified flow (Li & He
            2025). Where the scene is known x is 0, and no noise has to find its way through the network.
            "mixed" is x = r + p background - q draft with r, p and q from the network, p and q one number a
            place: it says where to uncover the background (of depth: nothing) and where to paint anew.
        norm_over_frames: GroupNorm statistics of the ResBlocks over frames and space (DisCo's weights).
        transformer_depth: transformer blocks per layer.
        motion_heads: heads of AnimateDiff's motion modules.
        motion_depth: transformer blocks of each motion module.
        motion_frames: longest clip a motion module's position code covers.
        motion_mid: whether the middle block has a motion module.
        coupling: "shared" weights and a label (the paper's); "separate" networks that exchange nothing (Table
            4, row 1); "random_shift": separate networks that meet in MM-Diffusion's attention.
        cross_attention_maps: each stream's "own" softmax maps onto the foreground; their "average" for both
            streams; or the "video" stream's for both (App. A, Table 8). It holds for every cross-attention of
            the U-Net; a pose ControlNet, whose maps the consistency loss does not see either, keeps each
            stream's own. With shared weights the values, too, are the same for both streams, so that a shared
            map moves both alike.

    Raises:
        ValueError: shared cross-attention maps where there is one stream, or one network for each.
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
        sizes = self.layer_sizes
        inputs = in_channels * (1 + (background == "concat") + draft)
        self.conv_in = sizes.own(partial(nn.Conv2d, inputs, widths[0], kernel_size=3, padding=1))
        self._build_trunk(widths, layers_per_block, attention, num_modalities, sizes)
        if not motion_mid:
            self.mid_block.motion_modules = nn.ModuleList()
        self._build_decoder(widths, layers_per_block, attention, sizes)
        self.conv_norm_out = sizes.own(partial(nn.GroupNorm, norm_num_groups, widths[0], eps=1e-5))
        outputs = out_channels + (2 if output == "mixed" else 0)
        self.conv_out = sizes.own(partial(nn.Conv2d, widths[0], outputs, kernel_size=3, padding=1))

    @property
    def layer_sizes(self) -> Sizes:
        """The sizes that every layer shares."""
        c = self.config
        return Sizes(
            time_dim=4 * c["block_out_channels"][0],
            heads=c["attention_head_dim"],
            context_dim=c["cross_attention_dim"],
            groups=c["norm_num_groups"],
            depth=c["transformer_depth"],
            temporal=c["temporal"],
            cross_modal=c["cross_modal"] and c["num_modalities"] > 1 and c["coupling"] == "shared",
            over_frames=c["norm_over_frames"],
            motion_heads=c["motion_heads"],
            motion_depth=c["motion_depth"],
            motion_frames=c["motion_frames"],
            copies=1 if c["coupling"] == "shared" else c["num_modalities"],
            random_shift=c["coupling"] == "random_shift" and c["num_modalities"] > 1,
            maps=c["cross_attention_maps"],
        )

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
            temporal: kind of temporal layers; those without weights start silent.
            cross_modal: add cross-modal attention, silent at first.
            background: how the background enters; "concat" adds zero weights to the first convolution,
                "controlnet" leaves it to a ControlNet of its own.
            motion_adapter: weights for `temporal="animatediff"`.
            num_modalities: streams that are denoised together.
            coupling: how the streams share weights; separate networks all start from `unet2d`.
            cross_attention_maps: whose maps the streams apply.

        Raises:
            ValueError: maps that the streams can't share.
            UserError: a network of a kind that this one can't hold.
        """
        options = trunk_options(unet2d) | {"out_channels": unet2d.config["out_channels"]}
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
        weights = unet2d.state_dict() | ({} if motion_adapter is None else motion_adapter.state_dict())
        transfer(unet, for_copies(weights, unet), strict=True)
        return unet

    def _build_decoder(
        self, channels: Sequence[int], layers: int, attention: Sequence[bool], sizes: Sizes
    ) -> None:
        skips = skip_channels(channels, layers)
        before = channels[-1]
        for i, width in reversed(list(enumerate(channels))):
            taken = [skips.pop() for _ in range(layers + 1)]
            self.up_blocks.append(UpBlock(before, width, taken, attention[i], sizes, i > 0, window_at(i)))
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
        """Predict the noise (or velocity) of both streams.

        Args:
            sample: noisy latents.
            timestep: diffusion time, one per clip or one per clip and modality.
            foreground: tokens of the person's image, or `encode_foreground` of them.
            background: latent of the background, one per clip or one per frame.
            control: residuals of the pose.
            return_features: also return what the consistency losses need.
            modality: label of each stream; 0 (video), 1 (depth) by default.
            draft: latents of each stream's draft, where the network takes one; zeros by default.

        Raises:
            ValueError: more modalities than labels, more frames than the motion modules cover, a draft
                that the network does not take, or no stream to share cross-attention maps with.
        """
        sizes = ClipShape(*sample.shape[:3])
        clip = replace(sizes, shift=self._shift(timestep), video=self._video(modality))
        self._check(clip)
        control = control or Control()
        kv = foreground if isinstance(foreground, ForegroundKV) else self.encode_foreground(foreground)

        time = self._embed_time(timestep, clip, modality)
        x = self._with_draft(sample, self._with_background(sample, background), draft)
        x = on(self.conv_in, clip, x.flatten(0, 2))
        x, skips = self._descend(x, time, clip, kv, control.intrablock)
        if control.down is not None:
            skips = [clip.add(s, r) for s, r in zip(skips, control.down, strict=True)]
        if control.mid is not None:
            x = clip.add(x, control.mid)

        features: list[BlockFeatures] = []
        for block, block_kv in zip(self.up_blocks, kv.up, strict=True):
            x, seen = block(x, skips, time, clip, block_kv, return_features)
            features += [] if seen is None else [seen]
        x = silu(group_norm(self.conv_norm_out, x, clip, self.config["norm_over_frames"]))
        predicted = clip.unfold(on(self.conv_out, clip, x))
        if self.config["output"] == "mixed":
            predicted = _mixed(predicted, background, draft)
        if self.config["output"] != "prediction":
            predicted = _velocity(predicted, sample, timestep)
        return UNetOutput(predicted, tuple(features) if return_features else None)

    def _shift(self, timestep: Tensor) -> float:
        """A number in [0, 1) for each diffusion time, as if drawn at random: a run can be repeated.

        It is that of the batch's first clip, so that here a clip is not independent of its batch.
        """
        if self.config["coupling"] != "random_shift":
            return 0.0
        seed = round(1000 * float(timestep.flatten()[0]))
        return float(torch.rand((), generator=torch.Generator().manual_seed(seed)))

    def _video(self, modality: Tensor | None) -> int:
        """Place of the stream that is labeled video, where it lends its maps."""
        if self.config["cross_attention_maps"] != "video" or modality is None:
            return 0
        labels = modality.tolist()
        if 0 not in labels:
            raise ValueError(f"modality: {labels} names no video stream, whose maps the others apply")
        return labels.index(0)

    def _check(self, clip: ClipShape) -> None:
        labels, frames = self.config["num_modalities"], self.config["motion_frames"]
        if clip.m > labels:
            raise ValueError(f"sample: {clip.m} modalities, the model has labels for {labels}")
        if self.config["cross_attention_maps"] != "own" and clip.m < 2:
            raise ValueError("sample: 1 modality, the model shares the cross-attention maps of 2")
        if self.config["temporal"] == "animatediff" and clip.f > frames:
            raise ValueError(f"sample: {clip.f} frames, the motion modules cover {frames}")

    def _with_background(self, sample: Tensor, background: Tensor | None) -> Tensor:
        """The input of the first convolution (b, m, f, c or 2c, h, w)."""
        way: Background = self.config["background"]
        if way == "controlnet" or (background is None and way == "add"):
            return sample
        if background is None:
            return torch.cat([sample, torch.zeros_like(sample)], dim=3)
        per_frame = background if background.ndim == 5 else background[:, None]
        still = per_frame[:, None]  # the same for every modality
        if way == "add":
            return sample + still
        return torch.cat([sample, still.expand_as(sample)], dim=3)

    def _with_draft(self, sample: Tensor, x: Tensor, draft: Tensor | None) -> Tensor:
        """`x` and each stream's draft along the channels."""
        if not self.config["draft"]:
            if draft is not None:
                raise ValueError("draft: the network takes none")
            return x
        if draft is None:
            return torch.cat([x, torch.zeros_like(sample)], dim=3)
        return torch.cat([x, draft], dim=3)


def check_maps(maps: Maps, modalities: int, coupling: Coupling) -> None:
    """Whether the streams can share cross-attention maps as they are told to.

    Raises:
        ValueError: they can't.
    """
    if maps == "own":
        return
    if modalities < 2:
        raise ValueError(f'cross_attention_maps: "{maps}" of 1 modality: nothing to share; set "own"')
    if coupling != "shared":
        raise ValueError(f'cross_attention_maps: "{maps}" needs coupling "shared", found "{coupling}"')


def _mixed(predicted: Tensor, background: Tensor | None, draft: Tensor | None) -> Tensor:
    """Clean latents (b, m, f, c, h, w) of the last convolution's c + 2 channels; see `UnifiedUNet`."""
    own, shown, painted = predicted.float().split([predicted.shape[3] - 2, 1, 1], dim=3)
    if background is not None:
        per_frame = background if background.ndim == 5 else background[:, None]
        video = torch.arange(own.shape[1], device=own.device) == 0  # no other stream shows the background
        own = own + shown * video[:, None, None, None, None] * per_frame[:, None]
    return own if draft is None else own - painted * draft


def _velocity(clean: Tensor, noisy: Tensor, timestep: Tensor) -> Tensor:
    """The flow (b, m, f, c, h, w), float32, that leads from the noisy latents to the clean ones."""
    sigma = (timestep.float() / FLOW_STEPS).clamp_min(LEAST_SIGMA)
    sigma = sigma.reshape(*sigma.shape, *(1,) * (noisy.ndim - sigma.ndim)).to(noisy.device)
    return (noisy.float() - clean.float()) / sigma
