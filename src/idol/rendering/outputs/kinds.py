"""The kinds of output of `idol render`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from idol.rendering.outputs.exports import (
    write_depth,
    write_exr,
    write_mesh,
    write_points,
    write_scene_points,
)
from idol.rendering.outputs.videos import write_parallax, write_stereo
from idol.rendering.view_settings import RenderJob

KINDS: dict[str, Callable[[RenderJob], list[Path]]] = {
    "parallax": write_parallax,
    "stereo": write_stereo,
    "points": write_points,
    "scene-points": write_scene_points,
    "mesh": write_mesh,
    "exr": write_exr,
    "depth": write_depth,
}
"""Functions by name; each writes its files into the job's folder and returns their paths."""
