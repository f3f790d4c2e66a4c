import io
from dataclasses import replace

import numpy as np
import pytest

from idol.clip import Clip, Pose
from idol.clip.depth import from_meters
from idol.pose.joints import OPENPOSE_18
from idol.rendering.geometry.coordinates import y_up
from idol.rendering.layers.separate import separate
from idol.rendering.outputs.point_cloud import background_cloud, merge_clouds, person_cloud, to_ply
from support.built_layers import built_layers, pinhole_points

SIZE = 64


def standing(z, depth_range, seed=0):
    """A clip of a flat person, 40 pixels tall, at `z` meters (one number per frame)."""
    rng = np.random.default_rng(seed)
    frames = len(z)
    mask = np.zeros((frames, SIZE, SIZE), bool)
    mask[:, 12:52, 24:40] = True
    keypoints = np.zeros((frames, 18, 3), np.float32)
    # Where Drillis and Contini have them: the neck at 0.82 of the height, the ankles at 0.04
    for name, x, y in (("neck", 32, 0.18), ("left_ankle", 28, 0.96), ("right_ankle", 36, 0.96)):
        keypoints[:, OPENPOSE_18.index(name)] = x, 11.5 + 40 * y, 1
    meters = np.broadcast_to(np.array(z, float)[:, None, None], mask.shape)
    near_and_far = depth_range or (min(z) - 0.5, max(z) + 0.5)
    return Clip(
        video=rng.integers(0, 256, (frames, 3, SIZE, SIZE), np.uint8),
        depth=from_meters(meters, mask, near_and_far),
        mask=mask,
        pose=Pose(keypoints, SIZE, SIZE),
        background=rng.integers(0, 256, (3, SIZE, SIZE), np.uint8),
        fps=10.0,
        depth_range=depth_range,
    )


@pytest.mark.parametrize("z", [[2.0, 2.5], [3.75, 3.0]])
def test_known_distances_are_kept(z):
    layers = separate(standing(z, (1.5, 4.0)), fov=40.0)
    for frame, meters in enumerate(z):
        points = person_cloud(layers, frame).points
        np.testing.assert_allclose(points[:, 2], -meters, rtol=1e-5)
    assert layers.metric


@pytest.mark.parametrize("height", [1.2, 1.7, 2.0])
@pytest.mark.parametrize("fov", [20.0, 60.0])
def test_a_person_of_unknown_distance_is_as_tall_as_asked(height, fov):
    layers = separate(standing([3.0, 3.0, 3.0], None), fov=fov, person_height=height)
    points = person_cloud(layers, 1).points
    one_pixel = height / 40
    np.testing.assert_allclose(np.ptp(points[:, 1]), height, atol=2 * one_pixel)


def test_points_are_those_of_a_pinhole():
    layers = built_layers()
    expected = pinhole_points(layers.camera, layers.z[1])
    there = layers.alpha[1] >= 0.5
    cloud = person_cloud(layers, 1)
    np.testing.assert_allclose(cloud.points, expected[there], atol=1e-6)
    np.testing.assert_array_equal(cloud.colors, layers.color[1].transpose(1, 2, 0)[there])


def test_points_fall_back_onto_their_pixels():
    layers = built_layers()
    pixels = layers.camera.project(y_up(background_cloud(layers, 0).points))
    rows, columns = np.mgrid[:24, :20]
    np.testing.assert_allclose(pixels, np.stack([columns, rows], -1).reshape(-1, 2), atol=1e-4)


def test_trimesh_reads_the_very_points_and_colors():
    trimesh = pytest.importorskip("trimesh")
    layers = built_layers()
    cloud = merge_clouds([person_cloud(layers, 0), background_cloud(layers, 0)])
    read = trimesh.load(io.BytesIO(to_ply(cloud)), file_type="ply")
    np.testing.assert_array_equal(read.vertices.astype(np.float32), cloud.points)
    np.testing.assert_array_equal(read.colors[:, :3], cloud.colors)


def test_a_frame_without_a_person_is_a_file_without_points():
    layers = built_layers()
    empty = person_cloud(replace(layers, alpha=np.zeros_like(layers.alpha)), 0)
    header, body = to_ply(empty).split(b"end_header\n")
    assert b"element vertex 0\n" in header and body == b""
