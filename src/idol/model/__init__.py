"""The network: from a noisy clip and its conditions to a prediction."""

from idol.model.blocks import BlockFeatures
from idol.model.control import PoseAdapter
from idol.model.unet import Control, ForegroundKV, UNetOutput, UnifiedUNet

__all__ = ["BlockFeatures", "Control", "ForegroundKV", "PoseAdapter", "UNetOutput", "UnifiedUNet"]
