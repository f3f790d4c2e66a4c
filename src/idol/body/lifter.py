"""The network that lifts joints seen in an image to points in space, over a window of frames.

A transformer whose tokens are frames, after VideoPose3D's setting (Pavllo et al., 2019: 2-D joints over time
in, root-relative 3-D joints out). Its input and output are free of where and how large the person is.

Axes of images and points: x right and y down in pixels, z towards the viewer in pixels (weak perspective at
the hips' distance), 0 at the middle of the hips.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from idol.pose.joints import OPENPOSE_18

POINTS = (*OPENPOSE_18, "left_toe", "right_toe", "left_knuckle", "right_knuckle")
"""The 22 points: OpenPose's joints, bases of the second toes, bases of the middle fingers."""

_SWAPPED = {"left": "right", "right": "left"}
MIRRORED = tuple(
    POINTS.index("_".join([_SWAPPED.get(word, word) for word in name.split("_")])) for name in POINTS
)
"""Position of each point's mirror image."""

SEEN = len(OPENPOSE_18)


@dataclass(frozen=True)
class LifterConfig:
    """Sizes of the network.

    Attributes:
        window: Frames that are looked at together, at most.
        channels: Width of a frame's token.
        layers: Transformer blocks.
        heads: Attention heads.
        hidden: Width of the blocks' perceptrons, as a multiple of `channels`.

    Raises:
        ValueError: If a number is not positive or the heads do not divide the channels.
    """

    window: int = 16
    channels: int = 192
    layers: int = 4
    heads: int = 6
    hidden: int = 2

    def __post_init__(self) -> None:
        if min(self.window, self.channels, self.layers, self.heads, self.hidden) < 1:
            raise ValueError("window, channels, layers, heads and hidden are at least 1")
        if self.channels % self.heads:
            raise ValueError(f"heads: found {self.heads}, expected a divisor of channels {self.channels}")


class Lifter(nn.Module):
    """Predict 22 points in space from 18 joints in the image.

    Args:
        config: Sizes.
    """

    def __init__(self, config: LifterConfig) -> None:
        super().__init__()
        self.config = config
        width = config.channels
        self.embed = nn.Linear(SEEN * 3 + 3, width)
        self.time = nn.Parameter(torch.randn(config.window, width) * 0.02)
        block = nn.TransformerEncoderLayer(
            width, config.heads, config.hidden * width, 0.0, "gelu", batch_first=True, norm_first=True
        )
        self.blocks = nn.TransformerEncoder(block, config.layers, enable_nested_tensor=False)
        self.head = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, 2 * width),
            nn.GELU(),
            nn.Linear(2 * width, len(POINTS) * 3),
        )

    def forward(
        self, joints: Float[Tensor, "b f 18 2"], confidence: Float[Tensor, "b f 18"]
    ) -> Float[Tensor, "b f 22 3"]:
        """Lift windows.

        Args:
            joints: x and y in pixels, y down; any value where the confidence is 0. f is at most the window.
            confidence: In [0, 1]; 0 means that the joint was not seen.

        Returns:
            Points in pixels: x, y in the image, z towards the viewer from the middle of the hips.
        """
        middle, size = person_frame(joints, confidence)
        unit = size[:, None, None, None]
        local = (joints - middle[:, :, None]) / unit * (confidence > 0)[..., None]
        drift = (middle - middle.mean(1, keepdim=True)) / size[:, None, None]
        any_seen = (confidence > 0).any(-1, keepdim=True).to(local)
        token = torch.cat([local.flatten(2), confidence, drift, any_seen], -1)
        token = self.embed(token) + self.time[: joints.shape[1]]
        points = self.head(self.blocks(token)).float().unflatten(-1, (len(POINTS), 3)) * unit
        return torch.cat([points[..., :2] + middle[:, :, None], points[..., 2:]], -1)


def lift_both_ways(
    network: Lifter, joints: Float[Tensor, "b f 18 2"], confidence: Float[Tensor, "b f 18"]
) -> Float[Tensor, "b f 22 3"]:
    """Lift windows and their mirror images, and average: mirrored input gives exactly mirrored output.

    Args:
        network: The lifter.
        joints: As `Lifter.forward`.
        confidence: As `Lifter.forward`.

    Returns:
        Points as `Lifter.forward` gives them.
    """
    order, flip = list(MIRRORED[:SEEN]), joints.new_tensor([-1.0, 1.0])
    plain = network(joints, confidence)
    turned = network(joints[:, :, order] * flip, confidence[:, :, order])
    return (plain + turned[:, :, list(MIRRORED)] * joints.new_tensor([-1.0, 1.0, 1.0])) / 2


def person_frame(
    joints: Float[Tensor, "b f 18 2"], confidence: Float[Tensor, "b f 18"]
) -> tuple[Float[Tensor, "b f 2"], Float[Tensor, " b"]]:
    """Find where and how large a person is.

    Args:
        joints: x and y in pixels.
        confidence: Above 0 where a joint was seen.

    Returns:
        The mean of the joints seen, frame by frame (where none is, that of the window), and the largest root
        mean square distance from it over the frames, in pixels.
    """
    seen = (confidence > 0).to(joints)
    count = seen.sum(2)[..., None]
    total = (joints * seen[..., None]).sum(2)
    overall = total.sum(1, keepdim=True) / count.sum(1, keepdim=True).clamp_min(1)
    middle = torch.where(count > 0, total / count.clamp_min(1), overall)
    far = ((joints - middle[:, :, None]).square().sum(-1) * seen).sum(2) / count[..., 0].clamp_min(1)
    return middle, far.sqrt().amax(1).clamp_min(1e-3)


def save_lifter(network: Lifter, path: Path) -> None:
    """Write the weights in float16, with the sizes of the network.

    Args:
        network: The lifter.
        path: A safetensors file; its folder exists.
    """
    tensors = {name: value.half().contiguous() for name, value in network.state_dict().items()}
    sizes = {name: str(value) for name, value in vars(network.config).items()}
    save_file(tensors, path, sizes)


def load_lifter(path: Path) -> Lifter:
    """Read weights that `save_lifter` wrote.

    Args:
        path: The file.

    Returns:
        The network in float32, for inference.
    """
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        sizes = {name: int(value) for name, value in file.metadata().items()}
    network = Lifter(LifterConfig(**sizes))
    network.load_state_dict({name: value.float() for name, value in load_file(path).items()})
    return network.eval().requires_grad_(False)
