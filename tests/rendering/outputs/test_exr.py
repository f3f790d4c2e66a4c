from dataclasses import replace

import av
import numpy as np
import pytest

from idol.rendering.outputs.depth_video import to_millimeters, write_depth_video
from idol.rendering.outputs.exr import write_background_exr, write_person_exr
from idol.rendering.outputs.srgb import SRGB_TO_LINEAR
from support.built_layers import built_layers
from support.depth_videos import read_depth_video

OpenEXR = pytest.importorskip("OpenEXR")


def soft_layers():
    """With an edge that the person covers in part, and a distance of its own for each pixel."""
    layers = built_layers()
    rng = np.random.default_rng(3)
    alpha = layers.alpha.copy()
    alpha[:, 4] *= 0.25
    return replace(
        layers,
        alpha=alpha,
        z=rng.uniform(1, 3, layers.z.shape).astype(np.float32),
        background_z=rng.uniform(4, 9, layers.background_z.shape).astype(np.float32),
    )


def read(path):
    """R G B A (h, w, 4) and Z (h, w), and the header."""
    file = OpenEXR.File(str(path))
    channels = file.channels()
    return channels["RGBA"].pixels, channels["Z"].pixels, file.header()


def srgb_of(linear):
    """8-bit sRGB of linear light: the other half of IEC 61966-2-1."""
    low = 12.92 * linear
    high = 1.055 * np.maximum(linear, 1e-9) ** (1 / 2.4) - 0.055
    return np.rint(255 * np.where(linear <= 0.0031308, low, high)).astype(int)


def test_half_linear_light_holds_every_8_bit_color():
    levels = np.arange(256).astype(np.uint8)
    np.testing.assert_array_equal(srgb_of(SRGB_TO_LINEAR[levels].astype(np.float16).astype(float)), levels)


def test_the_person_is_read_back_exactly(tmp_path):
    layers = soft_layers()
    write_person_exr(tmp_path / "person.exr", layers, 1)
    rgba, z, header = read(tmp_path / "person.exr")
    assert rgba.dtype == np.float16 and z.dtype == np.float32
    there = layers.alpha[1] > 0
    np.testing.assert_array_equal(z[there], layers.z[1][there])
    assert np.isposinf(z[~there]).all()
    np.testing.assert_array_equal(rgba[..., 3], layers.alpha[1])
    assert not rgba[~there].any()
    solid = layers.alpha[1] == 1
    np.testing.assert_array_equal(
        srgb_of(rgba[..., :3].astype(float))[solid], layers.color[1].transpose(1, 2, 0)[solid]
    )
    assert header["compression"] == OpenEXR.ZIP_COMPRESSION
    assert header["type"] == OpenEXR.scanlineimage
    assert float(header["framesPerSecond"]) == layers.fps


def test_colors_are_multiplied_by_alpha(tmp_path):
    layers = soft_layers()
    write_person_exr(tmp_path / "person.exr", layers, 0)
    rgba, _, _ = read(tmp_path / "person.exr")
    edge = layers.alpha[0] == 0.25
    expected = SRGB_TO_LINEAR[layers.color[0]].transpose(1, 2, 0)[edge] / 4
    np.testing.assert_allclose(rgba[..., :3][edge], expected, rtol=2**-11, atol=2**-24)


def test_person_over_background_is_the_whole_image(tmp_path):
    layers = soft_layers()
    write_person_exr(tmp_path / "person.exr", layers, 0)
    write_background_exr(tmp_path / "background.exr", layers, 0)
    person, _, _ = read(tmp_path / "person.exr")
    background, z, _ = read(tmp_path / "background.exr")
    np.testing.assert_array_equal(z, layers.background_z[0])
    assert (background[..., 3] == 1).all()
    over = person[..., :3].astype(float) + background[..., :3] * (1 - person[..., 3:].astype(float))
    solid, empty = layers.alpha[0] == 1, layers.alpha[0] == 0
    seen = np.where(solid, layers.color[0], layers.background[0]).transpose(1, 2, 0)
    np.testing.assert_array_equal(srgb_of(over)[solid | empty], seen[solid | empty])


@pytest.mark.parametrize("fps", [10.0, 30000 / 1001])
def test_every_16_bit_value_survives_the_video(tmp_path, fps):
    values = (
        np.random.default_rng(0).permutation(np.arange(2 * 128 * 256).astype(np.uint16)).reshape(2, 128, 256)
    )
    write_depth_video(tmp_path / "depth.mkv", values, fps)
    np.testing.assert_array_equal(read_depth_video(tmp_path / "depth.mkv"), values)
    with av.open(str(tmp_path / "depth.mkv")) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "ffv1"
        assert float(stream.average_rate) == pytest.approx(fps, rel=1e-3)
        assert "millimeters" in container.metadata["COMMENT"]


def test_odd_sizes_survive_the_video(tmp_path):
    values = np.arange(3 * 7 * 5).astype(np.uint16).reshape(3, 7, 5)
    write_depth_video(tmp_path / "depth.mkv", values, 8.0)
    np.testing.assert_array_equal(read_depth_video(tmp_path / "depth.mkv"), values)


def test_millimeters():
    meters = np.array([0.0004, 0.0006, 1.2344, 65.535, 80.0, np.inf])
    np.testing.assert_array_equal(to_millimeters(meters), [0, 1, 1234, 65535, 65535, 0])
