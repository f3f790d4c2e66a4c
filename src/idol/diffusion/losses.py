"""The training objective, Eqs. 2-8 of the paper; always in float32.

Eq. 8 (outpainting pre-training) is Eq. 2 with one modality and augmented conditions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint


@runtime_checkable
class ModalityFeatures(Protocol):
    """Features of an up block that the consistency losses read, e.g. `idol.model.layers.BlockFeatures`."""

    @property
    def self_attention(self) -> Tensor:
        """(b, m, f, h*w, d) spatial self-attention features."""

    @property
    def cross_attention(self) -> Tensor:
        """(b, m, f, heads, h*w, n) attention to the foreground tokens; each row sums to 1."""


@dataclass(frozen=True)
class LossConfig:
    """Weights of Eq. 7.

    Attributes:
        w_mo: Weight of motion consistency (Eq. 5); 0 omits it.
        w_xattn: Weight of attention-map consistency (Eq. 6); 0 omits it.
        tau: Temperature of the motion field (Eq. 4); None is 1/sqrt(d).
        chunk: Source positions of the motion field at a time, to save memory for large h*w; None is all.
    """

    w_mo: float = 0.01
    w_xattn: float = 0.01
    tau: float | None = None
    chunk: int | None = None


@dataclass(frozen=True)
class LossTerms:
    """The objective and its unweighted terms, scalars.

    Attributes:
        total: The objective (Eq. 7).
        denoising: Eq. 2.
        motion: Eq. 5, summed over up blocks.
        attention_map: Eq. 6, summed over up blocks.
    """

    total: Float[Tensor, ""]
    denoising: Float[Tensor, ""]
    motion: Float[Tensor, ""]
    attention_map: Float[Tensor, ""]


# Eq. 2
def denoising(
    prediction: Float[Tensor, "b m *rest"],
    target: Float[Tensor, "b m *rest"],
    weight: Float[Tensor, "..."] | None = None,
) -> Float[Tensor, ""]:
    """Return the mean squared error of the prediction, averaged over both modalities (Eq. 2).

    Args:
        prediction: The network's output (b, m, f, c, h, w).
        target: Its target (`Schedule.target`).
        weight: (b,) or (b, m), e.g. min-SNR, or 0 for a known modality; or anything of more axes that
            broadcasts over the prediction. The sum is divided by the number of elements, not by the weights.
    """
    error = (prediction.float() - target.float()).square()
    if weight is None:
        return error.mean()
    if weight.ndim <= 2:
        weight = weight.reshape(weight.shape + (1,) * (error.ndim - weight.ndim))
    return (weight.float() * error).mean()


# Eqs. 3 and 4
def motion_field(
    a: Float[Tensor, "*n p d"], b: Float[Tensor, "*n q d"], tau: float | None = None
) -> Float[Tensor, "*n p q"]:
    """Return where each position of frame l moves in frame l + 1 (Eqs. 3 and 4).

    It is the softmax over target positions of the cosine cost volume.

    Args:
        a: Features of frame l.
        b: Features of frame l + 1.
        tau: Temperature; 1/sqrt(d) when None.

    Returns:
        Rows of non-negative numbers that sum to 1.
    """
    tau = a.shape[-1] ** -0.5 if tau is None else tau
    with torch.autocast(a.device.type, enabled=False):
        # float32: with tau = 1/sqrt(d), bfloat16's rounding would show in the softmax
        a, b = F.normalize(a.float(), dim=-1), F.normalize(b.float(), dim=-1)
        return (a @ b.mT / tau).softmax(-1)


# Eq. 5
def motion_consistency(
    video: Float[Tensor, "b f p d"],
    depth: Float[Tensor, "b f p d"],
    tau: float | None = None,
    chunk: int | None = None,
) -> Float[Tensor, ""]:
    """Return the mean squared difference of the two motion fields, over pairs of successive frames (Eq. 5).

    Args:
        video: Self-attention features of the video, p = h*w.
        depth: Self-attention features of the depth.
        tau: Temperature; 1/sqrt(d) when None.
        chunk: Rows of the field at a time. Memory then grows with chunk*p instead of p*p, also in the
            backward pass, where rows are recomputed; the value is the same.

    Returns:
        Exactly 0 for identical features and for clips of one frame.
    """
    b, f, p, _ = video.shape
    if f == 1:  # zero, but connected to the graph: all processes must have the same gradients
        return (video.float().sum() + depth.float().sum()) * 0
    if chunk is None:
        return _squared_difference(video[:, :-1], video[:, 1:], depth[:, :-1], depth[:, 1:], tau) / (
            b * (f - 1) * p * p
        )
    total = video.new_zeros((), dtype=torch.float32)
    for frame in range(f - 1):
        for start in range(0, p, chunk):
            rows = slice(start, start + chunk)
            features = video[:, frame, rows], video[:, frame + 1], depth[:, frame, rows], depth[:, frame + 1]
            total = total + checkpoint(_squared_difference, *features, tau, use_reentrant=False)
    return total / (b * (f - 1) * p * p)


# Eq. 6
def attention_map_consistency(
    video: Float[Tensor, "b f heads p n"], depth: Float[Tensor, "b f heads p n"]
) -> Float[Tensor, ""]:
    """Return the mean squared difference of the cross-attention maps (Eq. 6).

    Args:
        video: Maps of the video to the foreground tokens; rows sum to 1.
        depth: Maps of the depth.
    """
    return F.mse_loss(video.float(), depth.float())


# Eq. 7
def total(
    prediction: Float[Tensor, "b m *rest"],
    target: Float[Tensor, "b m *rest"],
    features: Sequence[ModalityFeatures] | None = None,
    config: LossConfig | None = None,
    weight: Float[Tensor, "..."] | None = None,
) -> LossTerms:
    """Return the denoising loss plus the weighted consistency losses of every up block (Eq. 7).

    Args:
        prediction: The network's output (b, m, f, c, h, w).
        target: Its target.
        features: `UNetOutput.features`, one per up block; None or empty omits the consistency terms.
        config: Weights; the paper's when None.
        weight: See `denoising`.

    Raises:
        ValueError: If features are of other than two modalities.
    """
    config = config or LossConfig()
    motion, attention_map = _consistency(features or (), config, prediction)
    denoise = denoising(prediction, target, weight)
    objective = denoise + config.w_mo * motion + config.w_xattn * attention_map
    return LossTerms(total=objective, denoising=denoise, motion=motion, attention_map=attention_map)


def _consistency(
    features: Sequence[ModalityFeatures], config: LossConfig, like: Tensor
) -> tuple[Tensor, Tensor]:
    motion = attention_map = like.new_zeros((), dtype=torch.float32)
    for block in features:
        if block.self_attention.shape[1] != 2:
            raise ValueError(f"features: expected 2 modalities, found {block.self_attention.shape[1]}")
        if config.w_mo:
            video, depth = block.self_attention.unbind(1)
            motion = motion + motion_consistency(video, depth, config.tau, config.chunk)
        if config.w_xattn:
            video, depth = block.cross_attention.unbind(1)
            attention_map = attention_map + attention_map_consistency(video, depth)
    return motion, attention_map


def _squared_difference(
    video: Tensor, video_next: Tensor, depth: Tensor, depth_next: Tensor, tau: float | None
) -> Tensor:
    return (motion_field(video, video_next, tau) - motion_field(depth, depth_next, tau)).square().sum()
