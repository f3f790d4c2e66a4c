"""Avatars: the photo is reproduced in its own pose, and other poses show a complete, symmetric person."""

from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import numpy as np
import pytest

from idol.body.avatar import Avatar
from idol.body.bones_from_points import PointRig, place_points
from idol.body.draw_numpy import shares_in_view
from idol.body.pinhole import PinholeCamera
from idol.body.rotations import from_vector
from idol.body.shadow import Ground, KeyLight, darkened, match_light, shadow_of
from idol.body.skin_mesh import HEAD, average_adult
from idol.body.textured_mesh import CUT_OUT, SOURCES
from idol.clip import Pose
from support.photos import photo_of_a_woman, points_of_a_woman

GRAY = np.full((3, 1, 1), 128, np.uint8)


@lru_cache(1)
def photo():
    """Return the bundled photo, the person's mask, joints, and points in pixels."""
    return *photo_of_a_woman(), points_of_a_woman()


@lru_cache(1)
def avatar():
    image, mask, pose, points = photo()
    return Avatar.from_photo(image, mask, pose, points=in_meters(points[None], mask.shape)[0])


def in_meters(points, shape):
    rig = PointRig(average_adult().body)
    return place_points(points, rig.size(points * [1, -1, 1]), PinholeCamera.assumed(*shape))


def psnr(image, other, mask):
    error = (image.astype(float) - other)[:, mask]
    return 10 * np.log10(255**2 / np.square(error).mean())


def test_twins_are_mutual():
    mesh = average_adult()
    np.testing.assert_array_equal(mesh.twin[mesh.twin], np.arange(len(mesh.twin)))
    assert (mesh.twin == np.arange(len(mesh.twin))).mean() < 0.05
    mirrored = mesh.vertices[mesh.twin] * [-1, 1, 1]
    assert np.linalg.norm(mirrored - mesh.vertices, axis=1).max() < 0.02


def test_joints_lie_on_the_points():
    rig, points = PointRig(average_adult().body), in_meters(photo()[3][None], photo()[1].shape)
    found = rig.joints.posed(rig.pose(points))
    limbs = [3, 4, 6, 7, 9, 10, 12, 13]
    assert np.linalg.norm(found - points[:, :18], axis=-1)[:, limbs].max() < 0.03


def test_pose_of_the_photo_reproduces_the_photo():
    image, mask, *_ = photo()
    made = avatar().draw(avatar().photo_poses)
    # Before gray, not before the photo: what is not covered counts.
    assert psnr(image, made.over(GRAY)[0], mask) >= 32
    silhouette = made.alpha[0] >= 0.5
    assert (silhouette & mask).sum() / (silhouette | mask).sum() > 0.97


def test_turned_person_is_complete_and_has_a_back_without_a_face():
    poses = avatar().photo_poses
    middle = np.median(avatar().posed(poses, 0)[0], 0) * [1, 0, 1]
    turned = poses.moved(-middle).turned(from_vector(np.array([0, np.pi, 0]))).moved(middle)
    front, back = avatar().draw(poses), avatar().draw(turned, height=282, width=282)
    assert back.color.shape == (1, 3, 282, 282)
    assert (back.alpha > 0).mean() == pytest.approx((front.alpha > 0).mean(), rel=0.25)
    on_head = back.part[0] == 1 + HEAD
    assert on_head.any() and not (back.source[0][on_head] == 1 + SOURCES.index("through")).any()


def test_guess_takes_over_as_grazing_places_turn_to_the_camera():
    poses, textured = avatar().photo_poses, avatar().textured
    middle = np.median(avatar().posed(poses, 0)[0], 0) * [1, 0, 1]
    turned = poses.moved(-middle).turned(from_vector(np.array([0, np.pi / 3, 0]))).moved(middle)
    still, moved = (shares_in_view(textured, *avatar().posed(p, 0)) for p in (poses, turned))
    np.testing.assert_allclose(still[:, 0], textured.share[:, 0], atol=1e-5)
    np.testing.assert_allclose(moved.sum(1), 1, atol=1e-5)
    assert moved.min() > -1e-5 and (moved[:, 2] > textured.share[:, 2] + 0.5).sum() > 100


def test_other_threads_draw_the_same():
    here = avatar().draw(avatar().photo_poses, height=141, width=141)
    with ThreadPoolExecutor(1) as pool:
        there = pool.submit(lambda: avatar().draw(avatar().photo_poses, height=141, width=141)).result()
    assert here.alpha.any()
    np.testing.assert_array_equal(here.color, there.color)


def test_depth_and_normals_are_those_of_the_body():
    made = avatar().draw(avatar().photo_poses)
    on = made.alpha[0] == 1
    vertices = avatar().posed(avatar().photo_poses, 0)[0]
    assert -vertices[:, 2].max() <= made.depth[0][on].min() < made.depth[0][on].max() <= -vertices[:, 2].min()
    np.testing.assert_allclose(np.linalg.norm(made.normals[0][:, on], axis=0), 1, atol=1e-3)
    assert (made.normals[0, 2][on] > 0).mean() > 0.95


def test_depth_range_is_that_of_the_images():
    poses = avatar().photo_poses
    depth = avatar().draw(poses).depth
    near, far = avatar().depth_range(poses)
    assert near == pytest.approx(depth.min(), abs=0.03)
    assert far == pytest.approx(depth[np.isfinite(depth)].max(), abs=0.05)
    with pytest.raises(ValueError, match="nobody in the image"):
        avatar().depth_range(poses.moved(np.array([50.0, 0, 0])))


def test_robe_stays_one_piece():
    image, mask, pose, points = photo()
    skirt = mask.copy()
    knees, hips = pose.keypoints[0, [9, 12]], pose.keypoints[0, [8, 11]]
    top, bottom = int(hips[:, 1].mean()), int(knees[:, 1].max()) + 20
    for row in range(top, bottom):
        inside = np.flatnonzero(mask[row])
        skirt[row, inside[0] : inside[-1] + 1] = True
    dressed = Avatar.from_photo(image, skirt, pose, points=in_meters(points[None], mask.shape)[0])
    assert dressed.uncovered > avatar().uncovered + 0.02
    assert (dressed.textured.soft == CUT_OUT).any()
    made = dressed.draw(dressed.photo_poses)
    assert (made.alpha[0] >= 0.5)[skirt].mean() > 0.99


def test_legs_outside_the_photo_are_reported():
    image, mask, pose, points = photo()
    rows = int(pose.keypoints[0, [9, 12], 1].mean())
    camera = PinholeCamera.assumed(*mask.shape).cropped(0, 0, mask.shape[1], rows)
    cropped = Pose(pose.keypoints, rows, mask.shape[1])
    whole = in_meters(points[None], mask.shape)[0]
    cut = Avatar.from_photo(image[:, :rows], mask[:rows], cropped, points=whole, camera=camera)
    assert set(cut.cut_off) == {"shin.L", "shin.R"} and not avatar().cut_off


@pytest.mark.parametrize(("what", "wrong"), [("mask", "mask: found"), ("pose", "pose: found")])
def test_inputs_that_do_not_match_are_rejected(what, wrong):
    image, mask, pose, points = photo()
    if what == "mask":
        mask = np.zeros_like(mask)
    else:
        pose = Pose(pose.keypoints, 10, 10)
    with pytest.raises(ValueError, match=wrong):
        Avatar.from_photo(image, mask, pose, points=points)


def test_shadow_lies_under_the_feet_and_not_on_the_head():
    vertices, camera = avatar().posed(avatar().photo_poses, 0)[0], avatar().photo_camera
    ground = Ground.under(vertices[None])
    assert abs(np.quantile(ground.height_of(vertices), 0.01)) < 0.1
    light = KeyLight(np.array([0.0, 1.0, 0.0]), 0.4)
    shadow = shadow_of(vertices, ground, light, camera)
    seen = camera.project(vertices.astype(float))
    feet = seen[ground.height_of(vertices) < 0.03]
    x, y = np.rint(np.median(feet[:, :2], 0)).astype(int)
    assert shadow.max() <= 1 and shadow.min() == 0
    assert shadow[y - 8 : y + 12, x - 40 : x + 40].max() > 0.4
    assert not shadow[: int(seen[:, 1].mean())].any()
    white = np.full((3, *shadow.shape), 255, np.uint8)
    np.testing.assert_array_equal(darkened(white, np.zeros_like(shadow)), white)


def test_match_light_is_limited_and_changes_nothing_in_equal_light():
    image, mask, *_ = photo()
    color = image[None, :, ::4, ::4]
    np.testing.assert_array_equal(match_light(color, image, mask, image, 0.0), color)
    dark = (image * 0.4).astype(np.uint8)
    dimmed, lit = match_light(color, image, mask, dark), match_light(dark[None], dark, mask, image)
    assert 0.7 < dimmed.mean() / color.mean() < 0.97
    assert 1.03 < lit.mean() / dark.mean() < 1.4
    with pytest.raises(ValueError, match="amount"):
        match_light(color, image, mask, image, 2.0)
