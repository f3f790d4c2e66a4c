"""Depth errors against literal loops, numpy's least squares and distances known in meters."""

import numpy as np
import pytest

from idol.clip.depth import from_meters
from idol.evaluation.metrics.depth import DELTA, depth_errors, errors_in_meters, fit_to_reference


@pytest.fixture
def pair():
    """Depths of a person, (f, h, w), true and generated, and where the person is."""
    rng = np.random.default_rng(0)
    where = rng.random((3, 12, 10)) < 0.6
    true = np.where(where, rng.uniform(0.2, 1, where.shape), 0).astype(np.float32)
    generated = (true + rng.normal(0, 0.15, true.shape)).clip(0, 1).astype(np.float32)
    return generated, true, where


def test_errors_are_those_of_the_loop(pair):
    generated, true, where = pair
    relative = squared = within = count = 0
    for d, t in zip(generated[where].tolist(), true[where].tolist(), strict=True):
        relative += abs(d - t) / t
        squared += (d - t) ** 2
        within += d > 0 and max(d / t, t / d) < DELTA
        count += 1
    got = depth_errors(generated[where], true[where])
    assert got.absrel == pytest.approx(relative / count)
    assert got.rmse == pytest.approx((squared / count) ** 0.5)
    assert got.delta == pytest.approx(within / count) and 0 < got.delta < 1


def test_perfect_depth_and_no_depth(pair):
    _, true, where = pair
    same = depth_errors(true[where], true[where])
    assert (same.absrel, same.rmse, same.delta) == (0, 0, 1)
    nobody = depth_errors(np.zeros_like(true[where]), true[where])
    assert (nobody.absrel, nobody.delta) == (1, 0)
    empty = depth_errors(true[:0, 0, 0], true[:0, 0, 0])
    assert np.isnan([empty.absrel, empty.rmse, empty.delta]).all()


def test_errors_grow_with_a_shift(pair):
    _, true, where = pair
    got = [depth_errors(true[where] + np.float32(by), true[where]) for by in (0, 0.02, 0.05, 0.1, 0.2)]
    assert [e.rmse for e in got] == pytest.approx([0, 0.02, 0.05, 0.1, 0.2], abs=1e-6)
    for values in ([e.absrel for e in got], [-e.delta for e in got]):
        assert values == sorted(values) and values[0] < values[-1]


def test_alignment_is_least_squares(pair):
    generated, true, where = pair
    unknowns = np.stack([generated[where], np.ones(where.sum())], 1)
    (scale, shift), *_ = np.linalg.lstsq(unknowns, true[where], rcond=None)
    got = fit_to_reference(generated, true, where)
    np.testing.assert_allclose(got, np.where(where, scale * generated + shift, generated), atol=1e-6)
    plain, fitted = (depth_errors(d[where], true[where]).rmse for d in (generated, got))
    assert fitted < plain


def test_scale_and_shift_cost_nothing_once_aligned_unless_they_flicker(pair):
    _, true, where = pair
    moved = (0.4 * true + 0.3).astype(np.float32)
    assert depth_errors(fit_to_reference(moved, true, where)[where], true[where]).rmse < 1e-6
    got = []
    for by in (0.05, 0.1, 0.2):
        flickering = moved.copy()
        flickering[1] += np.float32(by)
        got.append(depth_errors(fit_to_reference(flickering, true, where)[where], true[where]).rmse)
    assert got == sorted(got) and got[0] > 0.02
    assert fit_to_reference(moved, true, np.zeros_like(where)) is moved


@pytest.mark.parametrize("kind", ["person", "scene"])
def test_errors_in_meters_of_a_person_who_stands_too_far(kind):
    near_far, rng = (2.0, 4.0), np.random.default_rng(1)
    z = rng.uniform(2.2, 3.2, (2, 6, 5))
    where = rng.random(z.shape) < 0.5
    mask = where if kind == "person" else None
    true, generated = (from_meters(m, mask, near_far) for m in (z, 1.1 * z))
    got = errors_in_meters(generated, true, where, near_far, kind)
    assert got.absrel == pytest.approx(0.1, abs=1e-5)
    assert got.rmse == pytest.approx(0.1 * np.sqrt(np.square(z[where]).mean()), rel=1e-4)
    assert got.delta == 1
    too_near = errors_in_meters(np.full_like(true, 7), true, where, near_far, kind)
    assert too_near.rmse == pytest.approx(np.sqrt(np.square(z[where] - 2).mean()), rel=1e-4)
