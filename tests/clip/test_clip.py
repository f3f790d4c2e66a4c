"""The record: what it accepts, and that the disk gives back what it was given."""

import dataclasses
import json
import os

import numpy as np
import pytest

from idol.clip import Clip, Pose
from idol.clip.clip import clip_from_files, clip_to_files
from idol.data.shards import ShardReader, ShardWriter
from idol.errors import UserError


def make_clip(frames=3, height=12, width=17, moving=False, joints=18, **changes):
    rng = np.random.default_rng(0)
    depth = rng.uniform(0.2, 1, (frames, height, width)).astype(np.float32)
    mask = rng.uniform(size=depth.shape) < 0.5
    depth[~mask] = 0
    k = np.concatenate([rng.uniform(0, 12, (frames, joints, 2)), rng.uniform(size=(frames, joints, 1))], -1)
    fields = {
        "video": rng.integers(0, 256, (frames, 3, height, width)).astype(np.uint8),
        "depth": depth,
        "mask": mask,
        "pose": Pose(k.astype(np.float32), height, width),
        "background": rng.integers(0, 256, ((frames,) if moving else ()) + (3, height, width)).astype(
            np.uint8
        ),
        "fps": 29.97,
        "depth_range": (1.5, 4.25),
        "source": "somewhere",
        "subject": "Zoë",
    }
    return Clip(**(fields | changes))


def assert_same(a, b, colors=0):
    assert a.video.dtype == b.video.dtype and a.video.shape == b.video.shape
    assert np.abs(a.video.astype(int) - b.video).mean() <= colors
    assert np.abs(a.background.astype(int) - b.background).mean() <= colors
    assert np.abs(a.depth - b.depth).max() <= 0.5 / 65535 + 1e-7
    assert ((a.depth == 0) == (b.depth == 0)).all()
    np.testing.assert_array_equal(a.mask, b.mask)
    np.testing.assert_array_equal(a.pose.keypoints, b.pose.keypoints)
    for name in ("fps", "depth_kind", "depth_range", "source", "subject"):
        assert getattr(a, name) == getattr(b, name)


@pytest.mark.parametrize("moving", [False, True])
@pytest.mark.parametrize("joints", [18, 133])
def test_a_folder_gives_the_clip_back(tmp_path, moving, joints):
    clip = make_clip(moving=moving, joints=joints, depth_range=None if moving else (1.5, 4.25))
    clip.save(tmp_path / "deep" / "clip")
    assert_same(clip, Clip.load(tmp_path / "deep" / "clip"))
    assert sorted(p.name for p in (tmp_path / "deep").iterdir()) == ["clip"]  # nothing temporary is left
    again = make_clip(frames=2, moving=moving, joints=joints)
    again.save(tmp_path / "deep" / "clip")
    assert_same(again, Clip.load(tmp_path / "deep" / "clip"))
    assert sorted(p.name for p in (tmp_path / "deep").iterdir()) == ["clip"]


def test_a_failing_save_leaves_what_was_there(tmp_path, monkeypatch):
    clip = make_clip()
    clip.save(tmp_path / "clip")

    def full(source, target):
        if calls.append(source) or len(calls) == 2:  # the new folder cannot take its place
            raise OSError(28, "No space left on device")
        rename(source, target)

    calls, rename = [], os.rename
    monkeypatch.setattr(os, "rename", full)
    with pytest.raises(UserError, match="No space"):
        make_clip(frames=2).save(tmp_path / "clip")
    assert [p.name for p in tmp_path.iterdir()] == ["clip"]
    assert_same(clip, Clip.load(tmp_path / "clip"))


def test_files_png_is_lossless_and_jpeg_near():
    clip = make_clip()
    files = clip_to_files(clip, image="png")
    assert set(files) >= {
        "clip.json",
        "frames/00000.png",
        "depth/00002.png",
        "mask/00001.png",
        "background.png",
    }
    assert_same(clip, clip_from_files(files))
    smooth = np.linspace(0, 255, 3 * 3 * 12 * 17).reshape(3, 3, 12, 17).astype(np.uint8)
    clip = make_clip(video=smooth, background=smooth[0])
    files = clip_to_files(clip, quality=95)
    assert "frames/00002.jpg" in files and "background.jpg" in files
    assert_same(clip, clip_from_files(files), colors=2)
    assert_same(clip, clip_from_files({**files, "notes.txt": b"more"}), colors=2)


def test_depth_on_disk_is_rounded_not_truncated():
    steps = (np.arange(12 * 17, dtype=np.float32).reshape(1, 12, 17) + np.float32(0.6)) / 65535
    clip = make_clip(frames=1, depth=steps, depth_kind="scene")
    back = clip_from_files(clip_to_files(clip)).depth
    np.testing.assert_array_equal(np.rint(back * 65535), np.arange(1, 12 * 17 + 1).reshape(1, 12, 17))


def make_clip_without_depth(**changes):
    no_depth = {"depth": np.zeros((3, 12, 17), np.float32), "depth_kind": "none", "depth_range": None}
    return make_clip(**(no_depth | changes))


@pytest.mark.parametrize("moving", [False, True])
def test_a_clip_without_depth_writes_none_and_comes_back(tmp_path, moving):
    clip = make_clip_without_depth(moving=moving)
    clip.save(tmp_path / "clip")
    assert not (tmp_path / "clip" / "depth").exists()
    assert_same(clip, Clip.load(tmp_path / "clip"))
    files = clip_to_files(clip, image="png")
    assert_same(clip.select([2, 0]), clip_from_files(files, frames=[2, 0]))
    assert clip.select([2, 0]).depth_kind == "none"
    stale = {"depth/00000.png": clip_to_files(make_clip())["depth/00000.png"]}
    assert not clip_from_files(files | stale).depth.any()


def test_a_clip_without_depth_goes_through_shards(tmp_path):
    clips = [make_clip(), make_clip_without_depth(), make_clip(frames=2)]
    ShardWriter(tmp_path, image="png").write(clips)
    reader = ShardReader(tmp_path)
    for clip, back in zip(clips, reader, strict=True):
        assert_same(clip, back)
    assert_same(clips[1].select([1]), reader.frames(1, [1]))


def test_a_clip_that_lost_its_depth_is_not_one_without():
    files = clip_to_files(make_clip())
    del files["depth/00001.png"]
    with pytest.raises(ValueError, match="depth/00001: missing"):
        clip_from_files(files)


@pytest.mark.parametrize(
    "changes", [{"depth": np.eye(12, 17, dtype=np.float32)[None].repeat(3, 0)}, {"depth_range": (1.0, 2.0)}]
)
def test_no_depth_means_no_values_and_no_range(changes):
    with pytest.raises(ValueError, match="depth_kind none"):
        make_clip_without_depth(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"video": np.zeros((3, 3, 12, 17), np.float32)}, "video: found float32"),
        ({"video": np.zeros((3, 12, 17, 3), np.uint8)}, "video"),
        ({"video": np.zeros((0, 3, 12, 17), np.uint8)}, "video"),
        ({"depth": np.zeros((3, 12, 16), np.float32)}, "depth: found"),
        ({"depth": np.zeros((3, 12, 17))}, "depth: found float64"),
        ({"depth": np.full((3, 12, 17), np.nan, np.float32)}, "depth: found nan"),
        ({"depth": np.full((3, 12, 17), 1.1, np.float32)}, r"expected \[0, 1\]"),
        ({"mask": np.zeros((3, 12, 17), np.uint8)}, "mask: found uint8"),
        ({"background": np.zeros((2, 3, 12, 17), np.uint8)}, "background"),
        ({"pose": Pose(np.zeros((2, 18, 3), np.float32), 12, 17)}, "pose: found 2 frames"),
        ({"pose": Pose(np.zeros((3, 18, 3), np.float32), 17, 12)}, "pose: found 3 frames of 17 x 12"),
        ({"fps": 0.0}, "fps"),
        ({"depth_kind": "midas"}, "depth_kind"),
        ({"depth_range": (4.0, 2.0)}, "depth_range"),
    ],
)
def test_wrong_fields_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        make_clip(**changes)


def test_wrong_poses_are_refused():
    with pytest.raises(ValueError, match="18 or 133"):
        Pose(np.zeros((1, 17, 3), np.float32), 5, 5)
    with pytest.raises(ValueError, match="float64"):
        Pose(np.zeros((1, 18, 3)), 5, 5)
    with pytest.raises(ValueError, match="confidence"):
        Pose(np.full((1, 18, 3), 2, np.float32), 5, 5)
    with pytest.raises(ValueError, match="NaN"):
        Pose(np.full((1, 18, 3), np.nan, np.float32), 5, 5)
    with pytest.raises(ValueError, match="1 x 1"):
        Pose(np.zeros((1, 18, 3), np.float32), 0, 5)


def test_selecting_frames():
    clip = make_clip(frames=5, moving=True)
    part = clip.select(slice(1, 4, 2))
    np.testing.assert_array_equal(part.video, clip.video[[1, 3]])
    np.testing.assert_array_equal(part.background, clip.background[[1, 3]])
    np.testing.assert_array_equal(clip.select([4, 4, 0]).pose.keypoints, clip.pose.keypoints[[4, 4, 0]])
    np.testing.assert_array_equal(make_clip().select(np.array([2])).background, make_clip().background)
    assert (clip.frames, clip.height, clip.width) == (5, 12, 17)
    with pytest.raises(ValueError, match="none of them 0"):
        clip.select(slice(0, 0))


def test_poses_follow_their_frames():
    """A joint in the middle of a block of pixels stays in its middle when the frame is cut and resized."""
    k = np.zeros((1, 18, 3), np.float32)
    k[0, 0] = (6.5, 2.5, 1)  # the middle of columns 6, 7 and rows 2, 3
    pose = Pose(k, 10, 20)
    assert pose.resized(5, 10).keypoints[0, 0].tolist() == [3, 1, 1]
    assert pose.resized(20, 40).resized(10, 20).keypoints[0, 0].tolist() == [6.5, 2.5, 1]
    cut = pose.cropped(4, -2, 14, 8)
    assert (cut.height, cut.width) == (10, 10) and cut.keypoints[0, 0].tolist() == [2.5, 4.5, 1]
    assert pose.visible.sum() == 1 and pose.frames == 1


def test_a_clip_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        make_clip().fps = 3


def test_broken_folders_are_told_in_one_line(tmp_path):
    with pytest.raises(UserError, match=r"no clip\.json"):
        Clip.load(tmp_path)
    make_clip().save(tmp_path / "c")
    record = (tmp_path / "c" / "clip.json").read_text()
    breaks = {
        "missing": lambda f: (f / "depth" / "00001.png").unlink(),
        "broken image": lambda f: (f / "mask" / "00001.png").write_bytes(
            (f / "mask" / "00001.png").read_bytes()[:40]
        ),
        "mode L": lambda f: (f / "depth" / "00001.png").write_bytes(_gray_png()),
        "broken": lambda f: (f / "clip.json").write_text(record[:50]),
        "version 99": lambda f: (f / "clip.json").write_text(
            json.dumps({**json.loads(record), "version": 99})
        ),
        "expected": lambda f: (f / "clip.json").write_text(json.dumps({**json.loads(record), "width": 3})),
        "fps": lambda f: (f / "clip.json").write_text(
            json.dumps({k: v for k, v in json.loads(record).items() if k != "fps"})
        ),
    }
    for message, break_it in breaks.items():
        make_clip().save(tmp_path / "c")
        break_it(tmp_path / "c")
        with pytest.raises(UserError, match=message) as wrong:
            Clip.load(tmp_path / "c")
        assert "\n" not in str(wrong.value)


def _gray_png():
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.new("L", (17, 12)).save(buffer, "PNG")
    return buffer.getvalue()
