"""LPIPS: perceptual distance of two images, computed on features of a classification network.

Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", CVPR 2018, version 0.1
("lin"): the features of five layers are normalized over their channels, subtracted, squared, weighted per
channel by learned positive weights and averaged over positions; the five values are added.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from idol.assets import asset_path

Backbone = Literal["vgg", "alex"]

# One tuple per tapped layer: the convolutions (kernel, stride, padding) that lead to it, and the max-pooling
# (kernel, stride) in front of them.
_Stage = tuple[tuple[int, int] | None, tuple[tuple[int, int, int], ...]]
_VGG: tuple[_Stage, ...] = (
    (None, ((3, 1, 1),) * 2),
    ((2, 2), ((3, 1, 1),) * 2),
    ((2, 2), ((3, 1, 1),) * 3),
    ((2, 2), ((3, 1, 1),) * 3),
    ((2, 2), ((3, 1, 1),) * 3),
)
_ALEX: tuple[_Stage, ...] = (
    (None, ((11, 4, 2),)),
    ((3, 2), ((5, 1, 2),)),
    ((3, 2), ((3, 1, 1),)),
    (None, ((3, 1, 1),)),
    (None, ((3, 1, 1),)),
)
_LAYOUT: dict[Backbone, tuple[str, tuple[_Stage, ...]]] = {
    "vgg": ("VGG16_0", _VGG),
    "alex": ("AlexNet_0", _ALEX),
}


class LPIPS(nn.Module):
    """The LPIPS distance with fixed, published weights; differentiable with respect to both images.

    The parameters are frozen and the module stays in evaluation mode. The weights are downloaded on first
    use.

    Args:
        net: "vgg" (VGG-16: the usual training loss, and the one reported here) or "alex" (AlexNet).

    Raises:
        UserError: If the weights cannot be downloaded or verified.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, net: Backbone = "vgg") -> None:
        super().__init__()
        backbone, stages = _LAYOUT[net]
        weights = load_arrays(asset_path(f"lpips-{net}"))
        indices = iter(range(sum(len(convolutions) for _, convolutions in stages)))
        self.stages = nn.ModuleList(_stage(weights[backbone], indices, stage) for stage in stages)
        heads = [weights[f"NetLinLayer_{i}"]["Conv_0"]["kernel"] for i in range(len(stages))]
        self.heads = nn.ParameterList(torch.from_numpy(np.array(head)).reshape(1, -1, 1, 1) for head in heads)
        self.register_buffer("shift", torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1))
        self.register_buffer("scale", torch.tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1))
        self.requires_grad_(False).eval()
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a fifth faster on a CPU

    def train(self, mode: bool = True) -> LPIPS:
        """Ignore the mode: the network is always evaluated."""
        return super().train(False)

    def features(self, image: Float[Tensor, "n 3 h w"]) -> list[Tensor]:
        """Return the channel-normalized features (n, c, h', w') of the five layers, for images in [-1, 1]."""
        x, found = (image - self.shift) / self.scale, []
        for stage in self.stages:
            x = stage(x)
            # The square root alone has an infinite slope where a ReLU has switched every channel off.
            norm = (x.square().sum(1, keepdim=True) + 1e-20).sqrt()
            found.append(x / (norm + 1e-10))
        return found

    def forward(self, a: Float[Tensor, "n 3 h w"], b: Float[Tensor, "n 3 h w"]) -> Float[Tensor, " n"]:
        """Return the distance of each pair of images.

        Args:
            a: sRGB images in **[-1, 1]**, of at least 64 x 64 pixels.
            b: sRGB images in **[-1, 1]**, of the same size.

        Returns:
            At least 0; 0 for equal images.
        """
        return self.distance(self.features(a), self.features(b))

    def distance(self, a: list[Tensor], b: list[Tensor]) -> Float[Tensor, " n"]:
        """Return the distance of each pair of images from their features, to compare one image with many.

        Args:
            a: `features` of n images.
            b: `features` of n images.
        """
        layers = zip(a, b, self.heads, strict=True)
        return torch.stack([((x - y).square() * head).sum(1).mean((1, 2)) for x, y, head in layers]).sum(0)


def _stage(weights: dict, indices: Iterator[int], stage: _Stage) -> nn.Sequential:
    pool, convolutions = stage
    layers: list[nn.Module] = [] if pool is None else [nn.MaxPool2d(*pool)]
    for geometry in convolutions:
        layers += [_conv(weights, next(indices), geometry), nn.ReLU()]
    return nn.Sequential(*layers)


def _conv(weights: dict, number: int, geometry: tuple[int, int, int]) -> nn.Conv2d:
    arrays = weights[f"Conv_{number}"]
    kernel = torch.from_numpy(np.array(arrays["kernel"])).permute(3, 2, 0, 1).contiguous()  # h w in out
    size, stride, padding = geometry
    layer = nn.utils.skip_init(nn.Conv2d, kernel.shape[1], kernel.shape[0], size, stride, padding)
    layer.weight.data, layer.bias.data = kernel, torch.from_numpy(np.array(arrays["bias"]))  # type: ignore[union-attr]
    return layer


class _ArraysOnly(pickle.Unpickler):
    """Reads pickles of plain containers and numpy arrays, and refuses everything else that a pickle names."""

    allowed = {("multiarray", "_reconstruct"), ("numpy", "ndarray"), ("numpy", "dtype")}

    def find_class(self, module: str, name: str) -> object:
        """Return the numpy callable of that name.

        Raises:
            UnpicklingError: For anything but the three callables that rebuild an array.
        """
        if module in ("numpy.core.multiarray", "numpy._core.multiarray"):
            module = "multiarray"
        if (module, name) not in self.allowed:
            raise pickle.UnpicklingError(f"{module}.{name} is not an array")
        return np.ndarray.__reduce__(np.empty(0))[0] if module == "multiarray" else getattr(np, name)  # type: ignore[index]


def load_arrays(path: Path) -> dict:
    """Return the nested dictionary of numpy arrays of a pickle, without running anything that it names.

    Raises:
        pickle.UnpicklingError: If the file holds anything but containers, numbers and arrays.
    """
    with path.open("rb") as file:
        return _ArraysOnly(file).load()
