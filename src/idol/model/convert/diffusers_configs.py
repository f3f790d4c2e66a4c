"""Stable Diffusion's configs as arguments of our networks. Unsupported options are refused, never ignored."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from diffusers.models.controlnets.controlnet import ControlNetModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.models.unets.unet_motion_model import MotionAdapter

from idol.errors import UserError

# Config entries that are read, or do not change what is computed; all others must have their default.
READ = frozenset(
    "self in_channels out_channels block_out_channels layers_per_block down_block_types up_block_types "
    "attention_head_dim cross_attention_dim norm_num_groups transformer_layers_per_block sample_size "
    "conditioning_channels conditioning_embedding_out_channels controlnet_conditioning_channel_order "
    "motion_layers_per_block motion_transformer_layers_per_block motion_num_attention_heads "
    "motion_norm_num_groups motion_max_seq_length use_motion_mid_block upcast_attention "
    "projection_class_embeddings_input_dim addition_embed_type_num_heads global_pool_conditions".split()
)
ATTENTION = {
    "CrossAttnDownBlock2D": True,
    "CrossAttnUpBlock2D": True,
    "DownBlock2D": False,
    "UpBlock2D": False,
}


def encoder_options(network: UNet2DConditionModel | ControlNetModel) -> dict[str, Any]:
    """Return the arguments with which our networks have the same encoder as `network`.

    Raises:
        UserError: `network` has parts that ours do not have.
    """
    config = network.config
    _refuse_unknown(type(network), config)
    attention = tuple(_has_attention(name) for name in config["down_block_types"])
    up = tuple(_has_attention(name) for name in config.get("up_block_types", ()))
    if up and up[::-1] != attention:
        raise _refusal("up_block_types", config["up_block_types"])
    return {
        "in_channels": config["in_channels"],
        "block_out_channels": tuple(config["block_out_channels"]),
        "attention": attention,
        "layers_per_block": _one(config, "layers_per_block"),
        "attention_head_dim": _one(config, "attention_head_dim"),
        "cross_attention_dim": _one(config, "cross_attention_dim"),
        "norm_num_groups": _one(config, "norm_num_groups"),
        "transformer_depth": _one(config, "transformer_layers_per_block"),
    }


def adapter_options(
    adapter: MotionAdapter, encoder: Mapping[str, Any], temporal: str | None
) -> dict[str, Any]:
    """Return the arguments with which the U-Net has the layers of AnimateDiff's adapter.

    Args:
        adapter: the motion adapter.
        encoder: `encoder_options` of the U-Net.
        temporal: kind of temporal layers that is requested.

    Raises:
        UserError: the adapter was made for another U-Net, or `temporal` is not "animatediff".
    """
    if temporal != "animatediff":
        raise UserError("motion_adapter", f'temporal is "{temporal}"', 'set temporal to "animatediff"')
    config = adapter.config
    _refuse_unknown(MotionAdapter, config)
    same = {"motion_layers_per_block": "layers_per_block", "motion_norm_num_groups": "norm_num_groups"}
    for name, ours in same.items():
        if _one(config, name) != encoder[ours]:
            raise _refusal(name, config[name])
    if tuple(config["block_out_channels"]) != encoder["block_out_channels"]:
        raise _refusal("block_out_channels", config["block_out_channels"])
    return {
        "motion_heads": _one(config, "motion_num_attention_heads"),
        "motion_depth": _one(config, "motion_transformer_layers_per_block"),
        "motion_frames": config["motion_max_seq_length"],
        "motion_mid": config["use_motion_mid_block"],
    }


def _has_attention(block: str) -> bool:
    if block not in ATTENTION:
        raise _refusal("block types", block)
    return ATTENTION[block]


def _refuse_unknown(kind: type, config: Mapping[str, Any]) -> None:
    """Refuse options that are not read and differ from Stable Diffusion 1.x, which has the defaults."""
    for name, option in inspect.signature(kind).parameters.items():
        if name not in READ and config.get(name, option.default) != option.default:
            raise _refusal(name, config[name])


def _one(config: Mapping[str, Any], name: str) -> int:
    """Return a number that may also be given once per block, all equal."""
    value = config[name]
    values = {value} if isinstance(value, int) else set(value)
    if len(values) != 1 or not all(isinstance(v, int) for v in values):
        raise _refusal(name, value)
    return values.pop()


def _refusal(name: str, value: object) -> UserError:
    return UserError(name, f"{value!r} is not supported", "give a network of the Stable Diffusion 1.x kind")
