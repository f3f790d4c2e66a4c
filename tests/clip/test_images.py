"""Image files: round trip, orientation, transparency, 16-bit depth, bad input."""

import io
import logging

import numpy as np
import pytest
from PIL import Image

from idol.clip.images import encode_depth16, read_image, write_image
from idol.errors import UserError


def test_images_round_trip(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (3, 9, 14)).astype(np.uint8)
    write_image(tmp_path / "sub" / "a.png", image)
    np.testing.assert_array_equal(read_image(tmp_path / "sub" / "a.png"), image)
    write_image(tmp_path / "m.png", image[0] > 99)
    np.testing.assert_array_equal(
        read_image(tmp_path / "m.png"), np.repeat((image[:1] > 99) * np.uint8(255), 3, 0)
    )
    with pytest.raises(UserError, match="unknown"):
        write_image(tmp_path / "a.unknown", image)
    with pytest.raises(ValueError, match="expected uint8"):
        write_image(tmp_path / "b.png", image / 255)
    assert not list(tmp_path.glob(".*"))


def test_a_images_orientation_is_honored(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (9, 14, 3)).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it turned a quarter clockwise
    Image.fromarray(image).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), np.rot90(image, -1).transpose(2, 0, 1))


def test_transparency_is_laid_onto_white_and_said(tmp_path, caplog):
    rgba = np.zeros((4, 6, 4), np.uint8)
    rgba[:2] = (10, 20, 30, 255)
    rgba[3] = (0, 0, 0, 128)
    Image.fromarray(rgba).save(tmp_path / "a.png")
    with caplog.at_level(logging.WARNING):
        found = read_image(tmp_path / "a.png")
    assert found[:, 0, 0].tolist() == [10, 20, 30] and (found[:, 2] == 255).all()
    assert np.abs(found[:, 3].astype(int) - 127).max() <= 1
    assert "transparent" in caplog.text


def test_images_of_other_kinds(tmp_path):
    ramp = np.linspace(0, 65535, 24).reshape(4, 6).astype(np.uint16)
    Image.fromarray(ramp).save(tmp_path / "16.png")
    np.testing.assert_allclose(read_image(tmp_path / "16.png")[0], ramp / 257, atol=0.51)
    Image.fromarray((ramp // 257).astype(np.uint8)).convert("P").save(tmp_path / "p.png")
    np.testing.assert_array_equal(read_image(tmp_path / "p.png")[1], ramp // 257)
    Image.new("CMYK", (6, 4)).save(tmp_path / "c.jpg")
    assert (read_image(tmp_path / "c.jpg") >= 250).all()


def test_bad_images_are_told_in_one_line(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        read_image(tmp_path / "none.png")
    image = np.random.default_rng(0).integers(0, 256, (3, 60, 60)).astype(np.uint8)
    write_image(tmp_path / "a.png", image)
    data = (tmp_path / "a.png").read_bytes()
    for broken in (b"", b"text", data[: len(data) // 2]):
        (tmp_path / "b.png").write_bytes(broken)
        with pytest.raises(UserError, match="cannot be read") as wrong:
            read_image(tmp_path / "b.png")
        assert "\n" not in str(wrong.value)


def test_depth_is_rounded_to_16_bits():
    depth = np.random.default_rng(0).uniform(size=(7, 9)).astype(np.float32)
    depth[0, :2] = 0, 1
    with Image.open(io.BytesIO(encode_depth16(depth))) as image:
        assert image.mode == "I;16"
        np.testing.assert_array_equal(np.asarray(image), np.rint(depth.astype(np.float64) * 65535))
    for bad in (np.full((2, 2), np.nan), np.full((2, 2), 1.01), np.full((2, 2), -0.01)):
        with pytest.raises(ValueError, match="expected"):
            encode_depth16(bad)
