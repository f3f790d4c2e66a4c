"""Published weights in: DisCo's checkpoints, Stable Diffusion's U-Net, ControlNets and adapters.

Every key of a source is either used or named in the report. Files are read as tensors only; a pickle that
wants to run code is refused.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

import torch
from diffusers.models.adapter import T2IAdapter
from diffusers.models.controlnets.controlnet import ControlNetModel
from diffusers.models.modeling_utils import ModelMixin
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.models.unets.unet_motion_model import MotionAdapter
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from idol.errors import UserError
from idol.model.control import PoseAdapter, PoseControlNet
from idol.model.convert.state_dict import Report, transfer
from idol.model.unet import UnifiedUNet

Network = TypeVar("Network", bound=nn.Module)
Source = TypeVar("Source", bound=ModelMixin)
Weights = dict[str, Tensor]

DISCO_UNET, DISCO_POSE, DISCO_PROJECTION = "unet.", "controlnet.nets.0.", "refer_clip_proj.weight"
DISCO_BACKGROUND = "controlnet.nets.1.", "controlnet."
"""In fine-tuned checkpoints, and in those of human attribute pre-training, which have no other ControlNet."""
_LATENT_ENCODER = "controlnet_cond_embedding.conv_in."
NEW_TO_DISCO = ("modality_embedding.weight",)
UNREADABLE = (pickle.UnpicklingError, SafetensorError, RuntimeError, EOFError, OSError, ValueError, KeyError)


@dataclass(frozen=True)
class Imported(Generic[Network]):
    """A network made from published weights, and what became of them."""

    network: Network
    report: Report


@dataclass(frozen=True)
class DisCo:
    """DisCo's checkpoint in our networks: one modality, GroupNorm over frames where it was trained so.

    Attributes:
        unet: the denoiser; it leaves the background to its ControlNet where there is one. For IDOL's way
            `unet.with_layers(background="add")`.
        control: the pose ControlNet, None where the checkpoint has none (human attribute pre-training).
        background_control: the background's ControlNet, None where the checkpoint has none.
        foreground_projection: CLIP tokens to cross-attention tokens, None where absent.
        report: keys used, keys without a place (VAE, CLIP, layers that DisCo never applies), new weights.
    """

    unet: UnifiedUNet
    control: PoseControlNet | None
    background_control: PoseControlNet | None
    foreground_projection: nn.Linear | None
    report: Report


def read_tensors(path: Path) -> Weights:
    """Read a file of weights: `.safetensors`, or a pickle of tensors (`.pt`, `.bin`; DeepSpeed's layout too).

    Raises:
        UserError: no such file, broken, or a pickle that holds more than tensors.
    """
    if not path.is_file():
        raise UserError(str(path), "no such file", "give a .safetensors or .pt file")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except UNREADABLE as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        found = f"not readable as plain tensors ({type(error).__name__}: {reason[:120]})"
        raise UserError(str(path), found, "download it again, or convert it to safetensors") from None
    weights = loaded.get("module", loaded) if isinstance(loaded, Mapping) else None
    if not isinstance(weights, Mapping) or not all(isinstance(w, Tensor) for w in weights.values()):
        raise UserError(str(path), "holds no table of tensors", "give a checkpoint of weights")
    return dict(weights)


def load_disco(path: str | Path, *, heads: int = 8, groups: int = 32) -> DisCo:
    """Read a checkpoint that DisCo published; all other sizes are read off the weights.

    Args:
        path: `mp_rank_00_model_states.pt`, or its tensors as `.safetensors`.
        heads: heads of every attention, which the weights do not tell.
        groups: groups of every GroupNorm, likewise.

    Raises:
        UserError: the file is broken, hostile, or not DisCo's.
    """
    path = Path(path)
    source = read_tensors(path)
    try:
        unet, used = _disco_unet(source, heads, groups)
        control, used_by_control = _disco_control(source, unet, DISCO_POSE)
        background, used_by_background = _disco_control(source, unet, _background_prefix(source))
    except UserError:
        raise
    except (KeyError, IndexError, RuntimeError, ValueError) as error:
        found = f"not a checkpoint of DisCo's ({type(error).__name__}: {error})"
        raise UserError(str(path), found, "give one of DisCo's, and its heads and groups") from None
    used |= used_by_control | used_by_background
    projection = None
    if DISCO_PROJECTION in source:
        used |= {DISCO_PROJECTION}
        projection = _linear(source[DISCO_PROJECTION])
    unused = tuple(key for key in source if key not in used)
    return DisCo(unet, control, background, projection, Report(tuple(sorted(used)), unused, NEW_TO_DISCO))


def _disco_unet(source: Weights, heads: int, groups: int) -> tuple[UnifiedUNet, set[str]]:
    weights = _under(DISCO_UNET, source)
    unet = UnifiedUNet(
        **_disco_sizes(weights),
        attention_head_dim=heads,
        norm_num_groups=groups,
        num_modalities=1,
        cross_modal=False,
        background="controlnet" if _under(_background_prefix(source), source) else "add",
    )
    return unet, _fill_from_disco(unet, weights, DISCO_UNET)


def _background_prefix(source: Weights) -> str:
    nested, alone = DISCO_BACKGROUND
    return nested if any(key.startswith("controlnet.nets.") for key in source) else alone


def _disco_control(source: Weights, unet: UnifiedUNet, prefix: str) -> tuple[PoseControlNet | None, set[str]]:
    weights = _under(prefix, source)
    if not weights:
        return None, set()
    encoder = "controlnet_cond_embedding"
    if f"{encoder}.conv_out.bias" in weights:
        widths = [weights[f"{encoder}.conv_in.bias"].shape[0]]
        while (strided := f"{encoder}.blocks.{2 * len(widths) - 1}.bias") in weights:
            widths.append(weights[strided].shape[0])
        control = PoseControlNet.from_unet(unet, pose_embedding_channels=widths)
    else:  # latents need no encoder but one convolution
        control = PoseControlNet.from_unet(unet, pose_input="latent")
    return control, _fill_from_disco(control, weights, prefix)


def _disco_sizes(weights: Weights) -> dict[str, Any]:
    """Arguments of `UnifiedUNet`, read off DisCo's weights."""
    levels = range(_count(weights, "down_blocks."))
    temporal = any(".tem_conv." in key for key in weights)
    first = next(key for key in weights if ".transformer_blocks." in key).split("transformer_blocks.")[0]
    return {
        "in_channels": weights["conv_in.weight"].shape[1],
        "out_channels": weights["conv_out.weight"].shape[0],
        "block_out_channels": [weights[f"down_blocks.{i}.resnets.0.conv1.bias"].shape[0] for i in levels],
        "layers_per_block": _count(weights, "down_blocks.0.resnets."),
        "attention": [_count(weights, f"down_blocks.{i}.attentions.") > 0 for i in levels],
        "cross_attention_dim": weights[f"{first}transformer_blocks.0.attn2.to_k.weight"].shape[1],
        "transformer_depth": _count(weights, f"{first}transformer_blocks."),
        "temporal": "handcrafted" if temporal else None,
        "norm_over_frames": temporal,
    }


def _fill_from_disco(network: nn.Module, weights: Weights, prefix: str) -> set[str]:
    """Fill `network`; returns the source keys that were used."""
    places = network.state_dict().keys()
    names = {key: [name for name in _names_for_disco(key) if name in places] for key in weights}
    report = transfer(network, {name: weights[key] for key in weights for name in names[key]})
    if missing := [name for name in report.new if name not in NEW_TO_DISCO]:
        raise KeyError(f"{prefix}{missing[0]} is missing")
    return {prefix + key for key in weights if names[key]}


def _names_for_disco(key: str) -> list[str]:
    """Our names for one of DisCo's keys.

    DisCo's transformer blocks normalize the temporal attention's input by `norm2`, which the cross-attention
    uses too; the `tem_norm` they hold is never applied. Its ResBlocks do apply theirs.
    """
    if key.startswith(_LATENT_ENCODER):  # the convolution alone, or the first of an encoder of images
        return [key, key.replace(_LATENT_ENCODER, "controlnet_cond_embedding.")]
    if ".transformer_blocks." not in key:
        return [key.replace(".tem_norm.", ".temporal.norm.").replace(".tem_conv.", ".temporal.conv.")]
    if ".tem_norm." in key:
        return []
    if ".norm2." in key:
        return [key, key.replace(".norm2.", ".temporal_norm.")]
    return [key.replace(".tem_attn.", ".temporal_attn.")]


def _under(prefix: str, weights: Weights) -> Weights:
    return {key.removeprefix(prefix): weight for key, weight in weights.items() if key.startswith(prefix)}


def _count(weights: Weights, prefix: str) -> int:
    """How many numbered things there are under `prefix`."""
    return len({key.removeprefix(prefix).split(".")[0] for key in weights if key.startswith(prefix)})


def _linear(weight: Tensor) -> nn.Linear:
    """A linear layer without bias that holds `weight` (out, in)."""
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    transfer(linear, {"weight": weight})
    return linear


def load_stable_diffusion(
    source: str | Path, *, motion_adapter: str | Path | None = None, **options: Any
) -> Imported[UnifiedUNet]:
    """`UnifiedUNet.from_unet2d` of a pipeline folder, a U-Net folder or a hub id.

    Args:
        source: e.g. `lambdalabs/sd-image-variations-diffusers`.
        motion_adapter: folder or hub id of AnimateDiff's weights.
        **options: those of `from_unet2d`.

    Raises:
        UserError: not found, broken, incomplete, or of another kind.
    """
    unet2d, used, unused = _load(UNet2DConditionModel, source, "unet")
    if motion_adapter is not None:
        adapter, more_used, more_unused = _load(MotionAdapter, motion_adapter)
        options["motion_adapter"] = adapter
        used, unused = used + more_used, unused + more_unused
    unet = UnifiedUNet.from_unet2d(unet2d, **options)
    new = tuple(name for name in unet.state_dict() if name not in used)
    return Imported(unet, Report(used, unused, new))


def load_controlnet(source: str | Path, **options: Any) -> Imported[PoseControlNet]:
    """`PoseControlNet.from_controlnet` of a folder or hub id, e.g. `lllyasviel/sd-controlnet-openpose`.

    Raises:
        UserError: not found, broken, incomplete, or of another kind.
    """
    controlnet, used, unused = _load(ControlNetModel, source)
    control = PoseControlNet.from_controlnet(controlnet, **options)
    return Imported(control, Report(used, unused, tuple(n for n in control.state_dict() if n not in used)))


def load_t2i_adapter(source: str | Path) -> Imported[PoseAdapter]:
    """`PoseAdapter.from_t2i_adapter` of a folder or hub id, e.g. `TencentARC/t2iadapter_openpose_sd14v1`.

    Raises:
        UserError: not found, broken or incomplete.
    """
    adapter, used, unused = _load(T2IAdapter, source)
    return Imported(PoseAdapter.from_t2i_adapter(adapter), Report(used, unused, ()))


def _load(
    kind: type[Source], source: str | Path, subfolder: str | None = None
) -> tuple[Source, tuple[str, ...], tuple[str, ...]]:
    """A diffusers network, the keys that filled it, and the keys it had no place for."""
    if subfolder is not None and Path(source).is_dir() and not (Path(source) / subfolder).is_dir():
        subfolder = None  # the folder of the network itself
    try:
        options = {} if subfolder is None else {"subfolder": subfolder}
        network, info = cast(Any, kind).from_pretrained(str(source), output_loading_info=True, **options)
    except UNREADABLE as error:
        reason = " ".join(str(error).split())[:160]
        hint = f"give a folder or hub id of a {kind.__name__}; hub ids need a network the first time"
        raise UserError(str(source), f"can't be loaded ({reason})", hint) from None
    if missing := [*info["missing_keys"], *info["mismatched_keys"]]:
        raise UserError(str(source), f"{missing[0]} is missing or misshapen", "download it again")
    used = tuple(network.state_dict())
    return network, used, tuple(info["unexpected_keys"])
