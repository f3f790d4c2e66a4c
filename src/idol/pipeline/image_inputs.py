"""Images, masks and poses in any of the usual forms, to tensors of one form."""

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


@dataclass(frozen=True)
class SkeletonStyle:
    """How skeletons are drawn; the arguments of `skeleton.draw`.

    Attributes:
        stick_width: Half the thickness of a limb, pixels.
        radius: Radius of a joint, pixels.
        at: Whether those pixels are the pose's own ("source") or those of the image ("model").
        parts: Whether hands and face of a whole-body pose are drawn.
    """

    stick_width: float = 4.0
    radius: float = 4.0
    at: Literal["source", "model"] = "source"
    parts: skeleton.Parts = "body"


@dataclass(frozen=True)
class Drafts:
    """First guesses at the clips: the persons as bodies in the driving poses (`idol.body.draft`).

    Attributes:
        video: (b, f, 3, y, x) in [-1, 1], before the background.
        depth: (b, f, y, x) in [0, 1], 0 outside the person.
    """

    video: Float[Tensor, "b f 3 y x"]
    depth: Float[Tensor, "b f y x"]

    def to(self, device: torch.device) -> "Drafts":
        """Return the same on another device."""
        return Drafts(self.video.to(device), self.depth.to(device))


def as_images(value: Any, argument: str) -> Float[Tensor, "*b 3 h w"]:
    """Convert images to floats in [0, 1].

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
    """Convert masks to booleans, true on the person.

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


def as_backgrounds(
    value: Any, b: int, f: int, height: int, width: int
) -> Float[Tensor, "{b} 3 {height} {width}"] | Float[Tensor, "{b} {f} 3 {height} {width}"]:
    """Convert backgrounds to [-1, 1] at the size of the frames, stills or one per frame.

    Args:
        value: One still, a batch of stills (b, 3, y, x), or (b, f, 3, y, x); see `as_images`.
        b: Number of clips.
        f: Their frames.
        height: Of the frames, pixels.
        width: Of the frames, pixels.

    Raises:
        UserError: If there are other than 1 or `b` backgrounds, or other than `f` frames.
    """
    images = as_images(value, "background")
    images = images[None] if images.ndim == 3 else images
    if images.ndim > 5 or (images.ndim == 5 and images.shape[1] != f):
        raise UserError("background", f"has shape {tuple(images.shape)}", f"give stills or {f} frames each")
    return cover(expand_batch(images, b, "background"), height, width) * 2 - 1


def draw_skeletons(
    poses: Sequence[Pose], height: int, width: int, style: SkeletonStyle
) -> Float[Tensor, "b f 3 {height} {width}"]:
    """Draw the skeletons of clips of one length, in [0, 1].

    Args:
        poses: One for each clip.
        height: Of the images, pixels.
        width: Of the images, pixels.
        style: How they are drawn.
    """
    drawn = [skeleton.draw(pose, height, width, **vars(style)) for pose in poses]
    return torch.from_numpy(np.stack(drawn)).float() / 255


def cover(
    images: Float[Tensor, "*b c y x"], height: int, width: int
) -> Float[Tensor, "*b c {height} {width}"]:
    """Resize with anti-aliasing until the frame is covered, and cut the overhang off both sides evenly.

    Args:
        images: Of any size.
        height: Of the frame, pixels.
        width: Of the frame, pixels.
    """
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


def expand_batch(x: Tensor, b: int, argument: str) -> Tensor:
    """Repeat what is given once for all clips.

    Args:
        x: (1 or b, ...).
        b: Number of clips.
        argument: Names it in error messages.

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
    """Convert to float32 in [0, 1]."""
    if x.dtype == torch.uint8:
        return x.float() / 255
    if not x.is_floating_point():
        raise UserError(argument, f"is of {x.dtype}", "give uint8, or floats in [0, 1]")
    x = x.float()
    # filters overshoot by a little: that is clamped, anything more is a mistake
    if not (x.isfinite().all() and x.min() > -1e-3 and x.max() < 1 + 1e-3):
        raise UserError(argument, "holds values outside [0, 1]", "give uint8, or floats in [0, 1]")
    return x.clamp(0, 1)


def _stack(parts: Sequence[Tensor], argument: str) -> Tensor:
    if len({p.shape for p in parts}) > 1:
        raise UserError(argument, f"sizes {[tuple(p.shape) for p in parts]}", "give images of one size")
    return torch.stack(list(parts))
