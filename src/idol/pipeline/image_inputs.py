"""What users give - images, masks, poses in any of the usual forms - to the tensors the network takes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from PIL import Image
from torch import Tensor

from idol.clip import Pose
from idol.errors import UserError
from idol.pose import skeleton
from idol.pose.foreground_crop import foreground_crop


@dataclass(frozen=True)
class Drawing:
    """How skeletons are drawn; see `skeleton.draw`.

    Attributes:
        stick_width: Half the thickness of a limb, pixels.
        radius: Of a joint, pixels.
        at: Whether those pixels are the pose's own ("source") or those of the image ("model").
        parts: Whether hands and face of a whole-body pose are drawn.
    """

    stick_width: float = 4.0
    radius: float = 4.0
    at: Literal["source", "model"] = "source"
    parts: skeleton.Parts = "body"


@dataclass(frozen=True)
class People:
    """The persons' crops.

    Attributes:
        image: (b, 3, s, s) in [0, 1], gray outside the person.
        mask: (b, 1, s, s) 1 on the person, else 0.
        pose: (b, 3, s, s) skeleton images in [0, 1].
    """

    image: Float[Tensor, "b 3 s s"]
    mask: Float[Tensor, "b 1 s s"]
    pose: Float[Tensor, "b 3 s s"]

    def to(self, device: torch.device) -> "People":
        """The same on another device."""
        return People(self.image.to(device), self.mask.to(device), self.pose.to(device))


@dataclass(frozen=True)
class Drafts:
    """The persons posed for their clips.

    Attributes:
        video: (b, f, 3, y, x) in [-1, 1], before the background.
        depth: (b, f, y, x) in [0, 1], 0 where there is nobody.
    """

    video: Float[Tensor, "b f 3 y x"]
    depth: Float[Tensor, "b f y x"]

    def to(self, device: torch.device) -> "Drafts":
        """The same on another device."""
        return Drafts(self.video.to(device), self.depth.to(device))


def as_images(value: Any, argument: str) -> Float[Tensor, "*b 3 h w"]:
    """Images in [0, 1].

    Args:
        value: A PIL image, an array or a tensor (..., 3, h, w) or (..., h, w, 3) of uint8 or of floats in
            [0, 1], or a sequence of such of one size, which adds an axis in front.
        argument: Names the image in error messages.

    Raises:
        UserError: If it is none of these.
    """
    if isinstance(value, (list, tuple)) and value:
        return _stack([as_images(v, argument) for v in value], argument)
    images = _unit(
        _tensor(value.convert("RGB") if isinstance(value, Image.Image) else value, argument), argument
    )
    if images.ndim >= 3 and images.shape[-3] == 3:
        return images
    if images.ndim >= 3 and images.shape[-1] == 3:
        return images.movedim(-1, -3)
    raise UserError(argument, f"has shape {tuple(images.shape)}", "give RGB images (3, h, w)")


def as_masks(value: Any, argument: str) -> Bool[Tensor, "*b h w"]:
    """Masks: true on the person.

    Args:
        value: A PIL image (white is the person), an array or tensor (..., h, w) or (..., 1, h, w) of bool, of
            uint8 (0 or 1, or up to 255) or of floats in [0, 1], or a sequence of such.
        argument: Names the mask in error messages.

    Raises:
        UserError: If it is none of these.
    """
    if isinstance(value, (list, tuple)) and value:
        return _stack([as_masks(v, argument) for v in value], argument)
    mask = _tensor(value.convert("L") if isinstance(value, Image.Image) else value, argument)
    if mask.ndim >= 3 and mask.shape[-3] == 1:
        mask = mask.squeeze(-3)
    if mask.ndim < 2:
        raise UserError(argument, f"has shape {tuple(mask.shape)}", "give a mask (h, w)")
    if mask.dtype == torch.bool:
        return mask
    if mask.dtype == torch.uint8 and mask.max() <= 1:
        return mask > 0
    return _unit(mask, argument) > 0.5


def as_poses(
    value: Any, height: int, width: int, drawing: Drawing
) -> Float[Tensor, "b f 3 {height} {width}"]:
    """Skeleton images in [0, 1].

    Args:
        value: A `Pose` or a sequence of them (one per clip), or images of skeletons (f, 3, h, w) or
            (b, f, 3, h, w), which must have the right size.
        height: Of the images, pixels.
        width: Of the images, pixels.
        drawing: How a `Pose` is drawn.

    Raises:
        UserError: If it is none of these, or the clips differ in length.
    """
    poses = [value] if isinstance(value, Pose) else value
    if isinstance(poses, (list, tuple)) and poses and all(isinstance(p, Pose) for p in poses):
        if len({p.frames for p in poses}) > 1:
            raise UserError("pose", f"lengths {[p.frames for p in poses]}", "give clips of one length")
        drawn = [skeleton.draw(p, height, width, **vars(drawing)) for p in poses]
        return torch.from_numpy(np.stack(drawn)).float() / 255
    images = as_images(value, "pose")
    images = images[None] if images.ndim == 4 else images
    if images.ndim != 5 or images.shape[-2:] != (height, width):
        raise UserError("pose", f"has shape {tuple(images.shape)}", f"give (b, f, 3, {height}, {width})")
    return images


def cover(
    images: Float[Tensor, "*b c y x"], height: int, width: int
) -> Float[Tensor, "*b c {height} {width}"]:
    """Resize with anti-aliasing until the frame is covered, and cut the overhang off both sides evenly."""
    y, x = images.shape[-2:]
    if (y, x) == (height, width):
        return images
    scale = max(height / y, width / x)
    size = max(round(y * scale), height), max(round(x * scale), width)
    flat = images.reshape(-1, *images.shape[-3:])
    flat = F.interpolate(flat, size, mode="bilinear", antialias=True, align_corners=False)
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    flat = flat[..., top : top + height, left : left + width]
    return flat.reshape(*images.shape[:-2], height, width)


def as_plates(
    value: Any, b: int, f: int, height: int, width: int
) -> Float[Tensor, "{b} 3 {height} {width}"] | Float[Tensor, "{b} {f} 3 {height} {width}"]:
    """Backgrounds in [-1, 1] that cover the frame, stills or one per frame.

    Args:
        value: One still, a batch of stills (b, 3, y, x), or (b, f, 3, y, x); see `as_images`.
        b: Number of clips.
        f: Their frames.
        height: Of the frames, pixels.
        width: Of the frames, pixels.

    Raises:
        UserError: If the numbers do not fit.
    """
    plates = as_images(value, "background")
    plates = plates[None] if plates.ndim == 3 else plates
    if plates.ndim > 5 or (plates.ndim == 5 and plates.shape[1] != f):
        raise UserError("background", f"has shape {tuple(plates.shape)}", f"give stills or {f} frames each")
    return cover(expand_batch(plates, b, "background"), height, width) * 2 - 1


def crop_people(image: Any, mask: Any, pose: Any, size: int, margin: float, drawing: Drawing) -> People:
    """The crop of every person.

    Args:
        image: Images of the persons; see `as_images`.
        mask: Where they are in them; see `as_masks`.
        pose: `Pose` of each, one frame; one serves all; None is no visible joint.
        size: Side of the crops, pixels.
        margin: Room round the person, as a share of its box.
        drawing: How their skeletons are drawn.

    Raises:
        UserError: If they do not belong together or a mask is empty.
    """
    images, masks = as_images(image, "foreground"), as_masks(mask, "foreground_mask")
    images, masks = images.reshape(-1, *images.shape[-3:]), masks.reshape(-1, *masks.shape[-2:])
    b, _, h, w = images.shape
    if masks.shape != (b, h, w):
        raise UserError("foreground_mask", f"is {tuple(masks.shape)}", f"give {(b, h, w)}, as the foreground")
    pose = Pose(np.zeros((1, 18, 3), np.float32), h, w) if pose is None else pose
    poses = [pose] * b if isinstance(pose, Pose) else list(pose)
    if len(poses) != b:
        raise UserError("foreground_pose", f"is for {len(poses)} images", f"give {b}")
    pixels = (images * 255).round().byte().cpu().numpy()
    try:
        crops = [foreground_crop(pixels[i], masks[i].cpu().numpy(), poses[i], size, margin) for i in range(b)]
    except ValueError as error:
        raise UserError("foreground", str(error), "give an image, mask and pose of one person") from error
    return People(
        torch.from_numpy(np.stack([crop.image for crop in crops])) / 255,
        torch.from_numpy(np.stack([crop.mask for crop in crops]))[:, None].float(),
        as_poses([crop.pose for crop in crops], size, size, drawing)[:, 0],
    )


def expand_batch(x: Tensor, b: int, argument: str) -> Tensor:
    """Repeat what is given once for all `b` clips.

    Raises:
        UserError: If there are neither 1 nor `b`.
    """
    if x.shape[0] not in (1, b):
        raise UserError(argument, f"is for {x.shape[0]} clips", f"give 1 or {b}, as of the foreground")
    return x.expand(b, *x.shape[1:])


def _tensor(value: Any, argument: str) -> Tensor:
    if isinstance(value, Tensor):
        return value
    try:
        array = np.asarray(value)
        return torch.from_numpy(np.array(array))
    except (TypeError, ValueError) as error:
        raise UserError(argument, f"is a {type(value).__name__}", "give an image, array or tensor") from error


def _unit(x: Tensor, argument: str) -> Tensor:
    """To float32 in [0, 1]."""
    if x.dtype == torch.uint8:
        return x.float() / 255
    if not x.is_floating_point():
        raise UserError(argument, f"is of {x.dtype}", "give uint8, or floats in [0, 1]")
    x = x.float()
    if not (x.isfinite().all() and x.min() > -1e-3 and x.max() < 1 + 1e-3):
        raise UserError(argument, "holds values outside [0, 1]", "give uint8, or floats in [0, 1]")
    return x.clamp(0, 1)


def _stack(parts: Sequence[Tensor], argument: str) -> Tensor:
    if len({p.shape for p in parts}) > 1:
        raise UserError(argument, f"sizes {[tuple(p.shape) for p in parts]}", "give images of one size")
    return torch.stack(list(parts))
