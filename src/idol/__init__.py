"""IDOL: a video of a person and its depth, generated together.

Every command of the command line is a function here: `idol.generate`, `idol.render`, ... All names are
imported at first use, so that `import idol` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from idol.clip import Clip as Clip
    from idol.clip import Pose as Pose
    from idol.errors import UserError as UserError
    from idol.evaluation.evaluate import evaluate as evaluate
    from idol.evaluation.external.importers import import_clips as import_clips
    from idol.experiments.cost.measure import benchmark as benchmark
    from idol.experiments.reproduce import reproduce as reproduce
    from idol.generation.demo import demo as demo
    from idol.generation.generate import generate as generate
    from idol.generation.generate import repeat as repeat
    from idol.model import PoseAdapter as PoseAdapter
    from idol.model import PoseControlNet as PoseControlNet
    from idol.model import UnifiedUNet as UnifiedUNet
    from idol.model.autoencoder import Autoencoder as Autoencoder
    from idol.model.encoders import CLIPForeground as CLIPForeground
    from idol.model.encoders import LatentForeground as LatentForeground
    from idol.pipeline.pipeline import IdolPipeline as IdolPipeline
    from idol.provenance.report import verify as verify
    from idol.rendering.render import render as render
    from idol.rendering.viewers import view as view
    from idol.synthesis.dataset import synth as synth
    from idol.training.stages import train as train
    from idol.training.stages import train_autoencoder as train_autoencoder
    from idol.webapp.server import app as app

__version__ = "0.1.0"

# Command -> module that defines its function. No module of `idol` itself has one of these names, which an
# import of it would put in the function's place.
_COMMANDS = {
    "app": "webapp.server",
    "benchmark": "experiments.cost.measure",
    "demo": "generation.demo",
    "evaluate": "evaluation.evaluate",
    "generate": "generation.generate",
    "import_clips": "evaluation.external.importers",
    "render": "rendering.render",
    "repeat": "generation.generate",
    "reproduce": "experiments.reproduce",
    "synth": "synthesis.dataset",
    "train": "training.stages",
    "train_autoencoder": "training.stages",
    "verify": "provenance.report",
    "view": "rendering.viewers",
}

# Class -> module. A checkpoint's model_index.json names ["idol", class]: the networks are here, too.
_CLASSES = {
    "Autoencoder": "model.autoencoder",
    "CLIPForeground": "model.encoders",
    "Clip": "clip",
    "IdolPipeline": "pipeline.pipeline",
    "LatentForeground": "model.encoders",
    "Pose": "clip",
    "PoseAdapter": "model",
    "PoseControlNet": "model",
    "UnifiedUNet": "model",
    "UserError": "errors",
}

_MODULES = _COMMANDS | _CLASSES

__all__ = [*_MODULES, "__version__"]


def __getattr__(name: str) -> Any:
    if name == "ModelMixin":
        # diffusers loads ["idol", class] only from a library that shows its own base class
        return import_module("diffusers.models.modeling_utils").ModelMixin
    if name in _MODULES:
        return getattr(import_module(f"idol.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'idol' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULES])
