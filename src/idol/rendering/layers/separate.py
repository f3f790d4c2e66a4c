"""CLIP -> LAYERS: the person with clean edges, and the background, both with metric depth."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32
from torch.nn.functional import avg_pool2d, interpolate

from idol.clip import Clip
from idol.errors import UserError
from idol.rendering.geometry.camera import Camera, Layers, Plane
from idol.rendering.layers.ground_plane import (
    find_feet,
    fit_floor,
    limit_body_depth,
    place_wall,
    plant_on_floor,
)
from idol.rendering.layers.matting import Mattes, extract_mattes
from idol.rendering.layers.metric_scale import (
    PERSON_HEIGHT,
    estimate_camera,
    exact_disparities,
    relative_scale,
    standing_height,
)
from idol.rendering.parallel import map_frames

_NEAREST = 0.1  # meters; nothing is closer to the camera
_FARTHEST = 1000.0
_BATCH = 4  # frames per task, so that threads do not compete for the interpreter lock all the time
_SAMPLES = 48  # frames from which the depth of a static background is taken


def separate(clip: Clip, *, fov: float | None = None, person_height: float = PERSON_HEIGHT) -> Layers:
    """Separate a clip into the person and the background.

    The background's color is the clip's background without the person. Its depth is that of frames in which
    the person does not cover it (depth of kind `scene`), or consists of planes: a floor through the feet, if
    these are visible, and a back wall (kind `person`).

    Args:
        clip: Clip with depth of either kind.
        fov: Vertical field of view in degrees, 1 to 150; see `metric_scale.estimate_camera` for the default.
        person_height: Height of the person in meters, 0.3 to 3; it sets the scale of relative depth.

    Raises:
        UserError: If the clip has no depth or shows nobody, or an argument is out of range.
    """
    clip.require_depth()
    if not clip.mask.any():
        raise UserError("clip", "it shows no person in any frame", "give a clip of a person")
    if fov is not None and not 1 <= fov <= 150:
        raise UserError("fov", f"{fov}", "give degrees from 1 to 150")
    if not 0.3 <= person_height <= 3:
        raise UserError("person_height", f"{person_height}", "give meters from 0.3 to 3")
    camera = estimate_camera(clip, fov, person_height)
    exact = exact_disparities(clip)
    cut = _cut_out(clip, clip.depth if exact is None else exact, clean=exact is None)
    person = cut.disparity
    if exact is None:
        distance = camera.focal * person_height / standing_height(clip)
        a, b = relative_scale(person, clip.mask, distance, person_height)
        person = limit_body_depth((a + b * person).astype(np.float32), clip.mask, person_height)
    if clip.depth_kind == "scene":
        planes: tuple[Plane, ...] = ()
        scene = (a + b * clip.depth).astype(np.float32) if exact is None else exact
        background_z = _to_meters(_background_disparity(scene, clip.mask, static=clip.background.ndim == 3))
    else:
        person, planes = _fit_ground(clip, person, camera, relative=exact is None)
        nearest = np.minimum.reduce([plane.depth(camera) for plane in planes])
        background_z = np.clip(nearest, _NEAREST, _FARTHEST)[None]  # h w -> 1 h w
    return Layers(
        camera=camera,
        color=cut.color,
        alpha=cut.alpha,
        z=_to_meters(person),
        background=clip.background[None] if clip.background.ndim == 3 else clip.background,
        background_z=background_z,
        planes=planes,
        fps=clip.fps,
        metric=exact is not None,
    )


def _cut_out(clip: Clip, disparity: Float32[np.ndarray, "f h w"], clean: bool) -> Mattes:
    """Return the mattes of all frames, a few at a time in parallel."""
    backgrounds = np.broadcast_to(clip.background, clip.video.shape)
    starts = range(0, clip.frames, _BATCH)
    alpha, disparities = (np.empty(clip.mask.shape, np.float32) for _ in range(2))
    result = Mattes(np.empty_like(clip.video), alpha, disparities)

    def extract(k: int) -> None:
        part = slice(starts[k], starts[k] + _BATCH)
        found = extract_mattes(clip.video[part], backgrounds[part], clip.mask[part], disparity[part], clean)
        for field in fields(Mattes):
            getattr(result, field.name)[part] = getattr(found, field.name)

    map_frames(extract, len(starts))
    return result


def _fit_ground(
    clip: Clip, person: Float32[np.ndarray, "f h w"], camera: Camera, relative: bool
) -> tuple[Float32[np.ndarray, "f h w"], tuple[Plane, ...]]:
    """Return the person, moved onto the floor if depth is relative, and the floor, if any, and the wall."""
    feet = find_feet(clip.mask, clip.fps)
    if feet is None:
        return person, (place_wall(person[clip.mask]),)
    contact = np.array([_contact(depth, mask) for depth, mask in zip(person, clip.mask, strict=True)])
    if relative:  # a body balances above its feet
        contact[:] = np.median(person[clip.mask])
    floor = fit_floor(feet, contact, camera, level=relative)
    if floor is None:
        return person, (place_wall(person[clip.mask]),)
    if relative:
        person = plant_on_floor(person, clip.mask, feet, floor, camera, clip.fps)
    return person, (floor, place_wall(person[clip.mask]))


def _contact(disparity: Float32[np.ndarray, "h w"], mask: Bool[np.ndarray, "h w"]) -> float:
    """Return 1 / meters of the person's lowest three rows; NaN where nobody is visible."""
    rows = np.nonzero(mask.any(1))[0]
    if not len(rows):
        return float("nan")
    lowest = slice(max(rows[-1] - 2, 0), rows[-1] + 1)
    return float(np.median(disparity[lowest][mask[lowest]]))


def _to_meters(disparity: Float32[np.ndarray, "f h w"]) -> Float32[np.ndarray, "f h w"]:
    """Return distances in meters, limited to the valid range."""
    z = np.maximum(disparity, 1 / _FARTHEST)
    np.divide(1, z, out=z)
    return np.clip(z, _NEAREST, _FARTHEST, out=z)


def _background_disparity(
    disparity: Float32[np.ndarray, "f h w"], mask: Bool[np.ndarray, "f h w"], static: bool
) -> Float32[np.ndarray, "p h w"]:
    """Return the disparity of the background, 1 / meters; p = 1 if the camera does not move.

    Each pixel gets the median over the frames in which the person does not cover it; pixels that are always
    covered get a smooth continuation of their surroundings.
    """
    # a margin of three pixels: at the person's edge depth is a mixture
    covered = torch.nn.functional.max_pool2d(torch.from_numpy(mask.astype(np.float32)), 7, 1, 3).numpy() > 0
    visible = np.where(covered, np.nan, disparity)
    if static:
        some = visible[np.linspace(0, len(visible) - 1, min(len(visible), _SAMPLES)).round().astype(int)]
        hidden = np.isnan(some).all(0)
        some[0][hidden] = 0  # nanmedian warns about pixels without any value
        visible = np.nanmedian(some, axis=0, keepdims=True)
        visible[:, hidden] = np.nan
    values = torch.from_numpy(np.nan_to_num(visible).astype(np.float32))[:, None]  # p h w -> p 1 h w
    known = torch.from_numpy(~np.isnan(visible))[:, None].float()
    if not known.any():
        return np.full(visible.shape, disparity.min(), np.float32)
    return _fill_holes(values * known, known)[:, 0].numpy()


def _fill_holes(
    values: Float[torch.Tensor, "p 1 h w"], known: Float[torch.Tensor, "p 1 h w"]
) -> Float[torch.Tensor, "p 1 h w"]:
    """Return values where known, elsewhere those of a half-size image filled the same way (push-pull)."""
    height, width = values.shape[2:]
    if known.all() or max(height, width) == 1:
        return values
    share = avg_pool2d(known, 2, ceil_mode=True)
    halved = avg_pool2d(values * known, 2, ceil_mode=True) / share.clamp_min(1e-6)  # mean of known pixels
    coarse = interpolate(
        _fill_holes(halved, (share > 0).float()), (height, width), mode="bilinear", align_corners=False
    )
    return torch.where(known > 0, values, coarse)
