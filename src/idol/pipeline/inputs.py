"""What a run of the pipeline is given, checked and brought to size once: `PipelineInputs`.

Images of single frames (skeletons, drafts, moving backgrounds) are made part by part: those of a long clip
are never in memory together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from idol.body.avatar import Avatar
from idol.body.draft import PosedAvatar
from idol.clip import Pose
from idol.diffusion.latents import LatentCodec
from idol.errors import UserError
from idol.pipeline.config import GenerationConfig
from idol.pipeline.disk_tensor import FrameStore, PerFrame
from idol.pipeline.image_inputs import (
    Drafts,
    SkeletonStyle,
    as_backgrounds,
    as_images,
    as_masks,
    draw_skeletons,
    expand_batch,
)
from idol.pose.foreground_crop import foreground_crop


@dataclass(frozen=True)
class PersonCrops:
    """The persons alone, each in a square of side s.

    Attributes:
        image: (b, 3, s, s) in [0, 1], gray outside the person.
        mask: (b, 1, s, s) 1 on the person, else 0.
        pose: (b, 3, s, s) skeleton images in [0, 1].
    """

    image: Float[Tensor, "b 3 s s"]
    mask: Float[Tensor, "b 1 s s"]
    pose: Float[Tensor, "b 3 s s"]

    def to(self, device: torch.device) -> PersonCrops:
        """Return the same on another device."""
        return PersonCrops(self.image.to(device), self.mask.to(device), self.pose.to(device))


@dataclass(frozen=True)
class PipelineInputs:
    """Everything that steers a batch of clips.

    Attributes:
        frames: Length of the clips.
        settings: Sizes, and how skeletons are drawn.
        persons: Their crops.
        poses: `Pose` of each clip or one of all, or skeleton images (b or 1, f, 3, h, w) in [0, 1].
        background: Stills (b, 3, h, w) in [-1, 1]; or moving ones as they were given, (b or 1, f, 3, y, x).
        moving: Whether backgrounds have an image for every frame.
        avatars: The persons as bodies in the poses of their clips, where the U-Net takes drafts; else None.
    """

    frames: int
    settings: GenerationConfig
    persons: PersonCrops
    poses: tuple[Pose, ...] | Tensor
    background: Any
    moving: bool
    avatars: tuple[PosedAvatar, ...] | None = None

    @classmethod
    def prepare(
        cls,
        foreground: Any,
        foreground_mask: Any,
        foreground_pose: Pose | Sequence[Pose] | None,
        background: Any,
        pose: Any,
        settings: GenerationConfig,
        draft: bool = False,
    ) -> PipelineInputs:
        """Check what a user gives and bring it to size.

        Args:
            foreground: Images of the persons, any size; see `as_images`.
            foreground_mask: Where the persons are in them; see `as_masks`.
            foreground_pose: The persons' joints, one frame each; one serves all; None is no visible joint.
            background: See `as_backgrounds`.
            pose: `Pose` of each clip or one of all, or skeleton images (f, 3, h, w) or (b, f, 3, h, w) of the
                frames' size.
            settings: Sizes, and how skeletons are drawn.
            draft: Whether drafts are wanted, for which the persons' joints must be given.

        Raises:
            UserError: If something cannot be used, or inputs do not belong together.
        """
        images, masks = as_images(foreground, "foreground"), as_masks(foreground_mask, "foreground_mask")
        # one person or a batch of them
        images, masks = images.reshape(-1, *images.shape[-3:]), masks.reshape(-1, *masks.shape[-2:])
        size, margin = settings.foreground_size, settings.foreground_margin
        persons = crop_persons(images, masks, foreground_pose, size, margin, settings.skeleton_style)
        b = len(images)
        poses, frames = _checked_poses(pose, b, settings)
        background = as_images(background, "background") if isinstance(background, list) else background
        moving = getattr(background, "ndim", 0) == 5
        if moving and background.shape[1] != frames:
            shape = tuple(background.shape)
            raise UserError("background", f"has shape {shape}", f"give stills or {frames} frames each")
        # of a moving background only the first frame is converted, to find mistakes before any work is done
        first = as_backgrounds(
            background[:, :1] if moving else background, b, 1, settings.height, settings.width
        )
        avatars = None
        if draft:
            driving = _one_per_clip(poses, "pose", b)
            avatars = _posed_avatars(images, masks, foreground_pose, driving, settings)
        return cls(frames, settings, persons, poses, background if moving else first, moving, avatars)

    @property
    def b(self) -> int:
        """Number of clips."""
        return len(self.persons.image)

    def skeletons(self, frames: slice) -> Float[Tensor, "b n 3 h w"]:
        """Return skeleton images of some of the frames, in [0, 1]."""
        if isinstance(self.poses, Tensor):
            return expand_batch(self.poses[:, frames], self.b, "pose")
        chosen = [pose.select(frames) for pose in self.poses]
        height, width, style = self.settings.height, self.settings.width, self.settings.skeleton_style
        return expand_batch(draw_skeletons(chosen, height, width, style), self.b, "pose")

    def backgrounds(self, frames: slice) -> Float[Tensor, "b 3 h w"] | Float[Tensor, "b n 3 h w"]:
        """Return the backgrounds of some of the frames in [-1, 1], stills or one per frame."""
        if not self.moving:
            return self.background
        shown, count = self.background[:, frames], len(range(self.frames)[frames])
        return as_backgrounds(shown, self.b, count, self.settings.height, self.settings.width)

    def target_poses(self) -> list[Pose] | None:
        """Return the pose of every clip in pixels of the frames; None where skeleton images were given."""
        if isinstance(self.poses, Tensor):
            return None
        poses = _one_per_clip(self.poses, "pose", self.b)
        return [pose.resized(self.settings.height, self.settings.width) for pose in poses]

    def drafts(self, frames: slice) -> Drafts | None:
        """Return the drafts of some of the frames, or None where the U-Net takes none."""
        if self.avatars is None:
            return None
        # composited in 8 bits, as in the drafts of training
        behind = ((self.backgrounds(frames) + 1) * 127.5).round().byte().cpu().numpy()
        made = [avatar.draft(frames, behind[i]) for i, avatar in enumerate(self.avatars)]
        video = torch.from_numpy(np.stack([draft.video for draft in made]))
        depth = torch.from_numpy(np.stack([draft.depth for draft in made]))
        return Drafts(video.float() / 127.5 - 1, depth)


def crop_persons(
    images: Float[Tensor, "b 3 h w"],
    masks: Bool[Tensor, "n y x"],
    pose: Pose | Sequence[Pose] | None,
    size: int,
    margin: float,
    style: SkeletonStyle,
) -> PersonCrops:
    """Crop every person.

    Args:
        images: Of the persons, in [0, 1].
        masks: Where they are, of the same number and size.
        pose: `Pose` of each, one frame; one serves all; None is no visible joint.
        size: Side of the crops, pixels.
        margin: Room round the person, as a share of its box.
        style: How their skeletons are drawn.

    Raises:
        UserError: If they do not belong together or a mask is empty.
    """
    b, _, h, w = images.shape
    if masks.shape != (b, h, w):
        raise UserError("foreground_mask", f"is {tuple(masks.shape)}", f"give {(b, h, w)}, as the foreground")
    pose = Pose(np.zeros((1, 18, 3), np.float32), h, w) if pose is None else pose
    poses = [pose] * b if isinstance(pose, Pose) else list(pose)
    if len(poses) != b:
        raise UserError("foreground_pose", f"is for {len(poses)} images", f"give {b}")
    # uint8, as in training: the crop is resized by Pillow
    pixels = (images * 255).round().byte().cpu().numpy()
    try:
        crops = [foreground_crop(pixels[i], masks[i].cpu().numpy(), poses[i], size, margin) for i in range(b)]
    except ValueError as error:
        raise UserError("foreground", str(error), "give an image, mask and pose of one person") from error
    return PersonCrops(
        torch.from_numpy(np.stack([crop.image for crop in crops])) / 255,
        torch.from_numpy(np.stack([crop.mask for crop in crops]))[:, None].float(),
        draw_skeletons([crop.pose for crop in crops], size, size, style)[:, 0],
    )


def encode_backgrounds(
    codec: LatentCodec, inputs: PipelineInputs, parts: list[slice], device: torch.device
) -> PerFrame:
    """Return latents of the backgrounds: (b, c, i, j), or (b, f, c, i, j) if they move.

    Args:
        codec: Encodes them.
        inputs: Holds the backgrounds.
        parts: Frames that are encoded at a time.
        device: Where they are encoded.
    """
    if not inputs.moving:
        return codec.encode_image(inputs.background.to(device))
    encoded = (codec.encode_image(inputs.backgrounds(part).to(device)) for part in parts)
    return FrameStore.of(encoded, inputs.frames, 1)


def encode_drafts(
    codec: LatentCodec, inputs: PipelineInputs, parts: list[slice], device: torch.device
) -> FrameStore | None:
    """Return latents of the drafts (b, m, f, c, i, j), or None where the U-Net takes none.

    Args:
        codec: Encodes them.
        inputs: Draws the drafts.
        parts: Frames that are encoded at a time.
        device: Where they are encoded.
    """
    if inputs.avatars is None:
        return None

    def encoded(part: slice) -> Tensor:
        drafts = inputs.drafts(part)
        assert drafts is not None, "there are avatars"
        return codec.encode_draft(drafts.video.to(device), drafts.depth.to(device))

    return FrameStore.of((encoded(part) for part in parts), inputs.frames, 2)


def _checked_poses(pose: Any, b: int, settings: GenerationConfig) -> tuple[tuple[Pose, ...] | Tensor, int]:
    """Return the poses, or images of skeletons (1 or b, f, 3, h, w), and their number of frames."""
    listed = [pose] if isinstance(pose, Pose) else pose
    if isinstance(listed, (list, tuple)) and listed and all(isinstance(p, Pose) for p in listed):
        if len({p.frames for p in listed}) > 1:
            raise UserError("pose", f"lengths {[p.frames for p in listed]}", "give clips of one length")
        if len(listed) not in (1, b):
            raise UserError("pose", f"is for {len(listed)} clips", f"give 1 or {b}, as of the foreground")
        return tuple(listed), listed[0].frames
    size = settings.height, settings.width
    images = as_images(pose, "pose")
    images = images[None] if images.ndim == 4 else images
    if images.ndim != 5 or images.shape[-2:] != size:
        found = f"has shape {tuple(images.shape)}"
        raise UserError("pose", found, f"give (b, f, 3, {size[0]}, {size[1]})")
    expand_batch(images, b, "pose")
    return images, images.shape[1]


def _posed_avatars(
    images: Tensor, masks: Tensor, person_pose: Any, poses: Sequence[Pose], settings: GenerationConfig
) -> tuple[PosedAvatar, ...]:
    """Fit a body to each person (b, 3, h, w), at the size of the frames, and pose it by the clip's joints."""
    pixels, side = (images * 255).round().byte().cpu().numpy(), max(settings.height, settings.width)
    persons = _one_per_clip(person_pose, "foreground_pose", len(images))
    posed = []
    for i, (person, pose) in enumerate(zip(persons, poses, strict=True)):
        crop = foreground_crop(pixels[i], masks[i].cpu().numpy(), person, side, settings.foreground_margin)
        try:
            avatar = Avatar.from_photo(*crop)
        except ValueError as error:
            raise UserError(
                "foreground_pose", str(error), "give the joints of the person in the image"
            ) from error
        posed.append(_posed(avatar, pose.resized(settings.height, settings.width)))
    return tuple(posed)


def _posed(avatar: Avatar, pose: Pose) -> PosedAvatar:
    try:
        return PosedAvatar.of(avatar, pose)
    except ValueError as error:
        raise UserError("pose", str(error), "give a motion in which a person is visible") from error


def _one_per_clip(value: Any, argument: str, b: int) -> Sequence[Pose]:
    poses = [value] * b if isinstance(value, Pose) else value
    if not isinstance(poses, (list, tuple)) or not all(isinstance(p, Pose) for p in poses):
        raise UserError(argument, f"is a {type(value).__name__}", "this checkpoint needs joints: give a Pose")
    poses = list(poses) * (b if len(poses) == 1 else 1)
    if len(poses) != b:
        raise UserError(argument, f"is for {len(poses)} images", f"give {b}")
    return poses
