"""Depth: color and back, meters and back."""

import matplotlib
import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar

from idol.clip import depth

HALF_LEVEL = 0.5 / 255


@pytest.mark.parametrize("colormap", ["hot", "gray"])
def test_color_is_inverted_within_half_a_gray_level(colormap):
    x = np.concatenate([np.linspace(0, 1, 20_001), [0.2, 0.365079, 0.746032]]).astype(np.float32)[None]
    back = depth.decolorize(depth.colorize(x, colormap), colormap)
    assert back.dtype == np.float32 and back.shape == x.shape
    assert np.abs(back - x).max() <= HALF_LEVEL + 1e-6


@pytest.mark.parametrize("colormap", ["hot", "gray"])
def test_nothing_stays_exactly_nothing(colormap):
    ends = np.array([[0.0, 1.0]], np.float32)
    assert (depth.decolorize(depth.colorize(ends, colormap), colormap) == ends).all()


def test_hot_is_matplotlibs():
    x = np.linspace(0, 1, 256, dtype=np.float32)[None]
    expected = matplotlib.colormaps["hot"](x[0])[:, :3].T[:, None]
    found = (depth.colorize_tensor(torch.from_numpy(x)).numpy() + 1) / 2
    # our dark end is 0.0431 instead of 0.0416
    assert np.abs(found - expected).max() < 0.0016
    assert np.abs(depth.colorize(x) / 255 - expected).max() < 0.0016 + HALF_LEVEL


def test_off_the_curve_is_the_nearest_point():
    """Against a dense search over the curve, refined, written without knowledge of its pieces."""
    rng = np.random.default_rng(0)
    colors = rng.uniform(0, 1, (40, 3))

    def point(s):
        knots = [0, 0.365079, 0.746032, 1]
        return np.array([np.interp(s, knots, c) for c in ([11 / 255, 1, 1, 1], [0, 0, 1, 1], [0, 0, 0, 1])])

    found = depth.decolorize(colors.T[:, None, :].astype(np.float32))[0]
    for color, s in zip(colors, found, strict=True):
        grid = np.linspace(0, 1, 401)
        rough = grid[np.argmin([np.sum((point(g) - color) ** 2) for g in grid])]
        best = minimize_scalar(
            lambda g, c=color: np.sum((point(g) - c) ** 2),
            bounds=(max(rough - 0.01, 0), min(rough + 0.01, 1)),
            method="bounded",
        )
        assert np.sum((point(s) - color) ** 2) <= best.fun + 1e-6


def test_noise_on_the_colors_moves_depth_little():
    rng = np.random.default_rng(1)
    x = rng.uniform(0, 1, (64, 64)).astype(np.float32)
    rgb = depth.colorize(x).astype(np.float32) / 255 + rng.normal(0, 0.02, (3, 64, 64)).astype(np.float32)
    assert np.abs(depth.decolorize(rgb) - x).mean() < 0.01


@pytest.mark.parametrize("colormap", ["hot", "gray"])
def test_tensors_agree_with_arrays(colormap):
    x = torch.rand(2, 3, 5, 7)
    rgb = depth.colorize_tensor(x, colormap)
    assert rgb.shape == (2, 3, 3, 5, 7) and rgb.min() >= -1 and rgb.max() <= 1
    torch.testing.assert_close(depth.decolorize_tensor(rgb, colormap), x, atol=1e-6, rtol=0)
    bytes_ = depth.colorize(x.numpy(), colormap)
    assert np.abs(bytes_ - (rgb.numpy() + 1) * 127.5).max() <= 0.5 + 1e-4


def test_leading_axes_are_free_and_values_clamped():
    assert depth.colorize(np.zeros((4, 6), np.float32)).shape == (3, 4, 6)
    assert depth.decolorize(np.zeros((5, 3, 4, 6), np.uint8)).shape == (5, 4, 6)
    assert (depth.colorize(np.array([[-1.0, 2.0]])) == depth.colorize(np.array([[0.0, 1.0]]))).all()
    wild = torch.tensor([-3.0, 3.0]).view(1, 1, 2).expand(3, 1, 2)
    torch.testing.assert_close(depth.decolorize_tensor(wild), torch.tensor([[0.0, 1.0]]))


def test_gradients_pass_through_both_ways():
    x = torch.rand(3, 4, requires_grad=True)
    depth.decolorize_tensor(depth.colorize_tensor(x)).sum().backward()
    torch.testing.assert_close(x.grad, torch.ones_like(x))


@pytest.mark.parametrize("bad", [np.full((2, 2), np.nan), np.full((2, 2), np.inf)])
def test_colorize_refuses_what_is_not_finite(bad):
    with pytest.raises(ValueError, match="NaN"):
        depth.colorize(bad)


def test_unknown_map_and_type_are_refused():
    with pytest.raises(ValueError, match="expected uint8 or floats"):
        depth.decolorize(np.zeros((3, 2, 2), np.int32))
    with pytest.raises(Exception, match="viridis"):
        depth.colorize(np.zeros((2, 2)), "viridis")


def test_meters_are_inverted_exactly():
    rng = np.random.default_rng(2)
    z = rng.uniform(1.5, 4.0, (3, 8, 9))
    mask = rng.uniform(size=z.shape) < 0.5
    d, (near, far) = depth.normalize_person(z, mask)
    assert (near, far) == (z[mask].min(), z[mask].max())
    assert (d[~mask] == 0).all() and d[mask].min() >= 0.2 - 1e-7 and d[mask].max() == 1
    assert np.abs(depth.to_meters(d, (near, far))[mask] / z[mask] - 1).max() < 1e-6
    assert np.isinf(depth.to_meters(d, (near, far))[~mask]).all()


def test_person_depth_is_linear_in_disparity_over_the_clip():
    z = np.array([[[1.0, 2.0]], [[4.0, 2.0]]])
    d, _ = depth.normalize_person(z, np.ones(z.shape, bool))
    literal = [[0.2 + 0.8 * (1 / v - 1 / 4) / (1 / 1 - 1 / 4) for v in row[0]] for row in z]
    np.testing.assert_allclose(d[:, 0], literal, rtol=1e-6)
    assert d[0, 0, 1] == d[1, 0, 1]  # the same meters give the same depth in every frame


def test_scene_depth_covers_the_frame():
    z = np.random.default_rng(3).uniform(1, 9, (2, 4, 5))
    d, depth_range = depth.normalize_scene(z)
    assert d.min() == 0 and d.max() == 1
    np.testing.assert_allclose(depth.to_meters(d, depth_range, "scene"), z, rtol=1e-6)


@pytest.mark.parametrize(
    ("z", "mask", "message"),
    [
        (np.ones((1, 2, 2)), np.zeros((1, 2, 2), bool), "no person"),
        (np.ones((1, 2, 2)), np.ones((1, 2, 2), bool), "near < far"),
        (np.full((1, 2, 2), np.nan), np.ones((1, 2, 2), bool), "near < far|NaN"),
        (np.array([[[1.0, -2.0]]]), np.ones((1, 1, 2), bool), "near < far|<= 0"),
        (np.array([[[1.0, 2.0, np.nan]]]), np.ones((1, 1, 3), bool), "near < far|NaN"),
    ],
)
def test_impossible_distances_are_refused(z, mask, message):
    with pytest.raises(ValueError, match=message):
        depth.normalize_person(z, mask)


def test_what_is_not_the_person_may_be_anything():
    z = np.array([[[np.nan, 1.0], [0.0, 2.0]]])
    mask = np.array([[[False, True], [False, True]]])
    np.testing.assert_allclose(depth.normalize_person(z, mask)[0], [[[0, 1], [0, 0.2]]], rtol=1e-6)


def test_alignment_is_least_squares():
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(6, 7)), rng.normal(size=(6, 7))
    mask = rng.uniform(size=x.shape) < 0.7
    a = np.stack([x[mask], np.ones(mask.sum())], axis=1)
    scale, shift = np.linalg.lstsq(a, y[mask], rcond=None)[0]
    np.testing.assert_allclose(depth.align(x, y, mask), scale * x + shift, rtol=1e-9)
    np.testing.assert_allclose(depth.align(3 * y - 2, y), y, atol=1e-12)
    np.testing.assert_allclose(depth.align(np.ones((6, 7)), y), np.full((6, 7), y.mean()))
    assert depth.align(x, y, mode="none") is x
    with pytest.raises(ValueError, match="nothing finite"):
        depth.align(x, y, np.zeros(x.shape, bool))
