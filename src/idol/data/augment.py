"""Augmentation of clips: square crops, mirroring, and attribute outpainting.

Human attribute outpainting (HAOP, Sec. 3.3 of the paper) *dilates* the hole cut into the background, so that
the model must fill in what surrounds the person, and randomly crops and resizes the foreground, so that it
must extrapolate the person. DisCo's pre-training (HAP) is the same with no dilation and no crop.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from numpy.random import Generator
from scipy import ndimage
from torch.nn.functional import interpolate

from idol.clip import Clip, Pose
from idol.pose.foreground_crop import GRAY
from idol.pose.joints import COCO_17, OPENPOSE_18

Box = tuple[int, int, int, int]
"""x0, y0, x1, y1 in pixels; x1 and y1 are one past the end."""


@dataclass(frozen=True)
class OutpaintingConfig:
    """Strength of the augmentation in attribute pre-training (Eq. 8).

    Attributes:
        dilation: Range of the dilation of the background's hole, as a fraction of the longer side of the
            image, in [0, 1); (0, 0) is HAP.
        foreground_area: Range of the fraction of the foreground image's area that is kept and resized, in
            (0, 1]; (1, 1) is HAP.
    """

    dilation: tuple[float, float] = (0.02, 0.12)
    foreground_area: tuple[float, float] = (0.35, 1.0)

    def __post_init__(self) -> None:
        if not 0 <= self.dilation[0] <= self.dilation[1] < 1:
            raise ValueError(f"dilation must be an increasing range within [0, 1), got {self.dilation}")
        if not 0 < self.foreground_area[0] <= self.foreground_area[1] <= 1:
            raise ValueError(
                f"foreground_area must be an increasing range within (0, 1], got {self.foreground_area}"
            )


def square_box(height: int, width: int, scale: tuple[float, float], rng: Generator | None) -> Box:
    """Choose a square crop of an image.

    Args:
        height: Image height, pixels.
        width: Image width, pixels.
        scale: Range of the square's side, as a fraction of the image's shorter side, in (0, 1].
        rng: Draws side and position; None gives the largest centered square.
    """
    short = min(height, width)
    if rng is None:
        y0, x0, side = (height - short) // 2, (width - short) // 2, short
    else:
        side = max(1, round(short * rng.uniform(*scale)))
        y0, x0 = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
    return x0, y0, x0 + side, y0 + side


def crop_resize(clip: Clip, box: Box, size: int) -> Clip:
    """Crop every image of a clip to a box and resize it.

    Video and background are resized with antialiasing. Person depth is averaged over the person's pixels
    only, so that it stays exactly 0 outside of the person; mask pixels are kept where at least half of their
    area is person.

    Args:
        clip: The clip.
        box: Crop, pixels of the clip.
        size: Height and width of the result, pixels.
    """
    x0, y0, x1, y1 = box
    if (x0, y0, x1, y1) == (0, 0, clip.width, clip.height) and clip.height == clip.width == size:
        return clip
    cut = (Ellipsis, slice(y0, y1), slice(x0, x1))
    mask, depth = clip.mask[cut], clip.depth[cut]
    return dataclasses.replace(
        clip,
        video=_resize_rgb(clip.video[cut], size),
        background=_resize_rgb(clip.background[cut], size),
        mask=_resize_planes(mask.astype(np.float32), size) >= 0.5,
        depth=_resize_depth(depth, mask, size, clip.depth_kind == "person"),
        pose=clip.pose.cropped(x0, y0, x1, y1).resized(size, size),
    )


def flip(clip: Clip) -> Clip:
    """Mirror a clip left to right and swap the person's left and right joints."""
    return dataclasses.replace(
        clip,
        video=np.ascontiguousarray(clip.video[..., ::-1]),
        depth=np.ascontiguousarray(clip.depth[..., ::-1]),
        mask=np.ascontiguousarray(clip.mask[..., ::-1]),
        background=np.ascontiguousarray(clip.background[..., ::-1]),
        pose=flip_pose(clip.pose),
    )


def flip_pose(pose: Pose) -> Pose:
    """Mirror a pose within its frame: x becomes width - 1 - x, and left and right joints are swapped."""
    keypoints = pose.keypoints[:, mirrored_joints(pose.keypoints.shape[1])]
    seen = keypoints[..., 2] > 0
    # joints that are not visible keep their zeros
    keypoints[..., 0] = np.where(seen, pose.width - 1 - keypoints[..., 0], keypoints[..., 0])
    return dataclasses.replace(pose, keypoints=keypoints)


def mirrored_joints(joints: int) -> list[int]:
    """Return the index of each joint's left-right counterpart.

    Args:
        joints: 18 (OpenPose) or 133 (COCO whole body: body, feet, 68 facial landmarks, both hands).
    """
    if joints == len(OPENPOSE_18):
        return _mirrored_names(OPENPOSE_18)
    feet, hands = [20, 21, 22, 17, 18, 19], [*range(112, 133), *range(91, 112)]
    return [*_mirrored_names(COCO_17), *feet, *(23 + i for i in _mirrored_face()), *hands]


def _mirrored_names(names: tuple[str, ...]) -> list[int]:
    swapped = {"left": "right", "right": "left"}
    sides = [name.partition("_") for name in names]
    return [names.index("".join((swapped.get(side, side), bar, rest))) for side, bar, rest in sides]


def _mirrored_face() -> list[int]:
    """Return the counterparts of the 68 facial landmarks: each (first, last) run is reversed."""
    runs = ((0, 16), (17, 26), (31, 35), (36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46))
    mouth = ((48, 54), (55, 59), (60, 64), (65, 67))
    mirrored = list(range(68))
    for first, last in (*runs, *mouth):
        # eye landmarks run around each eye, so they are listed as single pairs: only their ends are swapped
        inside = range(first, last + 1) if not 36 <= first <= 41 else (first, last)
        for i in inside:
            mirrored[i] = first + last - i
    return mirrored


def outpaint_background(
    image: UInt8[np.ndarray, "3 h w"],
    mask: Bool[np.ndarray, "h w"],
    rng: Generator,
    config: OutpaintingConfig,
) -> UInt8[np.ndarray, "3 h w"]:
    """Fill the person, dilated by a random radius, with gray (b_aug of Eq. 8).

    Args:
        image: Frame, sRGB.
        mask: True on the person.
        rng: Draws the radius.
        config: Range of the radius.
    """
    radius = rng.uniform(*config.dilation) * max(mask.shape)
    # distance to the nearest person pixel: a disc-shaped dilation whose cost does not depend on the radius
    hole = mask if radius < 1 else ndimage.distance_transform_edt(~mask) <= radius
    return np.where(hole, np.uint8(GRAY), image)


def foreground_box(size: int, rng: Generator, config: OutpaintingConfig) -> Box:
    """Choose the square of the foreground image that is kept (f_aug of Eq. 8).

    Args:
        size: Height and width of the foreground image, pixels.
        rng: Draws side and position.
        config: Range of the area that is kept.
    """
    # the range is given in area, the square's side scales with its root
    scale = np.sqrt(np.asarray(config.foreground_area))
    return square_box(size, size, (float(scale[0]), float(scale[1])), rng)


def crop_resize_image(image: UInt8[np.ndarray, "c h w"], box: Box, size: int) -> UInt8[np.ndarray, "c s s"]:
    """Crop one image and resize it with antialiasing.

    Args:
        image: Image, sRGB.
        box: Crop, pixels.
        size: Height and width of the result, pixels.
    """
    x0, y0, x1, y1 = box
    return _resize_rgb(image[:, y0:y1, x0:x1], size)


def crop_resize_mask(mask: Bool[np.ndarray, "h w"], box: Box, size: int) -> Bool[np.ndarray, "s s"]:
    """Crop one mask and resize it; pixels of which at least half is covered are kept.

    Args:
        mask: Mask.
        box: Crop, pixels.
        size: Height and width of the result, pixels.
    """
    x0, y0, x1, y1 = box
    return _resize_planes(mask[y0:y1, x0:x1].astype(np.float32), size) >= 0.5


def _resize_rgb(image: np.ndarray, size: int) -> np.ndarray:
    return np.rint(_resize_planes(image.astype(np.float32), size)).clip(0, 255).astype(np.uint8)


def _resize_depth(depth: np.ndarray, mask: np.ndarray, size: int, person: bool) -> np.ndarray:
    if not person:
        return _resize_planes(depth, size).clip(0, 1)
    # normalized averaging: background zeros must not pull down the depth at the person's outline
    weight = _resize_planes(mask.astype(np.float32), size)
    total = _resize_planes(np.where(mask, depth, 0), size)
    return np.where(weight >= 0.5, total / np.maximum(weight, 0.5), 0).clip(0, 1).astype(np.float32)


def _resize_planes(planes: Float[np.ndarray, "... h w"], size: int) -> Float[np.ndarray, "... s s"]:
    flat = torch.from_numpy(np.ascontiguousarray(planes).reshape(-1, 1, *planes.shape[-2:]))
    out = interpolate(flat, size=(size, size), mode="bilinear", antialias=True, align_corners=False)
    return out.reshape(*planes.shape[:-2], size, size).numpy()
