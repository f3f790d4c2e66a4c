"""The images that steer a clip, drawn part by part: those of a long clip never stand in memory together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from idol.clip import Pose
from idol.diffusion.latents import LatentCodec
from idol.errors import UserError
from idol.pipeline.config import GenerationConfig
from idol.pipeline.disk_tensor import FrameStore, PerFrame
from idol.pipeline.image_inputs import Drafts, as_images, as_masks, as_plates, as_poses, expand_batch
from idol.pose.foreground_crop import foreground_crop
from idol.pose.limb_warp import Doll


@dataclass(frozen=True)
class FrameSequence:
    """Skeletons, backgrounds and drafts of a batch of clips, by frames.

    Attributes:
        b: Number of clips.
        frames: Their length.
        settings: Sizes, and how skeletons are drawn.
        poses: `Pose` of every clip or of all, or skeleton images (b or 1, f, 3, h, w).
        background: As given; `moving` if there is one for every frame.
        moving: See there.
        dolls: The persons cut into parts, where drafts are wanted.
    """

    b: int
    frames: int
    settings: GenerationConfig
    poses: tuple[Pose, ...] | Tensor
    background: Any
    moving: bool
    dolls: tuple[Doll, ...] | None = None

    @classmethod
    def of(cls, b: int, pose: Any, background: Any, settings: GenerationConfig) -> FrameSequence:
        """Check what was given; nothing is drawn yet but the first frame.

        Args:
            b: Number of clips.
            pose: As for `conditions.as_poses`.
            background: As for `conditions.as_plates`.
            settings: See above.

        Raises:
            UserError: If they cannot be used or do not belong together.
        """
        listed = [pose] if isinstance(pose, Pose) else pose
        if isinstance(listed, (list, tuple)) and listed and all(isinstance(p, Pose) for p in listed):
            poses: tuple[Pose, ...] | Tensor = tuple(listed)
            frames = listed[0].frames
            if len({p.frames for p in listed}) > 1:
                raise UserError("pose", f"lengths {[p.frames for p in listed]}", "give clips of one length")
        else:
            poses = as_poses(pose, settings.height, settings.width, settings.drawing)
            frames = poses.shape[1]
        background = as_images(background, "background") if isinstance(background, list) else background
        moving = getattr(background, "ndim", 0) == 5
        if moving and background.shape[1] != frames:
            shape = tuple(background.shape)
            raise UserError("background", f"has shape {shape}", f"give stills or {frames} frames each")
        made = cls(b, frames, settings, poses, background, moving)
        made.skeletons(slice(0, 1)), made.plates(slice(0, 1))
        return made

    def skeletons(self, frames: slice) -> Float[Tensor, "b n 3 h w"]:
        """Skeleton images in [0, 1]."""
        if isinstance(self.poses, Tensor):
            drawn = self.poses[:, frames]
        else:
            chosen = [pose.select(frames) for pose in self.poses]
            drawn = as_poses(chosen, self.settings.height, self.settings.width, self.settings.drawing)
        return expand_batch(drawn, self.b, "pose")

    def plates(self, frames: slice) -> Float[Tensor, "b 3 h w"] | Float[Tensor, "b n 3 h w"]:
        """Backgrounds in [-1, 1], stills or one per frame."""
        shown = self.background[:, frames] if self.moving else self.background
        count = len(range(self.frames)[frames])
        return as_plates(shown, self.b, count, self.settings.height, self.settings.width)

    def targets(self) -> list[Pose] | None:
        """The skeletons of every clip, in pixels of the frames; None where images of them were given."""
        if isinstance(self.poses, Tensor):
            return None
        poses = _each(self.poses, "pose", self.b)
        return [pose.resized(self.settings.height, self.settings.width) for pose in poses]

    def drafts(self, frames: slice) -> Drafts | None:
        """The persons posed before their backgrounds (`idol.pose.limb_warp`), where there are dolls."""
        if self.dolls is None:
            return None
        stills = ((self.plates(frames) + 1) * 127.5).round().byte().cpu().numpy()
        targets = _each(self.poses, "pose", self.b)
        made = [
            doll.draft(target.select(frames).resized(self.settings.height, self.settings.width), stills[i])
            for i, (doll, target) in enumerate(zip(self.dolls, targets, strict=True))
        ]
        video = torch.from_numpy(np.stack([draft.video for draft in made]))
        depth = torch.from_numpy(np.stack([draft.depth for draft in made]))
        return Drafts(video.float() / 127.5 - 1, depth)


def cut_dolls(image: Any, mask: Any, pose: Any, settings: GenerationConfig) -> tuple[Doll, ...]:
    """The persons of images, cut into parts at the size of the frames.

    Args:
        image: Images of the persons, as for `conditions.crop_people`, and so the next two.
        mask: See there.
        pose: See there; must be given as joints.
        settings: Size of the frames, and room round the person.

    Raises:
        UserError: If the joints are not given, or the person cannot be cropped.
    """
    images, masks = as_images(image, "foreground"), as_masks(mask, "foreground_mask")
    images, masks = images.reshape(-1, *images.shape[-3:]), masks.reshape(-1, *masks.shape[-2:])
    pixels, side = (images * 255).round().byte().cpu().numpy(), max(settings.height, settings.width)
    people = _each(pose, "foreground_pose", len(images))
    crops = (
        foreground_crop(pixels[i], masks[i].cpu().numpy(), person, side, settings.foreground_margin)
        for i, person in enumerate(people)
    )
    return tuple(Doll.cut_from(*crop) for crop in crops)


def encode_plates(
    codec: LatentCodec, sequence: FrameSequence, parts: list[slice], device: torch.device
) -> PerFrame:
    """Latents of the backgrounds: (b, c, i, j), or (b, f, c, i, j) if they move."""
    if not sequence.moving:
        return codec.encode_image(sequence.plates(slice(0, 1)).to(device))
    made = (codec.encode_image(sequence.plates(part).to(device)) for part in parts)
    return FrameStore.of(made, sequence.frames, 1)


def encode_drafts(
    codec: LatentCodec, sequence: FrameSequence, parts: list[slice], device: torch.device
) -> FrameStore | None:
    """Latents of the drafts (b, m, f, c, i, j), or None without dolls."""
    if sequence.dolls is None:
        return None

    def encoded(part: slice) -> Tensor:
        drafts = sequence.drafts(part)
        assert drafts is not None, "there are dolls"
        return codec.encode_draft(drafts.video.to(device), drafts.depth.to(device))

    return FrameStore.of((encoded(part) for part in parts), sequence.frames, 2)


def _each(value: Any, argument: str, b: int) -> Sequence[Pose]:
    poses = [value] * b if isinstance(value, Pose) else value
    if not isinstance(poses, (list, tuple)) or not all(isinstance(p, Pose) for p in poses):
        raise UserError(argument, f"is a {type(value).__name__}", "this checkpoint needs joints: give a Pose")
    poses = list(poses) * (b if len(poses) == 1 else 1)
    if len(poses) != b:
        raise UserError(argument, f"is for {len(poses)} images", f"give {b}")
    return poses
