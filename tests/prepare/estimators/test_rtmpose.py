"""Reading YOLOX and SimCC outputs, against literal loops; whole networks on small hand-made ONNX files."""

import math

import numpy as np
import pytest

from idol.assets import ASSETS
from idol.pose.joints import WHOLEBODY_133
from idol.prepare.estimators.rtmpose import (
    DWPOSE,
    decode_detections,
    decode_grid,
    decode_simcc,
    mirror_order,
    session,
)


def test_simcc_equals_a_literal_loop():
    rng = np.random.default_rng(0)
    x, y = (
        rng.uniform(-0.1, 1.2, (5, 24)).astype(np.float32),
        rng.uniform(-0.1, 1.2, (5, 32)).astype(np.float32),
    )
    found = decode_simcc(x, y, split=2)
    for k in range(5):
        bx = max(range(24), key=lambda i: x[k, i])
        by = max(range(32), key=lambda i: y[k, i])
        confidence = min(max(min(x[k, bx], y[k, by]), 0), 1)
        np.testing.assert_allclose(found[k], [bx / 2, by / 2, confidence], atol=1e-6)


def test_simcc_of_nothing_has_no_confidence():
    assert (decode_simcc(np.full((3, 8), -1, np.float32), np.full((3, 8), -1, np.float32))[:, 2] == 0).all()


def test_grid_equals_a_literal_loop():
    raw = np.random.default_rng(1).normal(0, 1, (21, 7)).astype(np.float32)
    boxes, scores = decode_grid(raw, 32)
    i = 0
    for stride in (8, 16, 32):
        for row in range(32 // stride):
            for column in range(32 // stride):
                cx, cy = (raw[i, 0] + column) * stride, (raw[i, 1] + row) * stride
                w, h = math.exp(raw[i, 2]) * stride, math.exp(raw[i, 3]) * stride
                expected = [cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2]
                np.testing.assert_allclose(boxes[i], expected, rtol=1e-4, atol=1e-3)
                assert scores[i] == pytest.approx(raw[i, 4] * raw[i, 5])
                i += 1
    assert i == 21


def test_boxes_that_the_network_suppressed_itself():
    dets = np.array([[[1, 2, 3, 4, 0.9], [5, 6, 7, 8, 0.8], [9, 9, 9, 9, 0.1]]], np.float32)
    boxes, scores = decode_detections([dets, np.array([[0, 3, 0]])], 416, 0.4)
    assert boxes.tolist() == [[1, 2, 3, 4]] and scores.tolist() == pytest.approx([0.9])


@pytest.mark.parametrize("joints", ["halpe26", "wholebody133"])
def test_mirroring_twice_changes_nothing(joints):
    order = mirror_order(joints)
    assert (order[order] == np.arange(len(order))).all() and (order != np.arange(len(order))).any()


def test_left_and_right_hands_change_places():
    order = mirror_order("wholebody133")
    left = WHOLEBODY_133.index("left_hand_index_2")
    assert WHOLEBODY_133[order[left]] == "right_hand_index_2"


def varint(value):
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def field(number, value):
    """One protobuf field: a number, or bytes of any kind."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def value_info(name, shape):
    dims = b"".join(field(1, field(1, n)) for n in shape)
    return field(1, name) + field(2, field(1, field(1, 1) + field(2, dims)))


def constant_network(input_shape, outputs):
    """An ONNX file that takes an image and always answers the same."""
    nodes = infos = tensors = b""
    for i, array in enumerate(outputs):
        dims = b"".join(field(1, n) for n in array.shape)
        tensors += field(5, dims + field(2, 1) + field(8, f"c{i}") + field(9, array.astype("<f4").tobytes()))
        nodes += field(1, field(1, f"c{i}") + field(2, f"o{i}") + field(4, "Identity"))
        infos += field(12, value_info(f"o{i}", array.shape))
    graph = nodes + field(2, "g") + tensors + field(11, value_info("input", input_shape)) + infos
    return field(1, 8) + field(8, field(1, "") + field(2, 13)) + field(7, graph)


@pytest.fixture
def dwpose_files(tmp_path, monkeypatch):
    """Tiny stand-ins for DWPose's two files where a user would put them; the answers are known."""
    monkeypatch.setenv("IDOL_CACHE", str(tmp_path))
    raw = np.zeros((1, 21, 85), np.float32)
    raw[0, 5, :6] = [0.5, 0.5, math.log(2), math.log(3), 1.0, 0.9]  # cell 1, 1 of stride 8
    raw[0, 6, :6] = [-0.5, 0.5, math.log(2), math.log(3), 0.9, 0.9]  # the same box again, less sure
    x, y = np.zeros((1, 133, 12), np.float32), np.zeros((1, 133, 16), np.float32)
    x[..., 5], y[..., 6] = 0.8, 0.7
    files = {"dwpose-detection": ((1, 3, 32, 32), [raw]), "dwpose": ((1, 3, 8, 6), [x, y])}
    for name, (shape, outputs) in files.items():
        (tmp_path / f"{name}-{ASSETS[name].sha256[:12]}.onnx").write_bytes(constant_network(shape, outputs))
    session.cache_clear()
    yield
    session.cache_clear()


def test_dwpose_from_image_to_133_joints(dwpose_files):
    (people,) = DWPOSE.estimate(np.zeros((1, 3, 64, 64), np.uint8))
    (person,) = people
    assert person.box.tolist() == pytest.approx([8, 0, 40, 48], abs=1e-3)  # 12 +- 8, 12 +- 12, twice as large
    assert person.score == pytest.approx(0.9) and person.keypoints.shape == (133, 3)
    # The window is 45 x 60 round (24, 24). Bin 5 is pixel 2.5 of 6, in the mirror too; bin 6 is pixel 3 of 8.
    expected = [24 - 22.5 + 3 * 7.5 - 0.5, 24 - 30 + 3.5 * 7.5 - 0.5, 0.7]
    assert person.keypoints[0].tolist() == pytest.approx(expected, abs=1e-3)
