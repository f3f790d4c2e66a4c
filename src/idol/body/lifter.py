"""The lifter: a network that predicts points in space from joints in the image, over a window of frames.

A transformer whose tokens are frames, in the setting of VideoPose3D (Pavllo et al., 2019: 2-D joints over
time in, root-relative 3-D joints out). Input and output are normalized by the person's position and size.

Axes of images and points: x right and y down in pixels, z toward the viewer in pixels (weak perspective at
the distance of the hips), 0 at the middle of the hips.
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
"""Index of the mirror image of each point."""

SEEN = len(OPENPOSE_18)
"""Number of points that are joints in the image; they come first."""


@dataclass(frozen=True)
class LifterConfig:
    """Sizes of the network.

    Attributes:
        window: Largest number of frames.
        channels: Width of the tokens.
        layers: Number of transformer blocks.
        heads: Number of attention heads.
        hidden: Hidden width of the MLPs as a multiple of `channels`.

    Raises:
        ValueError: If a value is not positive or `heads` does not divide `channels`.
    """

    window: int = 16
    channels: int = 192
    layers: int = 4
    heads: int = 6
    hidden: int = 2

    def __post_init__(self) -> None:
        if min(self.window, self.channels, self.layers, self.heads, self.hidden) < 1:
            raise ValueError("window, channels, layers, heads and hidden must be at least 1")
        if self.channels % self.heads:
            raise ValueError(f"heads: found {self.heads}, expected a divisor of channels {self.channels}")


class Lifter(nn.Module):
    """Predict 22 points in space from 18 joints in the image.

    Args:
        config: Sizes of the network.
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
            joints: x and y (down) in pixels, any value where the confidence is 0; f <= `config.window`.
            confidence: Confidence in [0, 1]; 0 if the joint was not detected.

        Returns:
            Points in pixels: x, y in the image, z toward the viewer from the middle of the hips.
        """
        middle, size = person_frame(joints, confidence)
        # Normalize to the person: independent of where and how large it is in the image.
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
    """Lift windows and their mirror images, and average both, which makes lifting mirror-symmetric.

    Args:
        network: The lifter.
        joints: Joints as for `Lifter.forward`.
        confidence: Confidence as for `Lifter.forward`.

    Returns:
        Points as `Lifter.forward` returns them.
    """
    order, flip = list(MIRRORED[:SEEN]), joints.new_tensor([-1.0, 1.0])
    plain = network(joints, confidence)
    turned = network(joints[:, :, order] * flip, confidence[:, :, order])
    return (plain + turned[:, :, list(MIRRORED)] * joints.new_tensor([-1.0, 1.0, 1.0])) / 2


def person_frame(
    joints: Float[Tensor, "b f 18 2"], confidence: Float[Tensor, "b f 18"]
) -> tuple[Float[Tensor, "b f 2"], Float[Tensor, " b"]]:
    """Return the position and size of a person in the image.

    Args:
        joints: x and y in pixels.
        confidence: Positive where a joint was detected.

    Returns:
        The mean of the detected joints of each frame (of the window in frames without any), and the largest
        root mean square distance from it over the frames, in pixels.
    """
    seen = (confidence > 0).to(joints)
    count = seen.sum(2)[..., None]
    total = (joints * seen[..., None]).sum(2)
    overall = total.sum(1, keepdim=True) / count.sum(1, keepdim=True).clamp_min(1)
    middle = torch.where(count > 0, total / count.clamp_min(1), overall)
    far = ((joints - middle[:, :, None]).square().sum(-1) * seen).sum(2) / count[..., 0].clamp_min(1)
    return middle, far.sqrt().amax(1).clamp_min(1e-3)


def save_lifter(network: Lifter, path: Path) -> None:
    """Write the weights in float16, and the config as metadata.

    Args:
        network: The lifter.
        path: The safetensors file, in an existing folder.
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
