"""What is computed once per reference clip and compared with every generated one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from idol.clip import Clip
from idol.evaluation.metrics import clip as clip_metrics
from idol.evaluation.metrics import optical_flow
from idol.evaluation.metrics.clothing_color import Garment, garment_region, mean_color
from idol.evaluation.metrics.depth_boundaries import DepthEdges, depth_edges
from idol.evaluation.metrics.image import gray


@dataclass(frozen=True)
class Reference:
    """A reference clip and what is derived from it, computed on first access and cached.

    Attributes:
        clip: The clip.
    """

    clip: Clip

    @cached_property
    def person(self) -> np.ndarray:
        """(f, h, w) bool: the person, from the depth if that shows nothing else, from the mask otherwise."""
        return (
            clip_metrics.silhouette(self.clip.depth) if self.clip.depth_kind == "person" else self.clip.mask
        )

    @cached_property
    def gray(self) -> np.ndarray:
        """(f, h, w) uint8: luma of the video."""
        return gray(self.clip.video)

    @cached_property
    def depth_edges(self) -> DepthEdges:
        """Discontinuities of the depth."""
        return depth_edges(self.clip.depth)

    @cached_property
    def forward_flow(self) -> optical_flow.ForwardFlow:
        """Optical flow from each frame to the next."""
        return optical_flow.forward_flow(self.gray)

    @cached_property
    def height(self) -> float:
        """Height of the person in pixels."""
        return clip_metrics.person_height(self.clip.mask)

    @cached_property
    def garments(self) -> dict[Garment, tuple[np.ndarray, np.ndarray]]:
        """For each garment its region, (f, h, w) bool, and its Lab color in the first frame, (3,)."""
        names: tuple[Garment, ...] = ("shirt", "trousers")
        regions = {name: garment_region(self.clip.pose, self.clip.mask, name) for name in names}
        return {n: (where, mean_color(self.clip.video[:1], where[:1])[0]) for n, where in regions.items()}
