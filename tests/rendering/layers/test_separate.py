"""A clip taken apart: clean edges, meters, and a floor under the feet."""

from dataclasses import fields, replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.ndimage import maximum_filter

from idol.clip import Clip, Pose
from idol.clip.depth import from_meters, to_meters
from idol.errors import UserError
from idol.rendering.geometry.camera import Camera
from idol.rendering.layers.ground_plane import find_feet, fit_floor
from idol.rendering.layers.matting import Mattes, dilate, extract_mattes
from idol.rendering.layers.metric_scale import standing_heights
from idol.rendering.layers.separate import separate
from support.drawn import drawn_clip

SIZE, FPS = 96, 10.0
CAMERA = Camera(40.0, SIZE, SIZE)


def matte(frame, background, mask, disparity, clean):
    """One frame's."""
    found = extract_mattes(frame[None], background[None], mask[None], disparity[None], clean)
    return SimpleNamespace(**{field.name: getattr(found, field.name)[0] for field in fields(Mattes)})


def blended(alpha, front, behind):
    return (alpha * front[:, None, None] + (1 - alpha) * behind).round().astype(np.uint8)


def soft_disc():
    """A disc whose edge is two pixels wide, before stripes; and its true alpha."""
    y, x = np.mgrid[:64, :64]
    alpha = np.clip((20 - np.hypot(x - 32, y - 30)) / 2 + 0.5, 0, 1)
    stripes = np.where((x // 5 + y // 7) % 2, 40.0, 130.0) * np.ones((3, 1, 1))
    front = np.array([230.0, 180.0, 30.0])
    return blended(alpha, front, stripes), stripes.astype(np.uint8), alpha, front


def test_the_matting_equation_is_solved():
    frame, background, alpha, front = soft_disc()
    found = matte(frame, background, alpha > 0.5, np.ones((64, 64), np.float32), clean=False)
    assert np.abs(found.alpha - alpha).mean() < 0.01
    edge = (alpha > 0.1) & (alpha < 0.9)
    assert np.abs(found.alpha - alpha)[edge].mean() < 0.1
    assert np.abs(found.alpha - alpha)[edge].mean() < 0.3 * np.abs((alpha > 0.5) - alpha)[edge].mean()
    assert np.abs(found.color[:, edge] - front[:, None]).mean() < 12  # no stripe shines through
    assert np.abs(frame[:, edge] - front[:, None]).mean() > 40


@pytest.mark.parametrize("clean", [False, True])
def test_it_does_not_matter_which_frames_are_cut_out_together(clean):
    clip = drawn_clip(0, frames=4)
    masks = clip.mask.copy()
    masks[1] = False
    backgrounds = np.broadcast_to(clip.background, clip.video.shape)
    together = extract_mattes(clip.video, backgrounds, masks, clip.depth, clean)
    for i in range(4):
        alone = matte(clip.video[i], backgrounds[i], masks[i], clip.depth[i], clean)
        for name in ("color", "alpha", "disparity"):
            np.testing.assert_array_equal(getattr(together, name)[i], getattr(alone, name))


@pytest.mark.parametrize(("rows", "columns"), [(0, 0), (1, 4), (5, 2), (13, 40), (30, 7)])
def test_growing_is_scipys_maximum_filter(rows, columns):
    values = np.random.default_rng(0).normal(size=(2, 24, 33)).astype(np.float32)
    size = (1, 2 * rows + 1, 2 * columns + 1)
    theirs = maximum_filter(values, size, mode="constant", cval=-np.inf)
    np.testing.assert_array_equal(dilate(torch.from_numpy(values), rows, columns), theirs)


def test_an_edge_stands_still_when_noise_does_not():
    frame, background, alpha, _ = soft_disc()
    rng = np.random.default_rng(0)
    noisy = [np.clip(frame + rng.normal(0, 4, frame.shape), 0, 255).astype(np.uint8) for _ in range(8)]
    flat = np.ones((64, 64), np.float32)
    alphas = np.stack([matte(each, background, alpha > 0.5, flat, clean=False).alpha for each in noisy])
    assert alphas.std(0).max() < 0.1


def test_generated_depth_does_not_sink_at_the_edge():
    frame, background, alpha, _ = soft_disc()
    bled = np.clip((20 - np.hypot(*(np.mgrid[:64, :64] - np.array([30, 32])[:, None, None]))) / 4, 0.2, 0.8)
    bled = bled.astype(np.float32)
    found = matte(frame, background, alpha > 0.5, bled, clean=True).disparity
    assert bled[alpha > 0.5].min() < 0.3
    assert found[alpha > 0.01].min() > 0.7
    kept = matte(frame, background, alpha > 0.5, bled, clean=False).disparity
    np.testing.assert_array_equal(kept[alpha > 0.5], bled[alpha > 0.5])


def walker(relative=False, jump=False):
    """A board of 1.7 m that walks towards the camera on a floor 0.8 m below it, seen in meters."""
    frames = 12
    z = np.linspace(5.0, 3.5, frames)
    masks, depths = np.zeros((frames, SIZE, SIZE), bool), np.full((frames, SIZE, SIZE), 9.0, np.float32)
    pose = np.zeros((frames, 18, 3), np.float32)
    (cx, cy), focal = CAMERA.center, CAMERA.focal
    for i in range(frames):
        lift = 0.25 if jump and i in (5, 6) else 0.0
        top, bottom = (cy + focal * (0.8 - lift - h) / z[i] for h in (1.7, 0.0))
        left, right = (cx + focal * x / z[i] for x in (-0.25, 0.25))
        y, x = np.mgrid[:SIZE, :SIZE]
        masks[i] = (y > top) & (y < bottom) & (x > left) & (x < right)
        depths[i][masks[i]] = z[i]
        neck, ankle = bottom - (bottom - top) * 0.82, bottom - (bottom - top) * 0.04
        for joint, height in ((1, neck), (10, ankle), (13, ankle)):
            pose[i, joint] = cx, height, 1
    background = np.full((3, SIZE, SIZE), 90, np.uint8)
    video = np.where(masks[:, None], np.uint8(200), background).astype(np.uint8)
    near_far = (3.5, 5.0)
    depth = from_meters(depths, masks, near_far)
    clip = Clip(
        video, depth, masks, Pose(pose, SIZE, SIZE), background, FPS, "person", None if relative else near_far
    )
    return clip, z


def test_known_meters_are_kept_exactly():
    clip, _ = walker()
    layers = separate(clip, fov=40.0)
    assert layers.metric
    exact = to_meters(clip.depth, clip.depth_range)
    np.testing.assert_allclose(layers.z[clip.mask], exact[clip.mask], rtol=1e-5)


@pytest.mark.parametrize("jump", [False, True])
def test_the_floor_is_where_the_feet_are(jump):
    floor, wall = separate(walker(jump=jump)[0], fov=40.0).planes
    assert floor.offset == pytest.approx(0.8, abs=0.05)
    assert floor.normal[1] > 0.998
    assert wall.offset > 5


def test_the_field_of_view_follows_from_meters():
    assert separate(walker()[0], person_height=1.7).camera.fov == pytest.approx(40, abs=2)


@pytest.mark.parametrize("jump", [False, True])
def test_relative_depth_gets_its_meters_from_the_person(jump):
    clip, z = walker(relative=True, jump=jump)
    layers = separate(clip, fov=40.0, person_height=1.7)
    assert not layers.metric
    found = np.array([np.median(layers.z[i][clip.mask[i]]) for i in range(clip.frames)])
    np.testing.assert_allclose(
        found / found.mean(), z / z.mean(), rtol=0.08
    )  # how far, by the feet on the floor
    assert found.mean() == pytest.approx(z.mean(), rel=0.15)


def test_feet_are_as_far_as_the_floor_under_them():
    clip, _ = walker(relative=True)
    layers = separate(clip, fov=40.0)
    for i in range(clip.frames):
        y, x = np.nonzero(clip.mask[i])
        lowest = y == y.max()
        floor = layers.background_z_at(i)[y[lowest], x[lowest]]
        assert np.abs(layers.z[i][y[lowest], x[lowest]] / floor - 1).max() < 0.06


def test_twice_the_height_is_twice_the_distance():
    clip, _ = walker(relative=True)
    small, tall = (separate(clip, fov=40.0, person_height=h) for h in (1.0, 2.0))
    ratio = np.median(tall.z[clip.mask]) / np.median(small.z[clip.mask])
    assert ratio == pytest.approx(2, rel=0.02)


def test_without_feet_there_is_a_wall_alone():
    clip, _ = walker()
    cut = replace(clip, mask=np.ones_like(clip.mask) & (np.arange(SIZE) > 30), depth=clip.depth * 0 + 0.5)
    assert len(separate(cut, fov=40.0).planes) == 1


def test_a_jump_does_not_lift_the_floor():
    clip, z = walker(jump=True)
    feet = find_feet(clip.mask, FPS)
    assert not feet.down[5:7].any() and feet.down[[0, 11]].all()
    assert fit_floor(feet, 1 / z, CAMERA, level=False).offset == pytest.approx(0.8, abs=0.05)


def test_standing_height_is_the_bodys():
    clip, z = walker()
    for pose in (
        clip.pose,
        replace(clip.pose, keypoints=clip.pose.keypoints * 0),
    ):  # by joints, by silhouette
        heights = standing_heights(pose, clip.mask)
        np.testing.assert_allclose(heights, 1.7 * CAMERA.focal / z, rtol=0.05)


def test_a_whole_scene_keeps_its_own_background():
    clip, _ = walker()
    wall = np.linspace(6, 9, SIZE, dtype=np.float32)
    z = np.where(clip.mask, to_meters(clip.depth, (3.5, 5.0)), wall).astype(np.float32)
    scene = replace(clip, depth=from_meters(z, None, (3.5, 9.0)), depth_kind="scene", depth_range=(3.5, 9.0))
    layers = separate(scene, fov=40.0)
    assert layers.planes == () and len(layers.background_z) == 1
    np.testing.assert_allclose(layers.background_z[0], np.broadcast_to(wall, (SIZE, SIZE)), rtol=0.05)


def test_a_moving_plate_is_kept_frame_by_frame():
    clip = drawn_clip(0, moving=True)
    assert len(separate(clip).background) == clip.frames


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"depth_kind": "none"}, "no depth"),
        ({"mask": None}, "no person"),
    ],
)
def test_what_cannot_be_taken_apart_is_refused(change, words):
    clip = drawn_clip(0)
    change = {name: np.zeros_like(clip.mask) if value is None else value for name, value in change.items()}
    with pytest.raises(UserError, match=words):
        separate(replace(clip, depth=np.zeros_like(clip.depth), **change))
