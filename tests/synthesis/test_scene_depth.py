"""Depth of the whole frame: against ray casting, and against the person's own depth."""

import json
from collections.abc import Iterator

import numpy as np
import pytest
from scipy.ndimage import maximum_filter, minimum_filter

from idol.clip import Clip
from idol.clip.clip import clip_from_files, clip_to_files
from idol.clip.depth import to_meters
from idol.data.shards import ShardReader
from idol.errors import UserError
from idol.synthesis import synth
from idol.synthesis.rendering.camera import SKY, SceneCamera, look_at
from idol.synthesis.scene.scene import Light, Quad, Scene, add_background_depth

SIZE, FRAMES = 64, 2


def unprojected(camera: SceneCamera) -> tuple[np.ndarray, np.ndarray]:
    """Two points (s, s, 3) on each pixel's line of sight, by inverting the raster's matrices."""
    y, x = np.mgrid[0 : camera.size, 0 : camera.size]
    across, up = 2 * (x + 0.5) / camera.size - 1, 1 - 2 * (y + 0.5) / camera.size
    back = np.linalg.inv(camera.projection @ camera.view)
    points = []
    for ndc in (-1.0, 0.9):
        clip = np.stack([across, up, np.full(x.shape, ndc), np.ones(x.shape)], -1) @ back.T
        points.append(clip[..., :3] / clip[..., 3:])
    return points[0], points[1]


def depth_of_plane(camera: SceneCamera, on: np.ndarray, normal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """View depth (s, s) of a plane, infinite where a pixel does not meet it, and where it is met."""
    near, far = unprojected(camera)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = ((on - near) @ normal) / ((far - near) @ normal)
        point = near + t[..., None] * (far - near)
        z = -(point @ camera.view[2, :3] + camera.view[2, 3])
    return np.where(t > 0, z, np.inf), point


def cast(camera: SceneCamera, quads: tuple[Quad, ...]) -> tuple[np.ndarray, np.ndarray]:
    """View depth (s, s) of the nearest rectangle along each pixel's line, and its number."""
    depths = []
    for quad in quads:
        z, point = depth_of_plane(camera, quad.corners[0], quad.normal)
        inside = np.isfinite(z)
        for side in (quad.corners[1] - quad.corners[0], quad.corners[3] - quad.corners[0]):
            along = (np.nan_to_num(point) - quad.corners[0]) @ side / (side @ side)
            inside &= (along >= 0) & (along <= 1)
        depths.append(np.where(inside, z, np.inf))
    stack = np.stack(depths)
    return stack.min(0), stack.argmin(0)


def even(labels: np.ndarray) -> np.ndarray:
    """Pixels (..., s, s) whose neighbors all bear the same label."""
    size = (1,) * (labels.ndim - 2) + (3, 3)
    return maximum_filter(labels, size) == minimum_filter(labels, size)


def open_scene() -> Scene:
    light = Light(*[np.zeros(3)] * 5, exposure=1.0, white=np.ones(3))
    return Scene("panorama", (), light, np.zeros((2, 4, 3), np.float32))


def test_open_ground_is_the_plane_of_the_floor_up_to_the_horizon():
    eye = np.array([0.4, 1.3, 3.0])
    camera = SceneCamera(eye, look_at(eye, np.array([0.0, 1.2, 0.0])), 40.0, 48)
    mask = np.zeros((1, 48, 48), bool)
    mask[:, 10:14, 20:30] = True
    found = add_background_depth(open_scene(), camera, np.full(mask.shape, 7.0), mask)[0]
    expected, _ = depth_of_plane(camera, np.zeros(3), np.array([0.0, 1.0, 0.0]))
    assert (found[mask[0]] == 7).all()
    outside = ~mask[0]
    np.testing.assert_allclose(found[outside], np.minimum(expected, SKY)[outside], rtol=1e-9)
    assert (found[:20][outside[:20]] == SKY).all() and found[-1].max() < 5
    assert (np.diff(found[:, 0]) <= 0).all()  # lower in the image is never farther


@pytest.fixture(scope="module")
def drawn() -> Iterator[dict[str, tuple[Clip, Clip, tuple[Scene, SceneCamera, np.ndarray, np.ndarray]]]]:
    """Of a room and of a panorama: clip with the person's depth, clip with the scene's, and how it came."""
    from idol.synthesis import clips, make_clip

    seen = []

    def spy(*given):
        seen.append(given)
        return add_background_depth(*given)

    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clips, "add_background_depth", spy)
        for index in range(8, 12):  # one person
            scene = make_clip(3, index, size=SIZE, frames=FRAMES, depth="scene")
            kind = seen[-1][0].kind
            if kind not in found:
                found[kind] = (make_clip(3, index, size=SIZE, frames=FRAMES), scene, seen[-1])
    assert set(found) == {"room", "panorama"}
    yield found


@pytest.mark.assets
@pytest.mark.parametrize("kind", ["room", "panorama"])
def test_only_the_depth_differs(drawn, kind):
    person, scene, _ = drawn[kind]
    assert (person.depth_kind, scene.depth_kind) == ("person", "scene")
    for name in ("video", "mask", "background"):
        np.testing.assert_array_equal(getattr(scene, name), getattr(person, name))
    np.testing.assert_array_equal(scene.pose.keypoints, person.pose.keypoints)
    assert (scene.fps, scene.source, scene.subject) == (person.fps, person.source, person.subject)
    assert scene.depth.min() == 0 and scene.depth.max() == 1


@pytest.mark.assets
@pytest.mark.parametrize("kind", ["room", "panorama"])
def test_person_is_as_far_as_in_the_persons_own_depth(drawn, kind):
    meters, level = [], 0.0
    for clip in drawn[kind][:2]:
        stored = clip_from_files(clip_to_files(clip))  # depth in 16 bits
        near, far = stored.depth_range
        meters.append(to_meters(stored.depth, stored.depth_range, stored.depth_kind)[clip.mask])
        level += 0.5 / 65535 * (1 / near - 1 / far) / (0.8 if clip.depth_kind == "person" else 1)
    assert np.abs(1 / meters[0].astype(float) - 1 / meters[1]).max() < level + 1e-6


@pytest.mark.assets
def test_room_is_where_its_walls_are(drawn):
    _, clip, (scene, camera, _, _) = drawn["room"]
    expected, number = cast(camera, scene.quads)
    assert np.isfinite(expected).all()  # a room has no holes
    found = to_meters(clip.depth, clip.depth_range, "scene")
    plain = even(clip.mask) & ~clip.mask & even(number)
    assert plain.mean() > 0.4
    relative = np.abs(found / expected - 1)[plain]  # a pixel's depth is the mean of its four samples'
    assert relative.max() < 4e-3 and np.median(relative) < 2e-4


@pytest.mark.assets
def test_ground_is_what_the_raster_draws_and_goes_on_beyond_it(drawn):
    _, clip, (_, camera, z, mask) = drawn["panorama"]
    found = to_meters(clip.depth, clip.depth_range, "scene")
    floor = (z < 40) & ~mask
    near = floor & even(floor) & even(mask)
    assert near.sum() > 100
    assert np.abs(found / z - 1)[near].max() < 4e-3
    assert np.median(np.abs(found / z - 1)[near]) < 2e-4
    expected, _ = depth_of_plane(camera, np.zeros(3), np.array([0.0, 1.0, 0.0]))
    beyond = (found > 12) & ~mask
    disparity = np.broadcast_to(1 / np.minimum(expected, SKY), found.shape)
    assert beyond.any()
    np.testing.assert_allclose(1 / found[beyond], disparity[beyond], atol=1e-6)


@pytest.mark.assets
def test_shards_hold_the_scenes_depth_and_are_not_mixed_with_others(tmp_path):
    settings = {"size": 32, "frames": 2, "workers": 1, "samples_per_shard": 1}
    scene = synth(tmp_path / "scene", 1, 5, depth="scene", **settings)
    clip = ShardReader(scene)[0]
    assert clip.depth_kind == "scene" and clip.depth.max() == 1 and clip.depth_range is not None
    with pytest.raises(UserError, match="another depth;"):
        synth(scene, 1, 5, **settings)
    plain = synth(tmp_path / "plain", 1, 5, **settings)
    assert {"depth", "joints"} & set(json.loads((plain / "synth.json").read_text())) == set()
    with pytest.raises(UserError, match="depth, joints"):
        synth(plain, 1, 5, depth="scene", joints="whole-body", **settings)


@pytest.mark.parametrize("wrong", [{"depth": "none"}, {"joints": "hands"}])
def test_unknown_choices_are_the_users_mistake(tmp_path, wrong):
    with pytest.raises(UserError, match=f"^{next(iter(wrong))}: "):
        synth(tmp_path / "out", 1, 0, **wrong)
    assert not (tmp_path / "out").exists()
