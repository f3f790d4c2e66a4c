"""The clip: the record that all stages exchange, its depth encoding, and its files."""

from idol.clip.clip import Clip, DepthKind
from idol.clip.pose import Pose

__all__ = ["Clip", "DepthKind", "Pose"]
