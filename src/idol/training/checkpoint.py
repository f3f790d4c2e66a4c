"""State of a run on disk: written whole or not at all, in files of a bounded size, tensors only."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from idol.config import from_dict
from idol.diffusion.latents import LatentConfig
from idol.errors import UserError
from idol.training.fsdp import alike

STATE = "state.json"


@dataclass(frozen=True)
class State:
    """What a checkpoint says of itself besides its tensors."""

    step: int
    """Optimizer steps done."""
    config: dict[str, Any]
    """The resolved config of the run."""
    latents: LatentConfig
    """How latents are normalized."""


def save_checkpoint(
    folder: Path, state: State, tensors: Mapping[str, Mapping[str, Tensor]], shard_mb: float, keep: int
) -> Path:
    """Write ``folder/step-<n>`` by rename and remove all but the newest `keep` checkpoints.

    Args:
        folder: Holds a run's checkpoints.
        state: See `State`.
        tensors: Groups of tensors; each group becomes files of its name.
        shard_mb: Largest size of a file in megabytes; a single larger tensor has a file of its own.
        keep: Checkpoints that remain.
    """
    path = folder / f"step-{state.step:08d}"
    write_folder(path, state, tensors, shard_mb)
    for old in checkpoints(folder)[:-keep]:
        shutil.rmtree(old)
    return path


def write_folder(
    path: Path, state: State, tensors: Mapping[str, Mapping[str, Tensor]], shard_mb: float
) -> None:
    """Write one checkpoint folder: it appears complete, by rename, in place of one of its name."""
    partial = path.with_name(f".{path.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for group, members in tensors.items():
        for number, part in enumerate(_pieces(members, shard_mb * 2**20)):
            save_file(part, partial / f"{group}-{number:04d}.safetensors")
    (partial / STATE).write_text(json.dumps(asdict(state), indent=1))
    _to_disk(partial)
    if path.exists():
        shutil.rmtree(path)
    partial.replace(path)


def checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints of a run, oldest first."""
    return sorted(folder.glob("step-[0-9]*")) if folder.exists() else []


def load_state(path: Path) -> State:
    """Read what a checkpoint says of itself.

    Raises:
        UserError: If `path` is no checkpoint.
    """
    try:
        raw = json.loads((path / STATE).read_text())
        return State(raw["step"], raw["config"], from_dict(LatentConfig, raw["latents"], str(path)))
    except UserError:
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(str(path), f"no readable {STATE}", "name a checkpoint folder of a run") from error


def load_tensors(path: Path, group: str) -> dict[str, Tensor]:
    """Read one group of tensors of a checkpoint, to the CPU.

    Raises:
        UserError: If there is none, or a file is broken.
    """
    files = sorted(path.glob(f"{group}-[0-9]*.safetensors"))
    if not files:
        raise UserError(str(path), f"no {group} weights", "name a checkpoint folder of a run")
    tensors: dict[str, Tensor] = {}
    for file in files:
        try:
            tensors |= load_file(file)
        except (SafetensorError, OSError) as error:
            raise UserError(str(file), f"cannot be read ({error})", "take another checkpoint") from error
    return tensors


def optimizer_tensors(optimizer: Optimizer) -> dict[str, Tensor]:
    """The state of an optimizer as named tensors: ``<parameter number>.<name>``."""
    state = optimizer.state_dict()["state"]
    return {
        f"{i}.{name}": torch.as_tensor(value) for i, entry in state.items() for name, value in entry.items()
    }


def load_optimizer(optimizer: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` took."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        number, _, name = key.partition(".")
        parameter = parameters[int(number)]
        if value.shape == parameter.shape:
            # the fused kernel walks through memory: moments must lie in memory as their parameter does
            value = alike(value, parameter)
        state.setdefault(int(number), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def load_exactly(module: nn.Module, tensors: Mapping[str, Tensor], source: Path) -> None:
    """Load a module's own weights.

    Raises:
        UserError: If names or shapes differ.
    """
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        raise UserError(
            str(source), "weights of another architecture", "use the config they came from"
        ) from error


def _pieces(tensors: Mapping[str, Tensor], limit: float) -> Iterator[dict[str, Tensor]]:
    piece: dict[str, Tensor] = {}
    size = 0
    for name, tensor in tensors.items():
        tensor = tensor.detach().cpu().contiguous()
        if piece and size + tensor.nbytes > limit:
            yield piece
            piece, size = {}, 0
        piece[name] = tensor
        size += tensor.nbytes
    yield piece


def _to_disk(folder: Path) -> None:
    """Have everything in `folder` on the disk before the rename that declares it complete."""
    for path in (*folder.iterdir(), folder):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
