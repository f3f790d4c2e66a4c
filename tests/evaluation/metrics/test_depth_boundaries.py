"""Depth edges against a literal loop; outlines against all pairs of their pixels."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.spatial.distance import cdist

from idol.evaluation.metrics.clip import SILHOUETTE
from idol.evaluation.metrics.depth_boundaries import STEP, contour, depth_edges, edge_distance, match_edges


def person(x=16, y=12, width=20, height=40, size=64, frames=2):
    """Depth of a box-shaped person with an arm in front."""
    depth = np.zeros((frames, size, size), np.float32)
    depth[:, y : y + height, x : x + width] = 0.5
    depth[:, y + 8 : y + 14, x + 4 : x + width] = 0.9
    return depth


def blobs(seed, frames=3, size=40):
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=(frames, size, size)), (0, 4, 4))
    return noise > 0


def test_edges_are_those_of_the_loop():
    rng = np.random.default_rng(0)
    depth = rng.choice(np.array([0, 0.05, 0.2, 0.24, 0.26, 0.9], np.float32), (2, 7, 6))
    steps = depth_edges(depth).steps
    for f, y, x in np.ndindex(depth.shape):
        for side, (dy, dx) in enumerate([(0, -1), (0, 1), (-1, 0), (1, 0)]):
            inside = 0 <= y + dy < 7 and 0 <= x + dx < 6
            here = max(depth[f, y, x], SILHOUETTE)
            expected = inside and here / max(depth[f, y + dy, x + dx], SILHOUETTE) >= STEP
            assert steps[side, f, y, x] == expected


def test_around_is_a_square_of_one_pixel_at_256():
    depth = np.zeros((1, 300, 300), np.float32)
    depth[0, 20, 30] = 1
    dilated = depth_edges(depth).dilated
    assert all(found[0, 19:22, 29:32].all() and found.sum() == 9 for found in dilated)
    corner = np.zeros((1, 512, 8), np.float32)
    corner[0, 0, 0] = 1
    assert depth_edges(corner).dilated[1].sum() == 9  # two pixels, and none beyond the frame


def test_equal_depths_have_equal_edges():
    same = match_edges(depth_edges(person()), depth_edges(person()))
    assert (same.precision, same.recall, same.f1) == (1, 1, 1)
    scaled = match_edges(
        depth_edges(person() * np.float32(0.9)), depth_edges(person())
    )  # ratios within are kept
    assert scaled.f1 == 1


def test_what_is_missing_costs_recall_and_what_is_made_up_precision():
    true, armless = depth_edges(person()), person()
    armless[armless > 0] = 0.5
    missing = match_edges(depth_edges(armless), true)
    assert missing.precision == 1 and 0.5 < missing.recall < 1
    made_up = match_edges(true, depth_edges(armless))
    assert (made_up.precision, made_up.recall) == (missing.recall, 1)
    assert missing.f1 == pytest.approx(2 * missing.recall / (1 + missing.recall)) == made_up.f1
    nothing = depth_edges(np.zeros_like(armless))
    assert match_edges(nothing, true).f1 == match_edges(true, nothing).f1 == 0
    assert np.isnan(match_edges(nothing, nothing).f1)


def test_f1_falls_with_shift_and_with_noise():
    true = depth_edges(person())
    got = [match_edges(depth_edges(person(x=16 + by)), true).f1 for by in (0, 1, 2, 4)]
    assert got[0] == got[1] == 1 and got[1] > got[2] > got[3]
    rng = np.random.default_rng(2)
    noise = rng.normal(size=person().shape)
    noisy = [(person() + s * noise).clip(0, 1).astype(np.float32) for s in (0, 0.05, 0.1, 0.2)]
    f1 = [match_edges(depth_edges(depth), true).f1 for depth in noisy]
    assert f1 == sorted(f1, reverse=True) and f1[-1] < 0.7


def test_noise_on_nothing_has_no_edges():
    noise = np.random.default_rng(3).uniform(0, SILHOUETTE, (2, 64, 64)).astype(np.float32)
    alone = np.where(person() > 0, person(), noise).astype(np.float32)
    assert match_edges(depth_edges(alone), depth_edges(person())).f1 == 1


def test_the_outline_of_a_square_is_its_rim_and_the_frame_has_none():
    mask = np.zeros((20, 20), bool)
    mask[5:12, 8:20] = True
    expected = mask.copy()
    expected[6:11, 9:] = False
    np.testing.assert_array_equal(contour(mask[None])[0], expected)
    assert not contour(np.ones((2, 9, 9), bool)).any()


@pytest.mark.parametrize("shift", [0, 1, 3, 6])
def test_edge_distance_of_shifted_bands_is_the_shift(shift):
    bands = np.zeros((2, 2, 64, 64), bool)
    bands[0, :, :, 10:30] = True
    bands[1, :, :, 10 + shift : 30 + shift] = True
    assert edge_distance(*bands) == pytest.approx(shift * 256 / 64)


@pytest.mark.parametrize("grown", [1, 2, 5])
def test_edge_distance_of_a_square_inside_another(grown):
    inner, outer = np.zeros((2, 1, 256, 256), bool)
    inner[:, 100:141, 100:141] = True
    outer[:, 100 - grown : 141 + grown, 100 - grown : 141 + grown] = True
    assert edge_distance(inner, outer) == pytest.approx(grown, rel=0.02)  # a little more at the corners


def test_edge_distance_is_that_of_all_pairs():
    a, b = blobs(0), blobs(1)
    expected = []
    for x, y in zip(contour(a), contour(b), strict=True):
        pairs = cdist(np.argwhere(x), np.argwhere(y))
        expected.append((pairs.min(0).mean() + pairs.min(1).mean()) / 2)
    assert edge_distance(a, b) == pytest.approx(np.mean(expected) * 256 / 40, rel=1e-5)
    assert edge_distance(a, b) == pytest.approx(edge_distance(b, a))
    assert edge_distance(a, a) == 0


def test_frames_without_both_outlines_say_nothing():
    a = blobs(0)
    b = a.copy()
    b[0] = False
    assert edge_distance(a, b) == 0
    assert np.isnan(edge_distance(a, np.zeros_like(a)))


def test_edge_distance_grows_with_shift():
    a = person(x=10) > 0
    got = [edge_distance(person(x=10 + by) > 0, a) for by in (0, 1, 2, 4, 8)]
    assert got == sorted(got) and got[0] == 0 and got[1] < 4  # 4: one pixel at 256; two sides do not move
