"""Weights, gradients, moments and average split over processes, where one device has no room for all (FSDP).

Every process keeps its part of each tensor. The weights alone are put together while a step goes forwards and
backwards; gradients, moments and the average never are, but to be saved or to draw samples. Checkpoints are
those of a run that is not split, and either goes on from the other's.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import torch
from accelerate import Accelerator, DistributedType
from accelerate.utils import parse_flag_from_env
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from idol.errors import UserError


def is_split(accelerator: Accelerator) -> bool:
    """Whether ``accelerate launch --use_fsdp`` (or ACCELERATE_USE_FSDP, on CPUs) asks for it.

    Raises:
        UserError: If accelerate has been told to split the weights in another way.
    """
    if accelerator.distributed_type in (DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM):
        found = f"splits the weights by {accelerator.distributed_type.value}"
        raise UserError("accelerate", found, "launch with --use_fsdp, or with plain data parallelism")
    asked = accelerator.distributed_type == DistributedType.FSDP or parse_flag_from_env("ACCELERATE_USE_FSDP")
    return asked and torch.distributed.is_initialized()


def split(module: nn.Module, accelerator: Accelerator) -> None:
    """Leave each process its part of a module's parameters, which become `DTensor`.

    The module is one unit: before its `forward` all its parameters are put together.
    """
    mesh = init_device_mesh(accelerator.device.type, (accelerator.num_processes,))
    fully_shard(module, mesh=mesh)
    # nothing is changed in place in what a network returns
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")


def apart(module: nn.Module) -> None:
    """Give back what `forward` without a backward pass has put together."""
    if isinstance(module, FSDPModule):
        module.reshard()


def whole(tensors: Mapping[str, Tensor], keep: bool) -> dict[str, Tensor]:
    """The tensors in full; what is not split stays as it is.

    Args:
        tensors: By name. Every process must ask for the same ones.
        keep: Whether this process wants them; the others get none, and need room for one at a time.
    """
    kept = {}
    for name, tensor in tensors.items():
        full = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
        if keep:
            kept[name] = full.cpu() if isinstance(tensor, DTensor) else full
    return kept


def own(tensor: Tensor) -> Tensor:
    """This process' part; all of what is not split."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def alike(value: Tensor, parameter: Tensor) -> Tensor:
    """A full value of a parameter's shape, split and laid out in memory as the parameter is."""
    if isinstance(parameter, DTensor):
        return distribute_tensor(value.to(parameter.device), parameter.device_mesh, parameter.placements)
    return torch.empty_like(parameter).copy_(value)
