"""Distances between two sets of features: the Fréchet distance and the kernel distance (KID)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Num


@dataclass(frozen=True)
class Gaussian:
    """A multivariate normal distribution.

    Attributes:
        mean: (d,).
        factor: (r, d), r <= d; the covariance is factor' factor.
    """

    mean: np.ndarray
    factor: np.ndarray


def fit_gaussian(features: Float[np.ndarray, "n d"], counts: Num[np.ndarray, " n"]) -> Gaussian:
    """Fit a normal distribution to weighted samples, with n - 1 degrees of freedom, in float64.

    Args:
        features: One sample per row.
        counts: How often each sample counts; at least two in total.
    """
    present = counts > 0
    samples, weights = features[present].astype(np.float64), counts[present, None]
    mean = (weights * samples).sum(0) / weights.sum()
    factor = np.sqrt(weights / (weights.sum() - 1)) * (samples - mean)
    if len(factor) > len(mean):
        # With more samples than features, R of the QR decomposition is a smaller factor of the same matrix.
        factor = np.asarray(np.linalg.qr(factor, mode="r"))
    return Gaussian(mean, factor)


def frechet_distance(p: Gaussian, q: Gaussian) -> float:
    """Return the squared Fréchet distance of two normal distributions.

    |m1 - m2|^2 + tr(S1) + tr(S2) - 2 tr((S1 S2)^(1/2)) (Dowson & Landau 1982; Heusel et al. 2017).

    Args:
        p: One distribution, of d dimensions.
        q: The other, of as many.

    Returns:
        At least 0.
    """
    # With S1 = A'A and S2 = B'B, the last trace is the sum of the singular values of AB'. No matrix square
    # root of d x d is needed, and few samples of many features cost little.
    mixed = np.linalg.svd(p.factor @ q.factor.T, compute_uv=False).sum()
    traces = np.square(p.factor).sum() + np.square(q.factor).sum()
    return max(0.0, float(np.square(p.mean - q.mean).sum() + traces - 2 * mixed))


class FrechetDistance:
    """Fréchet distance of two sets of clips as a function of how often each clip counts.

    Args:
        a: Features (n, d) of each clip.
        b: Features (k, d) of each clip's partner.
    """

    def __init__(self, a: Sequence[np.ndarray], b: Sequence[np.ndarray]) -> None:
        self.sets = [(np.concatenate(clips), [len(clip) for clip in clips]) for clips in (a, b)]

    def __call__(self, counts: np.ndarray) -> float:
        """Return the distance when clip i and its partner count counts[i] times."""
        p, q = (fit_gaussian(features, np.repeat(counts, sizes)) for features, sizes in self.sets)
        return frechet_distance(p, q)


class KernelDistance:
    """Kernel distance (KID) of two sets of clips as a function of how often each clip counts.

    The squared maximum mean discrepancy under the kernel (x . y / d + 1)^3, in the unbiased estimate over all
    samples at once (Bińkowski et al., "Demystifying MMD GANs", ICLR 2018, average it over subsets). It is 0
    on average for two sets of the same distribution, and so negative at times. The kernel is summed over each
    pair of clips once, which makes bootstrap samples cheap. No sample is compared with itself or with its own
    repetition.

    Args:
        a: Features (n, d) of each clip.
        b: Features (k, d) of each clip's partner.
    """

    def __init__(self, a: Sequence[np.ndarray], b: Sequence[np.ndarray]) -> None:
        self.within = [(_kernel_sums(clips, clips, diagonal=False), _sizes(clips)) for clips in (a, b)]
        self.across = _kernel_sums(a, b)

    def __call__(self, counts: np.ndarray) -> float:
        """Return the distance when clip i and its partner count counts[i] times; NaN for a single sample."""
        (_, n), (_, k) = self.within
        total = -2 * (counts @ self.across @ counts) / ((counts @ n) * (counts @ k))
        for sums, sizes in self.within:
            # All pairs but those of a sample with itself, of which a clip drawn c times has c^2 per sample.
            pairs = (counts @ sizes) ** 2 - np.square(counts) @ sizes
            total += counts @ sums @ counts / pairs if pairs else np.nan
        return float(total)


def _kernel_sums(
    a: Sequence[np.ndarray], b: Sequence[np.ndarray], diagonal: bool = True
) -> Float[np.ndarray, "p q"]:
    """Return the sum of the kernel over the samples of each clip of `a` and each clip of `b`.

    Args:
        a: Features of p clips.
        b: Features of q clips.
        diagonal: Whether the pair of a sample and itself counts; False only if `b` is `a`.
    """
    features = np.concatenate(a).astype(np.float64)
    owner = np.repeat(np.eye(len(a)), [len(clip) for clip in a], axis=1)  # (p, n): which clip a sample is of
    sums = np.stack([owner @ _kernel(features, clip).sum(1) for clip in b], axis=1)
    return sums if diagonal else sums - np.diag(owner @ _kernel_diagonal(features))


def _kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (x @ y.astype(np.float64).T / x.shape[1] + 1) ** 3


def _kernel_diagonal(x: np.ndarray) -> np.ndarray:
    return (np.square(x).mean(1) + 1) ** 3


def _sizes(clips: Sequence[np.ndarray]) -> np.ndarray:
    return np.array([len(clip) for clip in clips], np.float64)
