"""Features of clips for the distribution metrics, and which metrics they suffice for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from idol.assets import asset_path, sha256_of
from idol.evaluation.networks import i3d, inception
from idol.evaluation.networks.resnet3d import FEATURES as RESNET3D_FEATURES
from idol.evaluation.networks.resnet3d import ResNet3D


@dataclass(frozen=True)
class DistributionMetric:
    """A metric that compares two sets of clips as distributions of features.

    Attributes:
        key: Name in the JSON.
        title: Name in the table.
        features: Name of the features that it compares; see `FeatureExtractor`.
        window: Frames of one sample.
        distance: The distance between the two sets of features.
    """

    key: str
    title: str
    features: str
    window: int
    distance: Literal["frechet", "kid"] = "frechet"


METRICS = (
    DistributionMetric("fid", "FID", "inception", 1),
    DistributionMetric("kid", "KID", "inception", 1, "kid"),
    DistributionMetric("fvd16", "FVD, 16 frames (standard)", "i3d_16", 16),
    DistributionMetric("fvd8_disco", "FVD, 8 frames (DisCo's)", "i3d_8", 8),
    DistributionMetric("fid_vid", "FID-VID, 8 frames (3-D ResNet)", "resnet3d_8", 8),
    DistributionMetric("fid_i3d", "FID on pooled I3D features, 8 frames", "i3d_8_pooled", 8),
)


class FeatureExtractor:
    """The networks of the distribution metrics.

    Features are `inception` (2048 of each frame), `i3d_16` (400 class scores of each window of 16 frames),
    `i3d_8` (the same of 8 frames, by DisCo's variant), `i3d_8_pooled` (the 1024 features before those class
    scores) and `resnet3d_8` (2048 of each window of 8 frames).

    Args:
        fid: Whether Inception looks at the frames.
        fvd: Whether I3D looks at the windows.
        resnet3d: Weights of the 3-D ResNet; None leaves it out.
        stride: Frames from one window to the next, at least 1; default half a window. DisCo's evaluation uses
            1, which takes longer and adds windows that are almost alike.
        device: Where the networks run.

    Raises:
        UserError: If weights cannot be downloaded or read.
        ValueError: If the stride is below 1.
    """

    def __init__(
        self,
        *,
        fid: bool = True,
        fvd: bool = True,
        resnet3d: Path | None = None,
        stride: int | None = None,
        device: str = "cpu",
    ) -> None:
        if stride is not None and stride < 1:
            raise ValueError(f"stride: found {stride}, expected at least 1")
        self.stride, self.device = stride, torch.device(device)
        self.resnet3d = None if resnet3d is None else ResNet3D(resnet3d).to(device)
        self.inception = inception.Inception().to(device) if fid else None
        self.i3d_16 = i3d.I3D().to(device) if fvd else None
        self.i3d_8 = i3d.I3D(temporal_pool=1, resize="bicubic").to(device) if fvd else None
        files = {name: asset_path(name) for name, used in ((inception.ASSET, fid), (i3d.ASSET, fvd)) if used}
        files |= {} if resnet3d is None else {"resnet3d": resnet3d}
        self.weights = {name: sha256_of(Path(file)) for name, file in files.items()}

    def metrics(self) -> tuple[DistributionMetric, ...]:
        """Return the metrics that the features suffice for.

        FID on I3D features stands in for FID-VID if there is no 3-D ResNet.
        """
        fid, fvd, fid_vid = (network is not None for network in (self.inception, self.i3d_8, self.resnet3d))
        has = {"inception": fid, "i3d_16": fvd, "i3d_8": fvd, "resnet3d_8": fid_vid}
        has["i3d_8_pooled"] = fvd and not fid_vid
        return tuple(metric for metric in METRICS if has[metric.features])

    def extract(self, video: UInt8[np.ndarray, "f 3 h w"]) -> dict[str, np.ndarray]:
        """Return the features (n, d) by name; n is 0 where the video is shorter than a window."""
        features: dict[str, np.ndarray] = {}
        if self.inception:
            features["inception"] = self._apply(self.inception, video, inception.FEATURES, batch=16)
        if self.i3d_16:
            features["i3d_16"] = self._apply(self.i3d_16, self._windows(video, 16), i3d.CLASSES)
        short = self._windows(video, 8)
        if self.i3d_8:
            pooled = self._apply(self.i3d_8.features, short, i3d.FEATURES)
            features |= {"i3d_8_pooled": pooled, "i3d_8": self._apply(self.i3d_8.head, pooled, i3d.CLASSES)}
        if self.resnet3d:
            features["resnet3d_8"] = self._apply(self.resnet3d, short, RESNET3D_FEATURES)
        return features

    def _windows(self, video: np.ndarray, length: int) -> np.ndarray:
        return windows(video, length, self.stride or length // 2)

    def _apply(
        self, network: Callable[[Tensor], Tensor], samples: np.ndarray, size: int, batch: int = 2
    ) -> Float[np.ndarray, "n d"]:
        """Return the features of each sample; equal samples, as still clips have, are computed once."""
        indices: dict[bytes, int] = {}
        which = [indices.setdefault(sample.tobytes(), len(indices)) for sample in samples]
        distinct = samples[np.unique(which, return_index=True)[1]] if which else samples
        found = [np.zeros((0, size), np.float32)]
        # By default a GPU may round to 10 bits (TF32) and pick another algorithm in each run.
        exact = torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False)
        with torch.inference_mode(), exact:
            for start in range(0, len(distinct), batch):
                inputs = torch.from_numpy(np.ascontiguousarray(distinct[start : start + batch]))
                found.append(network(inputs.to(self.device)).float().cpu().numpy())
        return np.concatenate(found)[which]


def windows(
    video: UInt8[np.ndarray, "f 3 h w"], length: int, stride: int
) -> UInt8[np.ndarray, "n length 3 h w"]:
    """Return the windows of a video that start at multiples of the stride.

    Args:
        video: The frames.
        length: Frames of a window; a shorter video has none.
        stride: Frames from one window to the next.
    """
    if len(video) < length:
        return np.zeros((0, length, *video.shape[1:]), video.dtype)
    return np.moveaxis(np.lib.stride_tricks.sliding_window_view(video, length, axis=0)[::stride], -1, 1)
