"""Whole clips: repeatable, resumable, split, and right about where the person is."""

import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import binary_dilation

from idol.assets import sha256_of
from idol.body.phenotype import Phenotype
from idol.clip import Clip
from idol.data.shards import ShardReader
from idol.errors import UserError
from idol.synthesis import synth
from idol.synthesis.human import wardrobe
from support.recorded_progress import RecordedProgress

SIZE, FRAMES = 128, 3
FACE = (0, 14, 15, 16, 17)

pytestmark = pytest.mark.assets


def clip(index: int, split: str = "train", seed: int = 3) -> Clip:
    from idol.synthesis import make_clip

    return make_clip(seed, index, size=SIZE, frames=FRAMES, split=split)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def clips() -> list[Clip]:
    return [clip(index) for index in (0, 1, 4, 8, 13)]


def test_a_clip_depends_on_its_number_alone(clips):
    again = clip(0)  # after others, in another order
    np.testing.assert_array_equal(again.video, clips[0].video)
    np.testing.assert_array_equal(again.depth, clips[0].depth)
    np.testing.assert_array_equal(again.pose.keypoints, clips[0].pose.keypoints)
    assert not np.array_equal(clips[0].video, clips[1].video)
    assert clips[0].subject == clips[1].subject != clips[2].subject


def test_joints_lie_on_the_person(clips):
    inside, total = 0, 0
    for made in clips:
        near = np.stack([binary_dilation(mask, iterations=3) for mask in made.mask])
        for k, points in enumerate(made.pose.keypoints):
            for joint, (x, y, confidence) in enumerate(points):
                if confidence > 0 and joint not in FACE:
                    inside += near[k, int(round(y)), int(round(x))]
                    total += 1
    assert total > 20 * FRAMES and inside / total > 0.97


def test_neck_is_the_middle_of_the_shoulders_and_left_is_left(clips):
    for made in clips:
        for points in made.pose.keypoints:
            if points[[1, 2, 5], 2].all():
                # in space, so nearly so in the image
                np.testing.assert_allclose(points[1, :2], (points[2, :2] + points[5, :2]) / 2, atol=3)


def test_depth_is_the_persons_and_inverts_to_meters(clips):
    for made in clips:
        assert made.depth_kind == "person" and made.depth_range is not None
        near, far = made.depth_range
        assert 0.4 < near < far < 25
        np.testing.assert_array_equal(made.depth > 0, made.mask)
        assert made.depth.max() == 1 and np.isclose(made.depth[made.mask].min(), 0.2)


def test_plate_is_the_scene_without_the_person(clips):
    for made in clips:
        person = np.stack([binary_dilation(mask, iterations=6) for mask in made.mask])
        difference = made.video.astype(int) - made.background
        outside = np.abs(difference).max(1)[~person]
        assert np.median(outside) <= 6  # grain
        assert (difference.mean(1)[~person] > 12).mean() < 0.02  # shadows darken, nothing brightens
        assert np.abs(difference).max(1)[made.mask].mean() > 15  # where the person is, it differs


def test_people_stand_on_the_floor():
    from idol.synthesis import clips as module
    from idol.synthesis.splits import generator

    person = module.synthetic_person(3, "train", 0)
    motions = module.read_motions("train")
    for number in range(4):
        rng = generator(3, "train", 9, number)
        performance = module.perform_clip(rng, person, motions, FRAMES, module.STYLES["train"])
        leg = person.body.head("upperleg01.L")[1]
        np.testing.assert_allclose(
            person.lowest(performance.poses), performance.motion.clearance * leg, atol=1e-4
        )
        bone = np.linalg.norm(np.diff(performance.poses.heads(person.body), axis=1), axis=-1)
        assert bone.max() < 3  # nobody is torn apart


def test_splits_share_neither_people_nor_motions():
    from idol.synthesis.clips import read_motions

    names = {split: {m.name for m in read_motions(split)} for split in ("train", "val", "test")}
    assert all(names.values())
    assert not names["train"] & names["val"] and not names["train"] & names["test"]
    assert not names["val"] & names["test"]
    train, test = clip(0), clip(0, "test")
    assert train.subject != test.subject
    for made, split in ((train, "train"), (test, "test")):
        assert set(made.source.split()[-1].split("+")) - {"invented"} <= names[split]


def hashes(folder: Path) -> dict[str, str]:
    return {path.name: sha256_of(path) for path in sorted(folder.glob("*.tar"))}


@pytest.mark.slow
def test_workers_and_interruptions_change_nothing(tmp_path):
    settings = {"size": 64, "frames": 2, "samples_per_shard": 2}
    progress = RecordedProgress()
    one = synth(tmp_path / "one", 4, 5, workers=1, progress=progress, **settings)
    assert progress.steps[0] == (0, 4) and progress.steps[-1] == (4, 4)
    two = synth(tmp_path / "two", 4, 5, workers=2, **settings)
    first = hashes(one)
    assert len(first) == 2 and hashes(two) == first
    ShardReader(one).verify()
    assert len(ShardReader(one)) == 4

    kept = (one / "00001.tar").stat().st_mtime_ns
    (one / "00000.tar").unlink()
    synth(one, 4, 5, workers=1, **settings)
    assert hashes(one) == first and (one / "00001.tar").stat().st_mtime_ns == kept

    with pytest.raises(UserError, match="seed"):
        synth(one, 4, 6, workers=1, **settings)


@pytest.mark.parametrize(
    "wrong",
    [{"clips": 0}, {"seed": -1}, {"size": 8}, {"frames": 1}, {"workers": 0}, {"split": "all"}],
)
def test_arguments_out_of_range_are_the_users_mistake(tmp_path, wrong):
    settings = {"clips": 1, "seed": 0} | wrong
    with pytest.raises(UserError, match=f"^{next(iter(wrong))}: "):
        synth(tmp_path / "out", settings.pop("clips"), settings.pop("seed"), **settings)
    assert not (tmp_path / "out").exists()


def test_a_motion_folder_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match="motion_dir"):
        synth(tmp_path / "out", 1, 0, motion_dir=tmp_path / "nowhere")
    assert not (tmp_path / "out").exists()


def test_minors_cannot_be_made():
    with pytest.raises(ValueError, match="minor"):
        Phenotype(0.5, 0.6, *[0.5] * 9)
    assert Phenotype(0.5, 0.7, *[0.5] * 9).years > 25


def test_everybody_is_dressed_from_the_allow_list_with_shoes_and_hair():
    allowed = {
        *wardrobe.TOPS, *wardrobe.TEES, *wardrobe.TROUSERS, *wardrobe.SHORTS, *wardrobe.SKIRTS,
        *wardrobe.DRESSES, *wardrobe.WOMENS_SUITS, *wardrobe.MENS_SUITS, *wardrobe.SHOES, *wardrobe.HATS,
        "glasses",
    }  # fmt: skip
    whole = {*wardrobe.DRESSES, *wardrobe.WOMENS_SUITS, *wardrobe.MENS_SUITS}
    lower = {*wardrobe.TROUSERS, *wardrobe.SHORTS, *wardrobe.SKIRTS}
    upper = {*wardrobe.TOPS, *wardrobe.TEES}
    rng = np.random.default_rng(0)
    for number in range(200):
        outfit = wardrobe.choose_outfit(rng, bool(number % 2))
        worn = {name for kind, name in outfit if kind == "clothes"}
        assert worn <= allowed and worn & set(wardrobe.SHOES)
        assert worn & whole or (worn & lower and worn & upper)
        assert sum(kind == "hair" for kind, _ in outfit) == 1


def test_dyeing_keeps_the_folds_and_the_cut_out():
    rng = np.random.default_rng(1)
    texture = rng.integers(0, 255, (32, 32, 4)).astype(np.uint8)
    texture[..., 3] = 255 * (texture[..., 3] > 100)
    for paint in ("dye", "print"):
        dyed = wardrobe.repaint(texture, paint, rng)  # type: ignore[arg-type]
        np.testing.assert_array_equal(dyed[..., 3], texture[..., 3])
    assert wardrobe.repaint(texture, "keep", rng) is texture
    gray = np.repeat(np.linspace(60, 250, 32)[:, None, None], 32, 1).repeat(4, 2).astype(np.uint8)
    gray[..., 3] = 255
    dyed = wardrobe.repaint(gray, "dye", rng)[..., :3].mean((1, 2))
    assert (np.diff(dyed) >= 0).all() and dyed[-1] > dyed[0]


def test_a_missing_package_is_named_with_its_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "moderngl", None)  # as if it were not installed
    with pytest.raises(UserError, match=r"moderngl not installed.*\[synth\]"):
        synth(tmp_path / "out", 4, 0)
    assert not (tmp_path / "out").exists()
