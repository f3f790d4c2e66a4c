"""IDOL: a video of a person and its depth, generated together.

The names below are imported when they are first used, so that `import idol` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from idol.clip import Clip as Clip
    from idol.clip import Pose as Pose
    from idol.errors import UserError as UserError
    from idol.pipeline import IdolPipeline as IdolPipeline

__version__ = "0.1.0"

_HOMES = {"Clip": "clip", "IdolPipeline": "pipeline", "Pose": "clip", "UserError": "errors"}

__all__ = ["Clip", "IdolPipeline", "Pose", "UserError", "__version__"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"idol.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'idol' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
