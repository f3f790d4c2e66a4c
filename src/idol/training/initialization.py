"""Where a stage starts from: another run, its light weights, or a pipeline such as the bundled `mini`."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from idol.diffusion.latents import LatentConfig
from idol.errors import UserError
from idol.model.checkpoints import find_checkpoint
from idol.pipeline.pipeline import IdolPipeline
from idol.training.checkpoint import STATE, checkpoints, load_state, load_tensors

_PARTS = {
    "unet": "unet",
    "control": "control",
    "foreground": "foreground_encoder",
    "background": "background_control",
}


def find_weights(source: Path) -> Path:
    """The folder with weights that `source` means: itself, or the newest checkpoint of a run folder.

    Raises:
        UserError: If it is neither.
    """
    if (source / STATE).exists():
        return source
    found = checkpoints(source / "checkpoints")
    if not found:
        raise UserError(str(source), "no checkpoint", "name a run folder or a checkpoint")
    return found[-1]


def starting_point(source: Path) -> tuple[dict[str, Tensor], LatentConfig]:
    """Averaged weights by their names in `Networks`, and how their latents are normalized.

    Args:
        source: Run folder, checkpoint, what `save_weights` wrote, a pipeline folder or a bundled one's name.

    Raises:
        UserError: If it is none of these.
    """
    pipeline = _pipeline_folder(source)
    if pipeline is None:
        folder = find_weights(source)
        return load_tensors(folder, "average"), load_state(folder).latents
    pipe = IdolPipeline.from_pretrained(pipeline)
    modules = {part: getattr(pipe, component) for part, component in _PARTS.items()}
    weights = {
        f"{part}.{name}": weight
        for part, module in modules.items()
        if module is not None
        for name, weight in module.state_dict().items()
    }
    return weights, pipe.codec_config


def autoencoder_folder(path: str) -> str:
    """A folder of the autoencoder, that of a pipeline where `path` names one."""
    pipeline = _pipeline_folder(Path(path))
    return path if pipeline is None else str(pipeline / "vae")


def _pipeline_folder(source: Path) -> Path | None:
    if source.is_dir():
        return source if (source / "model_index.json").is_file() else None
    if len(source.parts) != 1:
        return None
    try:
        found = find_checkpoint(source)
    except UserError:  # no bundled checkpoint of this name: a run folder that is missing, told by the caller
        return None
    return found if isinstance(found, Path) else None
