"""Distances of sets of features against closed forms, matrix square roots and literal loops."""

import numpy as np
import pytest
from scipy.linalg import sqrtm

from idol.evaluation.metrics.frechet import FrechetDistance, KernelDistance, fit_gaussian, frechet_distance


def frechet(a: np.ndarray, b: np.ndarray) -> float:
    return FrechetDistance([a], [b])(np.ones(1))


def kid(a: np.ndarray, b: np.ndarray) -> float:
    return KernelDistance([a], [b])(np.ones(1))


def normal(seed: int, n: int, d: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d))


def with_moments(seed: int, n: int, mean: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Samples whose mean and covariance are exactly those."""
    x = normal(seed, n, len(mean))
    x -= x.mean(0)
    white = x @ np.linalg.inv(np.linalg.cholesky(np.cov(x, rowvar=False))).T
    return mean + white @ np.linalg.cholesky(covariance).T


def by_matrix_root(a: np.ndarray, b: np.ndarray) -> float:
    s1, s2 = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = sqrtm(s1 @ s2).real
    return float(np.square(a.mean(0) - b.mean(0)).sum() + np.trace(s1 + s2 - 2 * root))


def test_frechet_of_normal_distributions_in_closed_form():
    means, deviations = normal(0, 2, 6), np.abs(normal(1, 2, 6)) + 0.1
    a, b = (with_moments(i, 40 + i, means[i], np.diag(deviations[i] ** 2)) for i in range(2))
    expected = np.square(means[0] - means[1]).sum() + np.square(deviations[0] - deviations[1]).sum()
    assert frechet(a, b) == pytest.approx(expected, rel=1e-10)
    # Covariances that share no axes, in two dimensions: tr sqrt(M) = sqrt(tr M + 2 sqrt(det M)).
    s1, s2 = np.array([[2, 0.5], [0.5, 1]]), np.array([[1, -0.7], [-0.7, 3]])
    a, b = with_moments(4, 9, means[0, :2], s1), with_moments(5, 30, means[1, :2], s2)
    root = np.sqrt(np.trace(s1 @ s2) + 2 * np.sqrt(np.linalg.det(s1 @ s2)))
    expected = np.square(means[0, :2] - means[1, :2]).sum() + np.trace(s1) + np.trace(s2) - 2 * root
    assert frechet(a, b) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize(("n", "k", "d"), [(60, 40, 8), (300, 9, 12), (7, 5, 30), (2, 2, 3), (25, 24, 24)])
def test_frechet_equals_the_matrix_square_root(n, k, d):
    mixing = normal(7, d, d)
    a, b = normal(2, n, d) @ mixing, 0.5 * normal(3, k, d) + 1
    # The root of a singular product is itself only exact to the square root of the rounding error.
    assert frechet(a, b) == pytest.approx(by_matrix_root(a, b), rel=1e-10 if min(n, k) > d + 1 else 1e-6)


def test_frechet_is_a_distance():
    a, b = normal(0, 20, 50), normal(1, 30, 50) + 0.3
    assert frechet(a, a) == pytest.approx(0, abs=1e-10)
    assert frechet(a, b) == pytest.approx(frechet(b, a), rel=1e-12) and frechet(a, b) > 0
    assert frechet(a, a + 3) == pytest.approx(9 * 50, rel=1e-10)
    assert frechet(a.astype(np.float32), b.astype(np.float32)) == pytest.approx(frechet(a, b), rel=1e-5)
    assert frechet(a, a[::-1]) == pytest.approx(0, abs=1e-10)


def test_distances_grow_with_damage():
    a, noise = normal(0, 200, 10), normal(1, 200, 10)
    for distance in (frechet, kid):
        for harm in (lambda x, by: x + by, lambda x, by: x + by * noise, lambda x, by: x * (1 - by / 2)):
            found = [distance(a, harm(a, by)) for by in (0.0, 0.5, 1.0, 1.5)]
            assert found == sorted(found) and found[-1] > found[0]


def test_counts_stand_for_repeated_samples():
    a, b = normal(0, 6, 4), normal(1, 5, 4)
    counts = np.array([0, 3, 1, 1, 2, 0])
    repeated = np.repeat(a, counts, axis=0)
    got, expected = fit_gaussian(a, counts), fit_gaussian(repeated, np.ones(len(repeated)))
    np.testing.assert_allclose(got.mean, expected.mean, rtol=1e-12)
    for normal_distribution in (got, expected):
        covariance = normal_distribution.factor.T @ normal_distribution.factor
        np.testing.assert_allclose(covariance, np.cov(repeated, rowvar=False), atol=1e-12)
    assert frechet_distance(got, fit_gaussian(b, np.ones(len(b)))) == pytest.approx(
        frechet(repeated, b), rel=1e-10
    )


def literal_kid(a: np.ndarray, b: np.ndarray) -> float:
    def kernel(x: np.ndarray, y: np.ndarray) -> float:
        return (sum(p * q for p, q in zip(x, y, strict=True)) / len(x) + 1) ** 3

    def within(x: np.ndarray) -> float:
        n = len(x)
        return sum(kernel(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))

    return within(a) + within(b) - 2 * np.mean([[kernel(x, y) for y in b] for x in a])


def test_kid_equals_the_literal_double_loop():
    a, b = normal(0, 7, 5), 1.5 * normal(1, 9, 5) + 0.2
    assert kid(a, b) == pytest.approx(literal_kid(a, b), rel=1e-10)
    assert kid(a, b) == pytest.approx(kid(b, a), rel=1e-12)


def test_kid_is_unbiased():
    found = [kid(normal(2 * i, 6, 3), normal(2 * i + 1, 8, 3)) for i in range(400)]
    standard_error = np.std(found) / 20
    assert abs(np.mean(found)) < 3 * standard_error and min(found) < 0


def clips(seed: int, sizes: tuple[int, ...], d: int = 4) -> list[np.ndarray]:
    return [normal(seed + i, n, d) for i, n in enumerate(sizes)]


def test_distances_of_clips_are_those_of_all_their_samples():
    a, b = clips(0, (3, 1, 4)), clips(9, (2, 5, 2))
    together = [np.concatenate(x) for x in (a, b)]
    assert FrechetDistance(a, b)(np.ones(3)) == pytest.approx(frechet(*together), rel=1e-12)
    assert KernelDistance(a, b)(np.ones(3)) == pytest.approx(literal_kid(*together), rel=1e-10)


def test_frechet_of_drawn_clips_is_that_of_the_drawn_set():
    a, b = clips(0, (3, 1, 4)), clips(9, (2, 5, 2))
    drawn = [np.concatenate([x[0], x[0], x[2]]) for x in (a, b)]
    assert FrechetDistance(a, b)(np.array([2, 0, 1])) == pytest.approx(frechet(*drawn), rel=1e-10)


def test_kid_of_drawn_clips_compares_no_sample_with_itself():
    a, b = clips(0, (3, 2)), clips(9, (2, 4))
    counts = np.array([2, 1])

    def pairs(x: list[np.ndarray], y: list[np.ndarray], same: bool) -> float:
        total = weight = 0.0
        for i, first in enumerate(x):
            for j, second in enumerate(y):
                for s, p in enumerate(first):
                    for t, q in enumerate(second):
                        if not (same and (i, s) == (j, t)):
                            total += counts[i] * counts[j] * (p @ q / len(p) + 1) ** 3
                            weight += counts[i] * counts[j]
        return total / weight

    expected = pairs(a, a, True) + pairs(b, b, True) - 2 * pairs(a, b, False)
    assert KernelDistance(a, b)(counts) == pytest.approx(expected, rel=1e-10)
    alone = clips(0, (1, 1))
    assert np.isnan(KernelDistance(alone, alone)(np.array([2, 0])))
