"""What a clip can be rendered as."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from idol.rendering.job import RenderJob
from idol.rendering.outputs.exports import (
    write_depth,
    write_exr,
    write_mesh,
    write_points,
    write_scene_points,
)
from idol.rendering.outputs.videos import write_parallax, write_stereo

KINDS: dict[str, Callable[[RenderJob], list[Path]]] = {
    "parallax": write_parallax,
    "stereo": write_stereo,
    "points": write_points,
    "scene-points": write_scene_points,
    "mesh": write_mesh,
    "exr": write_exr,
    "depth": write_depth,
}
"""By name: what writes a job's files into its folder and tells their paths."""
