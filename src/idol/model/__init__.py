"""The network: from a noisy clip and its conditions to a prediction."""

from idol.model.control import PoseAdapter, PoseControlNet
from idol.model.layers import BlockFeatures
from idol.model.unet import UNetOutput, UnifiedUNet
from idol.model.unet_encoder import Control, ForegroundKV

__all__ = [
    "BlockFeatures",
    "Control",
    "ForegroundKV",
    "PoseAdapter",
    "PoseControlNet",
    "UNetOutput",
    "UnifiedUNet",
]
