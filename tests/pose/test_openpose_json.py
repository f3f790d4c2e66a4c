"""OpenPose's keypoint files: round trip, other layouts, broken files."""

import json

import numpy as np
import pytest

from idol.clip import Pose
from idol.errors import UserError
from idol.pose.openpose_json import read_openpose_json, write_openpose_json
from support.stick_figures import random_pose


def test_openpose_files_round_trip(tmp_path):
    pose = random_pose(8, frames=12)
    empty = pose.keypoints.copy()
    empty[~pose.visible] = 0
    empty[3] = 0
    pose = Pose(empty, 60, 48)
    write_openpose_json(tmp_path / "k", pose)
    back = read_openpose_json(tmp_path / "k")
    assert (back.height, back.width) == (60, 48)
    np.testing.assert_array_equal(back.keypoints, pose.keypoints)


def test_openpose_files_of_other_makers(tmp_path):
    body25 = np.arange(75, dtype=np.float32).reshape(25, 3)
    body25[:, 2] = 0.5
    small = np.full((25, 3), 1.0)
    people = [{"pose_keypoints_2d": b.reshape(-1).tolist()} for b in (small, body25)]
    (tmp_path / "frame10.json").write_text(json.dumps({"people": people}))
    coco = [[i, 2.0 * i, 0.9] for i in range(17)]
    coco[4] = [-1, -1, -1]
    (tmp_path / "frame9.json").write_text(json.dumps([{"keypoints": coco}]))
    pose = read_openpose_json(tmp_path, 200, 100)
    assert pose.keypoints.shape == (2, 18, 3)
    np.testing.assert_array_equal(pose.keypoints[1, 8:14], body25[9:15])  # past the middle hip
    np.testing.assert_allclose(pose.keypoints[0, 4], [10, 20, 0.9])  # right wrist
    assert pose.keypoints[0, 16, 2] == 0  # right ear was missing


def test_broken_key_point_folders_are_told(tmp_path):
    with pytest.raises(UserError, match=r"no \.json"):
        read_openpose_json(tmp_path)
    (tmp_path / "a.json").write_text(json.dumps({"people": []}))
    with pytest.raises(UserError, match="canvas_height"):
        read_openpose_json(tmp_path)
    (tmp_path / "b.json").write_text(json.dumps({"people": [{"pose_keypoints_2d": [1, 2, 3]}]}))
    with pytest.raises(UserError, match=r"b\.json.*1 joints"):
        read_openpose_json(tmp_path, 9, 9)
    (tmp_path / "b.json").write_text('{"people": [')
    with pytest.raises(UserError, match="JSON"):
        read_openpose_json(tmp_path, 9, 9)
