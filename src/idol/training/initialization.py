"""Initial weights of a stage: of another run, of its exported weights, or of a pipeline such as `mini`."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from idol.diffusion.latents import LatentConfig
from idol.errors import UserError
from idol.model.checkpoints import find_checkpoint
from idol.pipeline.pipeline import IdolPipeline
from idol.training.checkpoint import STATE_FILE, list_checkpoints, load_state, load_tensors

_PARTS = {
    "unet": "unet",
    "control": "control",
    "foreground": "foreground_encoder",
    "background": "background_control",
}


def find_weights(source: Path) -> Path:
    """Return `source` if it is a checkpoint, or the newest checkpoint of a run folder.

    Raises:
        UserError: If it is neither.
    """
    if (source / STATE_FILE).exists():
        return source
    found = list_checkpoints(source / "checkpoints")
    if not found:
        raise UserError(str(source), "no checkpoint", "give a run folder or a checkpoint")
    return found[-1]


def initial_weights(source: Path) -> tuple[dict[str, Tensor], LatentConfig]:
    """Load EMA weights by their names in `Networks`, with the normalization of their latents.

    Args:
        source: Run folder, checkpoint, output of `save_weights`, pipeline folder, or name of a bundled
            pipeline.

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
    """Return the folder of an autoencoder: `path` itself, or the `vae` of the pipeline that it names."""
    pipeline = _pipeline_folder(Path(path))
    return path if pipeline is None else str(pipeline / "vae")


def _pipeline_folder(source: Path) -> Path | None:
    if source.is_dir():
        return source if (source / "model_index.json").is_file() else None
    if len(source.parts) != 1:
        return None
    try:
        found = find_checkpoint(source)
    except UserError:  # no bundled pipeline of this name: a missing run folder, which the caller reports
        return None
    return found if isinstance(found, Path) else None
