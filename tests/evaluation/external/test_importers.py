"""Files as other methods' code writes them give back the frames that were put into them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from idol.clip import Clip
from idol.clip.images import write_image
from idol.clip.video import write_video
from idol.errors import UserError
from idol.evaluation.clip_sets import ClipFolders, DerivedClips
from idol.evaluation.external.importers import import_clips, open_imported, write_clips
from idol.evaluation.external.layouts import LAYOUTS
from support.drawn import drawn_clip
from support.recorded_progress import RecordedProgress

FRAMES, HEIGHT, WIDTH = 12, 32, 24


def clip(seed: int, frames: int = FRAMES, height: int = HEIGHT, width: int = WIDTH) -> Clip:
    """A drawn clip that is higher than wide, so that no code can confuse the two."""
    whole = drawn_clip(seed, frames, size=max(height, width))
    cut = (Ellipsis, slice(height), slice(width))
    return replace(
        whole,
        video=whole.video[cut],
        depth=whole.depth[cut],
        mask=whole.mask[cut],
        background=whole.background[cut],
        pose=whole.pose.cropped(0, 0, width, height),
        depth_range=(1.0, 3.0),
    )


def noise(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*shape[:-2], 3, *shape[-2:])).astype(np.uint8)


def smooth(seed: int, frames: int = FRAMES, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """Slow gradients: what a video codec keeps."""
    f, c, y, x = np.ogrid[:frames, :3, :height, :width]
    waves = np.sin(y / height * 2 + c + seed) + np.cos(x / width * 2 - f / frames + seed)
    return (waves * 50 + 128).round().astype(np.uint8)


def strip(video: np.ndarray) -> np.ndarray:
    """Frames next to one another along the width, by a literal loop."""
    frames, _, height, width = video.shape
    image = np.zeros((3, height, frames * width), np.uint8)
    for i in range(frames):
        image[:, :, i * width : (i + 1) * width] = video[i]
    return image


def write_folder(folder, video: np.ndarray, name) -> None:
    """Frames as PNG files; from the last to the first, so that no order of creation helps."""
    folder.mkdir(parents=True)
    for i in reversed(range(len(video))):
        write_image(folder / name(i), video[i])


def write_layout(folder, layout: str, video: np.ndarray, name: str = "a") -> None:
    """One video in a layout."""
    match layout:
        case "fomm-png":
            write_image(folder / f"{name}.png", strip(video))
        case "fomm-grid":
            columns = [255 - video, video, np.zeros_like(video)]
            write_video(folder / f"{name}.mp4", np.concatenate(columns, axis=3), fps=8)
        case "video":
            write_video(folder / f"{name}.mp4", video, fps=8)
        case "frames":
            write_folder(folder / name, video, lambda i: f"frame{i}.png")
        case "dreampose":
            write_folder(folder / name, video, lambda i: f"pred_#{i}.png")


def options(layout: str, height: int = HEIGHT, width: int = WIDTH) -> dict:
    return {"column": 1, "size": (height, width)} if layout == "fomm-grid" else {}


@pytest.fixture
def true():
    return {"a": clip(0), "b": clip(1), "unused": clip(2)}


@pytest.mark.parametrize("layout", ["fomm-png", "frames", "dreampose"])
def test_lossless_layouts_give_back_every_pixel(tmp_path, true, layout):
    videos = {name: noise(i, FRAMES, HEIGHT, WIDTH) for i, name in enumerate("ab")}
    for name, video in videos.items():
        write_layout(tmp_path, layout, video, name)
    clips = open_imported(tmp_path, true, layout)
    assert list(clips) == ["a", "b"] and len(clips) == 2 and not clips.lossy
    for name, video in videos.items():
        np.testing.assert_array_equal(clips[name].video, video)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_all_but_the_frames_is_the_true_clips_and_there_is_no_depth(tmp_path, true, layout):
    write_layout(tmp_path, layout, smooth(0))
    clips = open_imported(tmp_path, true, layout, **options(layout))
    made, truth = clips["a"], true["a"]
    np.testing.assert_array_equal(made.mask, truth.mask)
    np.testing.assert_array_equal(made.background, truth.background)
    np.testing.assert_array_equal(made.pose.keypoints, truth.pose.keypoints)
    assert (made.fps, made.subject) == (truth.fps, truth.subject)
    assert made.depth_kind == "none" and made.depth_range is None and not made.depth.any()
    assert made.source.startswith(layout) and ("loss" in made.source) == clips.lossy


@pytest.mark.parametrize("layout", ["fomm-grid", "video"])
def test_videos_come_back_as_the_codec_left_them_and_are_called_lossy(tmp_path, true, layout):
    write_layout(tmp_path, layout, smooth(0))
    clips = open_imported(tmp_path, true, layout, **options(layout))
    error = np.abs(clips["a"].video.astype(int) - smooth(0))
    assert clips.lossy and error.mean() < 3 and error[:, :, 4:-4, 4:-4].max() < 16


def test_each_column_of_a_grid_can_be_chosen(tmp_path, true):
    colors, size = [20, 100, 180, 240], (HEIGHT, WIDTH)
    columns = [np.full((FRAMES, 3, HEIGHT, WIDTH), color, np.uint8) for color in colors]
    write_video(tmp_path / "a.mp4", np.concatenate(columns, axis=3), fps=8)
    for i, color in enumerate(colors):
        video = open_imported(tmp_path, true, "fomm-grid", column=i, size=size)["a"].video
        assert np.abs(video[..., 4:-4].astype(int) - color).max() < 6
        from_right = open_imported(tmp_path, true, "fomm-grid", column=i - 4, size=size)["a"].video
        np.testing.assert_array_equal(from_right, video)
    for outside in (4, -5):
        with pytest.raises(UserError, match=rf"column: {outside}, but .*a\.mp4 has 4 columns; .* 0 to 3"):
            open_imported(tmp_path, true, "fomm-grid", column=outside, size=size)["a"]


@pytest.mark.parametrize(
    "name",
    [
        lambda i: f"{i}.png",  # 10 sorts before 2 as text
        lambda i: f"frame_{i + 95}.png",  # 100 before 95
        lambda i: f"v2_{i // 10:02d}_{i % 10}.png",
        lambda i: f"{i:05d}.PNG",
    ],
)
def test_frames_stand_in_natural_order(tmp_path, true, name):
    video = noise(0, FRAMES, HEIGHT, WIDTH)
    write_folder(tmp_path / "a", video, name)
    (tmp_path / "a" / "log.txt").write_text("not a frame")
    (tmp_path / "a" / "._0.png").write_bytes(b"what some systems leave")
    np.testing.assert_array_equal(open_imported(tmp_path, true, "frames")["a"].video, video)


def test_one_jpeg_makes_a_folder_lossy(tmp_path, true):
    write_folder(tmp_path / "a", smooth(0), lambda i: f"{i}.{'jpg' if i == 3 else 'png'}")
    assert open_imported(tmp_path, true, "frames").lossy


def test_dreampose_counts_from_any_number_and_leaves_what_is_not_its_own(tmp_path, true):
    video = noise(0, FRAMES, HEIGHT, WIDTH)
    write_folder(tmp_path / "a", video, lambda i: f"pred_#{i + 95}.png")
    write_image(tmp_path / "a" / "pose_1.png", video[0])
    (tmp_path / "a" / "unet_epoch_499.pth").write_bytes(b"weights")
    np.testing.assert_array_equal(open_imported(tmp_path, true, "dreampose")["a"].video, video)
    (tmp_path / "a" / "pred_#98.png").unlink()
    with pytest.raises(UserError, match=r"a: no pred_#98\.png between pred_#97\.png and pred_#99\.png"):
        open_imported(tmp_path, true, "dreampose")["a"]


@pytest.mark.parametrize("name", ["a", "a.mp4", "a-a", "a.mp4-a.mp4", "a.MP4"])
def test_names_lose_what_the_data_set_added(tmp_path, true, name):
    (tmp_path / "reconstruction").mkdir()
    write_layout(tmp_path / "reconstruction" / "png", "fomm-png", smooth(0), name)
    for folder in (tmp_path / "reconstruction", tmp_path / "reconstruction" / "png"):
        assert list(open_imported(folder, true, "fomm-png")) == ["a"]


def test_a_true_clip_may_be_called_like_a_file(tmp_path, true):
    write_layout(tmp_path, "dreampose", smooth(0), "a.mp4")
    assert list(open_imported(tmp_path, {"a": true["a"], "a.mp4": true["b"]}, "dreampose")) == ["a.mp4"]
    assert list(open_imported(tmp_path, true, "dreampose")) == ["a"]


def test_only_fomm_joins_names(tmp_path, true):
    write_layout(tmp_path, "frames", smooth(0), "a-a")
    with pytest.raises(UserError, match="a-a: no reference clip"):
        open_imported(tmp_path, true, "frames")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_wrong_number_of_frames_is_told_with_the_file(tmp_path, true, layout):
    for name, frames in (("a", FRAMES - 1), ("b", FRAMES + 1)):
        write_layout(tmp_path, layout, smooth(0, frames), name)
    clips = open_imported(tmp_path, true, layout, **options(layout))
    for name, frames in (("a", FRAMES - 1), ("b", FRAMES + 1)):
        with pytest.raises(
            UserError, match=f"{frames} frames where the reference clip has {FRAMES}"
        ) as wrong:
            clips[name]
        assert wrong.value.argument == str(clips.paths[name])


@pytest.mark.parametrize("layout", ["fomm-png", "video", "frames", "dreampose"])
@pytest.mark.parametrize("width", [32, 26, 22])  # a row of 12 x 32 could also be one of 16 x 24
def test_another_shape_is_never_stretched_unasked(tmp_path, true, layout, width):
    write_layout(tmp_path, layout, smooth(0, width=width))
    with pytest.raises(UserError) as wrong:
        open_imported(tmp_path, true, layout)["a"]
    assert str(tmp_path / "a") in wrong.value.argument and "`size" in wrong.value.remedy


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_stated_size_is_stretched_to_the_true_clips(tmp_path, true, layout):
    write_layout(tmp_path, layout, smooth(0, height=32, width=48))
    given = options(layout) | {"size": (32, 48)}
    made = open_imported(tmp_path, true, layout, **given)["a"].video
    assert made.shape == true["a"].video.shape
    assert np.abs(made.astype(int) - smooth(0)).mean() < 4  # the same waves on fewer columns
    for wrong in ((32, 40), (48, 48)):
        with pytest.raises(UserError, match="size"):
            open_imported(tmp_path, true, layout, **(given | {"size": wrong}))["a"]


@pytest.mark.parametrize("layout", ["fomm-png", "frames"])
@pytest.mark.parametrize("size", [(64, 48), (16, 12), (50, 37), (50, 38)])
def test_another_resolution_is_resized_by_a_bicubic_filter_that_smooths(tmp_path, true, layout, size):
    video = noise(0, FRAMES, *size) // 2 + 64  # no overshoot that Pillow would clip between its two passes
    write_layout(tmp_path, layout, video)
    got = open_imported(tmp_path, true, layout)["a"].video
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(video).float(), (HEIGHT, WIDTH), mode="bicubic", antialias=True
    )
    np.testing.assert_allclose(got, expected, atol=1.5)  # it rounds there


def test_a_part_of_longer_videos_can_be_chosen(tmp_path, true):
    video = noise(0, FRAMES + 5, HEIGHT, WIDTH)
    write_layout(tmp_path, "fomm-png", video)
    for start in (0, 2, 5):
        got = open_imported(tmp_path, true, "fomm-png", start=start, size=(HEIGHT, WIDTH))["a"].video
        np.testing.assert_array_equal(got, video[start : start + FRAMES])
    with pytest.raises(UserError, match=r"a\.png: 17 frames .* 12 after the 6 skipped"):
        open_imported(tmp_path, true, "fomm-png", start=6, size=(HEIGHT, WIDTH))["a"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_video_without_a_true_clip_is_told(tmp_path, true, layout):
    write_layout(tmp_path, layout, smooth(0), "a")
    write_layout(tmp_path, layout, smooth(0), "stranger")
    with pytest.raises(UserError, match="stranger.*no reference clip"):
        open_imported(tmp_path, true, layout, **options(layout))


def test_two_videos_of_one_clip_are_told(tmp_path, true):
    write_layout(tmp_path, "fomm-png", smooth(0), "a")
    write_layout(tmp_path, "fomm-png", smooth(1), "a.mp4")
    with pytest.raises(UserError, match=r"a\.png: a\.mp4\.png is a video of 'a' too"):
        open_imported(tmp_path, true, "fomm-png")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_folders_without_anything_of_the_layout_are_told(tmp_path, true, layout):
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(UserError, match=f"as {layout} has"):
        open_imported(tmp_path, true, layout, **options(layout))
    with pytest.raises(UserError, match="no such folder"):
        open_imported(tmp_path / "none", true, layout, **options(layout))


@pytest.mark.parametrize("layout", ["frames", "dreampose"])
def test_empty_folders_and_frames_of_two_sizes_are_told(tmp_path, true, layout):
    (tmp_path / "b").mkdir()
    write_layout(tmp_path, layout, smooth(0))
    path = sorted((tmp_path / "a").iterdir())[2]
    write_image(path, noise(0, HEIGHT, WIDTH + 1))
    clips = open_imported(tmp_path, true, layout)
    with pytest.raises(UserError, match=f"b: no frames, as {layout} has"):
        clips["b"]
    with pytest.raises(UserError, match="among frames of") as wrong:
        clips["a"]
    assert wrong.value.argument == str(path)


@pytest.mark.parametrize(
    ("layout", "given", "message"),
    [
        ("png", {}, "layout: 'png'; choose one of fomm-png, fomm-grid"),
        ("fomm-grid", {}, "column: nothing"),
        ("fomm-grid", {"column": 3}, "size: nothing"),
        ("fomm-png", {"start": 0}, "size: nothing"),
        ("video", {"column": 3}, "column: 3 for video"),
        ("frames", {"start": -1}, "start: -1"),
        ("frames", {"size": (0, 5)}, "size: 0 5"),
    ],
)
def test_options_that_do_not_fit_are_told(tmp_path, true, layout, given, message):
    with pytest.raises(UserError, match=message):
        open_imported(tmp_path, true, layout, **given)


def test_nothing_is_read_before_it_is_asked_for(tmp_path, true):
    def unreadable(clip: Clip) -> Clip:
        raise AssertionError("read too early")

    write_layout(tmp_path, "fomm-png", smooth(0))
    (tmp_path / "b.png").write_bytes(b"not an image")
    clips = open_imported(tmp_path, DerivedClips(true, unreadable), "fomm-png")
    assert list(clips) == ["a", "b"] and "a" in clips and "unused" not in clips
    with pytest.raises(UserError, match=r"b\.png: cannot be read"):
        open_imported(tmp_path, true, "fomm-png")["b"]


def test_a_converted_folder_holds_the_imported_clips(tmp_path, true, caplog):
    write_layout(tmp_path / "made", "fomm-png", noise(0, FRAMES, 2 * HEIGHT, 2 * WIDTH))
    write_layout(tmp_path / "made", "fomm-png", noise(1, FRAMES, HEIGHT, WIDTH), "b")
    write_clips(true, tmp_path / "true")
    progress = RecordedProgress()
    for _ in range(2):  # a second time replaces the first
        done = import_clips(
            tmp_path / "made", tmp_path / "true", tmp_path / "out", "fomm-png", progress=progress
        )
        assert done == 2
    assert progress.steps == [(1, 2), (2, 2)] * 2 and not caplog.records
    expected, back = open_imported(tmp_path / "made", true, "fomm-png"), ClipFolders(tmp_path / "out")
    assert list(back) == ["a", "b"]
    for name in back:
        np.testing.assert_array_equal(back[name].video, expected[name].video)
        np.testing.assert_array_equal(back[name].mask, true[name].mask)
        assert back[name].depth_kind == "none" and back[name].source == expected[name].source
        assert not (tmp_path / "out" / name / "depth").exists()


def test_converting_what_was_compressed_says_so(tmp_path, true, caplog):
    write_layout(tmp_path / "made", "video", smooth(0))
    write_clips(true, tmp_path / "true")
    import_clips(tmp_path / "made", tmp_path / "true", tmp_path / "out", "video")
    assert [
        str(tmp_path / "made") in r.getMessage() and "loss" in r.getMessage() for r in caplog.records
    ] == [True]


def test_clips_are_not_written_beside_others(tmp_path, true):
    write_clips({"a": true["a"], "old": true["b"]}, tmp_path / "out")
    with pytest.raises(UserError, match="holds 1 other clips, 'old' first"):
        write_clips({"a": true["b"]}, tmp_path / "out")
    np.testing.assert_array_equal(Clip.load(tmp_path / "out" / "a").video, true["a"].video)
