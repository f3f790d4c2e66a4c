"""Loading a driving motion: short gaps, OpenPose folders, bad input."""

import numpy as np
import pytest

from idol.clip import Pose
from idol.errors import UserError
from idol.pose.openpose_json import write_openpose_json
from idol.prepare import builtin_motions
from idol.prepare.motion import fill_short_gaps, load_motion


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
