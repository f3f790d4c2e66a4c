"""I3D, the video network of the Fréchet video distance (FVD).

Carreira & Zisserman, "Quo Vadis, Action Recognition? A New Model and the Kinetics Dataset", CVPR 2017:
Inception inflated to three dimensions, RGB, trained on Kinetics-400. Unterthiner et al. ("Towards Accurate
Generative Models of Video", 2018) compare its class scores. Convolutions and poolings pad like TensorFlow's
"SAME", which is asymmetric where a stride does not divide the size.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from idol.assets import asset_path
from idol.evaluation.networks.inception import fold_batch_norm
from idol.evaluation.networks.lpips import load_arrays

ASSET = "i3d-kinetics-400"
FEATURES, CLASSES = 1024, 400
_SIDE = 224

_Size = tuple[int, int, int]

# Channels of each block's branches: the first; into the second's large kernel, and out of it; the same of the
# third; the fourth.
_MIXED: dict[str, tuple[int, int, int, int, int, int]] = {
    "3b": (64, 96, 128, 16, 32, 32),
    "3c": (128, 128, 192, 32, 96, 64),
    "4b": (192, 96, 208, 16, 48, 64),
    "4c": (160, 112, 224, 24, 64, 64),
    "4d": (128, 128, 256, 24, 64, 64),
    "4e": (112, 144, 288, 32, 64, 64),
    "4f": (256, 160, 320, 32, 128, 128),
    "5b": (256, 160, 320, 32, 128, 128),
    "5c": (384, 192, 384, 48, 128, 128),
}


class I3D(nn.Module):
    """Class scores and features of videos, with fixed, published weights.

    The parameters are frozen and the module stays in evaluation mode. There is no dropout, and batch
    normalization is folded into the convolutions. The weights are downloaded on first use.

    Args:
        temporal_pool: Steps (of eight frames each) that the last average pooling covers. 2 is the published
            network, which needs at least 9 frames; 1, as in DisCo's evaluation, allows 8 frames, and gives
            distances that are not comparable with those of the published network.
        resize: "bilinear" without antialiasing, as in the usual FVD; "bicubic" with antialiasing, as in
            DisCo's.

    Raises:
        UserError: If the weights cannot be downloaded or verified.
    """

    def __init__(
        self, temporal_pool: Literal[1, 2] = 2, resize: Literal["bilinear", "bicubic"] = "bilinear"
    ) -> None:
        super().__init__()
        self.temporal_pool, self.resize = temporal_pool, resize
        with torch.device("meta"):
            self.layers = _layers()
            self.head = nn.Linear(FEATURES, CLASSES)
        self.load_state_dict(_state(load_arrays(asset_path(ASSET))), assign=True)
        self.requires_grad_(False).eval()
        self.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]

    def train(self, mode: bool = True) -> I3D:
        """Ignore the mode: the network is always evaluated."""
        return super().train(False)

    def forward(self, video: UInt8[Tensor, "b f 3 h w"]) -> Float[Tensor, "b 400"]:
        """Return class scores of sRGB videos, before the softmax and averaged over time; see `features`."""
        return self.head(self.features(video))

    def features(self, video: UInt8[Tensor, "b f 3 h w"]) -> Float[Tensor, "b 1024"]:
        """Return the features before the class scores, averaged over space and time.

        Frames are resized to 224 x 224 without keeping their shape, and scaled to [-1, 1].

        Raises:
            ValueError: If the video is too short for `temporal_pool`.
        """
        b, f = video.shape[:2]
        if (f + 7) // 8 < self.temporal_pool:
            raise ValueError(f"video: found {f} frames, expected at least {8 * self.temporal_pool - 7}")
        frames = F.interpolate(
            video.flatten(0, 1).float(),
            (_SIDE, _SIDE),
            mode=self.resize,
            align_corners=False,
            antialias=self.resize == "bicubic",
        )
        x = self.layers(frames.unflatten(0, (b, f)).transpose(1, 2) / 127.5 - 1)  # b c f h w
        return F.avg_pool3d(x, (self.temporal_pool, *x.shape[3:]), 1).mean((2, 3, 4))


def pad_same(
    x: Float[Tensor, "b c f h w"], kernel: _Size, stride: _Size, value: float = 0.0
) -> Float[Tensor, "b c f2 h2 w2"]:
    """Pad so that a window gives ceil(size / stride) outputs: TensorFlow's "SAME".

    Args:
        x: The input.
        kernel: Size of the window along f, h, w.
        stride: Stride of the window along f, h, w.
        value: What the padding holds.
    """
    amounts: list[int] = []
    for size, k, s in zip(x.shape[:1:-1], kernel[::-1], stride[::-1], strict=True):  # F.pad: last axis first
        total = max((-(-size // s) - 1) * s + k - size, 0)
        amounts += [total // 2, total - total // 2]
    return F.pad(x, amounts, value=value) if any(amounts) else x


class ConvBlock(nn.Conv3d):
    """Convolution with "SAME" padding, batch normalization (folded into it) and ReLU."""

    def __init__(self, channels: int, out: int, kernel: int = 1, stride: int = 1) -> None:
        super().__init__(channels, out, kernel, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map (b, in, f, h, w) to (b, out, ceil(f / stride), ceil(h / stride), ceil(w / stride))."""
        return F.relu(super().forward(pad_same(x, self.kernel_size, self.stride)))  # type: ignore[arg-type]


class SamePool(nn.Module):
    """Max pooling with "SAME" padding of -inf."""

    def __init__(self, kernel: _Size, stride: _Size) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, x: Tensor) -> Tensor:
        """Divide each of f, h, w of (b, c, f, h, w) by its stride, rounding up."""
        padded = pad_same(x, self.kernel, self.stride, value=float("-inf"))
        return F.max_pool3d(padded, self.kernel, self.stride)


class _Mixed(nn.Module):
    """Four parallel branches, concatenated over channels."""

    def __init__(self, channels: int, out: tuple[int, int, int, int, int, int]) -> None:
        super().__init__()
        self.Branch_0 = _named(Conv3d_0a_1x1=ConvBlock(channels, out[0]))
        self.Branch_1 = _named(
            Conv3d_0a_1x1=ConvBlock(channels, out[1]), Conv3d_0b_3x3=ConvBlock(out[1], out[2], 3)
        )
        self.Branch_2 = _named(
            Conv3d_0a_1x1=ConvBlock(channels, out[3]), Conv3d_0b_3x3=ConvBlock(out[3], out[4], 3)
        )
        self.Branch_3 = _named(pool=SamePool((3, 3, 3), (1, 1, 1)), Conv3d_0b_1x1=ConvBlock(channels, out[5]))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.children()], 1)


def _layers() -> nn.Sequential:
    """Return the network below its head, with the names of the published file."""
    layers: dict[str, nn.Module] = {
        "Conv3d_1a_7x7": ConvBlock(3, 64, 7, stride=2),
        "MaxPool3d_2a_3x3": SamePool((1, 3, 3), (1, 2, 2)),
        "Conv3d_2b_1x1": ConvBlock(64, 64),
        "Conv3d_2c_3x3": ConvBlock(64, 192, 3),
        "MaxPool3d_3a_3x3": SamePool((1, 3, 3), (1, 2, 2)),
    }
    pools = {"4b": SamePool((3, 3, 3), (2, 2, 2)), "5b": SamePool((2, 2, 2), (2, 2, 2))}
    channels = 192
    for name, out in _MIXED.items():
        if name in pools:
            layers[f"MaxPool3d_{name}"] = pools[name]
        layers[f"Mixed_{name}"] = _Mixed(channels, out)
        channels = out[0] + out[2] + out[4] + out[5]
    return _named(**layers)


def _named(**layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(OrderedDict(layers))


def _state(arrays: dict[str, Any]) -> dict[str, Tensor]:
    """Return the parameters by name from the file's two trees: trained values and batch statistics."""
    trained, statistics = _flat(arrays["params"]), _flat(arrays["batch_stats"])
    state: dict[str, Tensor] = {}
    for name, kernel in trained.items():
        unit, found, _ = name.partition(".Conv_0.kernel")
        if not found:
            continue
        weight = kernel.permute(4, 3, 0, 1, 2)  # f h w in out
        if unit == "Logits.Conv3d_0c_1x1":
            state["head.weight"], state["head.bias"] = weight.flatten(1), trained[f"{unit}.Conv_0.bias"]
            continue
        norm = f"{unit}.BatchNorm_0."
        moments = (statistics[f"{norm}{part}"].flatten() for part in ("mean", "var"))
        kernel_and_bias = fold_batch_norm(weight, trained[f"{norm}bias"], *moments)
        state |= zip((f"layers.{unit}.weight", f"layers.{unit}.bias"), kernel_and_bias, strict=True)
    return state


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Tensor]:
    """Flatten a nested dictionary of arrays; keys are paths joined by dots."""
    flat: dict[str, Tensor] = {}
    for key, value in tree.items():
        name = prefix + key.replace("/", ".")
        flat |= (
            _flat(value, f"{name}.") if isinstance(value, dict) else {name: torch.from_numpy(np.array(value))}
        )
    return flat
