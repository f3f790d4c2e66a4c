"""Kinds of `idol render` for other programs: points, meshes, EXR and depth videos."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from idol.rendering.outputs.depth_video import to_millimeters, write_depth_video
from idol.rendering.outputs.exr import write_background_exr, write_person_exr
from idol.rendering.outputs.mesh import clip_glb, frame_glb
from idol.rendering.outputs.point_cloud import background_cloud, merge_clouds, person_cloud, to_ply
from idol.rendering.view_settings import RenderJob


def write_points(job: RenderJob) -> list[Path]:
    """Write `points/00000.ply` ... with the person's points per frame, and `background.ply`."""
    layers = job.watermarked_layers
    files = _per_frame(job, "points", "ply", lambda i, path: _write(path, to_ply(person_cloud(layers, i))))
    return [
        *files,
        *_backgrounds(job, "ply", lambda i, path: _write(path, to_ply(background_cloud(layers, i)))),
    ]


def write_scene_points(job: RenderJob) -> list[Path]:
    """Write `scene-points/00000.ply` ... with person and background of each frame in one file."""
    layers = job.watermarked_layers

    def one(frame: int, path: Path) -> None:
        _write(path, to_ply(merge_clouds([person_cloud(layers, frame), background_cloud(layers, frame)])))

    return _per_frame(job, "scene-points", "ply", one)


def write_mesh(job: RenderJob) -> list[Path]:
    """Write `clip.glb`, one animation, and `mesh/00000.glb` ... per frame, all with the background."""
    layers, step = job.watermarked_layers, job.settings.mesh_step
    files = _per_frame(job, "mesh", "glb", lambda i, path: _write(path, frame_glb(layers, i, step)))
    return [_write(job.folder / "clip.glb", clip_glb(layers, step)), *files]


def write_exr(job: RenderJob) -> list[Path]:
    """Write `exr/00000.exr` ... with the person's R G B A Z per frame, and `background.exr`."""
    layers = job.watermarked_layers
    files = _per_frame(job, "exr", "exr", lambda i, path: write_person_exr(path, layers, i))
    return [*files, *_backgrounds(job, "exr", lambda i, path: write_background_exr(path, layers, i))]


def write_depth(job: RenderJob) -> list[Path]:
    """Write `depth.mkv`, the person's depth in 16-bit millimeters, and `scene-depth.mkv`, the scene's."""
    layers = job.layers
    mask = layers.alpha >= 0.5
    person = np.where(mask, layers.z, np.float32(np.inf))
    scene = np.where(mask, layers.z, layers.background_z)
    files = []
    for name, z in (("depth.mkv", person), ("scene-depth.mkv", scene)):
        files.append(job.folder / name)
        write_depth_video(files[-1], to_millimeters(z), layers.fps)
    return files


def _per_frame(job: RenderJob, name: str, suffix: str, write: Callable[[int, Path], object]) -> list[Path]:
    """Write one file per frame into a new folder and report progress."""
    files = list(_numbered(job.folder / name, suffix, job.layers.frames))
    for i, path in enumerate(files):
        write(i, path)
        job.progress.step(i + 1, len(files))
    return files


def _backgrounds(job: RenderJob, suffix: str, write: Callable[[int, Path], object]) -> list[Path]:
    """Write `background.*`, or a folder with one file per frame if the background changes."""
    if job.layers.static:
        files = [job.folder / f"background.{suffix}"]
    else:
        files = list(_numbered(job.folder / "background", suffix, job.layers.frames))
    for i, path in enumerate(files):
        write(i, path)
    return files


def _numbered(folder: Path, suffix: str, count: int) -> Iterator[Path]:
    folder.mkdir(exist_ok=True)  # points and EXR share `background/`
    return (folder / f"{i:05d}.{suffix}" for i in range(count))


def _write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path
