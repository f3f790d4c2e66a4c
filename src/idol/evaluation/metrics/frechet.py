"""How far apart two sets of features are: the Fréchet distance and the kernel distance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


def frechet(a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "k d"]) -> float:
    """Fréchet distance of the normal distributions fitted to two sets of features.

    |m1 - m2|^2 + tr(S1) + tr(S2) - 2 tr((S1 S2)^(1/2)), with covariances of n - 1 degrees of freedom (Dowson
    & Landau 1982; Heusel et al. 2017). With S1 = A'A and S2 = B'B, where A holds the centered rows over
    sqrt(n - 1), the last trace is the sum of the singular values of AB': no matrix square root is taken, and
    few samples of many features cost little. In float64.

    Args:
        a: At least two samples.
        b: At least two samples.

    Returns:
        At least 0; 0 if the two have the same mean and covariance, up to rounding.
    """
    return between(fitted(a), fitted(b))


@dataclass(frozen=True)
class Gaussian:
    """A normal distribution.

    Attributes:
        mean: (d,).
        factor: (r, d), r at most d: factor' factor is the covariance.
    """

    mean: np.ndarray
    factor: np.ndarray


def fitted(features: Float[np.ndarray, "n d"], counts: np.ndarray | None = None) -> Gaussian:
    """The normal distribution of those samples.

    Args:
        features: One sample a row.
        counts: (n,): how often each is there; default once. There must be two in all.
    """
    features = features.astype(np.float64)
    counts = np.ones(len(features)) if counts is None else counts
    there = counts > 0
    features, counts = features[there], counts[there, None]
    mean = (counts * features).sum(0) / counts.sum()
    factor = np.sqrt(counts / (counts.sum() - 1)) * (features - mean)
    return Gaussian(mean, factor if len(factor) <= len(mean) else np.asarray(np.linalg.qr(factor, mode="r")))


def between(p: Gaussian, q: Gaussian) -> float:
    """Fréchet distance of two normal distributions; see `frechet`."""
    mixed = np.linalg.svd(p.factor @ q.factor.T, compute_uv=False).sum()
    traces = np.square(p.factor).sum() + np.square(q.factor).sum()
    return max(0.0, float(np.square(p.mean - q.mean).sum() + traces - 2 * mixed))


def kid(a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "k d"]) -> float:
    """Kernel distance: squared maximum mean discrepancy under the kernel (x . y / d + 1)^3.

    The unbiased estimate over all samples at once (Bińkowski et al., "Demystifying MMD GANs", ICLR 2018, who
    average it over subsets): 0 on average for two sets of the same distribution, and so at times below 0.

    Args:
        a: At least two samples.
        b: At least two samples.
    """
    return ClipsKid([a], [b])(np.ones(1))


class ClipsFrechet:
    """Fréchet distance of two sets of clips, as a function of how often each clip is there.

    Args:
        a: Features (n, d) of each clip.
        b: The same of its partner.
    """

    def __init__(self, a: Sequence[np.ndarray], b: Sequence[np.ndarray]) -> None:
        self.sets = [(np.concatenate(clips), [len(clip) for clip in clips]) for clips in (a, b)]

    def __call__(self, counts: np.ndarray) -> float:
        """The distance if clip i and its partner are there counts[i] times."""
        p, q = (fitted(features, np.repeat(counts, sizes)) for features, sizes in self.sets)
        return between(p, q)


class ClipsKid:
    """Kernel distance of two sets of clips, as a function of how often each clip is there.

    The kernel is summed over each pair of clips once, so that asking again costs nothing. Within a set no
    sample is compared with itself, nor with its own repetition.

    Args:
        a: Features (n, d) of each clip.
        b: The same of its partner.
    """

    def __init__(self, a: Sequence[np.ndarray], b: Sequence[np.ndarray]) -> None:
        self.within = [(_kernel_sums(clips, clips, themselves=False), _sizes(clips)) for clips in (a, b)]
        self.across = _kernel_sums(a, b)

    def __call__(self, counts: np.ndarray) -> float:
        """The distance if clip i and its partner are there counts[i] times; NaN if that is one sample."""
        (_, n), (_, k) = self.within
        total = -2 * (counts @ self.across @ counts) / ((counts @ n) * (counts @ k))
        for sums, sizes in self.within:
            pairs = (counts @ sizes) ** 2 - np.square(counts) @ sizes
            total += counts @ sums @ counts / pairs if pairs else np.nan
        return float(total)


def _kernel_sums(
    a: Sequence[np.ndarray], b: Sequence[np.ndarray], themselves: bool = True
) -> Float[np.ndarray, "p q"]:
    """Sum of the kernel over the samples of clip i of one set and clip j of another.

    Args:
        a: Features of p clips.
        b: Features of q clips.
        themselves: Whether the pair of a sample and itself counts, a and b being the same.
    """
    features = np.concatenate(a).astype(np.float64)
    owner = np.repeat(np.eye(len(a)), [len(clip) for clip in a], axis=1)
    sums = np.stack([owner @ _kernel(features, clip).sum(1) for clip in b], axis=1)
    return sums if themselves else sums - np.diag(owner @ _kernel_of_itself(features))


def _kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (x @ y.astype(np.float64).T / x.shape[1] + 1) ** 3


def _kernel_of_itself(x: np.ndarray) -> np.ndarray:
    return (np.square(x).mean(1) + 1) ** 3


def _sizes(clips: Sequence[np.ndarray]) -> np.ndarray:
    return np.array([len(clip) for clip in clips], np.float64)
