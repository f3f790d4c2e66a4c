"""Views of a scene whose every view is known, against those and against what everybody does."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from idol.rendering.geometry.camera import View
from idol.rendering.geometry.camera_paths import camera_path
from idol.rendering.geometry.novel_view import Renderer
from idol.rendering.geometry.zoom import zoom_inside
from support import cast_scene
from support.cast_scene import CAMERA, FLOOR, PLANES, cast

MOVED = View.look_at(np.array([0.4, -0.1, 0.2]), np.array([0.05, 0.1, 4.0]))

LARGE = replace(CAMERA, height=192, width=192)


def render_view(layers, frame, view, camera):
    return Renderer(layers, camera).view(frame, view)


@pytest.fixture(scope="module")
def scene():
    return cast_scene.layers()


def forward_warped(frame, z, view):
    """Each pixel is thrown to where its point is seen; the nearest wins; what nothing reaches is a hole."""
    h, w = z.shape
    image, nearest = np.zeros((3, h, w)), np.full((h, w), np.inf)
    for y in range(h):
        for x in range(w):
            point = view.to_camera(_point(x, y, z[y, x]))
            u, v = np.rint(CAMERA.project(point)).astype(int)
            if 0 <= u < w and 0 <= v < h and point[2] < nearest[v, u]:
                nearest[v, u], image[:, v, u] = point[2], frame[:, y, x]
    return image, np.isinf(nearest)


def _point(x, y, z):
    (cx, cy), f = CAMERA.center, CAMERA.focal
    return np.array([(x - cx) * z / f, (y - cy) * z / f, z])


def rubber_sheet(frame, z, view):
    """The image on one unbroken mesh: each ray, in small steps, to where it dives below the depth map."""
    h, w = z.shape
    x, y = np.meshgrid(np.arange(w), np.arange(h))
    (cx, cy), f = CAMERA.center, CAMERA.focal
    ray = np.stack([(x - cx) / f, (y - cy) / f, np.ones((h, w))], -1) @ view.rotation
    found, image = np.zeros((h, w), bool), np.zeros((3, h, w))
    for t in np.linspace(2, 9, 300):
        point = view.position + ray * t
        u, v = np.rint(np.moveaxis(CAMERA.project(point), -1, 0)).astype(int)
        u, v = u.clip(0, w - 1), v.clip(0, h - 1)
        fresh = (point[..., 2] >= z[v, u]) & ~found
        image[:, fresh] = frame[:, v[fresh], u[fresh]]
        found |= fresh
    return image


def visible_in_the_clip(points, view):
    """Which pixels of the view show a point that the clip shows, too, inside of its border."""
    x, y = np.moveaxis(CAMERA.project(points), -1, 0)
    inside = (x > 1) & (y > 1) & (x < CAMERA.width - 2) & (y < CAMERA.height - 2)
    _, _, seen = cast(View.identity(), CAMERA)
    xs, ys = (np.clip(np.rint(c), 0, CAMERA.width - 1).astype(int) for c in (x, y))
    return inside & (np.linalg.norm(seen[ys, xs] - points, axis=-1) < 0.15), inside


def test_it_beats_forward_warping_and_the_rubber_sheet(scene):
    truth, _, points = cast(MOVED, CAMERA)
    frame, _, source = cast(View.identity(), CAMERA)
    ours = render_view(scene, 0, MOVED, CAMERA).astype(float)
    splatted, holes = forward_warped(frame, source[..., 2], MOVED)
    sheet = rubber_sheet(frame, source[..., 2], MOVED)
    visible, inside = visible_in_the_clip(points, MOVED)
    error = {
        name: np.abs(p - truth).max(0) for name, p in [("ours", ours), ("splat", splatted), ("sheet", sheet)]
    }
    fine = visible & ~holes
    assert error["ours"][fine].mean() < 0.5 * min(error["splat"][fine].mean(), error["sheet"][fine].mean())
    wrong = {name: ((e > 40) & inside).mean() for name, e in error.items()}
    wrong["splat"] = (((error["splat"] > 40) | holes) & inside).mean()
    assert wrong["ours"] < 0.1 * min(wrong["splat"], wrong["sheet"]), wrong


def test_uncovered_background_is_the_true_one(scene):
    truth, share, points = cast(MOVED, CAMERA)
    _, inside = visible_in_the_clip(points, MOVED)
    hidden_before = cast(View.identity(), CAMERA)[1]
    x, y = np.moveaxis(np.rint(CAMERA.project(points)).astype(int), -1, 0)
    uncovered = inside & (share < 0.01)
    uncovered &= hidden_before[y.clip(0, 95), x.clip(0, 95)] > 0.99
    assert uncovered.sum() > 100
    error = np.abs(render_view(scene, 0, MOVED, CAMERA) - truth).max(0)
    assert np.percentile(error[uncovered], 95) < 12


def test_the_own_camera_gives_the_frames_back(scene):
    frame, share, _ = cast(View.identity(), CAMERA)
    error = np.abs(render_view(scene, 0, View.identity(), CAMERA) - frame).max(0)
    assert error[share > 0.99].max() <= 4
    assert error[share < 0.01].max() <= 12  # one or two pixels off the edge
    assert np.mean(error) < 0.5


@pytest.mark.parametrize("plane", [0, 1])
def test_a_plane_moves_as_opencv_says(scene, plane):
    cv2 = pytest.importorskip("cv2")
    wall_or_floor = replace(scene, planes=(PLANES[plane],), alpha=np.zeros_like(scene.alpha))
    n, d, k = PLANES[plane].normal, PLANES[plane].offset, CAMERA.intrinsics
    r, p = MOVED.rotation, MOVED.position
    homography = k @ (r - np.outer(r @ p, n) / d) @ np.linalg.inv(k)  # clip to view
    background = scene.background[0].transpose(1, 2, 0)
    theirs = cv2.warpPerspective(
        background, homography, (96, 96), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    ours = render_view(wall_or_floor, 0, MOVED, CAMERA).transpose(1, 2, 0)
    ahead = np.isfinite(PLANES[plane].depth(CAMERA))
    y, x = np.nonzero(np.ones((96, 96), bool))
    back = np.linalg.inv(homography) @ np.stack([x, y, np.ones_like(x)])
    u, v = back[:2] / back[2]
    inside = (u > 2) & (v > 2) & (u < 93) & (v < 93)
    inside &= ahead[v.clip(0, 95).astype(int), u.clip(0, 95).astype(int)]
    difference = np.abs(ours.astype(int) - theirs).max(-1)[y, x][inside]
    assert inside.sum() > 1000
    assert difference.max() <= 6  # bilinear there, bicubic here


def test_twice_the_pixels_show_the_same(scene):
    large = render_view(scene, 0, MOVED, LARGE).astype(float)
    truth, _, points = cast(MOVED, LARGE, samples=1)
    inside = (CAMERA.project(points) > 2).all(-1) & (CAMERA.project(points) < 93).all(-1)
    assert np.median(np.abs(large - truth).max(0)[inside]) < 4


def test_feet_do_not_slide(scene):
    """The egg touches the floor at one point: person and floor are equally far away there."""
    contact = np.array([cast_scene.MIDDLE[0], FLOOR, cast_scene.MIDDLE[2]])
    x, y = np.rint(CAMERA.project(contact)).astype(int)
    person, floor = scene.z[0][y - 1, x], scene.background_z[0][y, x]
    assert abs(person - floor) < 0.15


def test_no_view_shows_what_is_beyond_the_border(scene):
    views = camera_path("sway", 0.1, np.arange(8) / 8, np.array([0.1, 0.1, 4.0]))
    zoom = zoom_inside(scene, views, CAMERA)
    assert 1 < zoom < 1.3
    for view in views:
        _, _, points = cast(view, CAMERA.zoomed(zoom), person=False, samples=1)
        pixels = CAMERA.project(points)
        assert pixels.min() > -0.7 and pixels.max() < 95.7
    assert zoom_inside(scene, [View.identity()], CAMERA) == 1


def test_a_whole_scene_of_measured_depth_needs_no_stage(scene):
    measured = replace(scene, planes=())
    staged, free = (render_view(each, 0, MOVED, CAMERA).astype(int) for each in (scene, measured))
    assert np.percentile(np.abs(staged - free), 98) <= 8


def test_a_camera_that_stands_still_sees_what_one_that_comes_sees():
    layers = cast_scene.layers(frames=3)
    layers.alpha[1] = 0  # nobody there
    renderer = Renderer(layers, CAMERA)
    for frame in range(3):
        again = View(MOVED.position, MOVED.rotation)
        np.testing.assert_array_equal(renderer.view(frame, MOVED), render_view(layers, frame, again, CAMERA))


def test_a_still_background_is_sampled_as_finely_as_a_moving_one(scene):
    """One is interpolated linearly in an enlarged copy, the other cubically."""
    busy = np.random.default_rng(0).normal(size=(1, 3, 96, 96))
    background = np.clip(128 + 350 * gaussian_filter(busy, (0, 0, 1.5, 1.5)), 0, 255).astype(np.uint8)
    still = replace(scene, background=background, alpha=np.zeros_like(scene.alpha))
    two = {"color": 2, "alpha": 2, "z": 2, "background": 2}
    moving = replace(still, **{name: np.repeat(getattr(still, name), n, 0) for name, n in two.items()})
    error = render_view(still, 0, MOVED, LARGE).astype(float) - render_view(moving, 0, MOVED, LARGE)
    assert 10 * np.log10(255**2 / np.mean(error**2)) > 45


def test_a_view_repeats_where_the_camera_stands_still():
    person = np.array([0.1, 0.1, 4.0])
    assert len(set(camera_path("still", None, np.arange(5) / 5, person))) == 1
    assert len(set(camera_path("orbit", None, np.arange(5) / 5, person))) == 5
