"""The geometry: exact inverses, closed forms."""

import numpy as np
import pytest

from idol.rendering.geometry.camera import Camera, Plane, View


@pytest.fixture
def camera():
    return Camera(50.0, 40, 60)


def test_projecting_undoes_unprojecting(camera):
    z = np.random.default_rng(0).uniform(1, 9, (2, 40, 60)).astype(np.float32)
    pixels = camera.project(camera.unproject(z))
    y, x = np.mgrid[:40, :60]
    np.testing.assert_allclose(pixels, np.broadcast_to(np.stack([x, y], -1), pixels.shape), atol=1e-4)


def test_projecting_is_the_matrix(camera):
    points = np.random.default_rng(0).uniform(1, 2, (5, 3))
    homogeneous = points @ camera.intrinsics.T
    np.testing.assert_allclose(camera.project(points), homogeneous[:, :2] / homogeneous[:, 2:])


def test_the_field_of_view_is_the_images_height(camera):
    top = np.array([0, -np.tan(np.radians(25)), 1.0])
    assert camera.project(top)[1] == pytest.approx(-0.5)  # the upper edge of the first row


@pytest.mark.parametrize("zoom", [0.5, 1.0, 3.0])
def test_zooming_makes_the_focal_length_longer(camera, zoom):
    assert camera.zoomed(zoom).focal == pytest.approx(zoom * camera.focal)


def test_a_view_towards_a_point_has_it_on_its_axis():
    view = View.look_at(np.array([1.0, -2.0, 0.5]), np.array([0.3, 0.2, 4.0]))
    seen = view.to_camera(np.array([0.3, 0.2, 4.0]))
    np.testing.assert_allclose(seen[:2], 0, atol=1e-12)
    assert seen[2] > 0
    np.testing.assert_allclose(view.rotation @ view.rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(view.rotation) == pytest.approx(1)
    assert view.rotation[0, 1] == pytest.approx(0)  # upright


def test_straight_ahead_is_the_own_camera():
    view = View.look_at(np.zeros(3), np.array([0.0, 0.0, 2.0]))
    np.testing.assert_allclose(view.rotation, np.eye(3), atol=1e-12)


def test_looking_straight_up_has_no_upright():
    with pytest.raises(ValueError, match="beside the vertical"):
        View.look_at(np.zeros(3), np.array([0.0, -1.0, 0.0]))


def test_points_of_a_plane_lie_on_it(camera):
    plane = Plane(np.array([0.0, 0.6, 0.8]), 2.0)
    z = plane.depth(camera)
    seen = np.isfinite(z)
    np.testing.assert_allclose(camera.unproject(np.where(seen, z, 1))[seen] @ plane.normal, 2.0, atol=1e-4)


def test_a_floor_is_not_above_the_horizon(camera):
    z = Plane(np.array([0.0, 1.0, 0.0]), 1.0).depth(camera)
    assert np.isinf(z[:20]).all() and np.isfinite(z[20:]).all()


@pytest.mark.parametrize("fov", [0.0, 180.0, float("nan")])
def test_impossible_cameras_are_refused(fov):
    with pytest.raises(ValueError, match="fov"):
        Camera(fov, 4, 4)
