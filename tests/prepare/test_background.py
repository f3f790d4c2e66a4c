"""Backgrounds: colors, images, and the photo without its person."""

import numpy as np
import pytest
from PIL import Image

from idol import media
from idol.clip import Pose
from idol.errors import UserError
from idol.prepare.background import crop_window, load_background, remove_person
from idol.prepare.inpainting import inpaint
from idol.prepare.person import Person, guided_filter


@pytest.mark.parametrize(
    "spec, rgb", [("#ff8000", (255, 128, 0)), ("white", (255, 255, 255)), ("rebeccapurple", (102, 51, 153))]
)
def test_colors(spec, rgb):
    plate = load_background(spec, 4, 6)
    assert plate.shape == (3, 4, 6) and plate.dtype == np.uint8
    assert (plate == np.array(rgb)[:, None, None]).all()


def test_a_image_is_cropped_in_the_middle(tmp_path):
    image = np.zeros((20, 60, 3), np.uint8)
    image[:, 20:40] = 200
    Image.fromarray(image).save(tmp_path / "p.png")
    plate = load_background(tmp_path / "p.png", 10, 10)
    assert (plate == 200).all()


@pytest.mark.parametrize("shape", [(256, 256), (144, 256), (250, 141)])
def test_any_shape_of_output(shape):
    assert load_background(media.path("palace.jpg"), *shape).shape == (3, *shape)


def test_the_window_moves_to_hold_the_person():
    image, mask = np.zeros((3, 100, 300), np.uint8), np.zeros((100, 300), bool)
    assert crop_window(image, 1, 1) == (100, 0, 200, 100)
    mask[20:80, 250:290] = True
    assert crop_window(image, 1, 1, mask) == (190, 0, 290, 100)
    mask[:, 10:] = True  # wider than the window: its middle
    assert crop_window(image, 1, 1, mask)[0] == 105


def test_bad_backgrounds(tmp_path):
    with pytest.raises(UserError, match="background: bluish is neither a file nor a color"):
        load_background("bluish", 8, 8)
    with pytest.raises(UserError, match="background: photo.*person"):
        load_background("photo", 8, 8)
    (tmp_path / "b.jpg").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"background: .*b\.jpg"):
        load_background(tmp_path / "b.jpg", 8, 8)


def stripes(height=96, width=128):
    """A texture that repeats every eight columns, with a horizon half way."""
    x = np.arange(width) // 4 % 2 * 120 + 60
    image = np.broadcast_to(x.astype(np.uint8), (3, height, width)).copy()
    image[:, : height // 2] = 220
    return image


def test_a_hole_is_filled_with_the_texture_around_it():
    image, hole = stripes(), np.zeros((96, 128), bool)
    hole[25:75, 50:80] = True
    broken = image.copy()
    broken[:, hole] = 7
    filled = inpaint(broken, hole)
    np.testing.assert_array_equal(filled[:, ~hole], image[:, ~hole])
    wrong = np.abs(filled.astype(int) - image)[:, hole]
    assert wrong.mean() < 25 and wrong[:].max() <= 255
    assert np.abs(filled.astype(int) - 7)[:, hole].min() > 10  # nothing of what was hidden shows


def test_filling_repeats_exactly_and_copes_with_edges():
    image, hole = stripes(40, 56), np.zeros((40, 56), bool)
    hole[:, 40:] = True
    np.testing.assert_array_equal(inpaint(image, hole, 3), inpaint(image, hole, 3))
    np.testing.assert_array_equal(inpaint(image, np.zeros_like(hole)), image)
    assert (inpaint(image, np.ones_like(hole)) == 128).all()


def test_photo_background_hides_the_person():
    image, mask = stripes(), np.zeros((96, 128), bool)
    mask[30:80, 60:70] = True
    image[:, mask] = np.array([255, 0, 0], np.uint8)[:, None]
    clean = remove_person(image, mask)
    assert not ((clean[0] > 180) & (clean[1] < 60)).any()
    person = Person(image, mask, Pose(np.zeros((1, 18, 3), np.float32), 96, 128))
    assert load_background("photo", 64, 64, person).shape == (3, 64, 64)


def test_guided_filter_equals_literal_regressions():
    rng = np.random.default_rng(0)
    guide, values = rng.random((9, 9)).astype(np.float32), rng.random((9, 9)).astype(np.float32)
    slopes, levels = np.zeros((9, 9)), np.zeros((9, 9))
    for y in range(1, 8):
        for x in range(1, 8):
            g, v = (a[y - 1 : y + 2, x - 1 : x + 2].ravel().astype(float) for a in (guide, values))
            slopes[y, x] = ((g * v).mean() - g.mean() * v.mean()) / (g.var() + 1e-2)
            levels[y, x] = v.mean() - slopes[y, x] * g.mean()
    expected = slopes[3:6, 3:6].mean() * guide[4, 4] + levels[3:6, 3:6].mean()
    assert guided_filter(guide, values, 1, 1e-2)[4, 4] == pytest.approx(expected, abs=1e-4)
