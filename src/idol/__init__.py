"""IDOL: a video of a person and its depth, generated together.

The names below are imported when they are first used, so that `import idol` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from idol.clip import Clip as Clip
    from idol.clip import Pose as Pose
    from idol.errors import UserError as UserError
    from idol.model import PoseAdapter as PoseAdapter
    from idol.model import PoseControlNet as PoseControlNet
    from idol.model import UnifiedUNet as UnifiedUNet
    from idol.model.autoencoder import Autoencoder as Autoencoder
    from idol.model.encoders import CLIPForeground as CLIPForeground
    from idol.model.encoders import LatentForeground as LatentForeground
    from idol.pipeline.pipeline import IdolPipeline as IdolPipeline

__version__ = "0.1.0"

# Name -> module. A checkpoint's model_index.json names ["idol", class]: the networks are here, too.
_HOMES = {
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

__all__ = [*_HOMES, "__version__"]


def __getattr__(name: str) -> Any:
    if (
        name == "ModelMixin"
    ):  # diffusers loads ["idol", class] only from a library that shows its own base class
        return import_module("diffusers.models.modeling_utils").ModelMixin
    if name in _HOMES:
        return getattr(import_module(f"idol.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'idol' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
