"""What a run depends on beside its inputs and settings: weights, device, CPU threads, package versions."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from idol.assets import sha256_of
from idol.errors import UserError
from idol.generation.run_folder import FileChecksum

if TYPE_CHECKING:
    from idol.pipeline.pipeline import IdolPipeline

_PACKAGES = ("idol-diffusion", "torch", "diffusers", "transformers", "numpy", "onnxruntime")


def default_device() -> str:
    """Return "cuda" where there is a GPU, else "cpu"."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def load_pipeline(weights: str, device: str | None = None) -> IdolPipeline:
    """Load a checkpoint and move it to a device.

    Args:
        weights: "mini", a folder, or a hub id.
        device: "cpu", "cuda", "cuda:1", ...; `default_device` if None.

    Raises:
        UserError: If there is no such checkpoint or device, or the checkpoint cannot be used.
    """
    from diffusers.utils import logging

    from idol.pipeline.pipeline import IdolPipeline

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # it would count components, which says nothing about the time
    try:
        pipe = IdolPipeline.from_pretrained(weights)
    finally:
        if shown:
            logging.enable_progress_bar()
    pipe.set_progress_bar_config(disable=True)
    device = device or default_device()
    try:
        return pipe.to(device)
    except (RuntimeError, AssertionError) as error:  # how torch reports a device that it does not have
        raise UserError("device", f"{device} cannot be used ({error})", "try `device=cpu`") from error


@contextmanager
def cpu_threads(count: int) -> Iterator[None]:
    """Set the number of torch's CPU threads inside the block: it decides the order of sums, so the last bit.

    Args:
        count: Number of threads.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def checkpoint_files(pipe: IdolPipeline) -> tuple[FileChecksum, ...]:
    """Return the config and weight files that a pipeline was loaded from, with their checksums."""
    folder = Path(pipe.config["_name_or_path"])
    files = sorted(path for ending in ("json", "safetensors") for path in folder.rglob(f"*.{ending}"))
    return tuple(FileChecksum(str(file.relative_to(folder)), sha256_of(file)) for file in files)


def package_versions() -> tuple[str, ...]:
    """Return `package==version` of Python and of every installed package that can change the frames."""
    found = [f"python=={platform.python_version()}"]
    for package in _PACKAGES:
        try:
            found.append(f"{package}=={importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:  # an extra that is not installed changed nothing
            continue
    return tuple(found)
