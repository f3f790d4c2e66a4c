"""Checkpoint folders: find them by name, and check their files before anything is loaded."""

import json
import re
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from idol.errors import UserError

ARGUMENT = "weights"
BUNDLED = Path(__file__).resolve().parents[1] / "weights"
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


def find_checkpoint(name: str | Path) -> Path | str:
    """Return the folder of a checkpoint, or `name` itself where it is a hub id.

    Args:
        name: Name of a checkpoint that comes with the package ("mini"), a folder, or a hub id "owner/model".

    Raises:
        UserError: If it is none of the three.
    """
    if Path(name).is_dir():
        return Path(name)
    if Path(name).exists():
        raise UserError(ARGUMENT, f"{name} is a file", "give the folder with model_index.json")
    if (BUNDLED / str(name)).is_dir():
        return BUNDLED / str(name)
    if HUB_ID.fullmatch(str(name)):
        return str(name)
    bundled = (
        ", ".join(sorted(p.name for p in BUNDLED.glob("*") if p.is_dir())) or "none in this installation"
    )
    raise UserError(ARGUMENT, f"no folder {name}", f"give a folder, a hub id or a bundled name ({bundled})")


def download_checkpoint(pipeline: Any, name: str, options: Mapping[str, Any]) -> Path:
    """Fetch a checkpoint from the hub into its cache.

    Args:
        pipeline: The diffusers pipeline class.
        name: Hub id.
        options: Keywords of `DiffusionPipeline.download`.

    Raises:
        UserError: If there is no such model or no network.
    """
    try:
        return Path(pipeline.download(name, **options))
    except Exception as error:  # which errors come depends on the HTTP library of the installed hub client
        reason = textwrap.shorten(str(error) or type(error).__name__, 120)
        found = f"{name} cannot be fetched ({reason})"
        raise UserError(
            ARGUMENT, found, "check the name and the network, or give a folder or mini"
        ) from error


def check_checkpoint(folder: Path, pipeline: str, classes: Mapping[str, type]) -> None:
    """Check every file of a checkpoint before any is loaded.

    Args:
        folder: A folder as `save_pretrained` writes it.
        pipeline: Class name that its model_index.json must have.
        classes: The model classes that may be loaded, by name; schedulers are not checked.

    Raises:
        UserError: If the folder is of another pipeline, or a file is missing, truncated, not safetensors, or
            of another architecture than its config.
    """
    index = _read_json(folder / "model_index.json")
    if index.get("_class_name") != pipeline:
        raise UserError(ARGUMENT, f"{folder} holds a {index.get('_class_name')}", f"give one of {pipeline}")
    for name, entry in index.items():
        if not isinstance(entry, list) or entry[:1] == [None] or name.startswith("_"):
            continue
        if entry[1] in classes:
            check_component(folder / name, classes[entry[1]])
        elif not entry[1].endswith("Scheduler"):
            known = ", ".join(sorted(classes))
            raise UserError(ARGUMENT, f"{name} of {folder} is a {entry[1]}", f"known components: {known}")


def check_component(folder: Path, model: Any) -> None:
    """Compare the weights in a component's folder with the model that its config describes.

    Args:
        folder: Holds config.json and the weights, in one file or several.
        model: A diffusers model class.

    Raises:
        UserError: See `check_checkpoint`.
    """
    config = _read_json(folder / "config.json")
    found = {key: shape for path in _weight_files(folder) for key, shape in _shapes(path).items()}
    try:
        with torch.device("meta"):
            expected = {k: tuple(v.shape) for k, v in model.from_config(config).state_dict().items()}
    except (TypeError, ValueError, KeyError, AttributeError, RuntimeError) as error:
        raise UserError(ARGUMENT, f"{folder}/config.json is not usable ({error})", "restore it") from error
    wrong = sorted(k for k in expected.keys() | found.keys() if expected.get(k) != found.get(k))
    if wrong:
        key = wrong[0]
        difference = f"{key} is {found.get(key, 'missing')} instead of {expected.get(key, 'nothing')}"
        raise UserError(
            ARGUMENT,
            f"{folder}: {difference} ({len(wrong)} such)",
            "give weights of the architecture in config.json",
        )


def _weight_files(folder: Path) -> list[Path]:
    files = sorted(folder.glob("*.safetensors"))
    if files:
        return files
    pickles = sorted(p.name for p in folder.iterdir() if p.suffix in PICKLES)
    if pickles:
        raise UserError(
            ARGUMENT, f"{folder}/{pickles[0]} is not safetensors", "convert it: only safetensors are read"
        )
    raise UserError(ARGUMENT, f"{folder} holds no weights", "copy the whole checkpoint folder")


def _shapes(path: Path) -> dict[str, tuple[int, ...]]:
    try:
        with safe_open(path, framework="pt") as file:
            return {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        found = f"{path} is truncated or not safetensors ({error})"
        raise UserError(ARGUMENT, found, "copy or download it again") from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text())
    except OSError as error:
        raise UserError(ARGUMENT, f"{path} cannot be read", "give a complete checkpoint folder") from error
    except ValueError as error:
        raise UserError(ARGUMENT, f"{path} is not JSON", "copy or download it again") from error
    if not isinstance(values, dict):
        raise UserError(ARGUMENT, f"{path} is not a JSON object", "copy or download it again")
    return values
