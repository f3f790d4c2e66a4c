"""Sharding of parameters, gradients, optimizer state and EMA over processes (FSDP).

For networks that one device has no memory for. Every process keeps its shard of each tensor. Parameters are
gathered during a step's forward and backward pass; gradients, optimizer state and EMA are gathered only for
saving and for sample grids. Checkpoints equal those of a run without sharding, and each resumes the other's.
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


def is_sharded(accelerator: Accelerator) -> bool:
    """Return whether ``accelerate launch --use_fsdp`` (or ACCELERATE_USE_FSDP, on CPUs) asks for sharding.

    Raises:
        UserError: If accelerate is configured to distribute the weights in another way.
    """
    if accelerator.distributed_type in (DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM):
        found = f"distributes the weights by {accelerator.distributed_type.value}"
        raise UserError("accelerate", found, "launch with --use_fsdp, or with plain data parallelism")
    # accelerate itself knows FSDP on accelerators only; on CPUs the flag is all there is
    asked = accelerator.distributed_type == DistributedType.FSDP or parse_flag_from_env("ACCELERATE_USE_FSDP")
    return asked and torch.distributed.is_initialized()


def shard(module: nn.Module, accelerator: Accelerator) -> None:
    """Replace a module's parameters by this process' shards (`DTensor`), in place.

    The module is one FSDP unit: all its parameters are gathered before its `forward`.

    Args:
        module: The module, with equal parameters in every process.
        accelerator: Processes and device.
    """
    mesh = init_device_mesh(accelerator.device.type, (accelerator.num_processes,))
    fully_shard(module, mesh=mesh)
    # harmless here: no output of a network is changed in place
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")


def reshard(module: nn.Module) -> None:
    """Free the parameters that a `forward` without backward pass has gathered; no-op without sharding."""
    if isinstance(module, FSDPModule):
        module.reshard()


def gather(tensors: Mapping[str, Tensor], keep: bool) -> dict[str, Tensor]:
    """Gather sharded tensors on the CPU; other tensors are returned as they are.

    Args:
        tensors: Tensors by name; every process must pass the same names, in the same order.
        keep: Whether this process returns the tensors; the others return none, and need memory for one at a
            time.
    """
    kept = {}
    for name, tensor in tensors.items():
        full = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
        if keep:  # copied: the result is a view of the gathered buffer, which is padded to equal shards
            kept[name] = full.to("cpu", copy=True) if isinstance(tensor, DTensor) else full
    return kept


def local(tensor: Tensor) -> Tensor:
    """Return this process' shard of a tensor; the tensor itself without sharding."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def shard_like(value: Tensor, parameter: Tensor) -> Tensor:
    """Shard a full tensor, and lay it out in memory, like a parameter.

    Args:
        value: Full tensor of the parameter's shape.
        parameter: Sharded or ordinary parameter.
    """
    if isinstance(parameter, DTensor):
        return distribute_tensor(value.to(parameter.device), parameter.device_mesh, parameter.placements)
    return torch.empty_like(parameter).copy_(value)
