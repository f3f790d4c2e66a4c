"""Built-in motions: forward kinematics against a literal chain, projection, looping."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from idol.pose.joints import OPENPOSE_18
from idol.prepare import builtin_motions
from idol.prepare.motion import load_motion


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
