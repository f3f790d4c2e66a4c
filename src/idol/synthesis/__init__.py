"""Synthetic clips of people, with exact depth, masks and joints."""

from typing import Any

from idol.synthesis.dataset import synth
from idol.synthesis.splits import SPLITS, Split

__all__ = ["SPLITS", "Split", "make_clip", "synth"]


def __getattr__(name: str) -> Any:
    if name == "make_clip":  # needs the renderer and the body model
        from idol.synthesis.clips import make_clip

        return make_clip
    raise AttributeError(name)
