"""Inception-v3 of the Fréchet inception distance (FID), and the reader of its published weights.

The network is TensorFlow's graph of 2015-12-05 (Szegedy et al., "Rethinking the Inception Architecture for
Computer Vision", CVPR 2016), which Heusel et al. chose ("GANs Trained by a Two Time-Scale Update Rule",
NeurIPS 2017). It differs from the pretrained networks of libraries in three ways that change the distance:
average pooling does not count the padding, the last block pools by maximum, and the weights are others.
"""

from __future__ import annotations

import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from idol.assets import asset_path

ASSET = "fid-inception"
FEATURES = 2048
_SIDE = 299
_EPSILON = 1e-3


class Inception(nn.Module):
    """Features of images before the classifier, with fixed, published weights.

    The parameters are frozen and the module stays in evaluation mode. Batch normalization is folded into the
    convolutions. The weights are downloaded on first use.

    Raises:
        UserError: If the weights cannot be downloaded or verified.
    """

    def __init__(self) -> None:
        super().__init__()
        with torch.device("meta"):
            self.layers = _layers()
        units = read_tensors(asset_path(ASSET))["net"]
        self.load_state_dict(_state(units), assign=True)
        self.requires_grad_(False).eval()
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a fifth faster on a CPU

    def train(self, mode: bool = True) -> Inception:
        """Ignore the mode: the network is always evaluated."""
        return super().train(False)

    def forward(self, frames: UInt8[Tensor, "n 3 h w"]) -> Float[Tensor, "n 2048"]:
        """Return the features of sRGB frames of any size.

        Frames are resized to 299 x 299 without keeping their shape, bilinearly, without antialiasing and with
        `align_corners=False`, and scaled to [-1, 1], as in the widely used PyTorch port of FID. "Clean" FID
        resizes with antialiasing and gives other values.
        """
        x = F.interpolate(frames.float() / 255, (_SIDE, _SIDE), mode="bilinear", align_corners=False)
        return self.layers(2 * x - 1).mean((2, 3))


class _Unit(nn.Conv2d):
    """Convolution, batch normalization (folded into it) and ReLU."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(super().forward(x))


class _Mixed(nn.Module):
    """Parallel branches, concatenated over channels."""

    def __init__(self, **branches: nn.Module) -> None:
        super().__init__()
        for name, branch in branches.items():
            self.add_module(name, branch)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.children()], 1)


class _Forked(nn.Module):
    """The last kind of block, two of whose branches fork once more."""

    def __init__(self, channels: int, pool: nn.Module) -> None:
        super().__init__()
        self.conv = _unit(channels, 320)
        self.tower_conv = _unit(channels, 384)
        self.tower_mixed_conv = _unit(384, 384, (1, 3))
        self.tower_mixed_conv_1 = _unit(384, 384, (3, 1))
        self.tower_1_conv = _unit(channels, 448)
        self.tower_1_conv_1 = _unit(448, 384, (3, 3))
        self.tower_1_mixed_conv = _unit(384, 384, (1, 3))
        self.tower_1_mixed_conv_1 = _unit(384, 384, (3, 1))
        self.tower_2_pool = pool
        self.tower_2_conv = _unit(channels, 192)

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.tower_conv(x), self.tower_1_conv_1(self.tower_1_conv(x))
        branches = [
            self.conv(x),
            self.tower_mixed_conv(first),
            self.tower_mixed_conv_1(first),
            self.tower_1_mixed_conv(second),
            self.tower_1_mixed_conv_1(second),
            self.tower_2_conv(self.tower_2_pool(x)),
        ]
        return torch.cat(branches, 1)


def _layers() -> nn.Sequential:
    """Return the network, with the names of the published file."""
    stem = _chain(
        _unit(3, 32, (3, 3), stride=2),
        _unit(32, 32, (3, 3), padded=False),
        _unit(32, 64, (3, 3)),
        nn.MaxPool2d(3, 2),
        _unit(64, 80),
        _unit(80, 192, (3, 3), padded=False),
        nn.MaxPool2d(3, 2),
    )
    mixed = (
        *(_mixed_35(channels, pooled) for channels, pooled in ((192, 32), (256, 64), (288, 64))),
        _to_17(288),
        *(_mixed_17(inner) for inner in (128, 160, 160, 192)),
        _to_8(768),
        _Forked(1280, _average()),
        _Forked(2048, nn.MaxPool2d(3, 1, padding=1)),
    )
    names = ("mixed", *(f"mixed_{i}" for i in range(1, len(mixed))))
    return nn.Sequential(OrderedDict([*stem.named_children(), *zip(names, mixed, strict=True)]))


def _mixed_35(channels: int, pooled: int) -> _Mixed:
    return _Mixed(
        conv=_unit(channels, 64),
        tower=_chain(_unit(channels, 48), _unit(48, 64, (5, 5))),
        tower_1=_chain(_unit(channels, 64), _unit(64, 96, (3, 3)), _unit(96, 96, (3, 3))),
        tower_2=_chain(_average(), _unit(channels, pooled)),
    )


def _to_17(channels: int) -> _Mixed:
    return _Mixed(
        conv=_unit(channels, 384, (3, 3), stride=2),
        tower=_chain(_unit(channels, 64), _unit(64, 96, (3, 3)), _unit(96, 96, (3, 3), stride=2)),
        pool=nn.MaxPool2d(3, 2),
    )


def _mixed_17(inner: int, channels: int = 768) -> _Mixed:
    return _Mixed(
        conv=_unit(channels, 192),
        tower=_chain(_unit(channels, inner), _unit(inner, inner, (1, 7)), _unit(inner, 192, (7, 1))),
        tower_1=_chain(
            _unit(channels, inner),
            _unit(inner, inner, (7, 1)),
            _unit(inner, inner, (1, 7)),
            _unit(inner, inner, (7, 1)),
            _unit(inner, 192, (1, 7)),
        ),
        tower_2=_chain(_average(), _unit(channels, 192)),
    )


def _to_8(channels: int) -> _Mixed:
    return _Mixed(
        tower=_chain(_unit(channels, 192), _unit(192, 320, (3, 3), stride=2)),
        tower_1=_chain(
            _unit(channels, 192),
            _unit(192, 192, (1, 7)),
            _unit(192, 192, (7, 1)),
            _unit(192, 192, (3, 3), stride=2),
        ),
        pool=nn.MaxPool2d(3, 2),
    )


def _unit(
    channels: int, out: int, kernel: tuple[int, int] = (1, 1), stride: int = 1, padded: bool = True
) -> _Unit:
    """Return a unit that keeps the size, unless it has a stride or is not padded."""
    same = padded and stride == 1
    return _Unit(channels, out, kernel, stride, (kernel[0] // 2, kernel[1] // 2) if same else 0)


def _average() -> nn.AvgPool2d:
    return nn.AvgPool2d(3, 1, padding=1, count_include_pad=False)


def _chain(*layers: nn.Module) -> nn.Sequential:
    """Chain layers; units are named conv, conv_1, ..., poolings pool, pool_1, ..."""
    chain = nn.Sequential()
    for layer in layers:
        kind = "conv" if isinstance(layer, _Unit) else "pool"
        number = sum(name.startswith(kind) for name, _ in chain.named_children())
        chain.add_module(f"{kind}_{number}" if number else kind, layer)
    return chain


def _state(units: dict[str, Any], prefix: str = "") -> dict[str, Tensor]:
    """Return the parameters by name from the file's nested units of weight, beta, mean and var."""
    if "weight" in units:
        kernel, bias = fold_batch_norm(*(units[name] for name in ("weight", "beta", "mean", "var")))
        return {f"{prefix}weight": kernel, f"{prefix}bias": bias}
    state: dict[str, Tensor] = {}
    for name, inner in units.items():
        state |= _state(inner, f"{prefix}{name}.") if isinstance(inner, dict) else {}
    return state


def fold_batch_norm(kernel: Tensor, beta: Tensor, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
    """Fold batch normalization without a scale into the convolution before it.

    (k * x - mean) / sqrt(variance + 0.001) + beta, as a kernel and a bias.

    Args:
        kernel: (out, in, ...) kernel of the convolution, which has no bias.
        beta: (out,) bias of the normalization.
        mean: (out,) running mean of the normalization.
        variance: (out,) running variance of the normalization.

    Returns:
        Kernel (out, in, ...) and bias (out,), float32.
    """
    scale = (variance.double() + _EPSILON).rsqrt()
    weight = kernel.double() * scale.view(-1, *[1] * (kernel.ndim - 1))
    return weight.float(), (beta.double() - mean.double() * scale).float()


class _Part:
    """Placeholder for every class of the archive, which only stores its state."""


class _TensorsOnly(pickle.Unpickler):
    """Reads the data of a TorchScript archive as plain values, without its classes and its code.

    Args:
        archive: The file.
        root: The folder in it that holds everything.
    """

    def __init__(self, archive: zipfile.ZipFile, root: str) -> None:
        super().__init__(archive.open(f"{root}/data.pkl"))
        self.archive, self.root = archive, root

    def find_class(self, module: str, name: str) -> object:
        """Return a stand-in for a name in the pickle.

        Raises:
            UnpicklingError: If it is neither a class of the archive nor needed to rebuild a tensor.
        """
        if module.startswith("__torch__."):
            return _Part
        known = {
            ("torch._utils", "_rebuild_tensor_v2"): _tensor,
            ("torch", "FloatStorage"): np.dtype("<f4"),
            ("torch.jit._pickle", "build_intlist"): list,
            ("collections", "OrderedDict"): OrderedDict,
        }
        if (module, name) not in known:
            raise pickle.UnpicklingError(f"{module}.{name} is not part of a tensor")
        return known[module, name]

    def persistent_load(self, pid: Any) -> np.ndarray:
        """Return the values of a storage: pid is ("storage", kind, file name, device, count)."""
        _, kind, name, _, count = pid
        indices = np.frombuffer(self.archive.read(f"{self.root}/data/{name}"), kind)
        if len(indices) != count:
            raise pickle.UnpicklingError(f"storage {name}: {len(indices)} numbers, expected {count}")
        return indices


def _tensor(storage: np.ndarray, offset: int, size: tuple, stride: tuple, *_: object) -> Tensor:
    return torch.as_strided(torch.from_numpy(storage.copy()), size, stride, offset)


def read_tensors(path: Path) -> dict[str, Any]:
    """Return the tensors of a TorchScript archive as nested dictionaries, by the names of its modules.

    No code of the archive is run. Values that are neither tensors nor hold any are left out.

    Raises:
        pickle.UnpicklingError: If the data name anything but classes of the archive and float32 tensors.
    """
    with zipfile.ZipFile(path) as archive:
        root = archive.namelist()[0].split("/")[0]
        return cast(dict[str, Any], _plain(_TensorsOnly(archive, root).load()))


def _plain(value: object) -> object:
    if not isinstance(value, _Part):
        return value if isinstance(value, Tensor) else None
    found = {name: _plain(inner) for name, inner in vars(value).items()}
    return {name: inner for name, inner in found.items() if inner is not None and inner != {}}
