"""CLIP -> LAYERS: the person, cut out with clean edges, and what is behind, both in meters."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32
from torch.nn.functional import avg_pool2d, interpolate

from idol.clip import Clip
from idol.errors import UserError
from idol.rendering.geometry.camera import Camera, Layers, Plane
from idol.rendering.layers.ground_plane import find_feet, floor_through, planted, wall_behind, within_reach
from idol.rendering.layers.matting import Mattes, mattes
from idol.rendering.layers.metric_scale import (
    PERSON_HEIGHT,
    camera_of,
    exact_disparities,
    relative_scale,
    standing_height,
)
from idol.rendering.parallel import each_frame

_NEAREST = 0.1  # meters; nothing is closer to the camera
_FARTHEST = 1000.0
_TOGETHER = 4  # frames that are cut out together, so that threads do not wait for each other all the time
_SAMPLES = 48  # frames that tell how far away a standing background is


def separate(clip: Clip, *, fov: float | None = None, person_height: float = PERSON_HEIGHT) -> Layers:
    """Take a clip apart into the person and the background.

    Behind the person is the clean plate. Its depth is that of the frames where the person is not (kind
    `scene`), or a stage: a floor through the feet, if they are seen, and a wall (kind `person`).

    Args:
        clip: With depth of either kind.
        fov: Vertical field of view in degrees; see `scale.camera_of` for the default.
        person_height: Meters; gives the scale where the clip's distances are not known.

    Raises:
        UserError: If the clip has no depth, shows nobody, or an argument is out of range.
    """
    clip.known_depth()
    if not clip.mask.any():
        raise UserError("CLIP", "there is no person in any frame", "give a clip of a person")
    if fov is not None and not 1 <= fov <= 150:
        raise UserError("--fov", f"{fov}", "give degrees from 1 to 150")
    if not 0.3 <= person_height <= 3:
        raise UserError("--person-height", f"{person_height}", "give meters from 0.3 to 3")
    camera = camera_of(clip, fov, person_height)
    exact = exact_disparities(clip)
    cut = _mattes(clip, clip.depth if exact is None else exact, clean=exact is None)
    person = cut.disparity
    if exact is None:
        distance = camera.focal * person_height / standing_height(clip)
        a, b = relative_scale(person, clip.mask, distance, person_height)
        person = within_reach((a + b * person).astype(np.float32), clip.mask, person_height)
    if clip.depth_kind == "scene":
        stage: tuple[Plane, ...] = ()
        everything = (a + b * clip.depth).astype(np.float32) if exact is None else exact
        plate_z = _meters(_behind(everything, clip.mask, still=clip.background.ndim == 3))
    else:
        person, stage = _staged(clip, person, camera, relative=exact is None)
        plate_z = _meters(np.minimum.reduce([plane.z(camera) for plane in stage])[None], inverse=False)
    return Layers(
        camera=camera,
        color=cut.color,
        alpha=cut.alpha,
        z=_meters(person),
        plate=clip.background[None] if clip.background.ndim == 3 else clip.background,
        plate_z=plate_z,
        stage=stage,
        fps=clip.fps,
        metric=exact is not None,
    )


def _mattes(clip: Clip, disparity: Float32[np.ndarray, "f h w"], clean: bool) -> Mattes:
    plates = np.broadcast_to(clip.background, clip.video.shape)
    starts = range(0, clip.frames, _TOGETHER)
    alpha, far = (np.empty(clip.mask.shape, np.float32) for _ in range(2))
    whole = Mattes(np.empty_like(clip.video), alpha, far)

    def some(k: int) -> None:
        part = slice(starts[k], starts[k] + _TOGETHER)
        found = mattes(clip.video[part], plates[part], clip.mask[part], disparity[part], clean)
        for field in fields(Mattes):
            getattr(whole, field.name)[part] = getattr(found, field.name)

    each_frame(some, len(starts))
    return whole


def _staged(
    clip: Clip, person: Float32[np.ndarray, "f h w"], camera: Camera, relative: bool
) -> tuple[Float32[np.ndarray, "f h w"], tuple[Plane, ...]]:
    """The person, set onto the floor if its depth is relative, and the stage: floor and wall, or a wall."""
    feet = find_feet(clip.mask, clip.fps)
    if feet is None:
        return person, (wall_behind(person[clip.mask]),)
    contact = np.array([_contact(depth, mask) for depth, mask in zip(person, clip.mask, strict=True)])
    if relative:  # a body balances above its feet
        contact[:] = np.median(person[clip.mask])
    floor = floor_through(feet, contact, camera, level=relative)
    if floor is None:
        return person, (wall_behind(person[clip.mask]),)
    if relative:
        person = planted(person, clip.mask, feet, floor, camera, clip.fps)
    return person, (floor, wall_behind(person[clip.mask]))


def _contact(disparity: Float32[np.ndarray, "h w"], mask: Bool[np.ndarray, "h w"]) -> float:
    """1 / meters of the person's lowest three rows; NaN where nobody is seen."""
    rows = np.nonzero(mask.any(1))[0]
    if not len(rows):
        return float("nan")
    lowest = slice(max(rows[-1] - 2, 0), rows[-1] + 1)
    return float(np.median(disparity[lowest][mask[lowest]]))


def _meters(values: Float32[np.ndarray, "f h w"], inverse: bool = True) -> Float32[np.ndarray, "f h w"]:
    z = np.maximum(values, 1 / _FARTHEST) if inverse else values.copy()
    if inverse:
        np.divide(1, z, out=z)
    return np.clip(z, _NEAREST, _FARTHEST, out=z)


def _behind(
    disparity: Float32[np.ndarray, "f h w"], mask: Bool[np.ndarray, "f h w"], still: bool
) -> Float32[np.ndarray, "p h w"]:
    """1 / meters of what is behind the person, p = 1 if the camera stands still.

    Of each pixel the median over the frames in which the person is not there; where that is never, a smooth
    continuation of what is around.
    """
    covered = torch.nn.functional.max_pool2d(torch.from_numpy(mask.astype(np.float32)), 7, 1, 3).numpy() > 0
    seen = np.where(covered, np.nan, disparity)
    if still:
        some = seen[np.linspace(0, len(seen) - 1, min(len(seen), _SAMPLES)).round().astype(int)]
        hidden = np.isnan(some).all(0)
        some[0][hidden] = 0
        seen = np.nanmedian(some, axis=0, keepdims=True)
        seen[:, hidden] = np.nan
    values = torch.from_numpy(np.nan_to_num(seen).astype(np.float32))[:, None]
    known = torch.from_numpy(~np.isnan(seen))[:, None].float()
    if not known.any():
        return np.full(seen.shape, disparity.min(), np.float32)
    return _filled(values * known, known)[:, 0].numpy()


def _filled(
    values: Float[torch.Tensor, "p 1 h w"], known: Float[torch.Tensor, "p 1 h w"]
) -> Float[torch.Tensor, "p 1 h w"]:
    """Values where known; elsewhere those of an image half the size, filled alike (push and pull)."""
    height, width = values.shape[2:]
    if known.all() or max(height, width) == 1:
        return values
    share = avg_pool2d(known, 2, ceil_mode=True)
    halved = avg_pool2d(values * known, 2, ceil_mode=True) / share.clamp_min(1e-6)
    coarse = interpolate(
        _filled(halved, (share > 0).float()), (height, width), mode="bilinear", align_corners=False
    )
    return torch.where(known > 0, values, coarse)
