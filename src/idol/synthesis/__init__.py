"""Synthetic people with exact depth: nothing in, clips out."""

from typing import Any

from idol.synthesis.dataset import generate
from idol.synthesis.splits import SPLITS, Split

__all__ = ["SPLITS", "Split", "generate", "make_clip"]


def __getattr__(name: str) -> Any:
    if name == "make_clip":  # needs the renderer and the body model
        from idol.synthesis.clips import make_clip

        return make_clip
    raise AttributeError(name)
