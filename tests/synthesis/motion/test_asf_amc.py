"""ASF/AMC files against literal forward kinematics; joint positions; recordings stay in one split."""

import numpy as np
import pytest

from idol.body.motion import INDEX
from idol.body.rotations import transpose
from idol.errors import UserError
from idol.synthesis.motion.asf_amc import bone_poses, parse_amc, parse_asf
from idol.synthesis.motion.joint_tracks import without_calibration
from idol.synthesis.motion.readers import read_motion
from idol.synthesis.splits import motion_files, recording_of, split_of_motion

# name: parent, direction, length, axis, dof. A person who stands with hanging arms, facing +Z.
BONES = {
    "lhipjoint": ("root", (1, 0, 0), 2.0, (0, 0, 0), ()),
    "lfemur": ("lhipjoint", (0, -1, 0), 8.0, (10, 0, 20), ("rx", "ry", "rz")),
    "ltibia": ("lfemur", (0, -1, 0), 7.0, (0, 0, 20), ("rx",)),
    "lfoot": ("ltibia", (0, -0.6, 0.8), 2.0, (-90, 0, 20), ("rx", "rz")),
    "rhipjoint": ("root", (-1, 0, 0), 2.0, (0, 0, 0), ()),
    "rfemur": ("rhipjoint", (0, -1, 0), 8.0, (0, 0, -20), ("rx", "ry", "rz")),
    "rtibia": ("rfemur", (0, -1, 0), 7.0, (0, 0, -20), ("rx",)),
    "rfoot": ("rtibia", (0, -0.6, 0.8), 2.0, (-90, 0, -20), ("rx", "rz")),
    "lowerback": ("root", (0, 1, 0), 2.0, (0, 0, 0), ("rx", "ry", "rz")),
    "thorax": ("lowerback", (0, 1, 0), 5.0, (5, 6, 7), ("rx", "ry", "rz")),
    "head": ("thorax", (0, 1, 0), 2.0, (0, 0, 0), ("rx", "ry", "rz")),
    "lclavicle": ("thorax", (1, 0, 0), 3.0, (0, 0, 0), ("ry", "rz")),
    "lhumerus": ("lclavicle", (0, -1, 0), 5.0, (180, 30, 90), ("rx", "ry", "rz")),
    "lradius": ("lhumerus", (0, -1, 0), 4.5, (180, 30, 90), ("rx",)),
    "lhand": ("lradius", (0, -1, 0), 1.0, (0, 0, 0), ("rx", "rz")),
    "rclavicle": ("thorax", (-1, 0, 0), 3.0, (0, 0, 0), ("ry", "rz")),
    "rhumerus": ("rclavicle", (0, -1, 0), 5.0, (180, -30, -90), ("rx", "ry", "rz")),
    "rradius": ("rhumerus", (0, -1, 0), 4.5, (180, -30, -90), ("rx",)),
    "rhand": ("rradius", (0, -1, 0), 1.0, (0, 0, 0), ("rx", "rz")),
}


def turn(x: float = 0, y: float = 0, z: float = 0) -> np.ndarray:
    """Return Rz Ry Rx, written out; angles in degrees."""
    (cx, cy, cz), (sx, sy, sz) = np.cos(np.radians([x, y, z])), np.sin(np.radians([x, y, z]))
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


def asf_text() -> str:
    lines = ["# a comment", ":version 1.10", ":units", "  length 0.45", "  angle deg", ":root"]
    lines += [
        "  order TX TY TZ RX RY RZ",
        "  axis XYZ",
        "  position 0 0 0",
        "  orientation 0 0 0",
        ":bonedata",
    ]
    for i, (name, (_, direction, length, axis, dof)) in enumerate(BONES.items()):
        lines += ["  begin", f"     id {i + 1}", f"     name {name}"]
        lines += ["     direction {} {} {}".format(*direction), f"     length {length}"]
        lines += ["     axis {} {} {}   XYZ".format(*axis)]
        if dof:
            lines += [f"    dof {' '.join(dof)}", "    limits (-160.0 20.0)", "           (-70.0 70.0)"]
        lines.append("  end")
    lines += [":hierarchy", "  begin"]
    for parent in ("root", *BONES):
        children = [name for name, bone in BONES.items() if bone[0] == parent]
        if children:
            lines.append(f"    {parent} {' '.join(children)}")
    return "\n".join([*lines, "  end"])


def amc_text(frames: list[dict[str, list[float]]], comment: str = "# fps 120") -> str:
    lines = [comment, ":FULLY-SPECIFIED", ":DEGREES"]
    for i, frame in enumerate(frames):
        lines.append(str(i + 1))
        lines += [f"{name} {' '.join(f'{v:.6f}' for v in numbers)}" for name, numbers in frame.items()]
    return "\n".join(lines)


def random_frames(rng: np.random.Generator, count: int) -> list[dict[str, list[float]]]:
    sizes = {"root": 6} | {name: len(bone[4]) for name, bone in BONES.items() if bone[4]}
    return [{name: rng.uniform(-50, 50, n).tolist() for name, n in sizes.items()} for _ in range(count)]


def still(root: tuple[float, ...] = (0, 17, 0, 0, 0, 0), **bones: list[float]) -> dict[str, list[float]]:
    frame = {name: [0.0] * len(bone[4]) for name, bone in BONES.items() if bone[4]}
    return {"root": list(root)} | frame | bones


def write(folder, frames, comment="# fps 120", name="07_01"):
    (folder / "07.asf").write_text(asf_text())
    path = folder / f"{name}.amc"
    path.write_text(amc_text(frames, comment))
    return path


def test_asf_amc_is_the_literal_product_of_its_angles():
    frames = random_frames(np.random.default_rng(0), 3)
    ends, turns = bone_poses(parse_asf(asf_text()), parse_amc(amc_text(frames)))
    for f, frame in enumerate(frames):
        place = {"root": np.array(frame["root"][:3])}
        pose = {"root": turn(*frame["root"][3:])}
        for name, (parent, direction, length, axis, dof) in BONES.items():
            angles = dict(zip([d[1] for d in dof], frame.get(name, []), strict=True))
            own = turn(*axis) @ turn(**angles) @ turn(*axis).T
            pose[name] = pose[parent] @ own
            place[name] = place[parent] + pose[name] @ (np.array(direction) * length)
            np.testing.assert_allclose(ends[name][f], place[name], atol=1e-4)
            np.testing.assert_allclose(turns[name][f], pose[name], atol=1e-6)


def test_standing_is_the_rest_pose_and_a_bent_elbow_bends_the_forearm(tmp_path):
    read = read_motion(write(tmp_path, [still()] * 12))
    np.testing.assert_allclose(read.rotation, np.broadcast_to(np.eye(3), read.rotation.shape), atol=1e-5)
    # about the arm's own x, which its axis angles put into the root's frame
    read = read_motion(write(tmp_path, [still(lradius=[70.0])] * 12))
    forearm = read.rotation[0, INDEX["forearm.L"]] @ [0, -1, 0]
    expected = turn(180, 30, 90) @ turn(70) @ turn(180, 30, 90).T @ [0, -1, 0]
    np.testing.assert_allclose(forearm, expected, atol=1e-5)
    np.testing.assert_allclose(read.rotation[0, INDEX["upperarm.L"]] @ [0, -1, 0], [0, -1, 0], atol=1e-5)


def test_root_turns_everything(tmp_path):
    read = read_motion(write(tmp_path, [still((0, 17, 0, 0, 90, 0))] * 12))
    expected = np.broadcast_to(turn(y=90), read.rotation.shape)
    np.testing.assert_allclose(read.rotation, expected, atol=1e-5)


@pytest.mark.parametrize(("comment", "rate", "frames"), [("# fps 120", 30, 6), ("# fps 60", 30, 12)])
def test_stated_frame_rate(tmp_path, comment, rate, frames):
    read = read_motion(write(tmp_path, [still()] * 24, comment))
    assert read.fps == rate and len(read) == frames


@pytest.mark.parametrize(("hertz", "kept"), [(120, 30), (30, 120)])
def test_frame_rate_follows_from_the_movement(tmp_path, hertz, kept):
    """Legs swing once per second, sampled at 120 and at 30 frames per second."""
    angles = 40 * np.sin(2 * np.pi * np.arange(120) / hertz)
    frames = [still(lfemur=[a, 0.0, 0.0], rfemur=[-a, 0.0, 0.0], lhumerus=[a, 0.0, 0.0]) for a in angles]
    read = read_motion(write(tmp_path, frames, "# no rate"))
    assert read.fps == 30 and len(read) == kept


def test_broken_files_are_named(tmp_path):
    path = write(tmp_path, [still(), still(ltibia=[1.0, 2.0])])
    with pytest.raises(UserError, match="ltibia"):
        read_motion(path)
    (tmp_path / "07.asf").unlink()
    with pytest.raises(UserError, match="skeleton"):
        read_motion(path)


STANDING = {
    "spine": (0, 1.0, 0),
    "neck": (0, 1.4, 0),
    "head": (0, 1.5, 0),
    "head_top": (0, 1.7, 0),
    **{f"{s}_hip": (0.1 * x, 0.9, 0) for s, x in (("left", 1), ("right", -1))},
    **{f"{s}_knee": (0.1 * x, 0.5, 0) for s, x in (("left", 1), ("right", -1))},
    **{f"{s}_ankle": (0.1 * x, 0.1, 0) for s, x in (("left", 1), ("right", -1))},
    **{f"{s}_toe_base": (0.1 * x, 0.02, 0.15) for s, x in (("left", 1), ("right", -1))},
    **{f"{s}_shoulder": (0.2 * x, 1.4, 0) for s, x in (("left", 1), ("right", -1))},
    **{f"{s}_elbow": (0.2 * x, 1.1, 0) for s, x in (("left", 1), ("right", -1))},
    **{f"{s}_wrist": (0.2 * x, 0.85, 0) for s, x in (("left", 1), ("right", -1))},
}


def write_positions(path, frames: np.ndarray, fps: float = 30.0) -> None:
    np.savez(path, positions=frames.astype(np.float16), joints=np.array(list(STANDING)), fps=fps)


def test_joint_positions_of_a_standing_person(tmp_path):
    standing = np.array(list(STANDING.values()), float)
    turned = standing @ turn(y=40).T
    write_positions(tmp_path / "stand.npz", np.repeat(turned[None], 8, 0))
    read = read_motion(tmp_path / "stand.npz")
    np.testing.assert_allclose(read.rotation, np.broadcast_to(turn(y=40), read.rotation.shape), atol=0.02)
    assert read.fps == 30 and len(read) == 8 and read.clearance.max() == 0


def test_joint_positions_are_thinned_and_the_calibration_pose_is_dropped(tmp_path):
    standing = np.array(list(STANDING.values()), float)
    frames = standing + 0.002 * np.arange(24)[:, None, None]
    arms = [i for i, name in enumerate(STANDING) if name.endswith("wrist")]
    frames[0, arms, 1] = 1.4
    write_positions(tmp_path / "walk.npz", frames, 60.0)
    assert len(read_motion(tmp_path / "walk.npz")) == 12
    assert len(without_calibration(frames)) == 23 and len(without_calibration(frames[1:])) == 23


def test_missing_joints_are_named(tmp_path):
    np.savez(tmp_path / "x.npz", positions=np.zeros((4, 1, 3)), joints=np.array(["spine"]), fps=30.0)
    with pytest.raises(UserError, match="left_knee"):
        read_motion(tmp_path / "x.npz")


def test_pieces_of_a_recording_stay_together(tmp_path):
    assert recording_of("86_03") == recording_of("86_11") == "86"
    assert recording_of("walking_3_train") == recording_of("walking_40_test") == "walking"
    assert recording_of("basketball_signal_1_train") == "basketball_signal"
    assert recording_of("some_dance2") == "some_dance2"
    assert split_of_motion("02_01") == split_of_motion("walking_1_train")  # the same take
    for subject in range(3, 60):
        assert len({split_of_motion(f"{subject:02d}_{trial:02d}") for trial in range(1, 30)}) == 1
    for name in ("07.asf", "07_01.amc", "README.txt"):
        (tmp_path / name).touch()
    assert [path.name for path in motion_files([tmp_path])] == ["07_01.amc"]


def test_rotations_are_rotations(tmp_path):
    read = read_motion(write(tmp_path, random_frames(np.random.default_rng(3), 16)))
    identity = np.broadcast_to(np.eye(3), read.rotation.shape)
    np.testing.assert_allclose(transpose(read.rotation) @ read.rotation, identity, atol=1e-6)
