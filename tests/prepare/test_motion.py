"""Following one person, mistakes of single frames, gaps, built-in motions and bad input."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from idol.clip import Pose
from idol.errors import UserError
from idol.pose.joints import OPENPOSE_18
from idol.pose.openpose_json import write_openpose_json
from idol.pose.retarget import person_height
from idol.pose.smoothing import runs
from idol.prepare import builtin_motions
from idol.prepare.estimators.detection import PersonDetection
from idol.prepare.motion import fill_short_gaps, load_motion, main_person
from idol.prepare.outlier_removal import find_jumps, find_side_swaps, remove_outliers


def person_at(x, size=10.0):
    keypoints = np.ones((18, 3), np.float32)
    return PersonDetection(np.array([x, 0, x + size, 2 * size], np.float32), 0.9, keypoints)


def test_one_person_is_followed_past_another():
    frames = [[person_at(3 * i, 12), person_at(60 - 3 * i, 10)] for i in range(20)]
    frames = [people if i % 3 else people[::-1] for i, people in enumerate(frames)]
    track, notes = main_person(frames, fps=30)
    assert [track.seen[i].box[0] for i in range(20)] == [3 * i for i in range(20)]
    assert "2 people" in notes[0]


def test_a_person_out_of_sight_for_a_moment_stays_the_same():
    frames = [[person_at(0.5 * i)] if i not in (5, 6, 7) else [] for i in range(15)]
    track, notes = main_person(frames, fps=30)
    assert sorted(track.seen) == [i for i in range(15) if i not in (5, 6, 7)] and notes == ()


def test_nobody_at_all():
    with pytest.raises(UserError, match="no person in any of 4 frames"):
        main_person([[]] * 4, fps=30)


def pose_without(frames, missing):
    keypoints = np.ones((frames, 18, 3), np.float32)
    keypoints[..., 0] += np.arange(frames)[:, None]
    keypoints[missing] = 0
    return Pose(keypoints, 100, 100)


def test_a_short_gap_is_interpolated_and_said():
    pose, notes = fill_short_gaps(pose_without(30, [4, 5, 6, 20]), fps=30)
    np.testing.assert_allclose(pose.keypoints, pose_without(30, []).keypoints, atol=1e-5)
    assert notes == ("no person was found in frames 4-6, 20: their poses are interpolated",)


@pytest.mark.parametrize("missing", [range(5, 18), range(0, 13), range(17, 30)])
def test_a_long_gap_is_refused_with_its_frames(missing):
    with pytest.raises(UserError, match=rf"frames {missing[0]}-{missing[-1]} of 30.*up to 12 frames"):
        fill_short_gaps(pose_without(30, list(missing)), fps=30)


def test_runs():
    assert runs(np.array([1, 1, 0, 0, 1, 0, 1], bool)) == [(0, 2), (4, 5), (6, 7)]
    assert runs(np.zeros(3, bool)) == []


def mirrored_sides(keypoints, frames):
    """The same with left and right exchanged in some frames, joint by joint by name."""
    wrong = keypoints.copy()
    for i, name in enumerate(OPENPOSE_18):
        if name.startswith("left_"):
            j = OPENPOSE_18.index(name.replace("left", "right"))
            wrong[frames, i], wrong[frames, j] = keypoints[frames, j], keypoints[frames, i]
    return wrong


@pytest.mark.parametrize("name", ["punch", "dance-b"])
@pytest.mark.parametrize("frames", [[7], [11, 12, 13], [5, 20, 21]])
def test_exchanged_sides_are_put_right(name, frames):
    pose = builtin_motions.builtin_pose(name, 30)
    true = np.where(pose.keypoints[..., 2:] > 0, pose.keypoints, 0)
    found = remove_outliers(Pose(mirrored_sides(true, frames), pose.height, pose.width)).keypoints
    body = [i for i, joint in enumerate(OPENPOSE_18) if not joint.endswith(("eye", "ear"))]
    both = (found[..., 2] > 0)[:, body]
    apart = np.linalg.norm((found - true)[:, body, :2], axis=-1)
    assert (apart[both] > 0.03 * person_height(pose)).mean() < 0.01 and both.mean() > 0.95


@pytest.mark.parametrize("name", ["walk", "dance-a", "spinkick", "cartwheel", "spin"])
def test_motions_without_mistakes_stay_as_they_are(name):
    pose = builtin_motions.builtin_pose(name)
    kept = remove_outliers(pose).keypoints
    limbs = [i for i, joint in enumerate(OPENPOSE_18) if not joint.endswith(("eye", "ear", "nose"))]
    moved = np.linalg.norm((kept - pose.keypoints)[:, limbs, :2], axis=-1) > 0.02 * person_height(pose)
    assert moved.mean() < 0.02


def test_exchanges_equal_trying_every_path():
    rng = np.random.default_rng(0)
    left, right = (rng.uniform(0, 9, (7, 2, 3)).astype(np.float32) for _ in range(2))
    left[..., 2] = right[..., 2] = 1

    def cost(path):
        both = [np.concatenate([right[i], left[i]] if p else [left[i], right[i]]) for i, p in enumerate(path)]
        way = [
            np.linalg.norm(a[:, :2] - b[:, :2], axis=-1).mean() for a, b in zip(both, both[1:], strict=False)
        ]
        return sum(way) + 1.5 * sum(path)

    paths = [[int(bit) for bit in f"{n:07b}"] for n in range(2**7)]
    assert find_side_swaps(left, right, 1.5).astype(int).tolist() == min(paths, key=cost)


def test_a_leap_is_found_and_steady_speed_is_not():
    keypoints = np.ones((12, 2, 3), np.float32)
    keypoints[:, :, 0] = 30 * np.arange(12)[:, None]  # fast, but steady
    keypoints[5, 1, 1] = 80
    keypoints[8, 0] = 0  # missing is not leaping
    expected = np.zeros((12, 2), bool)
    expected[5, 1] = True
    assert (find_jumps(keypoints, 40) == expected).all()


def test_builtin_motions():
    assert {"walk", "run", "dance-a", "dance-b", "spinkick", "jump", "punch", "backflip"} <= set(
        builtin_motions.names()
    )
    motion = load_motion("builtin:walk", max_frames=50, fps=25)
    assert (motion.pose.frames, motion.fps, motion.audio) == (50, 25, None)


@pytest.mark.parametrize("name", builtin_motions.names())
def test_every_builtin_motion_is_in_the_image(name):
    pose = builtin_motions.builtin_pose(name, 60)
    seen = pose.keypoints[pose.visible]
    assert seen[:, :2].min() >= 0 and seen[:, 0].max() < pose.width and seen[:, 1].max() < pose.height
    assert np.ptp(seen[:, :2], axis=0).max() == pytest.approx(0.84 * 512, rel=0.02)
    assert pose.visible[:, : OPENPOSE_18.index("right_eye")][:, 1:].all()


def test_forward_kinematics_equals_a_literal_chain():
    rows = builtin_motions._clips()["dance-a"].astype(float)
    positions, _ = builtin_motions.forward_kinematics(
        rows, np.array([rows[0, 0]])
    )  # the second key frame, exactly

    def turn(column):
        w, x, y, z = rows[1, column : column + 4]
        return Rotation.from_quat([x, y, z, w]).as_matrix()

    root = turn(4)
    hip = rows[1, 1:4] + root @ [0, 0, 0.085]
    thigh = root @ turn(16)
    knee = hip + thigh @ [0, -0.4215, 0]
    bend = rows[1, 20]
    hinge = np.array([[np.cos(bend), -np.sin(bend), 0], [np.sin(bend), np.cos(bend), 0], [0, 0, 1]])
    ankle = knee + thigh @ hinge @ [0, -0.4099, 0]
    np.testing.assert_allclose(positions["right_ankle"][0], ankle, atol=1e-6)


def test_a_loop_goes_on_where_it_ended():
    rows = builtin_motions._clips()["walk"].astype(float)
    seconds = rows[:-1, 0].sum()
    times = np.linspace(0, 2 * seconds, 120)
    positions, _ = builtin_motions.forward_kinematics(rows, times)
    steps = np.linalg.norm(np.diff(positions["root"], axis=0), axis=-1)
    assert steps.max() < 3 * np.median(steps)
    assert np.linalg.norm(positions["root"][-1] - positions["root"][0]) > 1.8 * np.linalg.norm(
        rows[-1, 1:4] - rows[0, 1:4]
    )


def test_left_is_on_the_right_of_one_who_faces_the_camera():
    pose = builtin_motions.builtin_pose("punch").keypoints[0]
    left, right = (OPENPOSE_18.index(f"{side}_shoulder") for side in ("left", "right"))
    assert pose[left, 0] > pose[right, 0] and pose[OPENPOSE_18.index("nose"), 2] == 1


def test_openpose_folder(tmp_path):
    pose = builtin_motions.builtin_pose("jump", 12)
    write_openpose_json(tmp_path, pose)
    motion = load_motion(tmp_path, max_frames=10)
    assert motion.pose.frames == 10 and motion.fps == 30
    seen = pose.visible[:10]
    np.testing.assert_allclose(motion.pose.keypoints[seen], pose.keypoints[:10][seen], atol=1e-2)


@pytest.mark.parametrize(
    "spec, message",
    [("builtin:tango", "no built-in motion 'tango'.*walk"), ("nowhere.mp4", "no file or folder.*builtin")],
)
def test_unknown_motions(spec, message):
    with pytest.raises(UserError, match=rf"motion.*{message}"):
        load_motion(spec)


def test_an_empty_folder_and_a_file_that_is_no_video(tmp_path):
    with pytest.raises(UserError, match="motion.*no .json"):
        load_motion(tmp_path)
    (tmp_path / "dance.mp4").write_text("this is not a video")
    with pytest.raises(UserError, match="motion.*dance.mp4"):
        load_motion(tmp_path / "dance.mp4")
