"""The record that travels between all stages, and how it lies on disk: frames, depth, poses, masks."""

from idol.clip.clip import Clip, DepthKind
from idol.clip.pose import Pose

__all__ = ["Clip", "DepthKind", "Pose"]
