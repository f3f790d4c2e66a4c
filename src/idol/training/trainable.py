"""The networks that are trained, as one module: U-Net, pose control and foreground encoder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.utils.constants import CONFIG_NAME
from torch import Tensor, nn

from idol.data.batch import Batch
from idol.errors import UserError
from idol.model.autoencoder import Autoencoder
from idol.model.control import PoseAdapter, PoseControlNet
from idol.model.convert.state_dict import transfer
from idol.model.encoders import CLIPForeground, LatentForeground, drop_foreground
from idol.model.unet import UNetOutput, UnifiedUNet, check_maps
from idol.pipeline.denoiser import Denoiser
from idol.training.latent_statistics import TrainingCodec


@dataclass(frozen=True)
class UNetConfig:
    """Arguments of `UnifiedUNet`; the defaults are Stable Diffusion's sizes."""

    in_channels: int = 4
    out_channels: int = 4
    block_out_channels: tuple[int, ...] = (320, 640, 1280, 1280)
    layers_per_block: int = 2
    attention: tuple[bool, ...] = (True, True, True, False)
    attention_head_dim: int = 8
    cross_attention_dim: int = 768
    norm_num_groups: int = 32
    num_modalities: int = 2
    temporal: Literal["handcrafted", "animatediff"] | None = None
    cross_modal: bool = True
    background: Literal["add", "concat", "controlnet"] = "add"
    draft: bool = False
    output: Literal["prediction", "clean", "mixed"] = "prediction"
    norm_over_frames: bool = False
    transformer_depth: int = 1
    coupling: Literal["shared", "separate", "random_shift"] = "shared"
    cross_attention_maps: Literal["own", "average", "video"] = "own"

    def __post_init__(self) -> None:
        check_maps(self.cross_attention_maps, self.num_modalities, self.coupling)


@dataclass(frozen=True)
class LatentForegroundConfig:
    """Arguments of `LatentForeground` that do not follow from the other networks."""

    grid_size: int = 8
    num_layers: int = 3
    num_heads: int = 6
    unconditional: Literal["learned", "zeros"] = "learned"


@dataclass(frozen=True)
class StableDiffusionConfig:
    """Sources of Stable Diffusion's weights: names on the model hub, or folders.

    Attributes:
        unet: Holds a folder `unet`.
        clip: Holds a folder `image_encoder`.
        unconditional: Tokens of no person: CLIP's of an all-zero input, or zeros.
    """

    unet: str = "lambdalabs/sd-image-variations-diffusers"
    clip: str = "lambdalabs/sd-image-variations-diffusers"
    unconditional: Literal["zero_image", "zeros"] = "zero_image"


@dataclass(frozen=True)
class ModelConfig:
    """Which networks are trained, and how they are initialized.

    Attributes:
        unet: The U-Net.
        control: How the pose enters; None leaves it out (attribute pre-training).
        adapter_res_blocks: Residual blocks per resolution of the pose adapter.
        foreground: The small model's foreground encoder; None is CLIP's.
        stable_diffusion: Initialize from Stable Diffusion's weights; None: from random ones. CLIP's encoder
            needs it.
        init: Initialize from another stage's run or checkpoint, or from a pipeline such as `mini`.
    """

    unet: UNetConfig = field(default_factory=UNetConfig)
    control: Literal["adapter", "controlnet", "controlnet_latent"] | None = "adapter"
    adapter_res_blocks: int = 2
    foreground: LatentForegroundConfig | None = field(default_factory=LatentForegroundConfig)
    stable_diffusion: StableDiffusionConfig | None = None
    init: Path | None = None

    def __post_init__(self) -> None:
        if self.foreground is None and self.stable_diffusion is None:
            raise ValueError("stable_diffusion: CLIP's foreground encoder needs its weights, name them")


class Networks(nn.Module):
    """Everything that is trained behind one `forward`, so that it is distributed as one module.

    Args:
        unet: The U-Net.
        control: Pose control; None without pose.
        foreground: Foreground encoder.
        background: ControlNet of the background's latents, where the U-Net leaves the background to one.
    """

    def __init__(
        self,
        unet: UnifiedUNet,
        control: PoseAdapter | PoseControlNet | None,
        foreground: LatentForeground | CLIPForeground,
        background: PoseControlNet | None = None,
    ) -> None:
        super().__init__()
        self.unet, self.control, self.foreground, self.background = unet, control, foreground, background

    @property
    def denoiser(self) -> Denoiser:
        """The U-Net with the networks that steer it."""
        return Denoiser(self.unet, self.control, self.background)

    def forward(
        self,
        sample: Tensor,
        timesteps: Tensor,
        conditions: BatchConditions,
        dropped: Tensor,
        return_features: bool = False,
    ) -> UNetOutput:
        """Predict from noisy latents.

        Args:
            sample: (b, m, f, c, h, w).
            timesteps: (b, m).
            conditions: Of the batch.
            dropped: (b,) bool, clips whose foreground is replaced by the unconditional one.
            return_features: Also return what the consistency losses read.
        """
        tokens = self.tokens(conditions)
        tokens = drop_foreground(tokens, self.foreground.unconditional(tokens), dropped)
        denoiser = self.denoiser
        shown = denoiser.condition(tokens, conditions.background, conditions.pose, conditions.draft)
        return denoiser(sample, timesteps, shown, return_features)

    def tokens(self, conditions: BatchConditions) -> Tensor:
        """Return the foreground tokens (b, n, d)."""
        mask = conditions.foreground_mask
        if isinstance(self.foreground, CLIPForeground):
            return self.foreground(conditions.foreground_image, mask)
        return self.foreground(conditions.foreground, conditions.foreground_pose, mask)


@dataclass(frozen=True)
class BatchConditions:
    """The normalized conditions of a batch; images in [0, 1].

    Attributes:
        background: Latents (b, c, h, w) or (b, f, c, h, w).
        pose: Skeleton images (b, f, 3, y, x), or their latents for a ControlNet that reads those.
        foreground: Latents of the person's crop (b, c, h', w').
        foreground_image: The crop (b, 3, s, s), where CLIP's encoder reads it.
        foreground_pose: The crop's skeleton (b, 3, s, s).
        foreground_mask: The crop's mask (b, 1, s, s).
        draft: Latents (b, m, f, c, h, w), where the U-Net takes drafts.
    """

    background: Tensor
    pose: Tensor
    foreground: Tensor
    foreground_image: Tensor | None
    foreground_pose: Tensor
    foreground_mask: Tensor
    draft: Tensor | None = None


def batch_conditions(batch: Batch, codec: TrainingCodec, latent_pose: bool) -> BatchConditions:
    """Normalize a batch's conditions.

    Args:
        batch: Latents as the autoencoder returns them, uint8 images.
        codec: Normalizes latents; encodes the skeletons if `latent_pose`.
        latent_pose: Whether the ControlNet reads the skeletons' latents (`Denoiser.reads_latent_pose`).
    """
    pose, image = batch.pose.float() / 255, batch.foreground_image
    return BatchConditions(
        background=codec.normalize_background(batch.background),
        pose=codec.encode_image(pose * 2 - 1) if latent_pose else pose,
        foreground=codec.normalize_image(batch.foreground),
        foreground_image=None if image is None else image[:, :3].float() / 255,
        foreground_pose=batch.foreground_pose.float() / 255,
        foreground_mask=batch.foreground_mask.float(),
        draft=None if batch.draft is None else codec.normalize_draft(batch.draft),
    )


def build_networks(config: ModelConfig, downscale: int, pretrained: bool = True) -> Networks:
    """Build the networks of a config, without the weights of `config.init`.

    Args:
        config: Sizes, and sources of weights.
        downscale: Pixels per latent position, per side.
        pretrained: Load the weights that `config.stable_diffusion` names; else all weights are random.
    """
    source = config.stable_diffusion if pretrained else None
    unet = UnifiedUNet(**asdict(config.unet)) if source is None else _inflated(config.unet, source)
    background = (
        PoseControlNet.from_unet(unet, pose_input="latent")
        if config.unet.background == "controlnet"
        else None
    )
    return Networks(
        unet, _control(config, unet, downscale), _foreground(config, downscale, source), background
    )


def initialize(networks: Networks, weights: Mapping[str, Tensor], source: str) -> tuple[str, ...]:
    """Copy another stage's weights.

    Only layers that a later stage adds (temporal, cross-modal, a ControlNet, the depth's label) may be new.

    Args:
        networks: Filled in place.
        weights: By their names in `Networks`.
        source: Names their origin in error messages.

    Returns:
        Names of the weights that are new.

    Raises:
        UserError: If a weight does not fit, or another weight is missing.
    """
    parts = {name.partition(".")[0] for name in weights}
    places = dict(networks.named_children())
    if not parts <= places.keys():
        raise UserError("model.init", f"{source} holds a {max(parts - places.keys())}", "set model.control")
    # part by part, so that a part that the source lacks altogether is new
    new: list[str] = []
    for part, network in places.items():
        own = {k.removeprefix(f"{part}."): v for k, v in weights.items() if k.startswith(f"{part}.")}
        new += [f"{part}.{name}" for name in transfer(network, own, strict=True).new]
    missing = [name for name in new if not _may_be_new(name, parts)]
    if missing:
        raise UserError("model.init", f"{source} has no weight {missing[0]}", "give a checkpoint that fits")
    return tuple(new)


def freeze(networks: Networks, what: Literal["all", "attention"]) -> None:
    """Freeze what is not trained.

    "attention" freezes the ResBlocks and the resampling (Sec. 3.3) and trains the transformers, the
    foreground encoder, ControlNets, and the input layer where it must learn to read a background.

    Args:
        networks: Frozen in place.
        what: Is trained.
    """
    if what == "attention":
        reads_background = networks.unet.config["background"] == "concat"
        for name, parameter in networks.unet.named_parameters():
            attends = ".attentions." in name or ".cross_modal." in name
            if not attends and not (reads_background and name.startswith("conv_in.")):
                parameter.requires_grad_(False)


def _may_be_new(name: str, parts: set[str]) -> bool:
    added = (".temporal", "motion_modules", ".cross_modal.")
    controls = {"control", "background"} - parts
    return any(part in name for part in added) or name.partition(".")[0] in controls


def _inflated(config: UNetConfig, source: StableDiffusionConfig) -> UnifiedUNet:
    from diffusers import UNet2DConditionModel

    unet2d = UNet2DConditionModel.from_pretrained(source.unet, subfolder="unet")
    return UnifiedUNet.from_unet2d(
        unet2d,
        temporal=config.temporal,
        cross_modal=config.cross_modal,
        background=config.background,
        num_modalities=config.num_modalities,
        coupling=config.coupling,
        cross_attention_maps=config.cross_attention_maps,
    )


def _control(config: ModelConfig, unet: UnifiedUNet, downscale: int) -> PoseAdapter | PoseControlNet | None:
    match config.control:
        case None:
            return None
        case "adapter":
            return PoseAdapter(
                channels=config.unet.block_out_channels,
                num_res_blocks=config.adapter_res_blocks,
                downscale_factor=downscale,
                modalities=1 if config.unet.coupling == "shared" else config.unet.num_modalities,
            )
        case "controlnet":
            widths = _embedding_widths(downscale)
            return PoseControlNet.from_unet(unet, pose_input="rgb", pose_embedding_channels=widths)
        case "controlnet_latent":
            return PoseControlNet.from_unet(unet, pose_input="latent")


def _embedding_widths(downscale: int) -> tuple[int, ...]:
    """Return the widths of the encoder of skeleton images, one more than halvings."""
    halvings = downscale.bit_length() - 1
    return ((16, 32, 96, 256) + (256,) * halvings)[: halvings + 1]


def _foreground(
    config: ModelConfig, downscale: int, source: StableDiffusionConfig | None
) -> LatentForeground | CLIPForeground:
    if config.foreground is not None:
        return LatentForeground(
            in_channels=config.unet.in_channels,
            patch_size=downscale,
            cross_attention_dim=config.unet.cross_attention_dim,
            **asdict(config.foreground),
        )
    assert config.stable_diffusion is not None  # ModelConfig saw to it
    if source is None:
        width, unconditional = config.unet.cross_attention_dim, config.stable_diffusion.unconditional
        return CLIPForeground(None, width, unconditional)
    from transformers import CLIPVisionModelWithProjection

    clip = CLIPVisionModelWithProjection.from_pretrained(source.clip, subfolder="image_encoder")
    return CLIPForeground.from_clip(clip, source.unconditional)


def load_autoencoder(kind: Literal["idol", "kl"], source: str) -> Any:
    """Load an autoencoder, frozen: ours, or Stable Diffusion's with three channels or, trained here, six.

    Args:
        kind: Ours or Stable Diffusion's.
        source: Folder of the autoencoder or of a checkpoint; for Stable Diffusion's also a hub name.

    Raises:
        UserError: If there is none, or one of the other kind.
    """
    wanted: Any = Autoencoder if kind == "idol" else AutoencoderKL
    folder = next((f for f in (Path(source, "vae"), Path(source)) if (f / CONFIG_NAME).is_file()), None)
    if folder is None:
        if kind == "idol" or Path(source).exists():
            raise UserError("autoencoder", f"no {CONFIG_NAME} in {source}", "name a folder of a trained one")
        vae = _from_hub(source)
    else:
        found = wanted.load_config(folder).get("_class_name")
        if found != wanted.__name__:
            raise UserError("autoencoder", f"{folder} holds a {found}", f"kind {kind} is {wanted.__name__}")
        vae = wanted.from_pretrained(folder)
    return vae.eval().requires_grad_(False)


def _from_hub(name: str) -> Any:
    try:
        return AutoencoderKL.from_pretrained(name, subfolder="vae")
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:160]
        hint = "give a folder, or a hub name with a `vae` and, the first time, a network"
        raise UserError("autoencoder", f"{name} cannot be loaded ({reason})", hint) from None
