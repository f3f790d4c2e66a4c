"""Load the checkpoints that DisCo published.

Every key of a file is either used or named in the report. Files are read as tensors only; a pickle that would
run code is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from idol.errors import UserError
from idol.model.control import PoseControlNet
from idol.model.convert.state_dict import UNREADABLE, TransferReport, transfer
from idol.model.unet import UnifiedUNet

Weights = dict[str, Tensor]

DISCO_UNET, DISCO_POSE, DISCO_PROJECTION = "unet.", "controlnet.nets.0.", "refer_clip_proj.weight"
DISCO_BACKGROUND = "controlnet.nets.1.", "controlnet."
"""Of the background's ControlNet: in fine-tuned checkpoints, and in those of human attribute pre-training,
which have no other."""
_LATENT_ENCODER = "controlnet_cond_embedding.conv_in."
NEW_TO_DISCO = ("modality_embedding.weight",)


@dataclass(frozen=True)
class DisCo:
    """DisCo's checkpoint in our networks: one modality, GroupNorm over frames where it has temporal layers.

    Attributes:
        unet: the U-Net; it leaves the background to a ControlNet where the checkpoint has one.
        control: the pose ControlNet, None where the checkpoint has none (human attribute pre-training).
        background_control: the background's ControlNet, None where the checkpoint has none.
        foreground_projection: CLIP tokens to cross-attention tokens, None where absent.
        report: keys used, keys without a place (VAE, CLIP, layers that DisCo never applies), new weights.
    """

    unet: UnifiedUNet
    control: PoseControlNet | None
    background_control: PoseControlNet | None
    foreground_projection: nn.Linear | None
    report: TransferReport


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
    """Read a checkpoint that DisCo published; sizes are inferred from the weights where not given.

    Args:
        path: `mp_rank_00_model_states.pt`, or its tensors as `.safetensors`.
        heads: heads of every attention, which the weights do not show.
        groups: groups of every GroupNorm, which they do not show either.

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
    return DisCo(
        unet, control, background, projection, TransferReport(tuple(sorted(used)), unused, NEW_TO_DISCO)
    )


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
    """Infer arguments of `UnifiedUNet` from DisCo's weights."""
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
    """Fill `network` and return the source keys that were used."""
    places = network.state_dict().keys()
    names = {key: [name for name in _names_for_disco(key) if name in places] for key in weights}
    report = transfer(network, {name: weights[key] for key in weights for name in names[key]})
    if missing := [name for name in report.new if name not in NEW_TO_DISCO]:
        raise KeyError(f"{prefix}{missing[0]} is missing")
    return {prefix + key for key in weights if names[key]}


def _names_for_disco(key: str) -> list[str]:
    """Return our names of one of DisCo's keys.

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
    """Count the numbered modules under `prefix`."""
    return len({key.removeprefix(prefix).split(".")[0] for key in weights if key.startswith(prefix)})


def _linear(weight: Tensor) -> nn.Linear:
    """Return a linear layer without bias with `weight` (out, in)."""
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    transfer(linear, {"weight": weight})
    return linear
