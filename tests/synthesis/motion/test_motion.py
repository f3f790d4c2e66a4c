"""Motion files against literal forward kinematics; limbs exchanged without stretching a bone."""

import json

import numpy as np
import pytest

from idol.body import motion as motion_module
from idol.body.motion import INDEX, PARENTS, SEGMENTS, Motion, from_rotations, joint_positions
from idol.body.rotations import from_vector, shortest, swing_twist, transpose
from idol.errors import UserError
from idol.synthesis.motion.augment import Style, arms_enter_body, mix_limbs, perform, wandered, window
from idol.synthesis.motion.bvh import joint_poses, parse_bvh
from idol.synthesis.motion.readers import read_motion
from idol.synthesis.splits import MOTION_SPLITS, SPLITS, generator, motion_files, split_of_motion

STANDING = {  # x, y, z of the joints of somebody who stands with hanging arms, facing +Z
    "Hips": (0, 95, 0),
    "Spine": (0, 105, 0),
    "Neck": (0, 145, 0),
    "Head": (0, 152, 0),
    "LeftArm": (18, 140, 0),
    "LeftForeArm": (18, 112, 0),
    "LeftHand": (18, 86, 0),
    "RightArm": (-18, 140, 0),
    "RightForeArm": (-18, 112, 0),
    "RightHand": (-18, 86, 0),
    "LeftUpLeg": (9, 92, 0),
    "LeftLeg": (9, 50, 0),
    "LeftFoot": (9, 8, 0),
    "LeftToeBase": (9, 2, 14),
    "RightUpLeg": (-9, 92, 0),
    "RightLeg": (-9, 50, 0),
    "RightFoot": (-9, 8, 0),
    "RightToeBase": (-9, 2, 14),
}
PARENT = {
    "Spine": "Hips", "Neck": "Spine", "Head": "Neck", "LeftArm": "Neck", "LeftForeArm": "LeftArm",
    "LeftHand": "LeftForeArm", "RightArm": "Neck", "RightForeArm": "RightArm", "RightHand": "RightForeArm",
    "LeftUpLeg": "Hips", "LeftLeg": "LeftUpLeg", "LeftFoot": "LeftLeg", "LeftToeBase": "LeftFoot",
    "RightUpLeg": "Hips", "RightLeg": "RightUpLeg", "RightFoot": "RightLeg", "RightToeBase": "RightFoot",
}  # fmt: skip


def turn(axis: str, degrees: float) -> np.ndarray:
    """Return a rotation about one axis, written out."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array(
        {
            "X": [[1, 0, 0], [0, c, -s], [0, s, c]],
            "Y": [[c, 0, s], [0, 1, 0], [-s, 0, c]],
            "Z": [[c, -s, 0], [s, c, 0], [0, 0, 1]],
        }[axis]
    )


def bvh_text(values: np.ndarray, z_up: bool = False) -> str:
    """Return a BVH of the standing person: root position and ZXY angles of every joint, (f, 3 + 3 joints)."""

    def place(name: str) -> np.ndarray:
        x, y, z = STANDING[name]
        return np.array([x, -z, y] if z_up else [x, y, z], float)

    lines = ["HIERARCHY"]

    def joint(name: str, word: str) -> None:
        shift = place(name) - (place(PARENT[name]) if name in PARENT else 0)
        channels = "3 Zrotation Xrotation Yrotation"
        if word == "ROOT":
            channels = "6 Xposition Yposition Zposition Zrotation Xrotation Yrotation"
        lines.extend([f"{word} {name}", "{", "OFFSET " + " ".join(map(str, shift)), f"CHANNELS {channels}"])
        children = [child for child, parent in PARENT.items() if parent == name]
        for child in children:
            joint(child, "JOINT")
        if not children:
            lines.extend(["End Site", "{", "OFFSET 0 1 0", "}"])
        lines.append("}")

    joint("Hips", "ROOT")
    lines += ["MOTION", f"Frames: {len(values)}", "Frame Time: 0.0333333"]
    return "\n".join(lines + [" ".join(f"{v:.6f}" for v in row) for row in values])


def order_of_joints() -> list[str]:
    """Return the joints in the order in which `bvh_text` writes them."""

    def below(name: str) -> list[str]:
        return [name] + [n for child, parent in PARENT.items() if parent == name for n in below(child)]

    return below("Hips")


def random_motion(rng: np.random.Generator, frames: int = 12, name: str = "m") -> Motion:
    rotation = from_vector(rng.normal(0, 0.4, (frames, len(SEGMENTS), 3)))
    return from_rotations(name, 30.0, rotation, rng.normal(0, 0.1, (frames, 3)) + [0, 1, 0])


def test_bvh_is_the_literal_product_of_its_angles():
    rng = np.random.default_rng(0)
    names = order_of_joints()
    values = rng.uniform(-60, 60, (3, 3 + 3 * len(names)))
    recording = parse_bvh(bvh_text(values))
    where, turned = joint_poses(recording, recording.values)
    known = [joint.name for joint in recording.joints]
    for f, row in enumerate(values):
        place: dict[str, np.ndarray] = {}
        pose: dict[str, np.ndarray] = {}
        for i, name in enumerate(names):
            z, x, y = row[3 + 3 * i : 6 + 3 * i]
            own = turn("Z", z) @ turn("X", x) @ turn("Y", y)
            if name == "Hips":
                place[name], pose[name] = row[:3], own
            else:
                shift = np.array(STANDING[name], float) - np.array(STANDING[PARENT[name]], float)
                place[name] = place[PARENT[name]] + pose[PARENT[name]] @ shift
                pose[name] = pose[PARENT[name]] @ own
            np.testing.assert_allclose(where[f, known.index(name)], place[name], atol=1e-4)
            np.testing.assert_allclose(turned[f, known.index(name)], pose[name], atol=1e-6)


@pytest.mark.parametrize("z_up", [False, True])
def test_standing_is_the_rest_pose_whatever_axis_is_up(tmp_path, z_up):
    values = np.zeros((6, 3 + 3 * len(STANDING)))
    values[:, :3] = [0, 0, 95] if z_up else [0, 95, 0]
    path = tmp_path / "stand.bvh"
    path.write_text(bvh_text(values, z_up))
    read = read_motion(path)
    yaw = read.rotation[:, :1]  # which way is forward is the file's business
    np.testing.assert_allclose(yaw[:, 0, 1, 1], 1, atol=1e-6)
    np.testing.assert_allclose(
        transpose(yaw) @ read.rotation, np.broadcast_to(np.eye(3), read.rotation.shape), atol=1e-5
    )
    assert read.clearance.max() == 0


def test_bvh_bent_elbow_bends_the_forearm_alone(tmp_path):
    values = np.zeros((6, 3 + 3 * len(STANDING)))
    values[:, 1] = 95
    at = 3 + 3 * order_of_joints().index("LeftForeArm")
    values[:, at + 1] = -70  # about X: the hand comes forward
    path = tmp_path / "bend.bvh"
    path.write_text(bvh_text(values))
    read = read_motion(path)
    expected = np.array([0, -np.cos(np.radians(70)), np.sin(np.radians(70))])
    forearm = read.rotation[0, INDEX["forearm.L"]] @ [0, -1, 0]
    np.testing.assert_allclose(forearm, expected, atol=1e-5)
    np.testing.assert_allclose(read.rotation[0, INDEX["upperarm.L"]], np.eye(3), atol=1e-5)


def quaternion(axis: np.ndarray, angle: float) -> np.ndarray:
    """Return a quaternion (w, x, y, z)."""
    return np.array([np.cos(angle / 2), *(np.sin(angle / 2) * axis / np.linalg.norm(axis))])


def rotate(q: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Return q v q*, written out."""
    w, u = q[0], q[1:]
    return v + 2 * w * np.cross(u, v) + 2 * np.cross(u, np.cross(u, v))


def test_deepmimic_against_quaternions_applied_one_by_one(tmp_path):
    rng = np.random.default_rng(1)
    pose = np.zeros(44)
    pose[:4] = 0.1, 0, 0.9, 0
    q = {}
    for name, at in {"root": 4, "chest": 8, "neck": 12, "rhip": 16, "rankle": 21, "rsho": 25}.items():
        q[name] = quaternion(rng.normal(size=3), rng.uniform(0, 1))
        pose[at : at + 4] = q[name]
    for at in (30, 35, 39):
        pose[at] = 1.0
    pose[20], pose[29] = -0.8, 0.6  # right knee, right elbow, about z
    path = tmp_path / "one.txt"
    path.write_text(json.dumps({"Loop": "none", "Frames": [list(pose)] * 4}))
    read = read_motion(path)

    def world(*chain: np.ndarray) -> np.ndarray:
        """Return the downward bone rotated by the chain, in our axes: DeepMimic's x is our z."""
        v = np.array([0.0, -1.0, 0.0])
        for link in reversed(chain):
            v = rotate(link, v)
        return np.array([-v[2], v[1], v[0]])

    z = np.array([0.0, 0.0, 1.0])
    knee, elbow = quaternion(z, -0.8), quaternion(z, 0.6)
    for segment, chain in {
        "thigh.R": (q["root"], q["rhip"]),
        "shin.R": (q["root"], q["rhip"], knee),
        "upperarm.R": (q["root"], q["chest"], q["rsho"]),
        "forearm.R": (q["root"], q["chest"], q["rsho"], elbow),
        "head": (q["root"], q["chest"], q["neck"]),
    }.items():
        found = read.rotation[0, INDEX[segment]] @ [0, -1, 0]
        np.testing.assert_allclose(found, world(*chain), atol=1e-6, err_msg=segment)


@pytest.mark.parametrize("name, text", [("a.bvh", "no"), ("a.txt", '{"Frames": [[1]]}'), ("a.fbx", "")])
def test_broken_motion_files_raise_user_errors(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=name):
        read_motion(tmp_path / name)


def bone_lengths(motion: Motion) -> np.ndarray:
    points = joint_positions(motion.rotation, motion.hips)
    return np.stack(
        [np.linalg.norm(points[:, i] - points[:, p], axis=1) for i, p in enumerate(PARENTS) if p >= 0]
    )


def test_mixing_limbs_keeps_bone_lengths_and_the_legs():
    rng = np.random.default_rng(2)
    base, other = random_motion(rng, 8, "base"), random_motion(rng, 40, "other")
    expected = bone_lengths(base)
    changed = 0
    for _ in range(10):
        mixed = mix_limbs(rng, base, [other], Style(mix=1.0, invent=0.5))
        np.testing.assert_allclose(bone_lengths(mixed), expected, atol=1e-9)
        legs = [INDEX[s] for s in ("pelvis", "thigh.L", "shin.R", "foot.L")]
        np.testing.assert_allclose(mixed.rotation[:, legs], base.rotation[:, legs], atol=1e-9)
        changed += not np.allclose(mixed.rotation, base.rotation)
        noisy = wandered(rng, mixed, 1.0)
        np.testing.assert_allclose(bone_lengths(noisy), expected, atol=1e-9)
        np.testing.assert_allclose(np.linalg.det(noisy.rotation), 1, atol=1e-9)
    assert changed == 10


def test_a_mixed_limb_keeps_its_rotation_relative_to_the_trunk():
    rng = np.random.default_rng(3)
    base, other = random_motion(rng, 8, "base"), random_motion(rng, 8, "other")
    mixed = mix_limbs(np.random.default_rng(0), base, [other], Style(mix=1.0, invent=0.0))
    chest, arm = INDEX["chest"], INDEX["upperarm.L"]
    relative_arm = transpose(mixed.rotation[:, chest]) @ mixed.rotation[:, arm]
    # it is a window of `other`, mirrored perhaps: the angles it swings through are those of one of its arms
    known = np.concatenate(
        [transpose(other.rotation[:, chest]) @ other.rotation[:, INDEX[f"upperarm.{s}"]] for s in "LR"]
    )
    angle = np.trace(relative_arm, axis1=1, axis2=2)
    assert np.trace(known, axis1=1, axis2=2).min() - 0.2 < angle.min()
    assert np.abs(relative_arm - transpose(base.rotation[:, chest]) @ base.rotation[:, arm]).max() > 0.05


def test_noise_never_bends_knees_or_elbows_backward():
    rest = np.broadcast_to(np.eye(3), (8, len(SEGMENTS), 3, 3)).copy()
    still = from_rotations("still", 30.0, rest, np.tile([0.0, 1.0, 0.0], (8, 1)))
    for seed in range(5):
        noisy = wandered(np.random.default_rng(seed), still, 1.0)
        for upper, lower, forward in (("upperarm.L", "forearm.L", 1), ("thigh.R", "shin.R", -1)):
            bend = transpose(noisy.rotation[:, INDEX[upper]]) @ noisy.rotation[:, INDEX[lower]]
            assert (forward * (bend @ [0, -1, 0])[:, 2] > -1e-3).all()


def test_interpolation_meets_the_frames_and_mirroring_twice_is_the_identity():
    motion = random_motion(np.random.default_rng(4))
    again = motion.at(np.arange(len(motion)) / motion.fps, motion.fps)
    np.testing.assert_allclose(again.rotation, motion.rotation, atol=1e-9)
    np.testing.assert_allclose(motion.mirrored().mirrored().rotation, motion.rotation, atol=1e-12)
    left = joint_positions(motion.mirrored().rotation, motion.mirrored().hips)[:, INDEX["hand.L"]]
    right = joint_positions(motion.rotation, motion.hips)[:, INDEX["hand.R"]]
    np.testing.assert_allclose(left, right * [-1, 1, 1], atol=1e-12)


def test_windows_have_the_requested_length_even_from_a_shorter_motion():
    motion = random_motion(np.random.default_rng(5), 4)
    drawn = window(np.random.default_rng(0), [motion], 30, 6.0)
    assert len(drawn) == 30 and drawn.fps == 6.0
    assert np.isfinite(drawn.rotation).all()


def test_jumps_clear_the_floor_and_drift_does_not():
    rest = np.broadcast_to(np.eye(3), (90, len(SEGMENTS), 3, 3)).copy()
    hips = np.tile([0.0, 1.1, 0.0], (90, 1))
    hips[:, 1] += np.linspace(0, 0.3, 90)  # the capture drifts upwards
    assert from_rotations("drift", 30.0, rest, hips).clearance.max() < 0.12
    hips[40:50, 1] += 0.4
    jump = from_rotations("jump", 30.0, rest, hips).clearance
    assert jump[40:50].min() > 0.2 and jump[10:30].max() < 0.12


def test_arms_through_the_trunk_are_detected():
    rest = np.broadcast_to(np.eye(3), (2, len(SEGMENTS), 3, 3)).copy()
    hips = np.tile([0.0, 1.0, 0.0], (2, 1))
    assert not arms_enter_body(from_rotations("hang", 30.0, rest, hips))
    rest[:, [INDEX["forearm.L"], INDEX["hand.L"]]] = shortest(np.array([0, -1.0, 0]), np.array([-1.0, 0, 0]))
    assert arms_enter_body(from_rotations("through", 30.0, rest, hips))


def test_swing_twist_recomposes_and_the_twist_keeps_its_axis():
    turns, axis = from_vector(np.random.default_rng(6).normal(0, 1, (20, 3))), np.array([0.6, 0.0, 0.8])
    swing, twist = swing_twist(turns, axis)
    np.testing.assert_allclose(swing @ twist, turns, atol=1e-9)
    np.testing.assert_allclose(twist @ axis, np.broadcast_to(axis, (20, 3)), atol=1e-9)


def test_performances_depend_on_their_generator_alone():
    motions = [random_motion(np.random.default_rng(i), 30, f"m{i}") for i in range(3)]
    first = perform(np.random.default_rng(9), motions, 8, Style())
    second = perform(np.random.default_rng(9), motions, 8, Style())
    np.testing.assert_array_equal(first.rotation, second.rotation)
    assert len(first) == 8


def test_every_motion_has_one_split_and_streams_differ_between_splits(tmp_path):
    assert {split_of_motion(name) for name in MOTION_SPLITS} == set(SPLITS)
    assert split_of_motion("mine") == split_of_motion("mine")
    shares = [split_of_motion(f"motion {i}") for i in range(500)]
    assert 0.7 < shares.count("train") / 500 < 0.9 and {"val", "test"} <= set(shares)
    draws = {generator(1, split, 0, 3).integers(2**62) for split in SPLITS}
    assert len(draws) == 3


def test_a_duplicate_motion_file_is_used_once(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "walk.bvh").write_text("")
    (tmp_path / "b" / "notes.md").write_text("")
    assert motion_files([tmp_path / "a", tmp_path / "b"]) == [tmp_path / "a" / "walk.bvh"]


def test_rest_pose_is_upright_and_symmetric():
    rest = np.broadcast_to(np.eye(3), (1, len(SEGMENTS), 3, 3))
    points = joint_positions(rest, np.zeros((1, 3)))[0]
    flipped = points[[*motion_module.MIRRORED, 15, 17, 16, 19, 18]] * [-1, 1, 1]
    np.testing.assert_allclose(points, flipped, atol=1e-12)
    assert points[15, 1] > 0.8 and points[18, 1] < -1
