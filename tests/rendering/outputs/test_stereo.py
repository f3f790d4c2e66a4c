"""Two eyes: closed forms, symmetry, and the layouts."""

import numpy as np
import pytest

from idol.rendering.geometry.camera import View
from idol.rendering.geometry.novel_view import Renderer
from idol.rendering.outputs.stereo import LAYOUTS, pack_stereo, stereo_pair
from support import cast_scene
from support.cast_scene import CAMERA

MIDDLE = View.look_at(np.array([0.2, -0.1, 0.3]), np.array([0.0, 0.0, 4.0]))


def disparity(point, baseline, convergence):
    """Pixels that a point is farther right for the left eye."""
    left, right = stereo_pair(MIDDLE, baseline, convergence)
    x = [CAMERA.project(eye.to_camera(point))[0] + eye.shift * CAMERA.focal for eye in (left, right)]
    return x[0] - x[1]


def ahead(distance):
    """A point at a distance along the axis of the middle view, off its middle."""
    return MIDDLE.position + MIDDLE.rotation.T @ np.array([0.3, -0.2, distance])


@pytest.mark.parametrize("convergence", [2.0, 3.7])
def test_what_is_at_the_convergence_is_at_the_screen(convergence):
    assert disparity(ahead(convergence), 0.063, convergence) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("distance", [1.5, 3.0, 9.0])
def test_disparity_is_its_closed_form(distance):
    expected = CAMERA.focal * 0.063 * (1 / distance - 1 / 3)
    assert disparity(ahead(distance), 0.063, 3.0) == pytest.approx(expected)
    assert disparity(ahead(distance), -0.063, 3.0) == pytest.approx(-expected)


def test_what_is_nearer_comes_out_of_the_screen():
    assert disparity(ahead(2.0), 0.063, 3.0) > 0 > disparity(ahead(5.0), 0.063, 3.0)


@pytest.fixture(scope="module")
def scene():
    return cast_scene.layers()


def seen(scene, baseline):
    return [Renderer(scene, CAMERA).view(0, eye) for eye in stereo_pair(View.identity(), baseline, 4.0)]


def test_eyes_in_one_place_see_the_same(scene):
    left, right = seen(scene, 0.0)
    np.testing.assert_array_equal(left, right)
    np.testing.assert_array_equal(left, Renderer(scene, CAMERA).view(0, View.identity()))


def test_a_negative_baseline_swaps_the_eyes(scene):
    for one, other in zip(seen(scene, 0.1), reversed(seen(scene, -0.1)), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_rendered_eyes_are_those_of_two_real_cameras(scene):
    for eye, view in zip(seen(scene, 0.2), stereo_pair(View.identity(), 0.2, 4.0), strict=True):
        truth, _, _ = cast_scene.cast(view, CAMERA)
        assert np.median(np.abs(eye - truth)) < 2
        assert (np.abs(eye - truth).max(0)[4:-4, 8:-8] > 40).mean() < 0.01


def images():
    return np.random.default_rng(0).integers(0, 256, (2, 3, 6, 8)).astype(np.uint8)


def test_layouts_have_the_left_eye_first():
    left, right = images()
    beside = pack_stereo(left, right, "side-by-side")
    np.testing.assert_array_equal(beside[..., :8], left)
    np.testing.assert_array_equal(beside[..., 8:], right)
    below = pack_stereo(left, right, "top-bottom")
    np.testing.assert_array_equal(below[:, :6], left)
    np.testing.assert_array_equal(below[:, 6:], right)


def test_halves_are_means_of_two():
    left, right = images()
    pairs = left.reshape(3, 6, 4, 2).mean(-1), right.reshape(3, 6, 4, 2).mean(-1)
    assert np.abs(pack_stereo(left, right, "side-by-side-half") - np.concatenate(pairs, 2)).max() <= 0.5
    pairs = left.reshape(3, 3, 2, 8).mean(2), right.reshape(3, 3, 2, 8).mean(2)
    assert np.abs(pack_stereo(left, right, "top-bottom-half") - np.concatenate(pairs, 1)).max() <= 0.5


def test_an_odd_side_cannot_be_halved():
    odd = images()[:, :, :, :7]
    with pytest.raises(ValueError, match="even"):
        pack_stereo(odd[0], odd[1], "side-by-side-half")


@pytest.mark.parametrize("layout", ["anaglyph", "anaglyph-gray"])
def test_each_glass_shows_its_eye(layout):
    white, black = np.full((3, 2, 2), 255, np.uint8), np.zeros((3, 2, 2), np.uint8)
    np.testing.assert_allclose(
        pack_stereo(white, white, layout), 255, atol=3
    )  # each row of the two matrices sums to 1
    np.testing.assert_array_equal(pack_stereo(black, black, layout), 0)
    red, green, blue = pack_stereo(white, black, layout)[:, 0, 0].astype(int)
    assert red > 250 and green < 10 and blue < 10
    red, green, blue = pack_stereo(black, white, layout)[:, 0, 0].astype(int)
    assert red < 10 and green > 250 and blue > 250


def test_gray_stays_as_bright_as_it_is():
    gray = np.repeat(np.arange(256, dtype=np.uint8)[None, None], 3, 0)
    np.testing.assert_allclose(pack_stereo(gray, gray, "anaglyph-gray").astype(int), gray, atol=2)
    np.testing.assert_allclose(
        pack_stereo(gray, gray, "anaglyph").astype(int)[:, :, 40:], gray[:, :, 40:], atol=6
    )


def test_every_layout_has_a_size():
    for layout in LAYOUTS:
        _, height, width = pack_stereo(*images(), layout).shape
        full = {"side-by-side": (6, 16), "top-bottom": (12, 8)}
        assert (height, width) == full.get(layout, (6, 8))
