"""The 3-D ResNet-50 of FID-VID; the user provides its weights.

Hara, Kataoka & Satoh, "Can Spatiotemporal 3D CNNs Retrace the History of 2D CNNs and ImageNet?", CVPR 2018,
trained on Kinetics-400, shortcuts of type B. Balaji et al. ("Conditional GAN with Discriminative Filter
Generation for Text-to-Video Synthesis", IJCAI 2019) use it for a Fréchet distance of videos. No package holds
the weights, which the authors publish as `resnet-50-kinetics.pth`.
"""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from idol.errors import UserError

FEATURES = 2048
SIDE = 112
MEAN = (114.7748, 107.7354, 99.4750)
"""RGB mean in 8-bit levels, which is subtracted; there is no division."""

_EXPANSION = 4
_REMEDY = "give resnet-50-kinetics.pth of the 3D-ResNets-PyTorch project"


class ResNet3D(nn.Module):
    """Pooled features of videos. The parameters are frozen and the module stays in evaluation mode.

    Args:
        file: A checkpoint with a `state_dict` whose names start with `module.`; only tensors are read from
            it.

    Raises:
        UserError: If the file cannot be read, or does not hold exactly this network (apart from its
            classifier).
    """

    def __init__(self, file: str | Path) -> None:
        super().__init__()
        with torch.device("meta"):
            self.conv1 = nn.Conv3d(3, 64, 7, (1, 2, 2), 3, bias=False)
            self.bn1 = nn.BatchNorm3d(64)
            self.layer1 = _stage(64, 64, 3, stride=1)
            self.layer2 = _stage(256, 128, 4, stride=2)
            self.layer3 = _stage(512, 256, 6, stride=2)
            self.layer4 = _stage(1024, 512, 3, stride=2)
        self.load_state_dict(_matched(_read(Path(file)), self.state_dict(), str(file)), assign=True)
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> ResNet3D:
        """Ignore the mode: the network is always evaluated."""
        return super().train(False)

    def forward(self, video: UInt8[Tensor, "b f 3 h w"]) -> Float[Tensor, "b 2048"]:
        """Return the features of sRGB videos of any size, averaged over the positions of the last layer.

        Frames are resized to 112 x 112 by antialiased bicubic interpolation as PIL does it on floats, without
        rounding.
        """
        size = (SIDE, SIDE)
        frames = F.interpolate(video.flatten(0, 1).float(), size, mode="bicubic", antialias=True)
        frames = frames - frames.new_tensor(MEAN).view(3, 1, 1)
        x = frames.unflatten(0, video.shape[:2]).transpose(1, 2)  # b c f h w
        x = F.max_pool3d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
        return x.mean((2, 3, 4))


class _Block(nn.Module):
    """Three convolutions beside a shortcut, which has a convolution where the sizes differ (type B)."""

    def __init__(self, channels: int, inner: int, stride: int) -> None:
        super().__init__()
        out = inner * _EXPANSION
        self.conv1 = nn.Conv3d(channels, inner, 1, bias=False)
        self.bn1 = nn.BatchNorm3d(inner)
        self.conv2 = nn.Conv3d(inner, inner, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm3d(inner)
        self.conv3 = nn.Conv3d(inner, out, 1, bias=False)
        self.bn3 = nn.BatchNorm3d(out)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or channels != out:
            shortcut = nn.Conv3d(channels, out, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm3d(out))

    def forward(self, x: Tensor) -> Tensor:
        inner = F.relu(self.bn1(self.conv1(x)))
        inner = F.relu(self.bn2(self.conv2(inner)))
        return F.relu(self.bn3(self.conv3(inner)) + self.downsample(x))


def _stage(channels: int, inner: int, blocks: int, stride: int) -> nn.Sequential:
    widths = [channels] + [inner * _EXPANSION] * (blocks - 1)
    return nn.Sequential(*(_Block(width, inner, 1 if i else stride) for i, width in enumerate(widths)))


def _read(file: Path) -> dict[str, Tensor]:
    """Return the tensors by name, without the prefix that training on several GPUs adds."""
    if not file.is_file():
        raise UserError(str(file), "no such file", _REMEDY)
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as wrong:
        first = (str(wrong).splitlines() or ["it is empty"])[0]
        raise UserError(str(file), f"cannot be read as weights ({first})", _REMEDY) from wrong
    if not isinstance(content, dict) or not isinstance(content.get("state_dict"), dict):
        raise UserError(str(file), "holds no state_dict", _REMEDY)
    return {name.removeprefix("module."): tensor for name, tensor in content["state_dict"].items()}


def _matched(found: dict[str, Tensor], wanted: dict[str, Tensor], file: str) -> dict[str, Tensor]:
    """Return the wanted tensors of a file, if it holds exactly those, in their shapes.

    The classifier is not needed, and neither is the number of batches, which files of 2017 do not have.
    """
    counts = {name: torch.tensor(0) for name in wanted if name.endswith("num_batches_tracked")}
    found = {k: v for k, v in found.items() if k not in counts and k not in ("fc.weight", "fc.bias")} | counts
    both = wanted.keys() & found.keys()
    for names, what in (
        (wanted.keys() - found.keys(), "are missing"),
        (found.keys() - wanted.keys(), "belong to another network"),
        ({name for name in both if found[name].shape != wanted[name].shape}, "have another shape"),
    ):
        if names:
            examples = ", ".join(sorted(names)[:3])
            raise UserError(file, f"{len(names)} tensors {what}, such as {examples}", _REMEDY)
    return found
