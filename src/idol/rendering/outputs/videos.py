"""The videos of `idol render`: a moving camera, and stereo."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, UInt8

from idol.rendering.geometry.camera import Camera, Layers, View
from idol.rendering.geometry.camera_paths import camera_path
from idol.rendering.geometry.novel_view import Renderer
from idol.rendering.geometry.zoom import zoom_inside
from idol.rendering.outputs.stereo import pack_stereo, stereo_pair
from idol.rendering.view_settings import RenderJob


def write_parallax(job: RenderJob) -> list[Path]:
    """Write `parallax.mp4`: the clip seen by a moving camera, by default one that sways."""
    views = _path(job, "sway")
    renderer = Renderer(job.layers, _zoomed(job.layers, views, job.camera))
    return [job.write_video("parallax.mp4", lambda i: renderer.view(i, views[i]))]


def write_stereo(job: RenderJob) -> list[Path]:
    """Write `stereo.mp4`: the clip for two eyes, by default from the clip's own camera position."""
    settings, layers = job.settings, job.layers
    distance = settings.convergence or float(np.linalg.norm(person_center(layers)))
    views = _path(job, "still")
    pairs = {view: stereo_pair(view, settings.baseline, distance) for view in views}
    renderer = Renderer(layers, _zoomed(layers, [eye for pair in pairs.values() for eye in pair], job.camera))

    def draw(i: int) -> UInt8[np.ndarray, "3 h w"]:
        left, right = renderer.views(i, pairs[views[i]])
        return pack_stereo(left, right, settings.stereo)

    return [job.write_video("stereo.mp4", draw)]


def person_center(layers: Layers) -> Float[np.ndarray, " 3"]:
    """Return the position of the person over the clip in meters: the median of their visible pixels."""
    mask = layers.alpha > 0.5
    z = float(np.median(layers.z[mask]))
    # medians by histogram: the coordinates of all pixels of a clip would take more memory than the clip
    row, column = (_middle(mask.sum(axes)) for axes in ((0, 2), (0, 1)))  # f h w -> h, w
    (cx, cy), focal = layers.camera.center, layers.camera.focal
    return np.array([(column - cx) * z / focal, (row - cy) * z / focal, z])


def _middle(counts: Int[np.ndarray, " n"]) -> float:
    """Return the median of the indices of a histogram."""
    cumulative, total = np.cumsum(counts), int(counts.sum())
    low, high = (int(np.searchsorted(cumulative, rank, "right")) for rank in ((total - 1) // 2, total // 2))
    return (low + high) / 2


def _path(job: RenderJob, default: str) -> list[View]:
    times = np.arange(job.layers.frames) / job.layers.fps
    path = job.settings.path or default
    # an amount without a path belongs to the parallax video alone
    amount = job.settings.amount if job.settings.path or default != "still" else None
    return camera_path(path, amount, times, person_center(job.layers))


def _zoomed(layers: Layers, views: Sequence[View], camera: Camera) -> Camera:
    return camera.zoomed(zoom_inside(layers, views, camera))
