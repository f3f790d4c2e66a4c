"""Windows, boxes and non-maximum suppression, against literal loops."""

import numpy as np
import pytest

from idol.prepare.estimators.crop_transform import (
    CropTransform,
    box_iou,
    crop_around,
    letterbox,
    non_max_suppression,
)


def test_a_window_cuts_out_what_lies_there():
    image = np.arange(3 * 20 * 30, dtype=np.uint8).reshape(3, 20, 30)
    cut = CropTransform((12, 9), (8, 6), 8, 6).cut(image)
    np.testing.assert_array_equal(cut, image[:, 6:12, 8:16].transpose(1, 2, 0))


def test_a_quarter_turn_puts_right_on_top():
    image = np.zeros((3, 9, 9), np.uint8)
    image[:, 4, 8] = 255  # at the right edge, half way down
    cut = CropTransform((4.5, 4.5), (9, 9), 9, 9, angle=np.pi / 2).cut(image)
    assert cut[0, 4].tolist() == [255] * 3 and cut.sum() == 3 * 255


@pytest.mark.parametrize("angle", [0.0, 0.7, -2.0])
def test_points_return_to_where_they_were_cut(angle):
    view = CropTransform((50, 40), (32, 64), 16, 32, angle)
    image = np.zeros((3, 80, 100), np.uint8)
    x, y = view.to_image(np.array([5.0, 20.0]))
    image[:, round(float(y)) - 2 : round(float(y)) + 3, round(float(x)) - 2 : round(float(x)) + 3] = 255
    cut = view.cut(image)[..., 0].astype(float)
    rows, columns = np.indices(cut.shape)
    assert abs((rows * cut).sum() / cut.sum() - 20) < 0.4
    assert abs((columns * cut).sum() / cut.sum() - 5) < 0.4


def test_paste_undoes_cut():
    y, x = np.indices((60, 80))
    smooth = (128 + 60 * np.sin(x / 9) + 50 * np.cos(y / 7)).astype(np.uint8)
    view = CropTransform((40, 30), (40, 40), 80, 80, 0.4)
    back = view.paste(view.cut(np.stack([smooth] * 3))[..., 0].astype(np.float32), 60, 80)
    assert np.abs(back - smooth)[20:40, 30:50].max() < 3
    assert back[0, 0] == 0


def test_fitted_keeps_the_middle_and_the_shape():
    view = crop_around(np.array([10, 20, 30, 100], np.float32), width=3, height=4, margin=1.25)
    assert view.center == (20, 60)
    assert view.size == pytest.approx((75, 100))


def test_letterbox_fills_with_gray():
    square, scale = letterbox(np.full((3, 50, 100), 7, np.uint8), 40, fill=114)
    assert scale == pytest.approx(0.4)
    assert (square[:20] == 7).all() and (square[20:] == 114).all()


def literal_overlap(a, b):
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    common = max(w, 0) * max(h, 0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common
    return common / union


def boxes_and_scores(seed, n=30):
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 50, (n, 2))
    return np.concatenate([low, low + rng.uniform(5, 40, (n, 2))], 1).astype(np.float32), rng.random(n)


def test_overlap_equals_its_definition():
    boxes, _ = boxes_and_scores(0, 12)
    expected = [[literal_overlap(a, b) for b in boxes] for a in boxes]
    np.testing.assert_allclose(box_iou(boxes, boxes), expected, atol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_suppression_equals_a_literal_loop(seed):
    boxes, scores = boxes_and_scores(seed)
    kept = []
    for i in sorted(range(len(boxes)), key=lambda i: -scores[i]):
        if all(literal_overlap(boxes[i], boxes[j]) <= 0.45 for j in kept):
            kept.append(i)
    assert non_max_suppression(boxes, scores.astype(np.float32), 0.45).tolist() == kept
