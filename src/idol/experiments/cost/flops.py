"""FLOPs of a clip, counted without computing it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.flop_counter import FlopCounterMode, flop_registry, sdpa_flop_count

_CPU_ATTENTION = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_COUNTED = {*flop_registry, _CPU_ATTENTION}  # torch knows the other fused attentions itself
_FORMULAS = {_CPU_ATTENTION: lambda query, key, value, *_, **__: sdpa_flop_count(query, key, value)}
_EVERY_STEP = "UnifiedUNet", "PoseControlNet"


@dataclass(frozen=True)
class FlopCount:
    """FLOPs of one clip in one step.

    Attributes:
        clip: FLOPs in total.
        step: FLOPs of the networks that run in every step.
        arithmetic: Precisions of matrix products, convolutions and attention: "float32", "tf32", ...
    """

    clip: int
    step: int
    arithmetic: tuple[str, ...]


def count_flops(generate: Callable[[], None]) -> FlopCount:
    """Count the FLOPs of `generate`, of whose results only the shapes are right."""
    mode = _ZeroResults()
    with (
        mode,
        FlopCounterMode(display=False, custom_mapping=_FORMULAS) as counter,
    ):
        generate()
    counts = counter.get_flop_counts()
    step = sum(sum(counts[name].values()) for name in _EVERY_STEP if name in counts)
    return FlopCount(counter.get_total_flops(), step, tuple(sorted(mode.arithmetic)))


class _ZeroResults(TorchDispatchMode):
    """Replaces the results of the counted operations by zeros, and records their precision."""

    def __init__(self) -> None:
        super().__init__()
        self.arithmetic: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func.overloadpacket not in _COUNTED:
            return func(*args, **kwargs)
        first = next(leaf for leaf in tree_leaves(args) if isinstance(leaf, Tensor))
        self.arithmetic.add(_arithmetic(func, first))
        shapes = tree_map_only(Tensor, lambda x: x.to("meta"), (args, kwargs))
        result = func(*shapes[0], **shapes[1])
        return tree_map_only(Tensor, lambda x: torch.zeros_like(x, device=first.device), result)


def _arithmetic(func: Any, first: Tensor) -> str:
    if first.is_cuda and first.dtype == torch.float32:
        convolves = func.overloadpacket is torch.ops.aten.convolution
        switch: Any = torch.backends.cudnn if convolves else torch.backends.cuda.matmul
        if switch.allow_tf32:
            return "tf32"
    return str(first.dtype).removeprefix("torch.")
