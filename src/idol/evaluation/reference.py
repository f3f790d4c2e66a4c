"""What of the true clip every judged one is compared with, worked out once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from idol.clip import Clip
from idol.evaluation.metrics import clip as clip_metrics
from idol.evaluation.metrics import optical_flow
from idol.evaluation.metrics.clothing_color import Garment, mean_color, region
from idol.evaluation.metrics.depth_boundaries import Edges, edges
from idol.evaluation.metrics.image import gray


@dataclass(frozen=True)
class Truth:
    """A true clip; what follows from it is worked out when first asked for, and kept.

    Attributes:
        clip: The clip.
    """

    clip: Clip

    @cached_property
    def person(self) -> np.ndarray:
        """(f, h, w) bool: the person; by its depth where that shows nothing else, else by its mask."""
        return (
            clip_metrics.silhouette(self.clip.depth) if self.clip.depth_kind == "person" else self.clip.mask
        )

    @cached_property
    def gray(self) -> np.ndarray:
        """(f, h, w) uint8: the video in gray."""
        return gray(self.clip.video)

    @cached_property
    def edges(self) -> Edges:
        """Where the depth jumps."""
        return edges(self.clip.depth)

    @cached_property
    def tracks(self) -> optical_flow.Tracks:
        """How the video moves."""
        return optical_flow.tracks(self.gray)

    @cached_property
    def height(self) -> float:
        """Of the person, in pixels."""
        return clip_metrics.person_height(self.clip.mask)

    @cached_property
    def garments(self) -> dict[Garment, tuple[np.ndarray, np.ndarray]]:
        """For each garment: where it is, (f, h, w) bool, and its Lab color in the first frame, (3,)."""
        names: tuple[Garment, ...] = ("shirt", "trousers")
        places = {name: region(self.clip.pose, self.clip.mask, name) for name in names}
        return {n: (where, mean_color(self.clip.video[:1], where[:1])[0]) for n, where in places.items()}
