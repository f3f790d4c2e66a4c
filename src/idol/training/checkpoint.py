"""Checkpoints of a run: written completely or not at all, as safetensors files of a bounded size."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import save_torch_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from idol.atomic_io import FolderKind, atomic_file, staged_folder
from idol.config import from_dict
from idol.diffusion.latents import LatentConfig
from idol.errors import UserError
from idol.training.fsdp import shard_like

STATE_FILE = "state.json"
_CHECKPOINT = FolderKind("a checkpoint", STATE_FILE)


@dataclass(frozen=True)
class TrainState:
    """Metadata of a checkpoint.

    Attributes:
        step: Optimizer steps done.
        config: Resolved config of the run, as plain values.
        latents: Normalization of the latents.
    """

    step: int
    config: dict[str, Any]
    latents: LatentConfig


def save_checkpoint(
    folder: Path,
    state: TrainState,
    tensors: Mapping[str, Mapping[str, Tensor]],
    shard_mb: float,
    keep_checkpoints: int,
) -> Path:
    """Write ``folder/step-<n>`` atomically and remove all but the newest checkpoints.

    Args:
        folder: Folder of a run's checkpoints.
        state: Metadata.
        tensors: Named groups of tensors.
        shard_mb: Maximum size of a file, megabytes; a single larger tensor has its own file.
        keep_checkpoints: Number of checkpoints to keep, at least 1.

    Returns:
        The checkpoint's folder.
    """
    for interrupted in folder.glob(".step-*"):  # left by a process that was killed while saving
        shutil.rmtree(interrupted)
    path = folder / f"step-{state.step:08d}"
    write_checkpoint(path, state, tensors, shard_mb)
    for old in list_checkpoints(folder)[:-keep_checkpoints]:
        shutil.rmtree(old)
    return path


def write_checkpoint(
    path: Path, state: TrainState, tensors: Mapping[str, Mapping[str, Tensor]], shard_mb: float
) -> None:
    """Write one checkpoint folder atomically; an existing checkpoint at `path` is replaced.

    Args:
        path: The checkpoint's folder.
        state: Metadata.
        tensors: Named groups of tensors; each group becomes files that start with its name.
        shard_mb: Maximum size of a file, megabytes; a single larger tensor has its own file.

    Raises:
        UserError: If `path` exists and is not a checkpoint, or cannot be written.
    """
    with staged_folder(path, True, _CHECKPOINT) as staging:
        for group, members in tensors.items():
            save_torch_state_dict(
                dict(members),
                staging,
                filename_pattern=f"{group}{{suffix}}.safetensors",
                max_shard_size=int(shard_mb * 2**20),
            )
        (staging / STATE_FILE).write_text(json.dumps(asdict(state), indent=1))
        _sync(staging)


def list_checkpoints(folder: Path) -> list[Path]:
    """List the complete checkpoints of a run, oldest first."""
    return sorted(folder.glob("step-[0-9]*")) if folder.exists() else []


def load_state(path: Path) -> TrainState:
    """Read the metadata of a checkpoint.

    Raises:
        UserError: If `path` is not a checkpoint.
    """
    try:
        raw = json.loads((path / STATE_FILE).read_text())
        return TrainState(
            raw["step"],
            raw["config"],
            from_dict(LatentConfig, LatentConfig.upgrade(raw["latents"]), str(path)),
        )
    except UserError:
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            str(path), f"no readable {STATE_FILE}", "give a checkpoint folder of a run"
        ) from error


def load_tensors(path: Path, group: str) -> dict[str, Tensor]:
    """Read one group of a checkpoint's tensors to the CPU.

    Args:
        path: The checkpoint's folder.
        group: `networks`, `average` (their EMA) or `optimizer`.

    Raises:
        UserError: If there is none, or a file is broken.
    """
    files = sorted(path.glob(f"{group}*.safetensors"))
    if not files:
        raise UserError(str(path), f"no {group} weights", "give a checkpoint folder of a run")
    tensors: dict[str, Tensor] = {}
    for file in files:
        try:
            tensors |= load_file(file)
        except (SafetensorError, OSError) as error:
            raise UserError(str(file), f"cannot be read ({error})", "use another checkpoint") from error
    return tensors


def optimizer_tensors(optimizer: Optimizer) -> dict[str, Tensor]:
    """Return the state of an optimizer as named tensors: ``<parameter index>.<name>``."""
    state = optimizer.state_dict()["state"]
    return {
        f"{i}.{name}": torch.as_tensor(value) for i, entry in state.items() for name, value in entry.items()
    }


def load_optimizer(optimizer: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Restore the state of an optimizer.

    Args:
        optimizer: Optimizer of the same parameters.
        tensors: Result of `optimizer_tensors`.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        number, _, name = key.partition(".")
        parameter = parameters[int(number)]
        if value.shape == parameter.shape:
            # the fused kernel runs linearly through memory: moments need the memory layout of their parameter
            value = shard_like(value, parameter)
        state.setdefault(int(number), {})[name] = value
    # hyperparameters are those of the present config, not of the one that was saved
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def load_exactly(module: nn.Module, tensors: Mapping[str, Tensor], source: Path) -> None:
    """Load weights whose names and shapes must be exactly the module's.

    Args:
        module: The module.
        tensors: Weights by name.
        source: File or folder that the weights come from, for the error message.

    Raises:
        UserError: If names or shapes differ.
    """
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        raise UserError(
            str(source), "weights of another architecture", "use the config they came from"
        ) from error


def save_network(path: Path, network: nn.Module, ema: nn.Module, optimizer: Optimizer, step: int) -> None:
    """Write the state of a run that trains one network into one file, atomically.

    Args:
        path: The file.
        network: The trained network.
        ema: Its exponential moving average.
        optimizer: The optimizer of its parameters.
        step: Number of finished steps.
    """
    tensors = {f"model.{k}": v for k, v in network.state_dict().items()}
    tensors |= {f"average.{k}": v for k, v in ema.state_dict().items()}
    tensors |= {f"optimizer.{k}": v for k, v in optimizer_tensors(optimizer).items()}
    with atomic_file(path) as new:
        save_file({k: v.contiguous() for k, v in tensors.items()}, new, {"step": str(step)})


def load_network(
    path: Path, network: nn.Module, ema: nn.Module, optimizer: Optimizer, device: str = "cpu"
) -> int:
    """Load what `save_network` wrote, if the file exists, and return the number of finished steps.

    Args:
        path: The file.
        network: The network to continue with.
        ema: Its exponential moving average.
        optimizer: The optimizer of its parameters.
        device: Device of the loaded tensors.

    Raises:
        UserError: If the state belongs to another network.
    """
    if not path.exists():
        return 0
    tensors = load_file(path, device)

    def part(prefix: str) -> dict[str, Tensor]:
        return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

    load_exactly(network, part("model."), path)
    load_exactly(ema, part("average."), path)
    load_optimizer(optimizer, part("optimizer."))
    return int(tensors["optimizer.0.step"])


def _sync(folder: Path) -> None:
    """Flush everything in `folder` to the disk before the rename that declares it complete."""
    for path in (*folder.iterdir(), folder):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
