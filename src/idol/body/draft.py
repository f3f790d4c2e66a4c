"""Drafts of a clip: the avatar of a photo's person in the poses of a motion, in both modalities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, UInt8

from idol.body.avatar import Avatar
from idol.body.lift import lift
from idol.body.pinhole import PinholeCamera
from idol.body.rig import BonePoses
from idol.clip import Pose
from idol.clip.depth import from_meters

_PERSON = 0.5  # share of a pixel from which on it counts as the person's


class Draft(NamedTuple):
    """The posed person in front of the background, in both modalities."""

    video: UInt8[np.ndarray, "f 3 y x"]
    """sRGB, in front of the background."""
    depth: Float32[np.ndarray, "f y x"]
    """In [0.2, 1] on the person, normalized over the whole clip; 0 elsewhere."""


@dataclass(frozen=True)
class PosedAvatar:
    """An avatar in the poses of one clip.

    Attributes:
        avatar: The person.
        bones: Its bones in every frame, meters before the camera.
        camera: The camera of the frames.
        depth_range: Distances (near, far) of the person over the clip, meters.
    """

    avatar: Avatar
    bones: BonePoses
    camera: PinholeCamera
    depth_range: tuple[float, float]

    @classmethod
    def of(cls, avatar: Avatar, pose: Pose) -> PosedAvatar:
        """Lift a clip's joints and pose the avatar by them.

        Args:
            avatar: The person.
            pose: Joints of all frames, in pixels of the frames to be drawn.

        Raises:
            ValueError: If no frame shows two joints, or the person is outside all frames.
        """
        lifted = lift(pose, body=avatar.mesh.body)
        bones = avatar.point_rig.pose(lifted.in_meters())
        return cls(avatar, bones, lifted.camera, avatar.depth_range(bones, lifted.camera))

    def draft(self, frames: slice, background: UInt8[np.ndarray, "*g 3 y x"]) -> Draft:
        """Draw some of the frames.

        Args:
            frames: Which of the clip's frames.
            background: (3, y, x), or (n, 3, y, x) with one image per drawn frame.
        """
        drawn = self.avatar.draw(
            BonePoses(self.bones.rotation[frames], self.bones.shift[frames]), self.camera
        )
        return Draft(
            drawn.over(background), from_meters(drawn.depth, drawn.alpha > _PERSON, self.depth_range)
        )


def avatar_draft(
    image: UInt8[np.ndarray, "3 h w"],
    mask: Bool[np.ndarray, "h w"],
    person_pose: Pose,
    pose: Pose,
    background: UInt8[np.ndarray, "*g 3 y x"],
) -> Draft:
    """Draft a clip in one piece.

    Args:
        image: Photo of the person, about as large as the frames.
        mask: The person in it.
        person_pose: Its joints in the photo, one frame.
        pose: Joints of f frames of height y and width x.
        background: (3, y, x) or (f, 3, y, x) uint8 sRGB.

    Raises:
        ValueError: If photo, mask and joints do not belong together.
    """
    avatar = Avatar.from_photo(image, mask, person_pose)
    return PosedAvatar.of(avatar, pose).draft(slice(None), background)
