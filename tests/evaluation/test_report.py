"""From clips in folders to a table: baselines, intervals, partners, JSON."""

import json
from dataclasses import replace
from io import StringIO

import numpy as np
import pytest
import scipy.stats
import torch
from rich.console import Console

from idol.clip import Clip, Pose
from idol.data.shards import ShardWriter
from idol.errors import UserError
from idol.evaluation import confidence_intervals as intervals
from idol.evaluation.baselines import empty_background, paste_person
from idol.evaluation.bootstrap import resample_counts, widen_for_few_people
from idol.evaluation.clip_sets import open_clips
from idol.evaluation.evaluate import evaluate
from idol.evaluation.evaluator import Evaluator
from idol.evaluation.networks.lpips import LPIPS
from idol.evaluation.report import GROUPS, REFERENCE, ROWS, compare_clips
from idol.evaluation.score import FIELDS, score_clips
from idol.pose.joints import body_18
from idol.progress import ProgressCallback
from support.drawn import drawn_clip
from support.recorded_progress import RecordedProgress

NETWORKS_OFF = {"pose": "none", "mask": "none", "lpips": "none", "identity": "none", "distributions": False}


@pytest.fixture(scope="module")
def true():
    return {f"{i:03d}": drawn_clip(i) for i in range(4)}


def score(clip, true, evaluator):
    return score_clips({"judged": clip}, true, evaluator)["judged"]


def worse(clip: Clip, by: float) -> Clip:
    """The clip with noise on its video and its depth lowered."""
    noise = np.random.default_rng(0).normal(0, 255 * by, clip.video.shape)
    depth = np.where(clip.depth > 0, (clip.depth - by).clip(0.11, 1), 0).astype(np.float32)
    return replace(clip, video=(clip.video + noise).clip(0, 255).astype(np.uint8), depth=depth)


def first_pixels(images):
    """An embedding: a corner of the person, mid-gray at zero."""
    return images[:, :, 64:80, 64:80].reshape(len(images), -1).astype(np.float32) - 128


def test_the_true_clip_scores_as_well_as_can_be(true):
    evaluator = Evaluator(
        detect_joints=lambda video: true["000"].pose, segment_person=lambda video: true["000"].mask
    )
    got = score(true["000"], true["000"], evaluator)
    assert (got.depth_l2, got.depth_l2_person, got.silhouette_iou) == (0, 0, 1)
    assert (got.alignment_found, got.joints) == (1, 1)
    assert got.flicker == 0 and np.isnan(got.lpips)


def test_the_other_numbers_of_the_true_clip_are_perfect_too(true):
    clip = replace(true["000"], depth_range=(2.0, 3.0))
    evaluator = Evaluator(segment_person=lambda video: clip.mask, embed_person=first_pixels)
    got = score(clip, clip, evaluator)
    assert (got.psnr, got.ssim, got.alignment_edge) == (100, 1, 0) and got.identity == pytest.approx(1)
    for end in ("", "_aligned", "_meters", "_meters_aligned"):
        assert getattr(got, f"depth_absrel{end}") == pytest.approx(0, abs=1e-6)
        assert getattr(got, f"depth_rmse{end}") == pytest.approx(0, abs=1e-6)
        assert getattr(got, f"depth_delta{end}") == 1
    assert got.depth_rmse_frame == 0
    assert (got.boundary_precision, got.boundary_recall, got.boundary_f1) == (1, 1, 1)
    assert np.isfinite([got.motion_difference, got.warp_error, got.warp_error_person]).all()
    assert np.isnan(score(true["000"], true["000"], evaluator).depth_rmse_meters)  # no range, no meters


def test_figures_get_worse_as_clips_do(true):
    clip = replace(true["001"], depth_range=(2.0, 3.0))
    got = [score(worse(clip, by), clip, Evaluator()) for by in (0, 0.02, 0.06, 0.1)]
    falling = ("psnr", "ssim", "depth_delta")
    growing = ("depth_l2", "depth_l2_person", "flicker", "depth_rmse", "depth_absrel", "depth_rmse_frame")
    for field in (*falling, *growing, "depth_rmse_meters", "depth_absrel_meters", "warp_error"):
        values = [getattr(s, field) * (-1 if field in falling else 1) for s in got]
        assert values == sorted(values) and values[-1] > values[0], field
    assert got[-1].depth_rmse_frame == pytest.approx(got[-1].depth_l2 ** 0.5)


def test_a_missing_person_has_no_distance_but_an_error(true):
    clip = replace(true["001"], depth_range=(2.0, 3.0))
    empty = score(empty_background(clip), clip, Evaluator())
    assert (empty.depth_absrel, empty.depth_delta, empty.boundary_f1) == (1, 0, 0)
    assert np.isnan([empty.depth_rmse_meters, empty.motion_difference]).all()
    half = clip.depth.copy()
    half[:, :, : np.flatnonzero(clip.mask[0].any(0)).mean().astype(int)] = 0
    partly = score(replace(clip, depth=half), clip, Evaluator())
    assert partly.depth_rmse_meters == 0 < partly.depth_rmse
    assert partly.depth_absrel_aligned == pytest.approx(partly.depth_absrel)  # nothing to mend where it shows


DEPTH_FIELDS = {name for name in FIELDS if name.startswith(("depth", "boundary", "alignment", "silhouette"))}
DEPTH_FIELDS |= {"motion_difference"}


def without_depth(clip: Clip) -> Clip:
    return replace(clip, depth=np.zeros_like(clip.depth), depth_kind="none", depth_range=None)


def test_a_clip_without_depth_has_every_number_but_those(true):
    evaluator = Evaluator(lambda video: true["000"].pose, lambda video: true["000"].mask, None, first_pixels)
    for kind in ("person", "scene"):
        clip = replace(true["000"], depth_kind=kind)
        whole, alone = (score(c, clip, evaluator) for c in (clip, without_depth(clip)))
        for name in FIELDS:
            if name in DEPTH_FIELDS:
                assert np.isnan(getattr(alone, name)), name
            else:
                np.testing.assert_equal(getattr(alone, name), getattr(whole, name))
    # Of a true clip without depth, only what the clip's own depth and video decide is left.
    owned = score(true["000"], without_depth(true["000"]), evaluator)
    left = {name for name in DEPTH_FIELDS if np.isfinite(getattr(owned, name))}
    assert left == {"alignment_found", "alignment_plate", "alignment_edge", "motion_difference"}


def test_scene_depth_has_no_silhouette(true):
    clip = replace(true["000"], depth_kind="scene", depth_range=(2.0, 3.0))
    got = score(clip, clip, Evaluator(segment_person=lambda video: clip.mask))
    absent = {"silhouette_iou", "alignment_found", "alignment_plate", "alignment_edge", "motion_difference"}
    assert {name for name in DEPTH_FIELDS if np.isnan(getattr(got, name))} == absent
    assert got.depth_absrel == got.depth_rmse_meters == 0


@pytest.mark.assets
def test_lpips_of_several_clips_is_that_of_each(true):
    network = LPIPS("alex")
    clip = true["001"]
    clips = {"a": worse(clip, 0.02), "b": worse(clip, 0.1), "same": clip}
    got = score_clips(clips, clip, Evaluator(lpips=network))
    for name, judged in clips.items():
        a, b = (torch.from_numpy(v).float() / 127.5 - 1 for v in (judged.video, clip.video))
        assert got[name].lpips == pytest.approx(network(a, b).mean().item(), abs=1e-6)
    assert got["same"].lpips == 0 < got["a"].lpips < got["b"].lpips


def test_pasted_never_moves_and_the_plate_is_empty(true):
    clip = true["002"]
    still, empty = paste_person(clip), empty_background(clip)
    np.testing.assert_array_equal(still.video, clip.video[[0] * clip.frames])
    np.testing.assert_array_equal(still.depth, clip.depth[[0] * clip.frames])
    np.testing.assert_array_equal(empty.video, np.broadcast_to(clip.background, clip.video.shape))
    # The drawn person moves one pixel to the right per frame.
    side = np.sqrt(clip.mask[0].sum())
    expected = np.mean([(side - i) / (side + i) for i in range(clip.frames)])
    assert score(still, clip, Evaluator()).silhouette_iou == pytest.approx(expected)
    assert score(empty, clip, Evaluator()).silhouette_iou == 0
    assert score(empty, clip, Evaluator()).depth_l2 == pytest.approx(
        np.square(clip.depth, dtype=np.float64).mean()
    )


def test_pasted_onto_a_moving_background():
    clip = drawn_clip(0, moving=True)
    np.testing.assert_array_equal(paste_person(clip).video[-1], clip.video[0])


def test_pairs_that_do_not_match_are_refused(true):
    with pytest.raises(UserError, match="same size"):
        score(true["000"].select([0, 1]), true["000"], Evaluator())
    with pytest.raises(UserError, match="kind of depth"):
        score(replace(true["000"], depth_kind="scene"), true["000"], Evaluator())
    with pytest.raises(UserError, match="2 of 4 clips are missing"):
        compare_clips({"generated": true}, {"000": true["000"], "001": true["001"]}, Evaluator())


def test_sets_are_drawn_person_by_person():
    values, people = np.random.default_rng(2).normal(3, 1, 10), tuple("aabacbbadc")
    counts = resample_counts(10, people, 300)
    names = sorted(set(people), key=people.index)
    chosen = np.random.default_rng(0).integers(4, size=(300, 4))
    for count, drawn in zip(counts, chosen, strict=True):
        clips = [i for who in drawn for i in range(10) if people[i] == names[who]]
        np.testing.assert_array_equal(count, np.bincount(clips, minlength=10))
    drawn = intervals.bootstrap_means(values, people)
    counts = resample_counts(10, people, drawn.size)
    means = np.array([np.repeat(values, count).mean() for count in counts])
    np.testing.assert_allclose(drawn, widen_for_few_people(means, values.mean(), 4))


def test_more_clips_of_the_same_people_make_nothing_surer():
    values = np.random.default_rng(3).normal(3, 1, 12)
    alone = intervals.mean(values)
    people = tuple("abcdefghijkl")
    copies = intervals.mean(np.repeat(values, 4), [who for who in people for _ in range(4)])
    for name in ("value", "low", "high"):
        assert getattr(copies, name) == pytest.approx(getattr(alone, name))
    assert copies.clips == 48
    assert intervals.mean(values, people) == intervals.mean(values, ("",) * 12) == alone
    careless = intervals.mean(np.repeat(values, 4))
    assert careless.high - careless.low < 0.6 * (alone.high - alone.low)
    with pytest.raises(ValueError, match="people: 2 names for 12 clips"):
        intervals.mean(values, ("a", "b"))


def test_one_person_says_nothing_of_others():
    """However many clips there are: the interval has no ends, and no difference is decided."""
    values, people = np.random.default_rng(4).normal(3, 1, 8), ("one",) * 8
    a, b = intervals.mean(values, people), intervals.mean(values + 1, people)
    assert (a.value, a.low, a.high) == (pytest.approx(values.mean()), -np.inf, np.inf)
    assert (
        np.isnan(intervals.bootstrap_means(values, people)).all()
        and intervals.bootstrap_means(values, people).size == 4000
    )
    got = intervals.difference(
        a,
        intervals.bootstrap_means(values, people),
        b,
        intervals.bootstrap_means(values + 1, people),
    )
    assert got.value == pytest.approx(-1) and (got.low, got.high) == (-np.inf, np.inf)
    # Nor is it sure where the only other person has no number.
    some, two = np.append(values, np.nan), (*people, "two")
    assert intervals.mean(some, two).low == -np.inf and np.isnan(intervals.bootstrap_means(some, two)).all()
    assert np.isfinite(intervals.bootstrap_means(np.append(values, 4.0), two)).all()


def test_with_one_clip_a_person_sets_of_clips_are_drawn():
    values = np.random.default_rng(5).normal(3, 1, 9)
    chosen = np.random.default_rng(0).integers(9, size=(4000, 9))
    got = intervals.mean(values, tuple("abcdefghi"))
    expected = widen_for_few_people(values[chosen].mean(1), values.mean(), 9)
    np.testing.assert_allclose(intervals.bootstrap_means(values, tuple("abcdefghi")), expected)
    assert [got.low, got.high] == pytest.approx(np.percentile(expected, [2.5, 97.5]).tolist())


@pytest.mark.parametrize("people", [4, 8, 16, 64])
def test_of_few_people_the_interval_is_students(people):
    """On average over samples, scipy's: the bootstrap alone is up to twice too narrow."""
    rng = np.random.default_rng(people)
    ours, students = [], []
    for _ in range(20):
        values = rng.normal(3, 1, people)
        got = intervals.mean(values)
        t = scipy.stats.t.interval(0.95, people - 1, values.mean(), scipy.stats.sem(values))
        ours.append([got.low, got.high])
        students.append(t)
    widths = [np.diff(np.array(each), axis=1).mean() for each in (ours, students)]
    assert widths[0] == pytest.approx(widths[1], rel=0.05)
    np.testing.assert_allclose(np.mean(ours, 0), np.mean(students, 0), atol=0.05 * widths[1])


def test_interval_of_a_mean():
    values = np.random.default_rng(0).normal(3, 1, 400)
    got = intervals.mean(np.append(values, np.nan))
    assert got.value == pytest.approx(values.mean()) and got.clips == 400
    # 1.96 standard errors on each side
    assert got.high - got.low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)
    assert got == intervals.mean(np.append(values, np.nan))
    same = intervals.mean(np.full(5, 0.25))
    assert (same.low, same.value, same.high) == (0.25, 0.25, 0.25)
    assert np.isnan(intervals.mean(np.array([np.nan])).value)


def test_reports_count_people_beside_clips(true):
    def told(*people):
        named = {n: replace(c, subject=who) for (n, c), who in zip(true.items(), people, strict=True)}
        report = compare_clips(
            {"generated": {n: worse(c, 0.05) for n, c in true.items()}}, named, Evaluator()
        )
        console = Console(file=StringIO(), width=120)
        console.print(report.table())
        return report, console.file.getvalue()

    report, printed = told("a", "b", "a", None)  # whom nobody named is somebody else
    assert report.to_json()["people"] == 3 and "4 clips of 3 people; 95 % intervals over people" in printed
    assert report.estimate("generated", "psnr") == intervals.mean(
        report.values("generated", "psnr"), ("a", "b", "a", "")
    )
    row = next(row for row in ROWS if row.key == "psnr")
    assert report.bootstrap_means("generated", row).std() > 0
    values = json.loads(json.dumps(report.to_json(per_clip=True), allow_nan=False))
    assert list(values["shows"].values()) == ["a", "b", "a", ""]

    report, printed = told("a", "a", "a", "a")
    assert "4 clips of one person: no intervals" in printed and "inf" not in printed
    found = json.loads(json.dumps(report.to_json(), allow_nan=False))["columns"]["generated"]["psnr"]
    assert found["low"] is None is found["high"] and found["clips"] == 4


def test_ratio_resamples_in_pairs():
    below = np.random.default_rng(1).uniform(1, 5, 50)
    got = intervals.ratio(2 * below, below)
    assert got.value == pytest.approx(2) and got.low == pytest.approx(2) and got.high == pytest.approx(2)
    assert intervals.ratio(np.append(2 * below, 7), np.append(below, np.nan)).clips == 50
    assert np.isnan(intervals.ratio(below, np.zeros(50)).value)


def test_differences_on_the_same_clips_are_surer_than_either_set():
    rng = np.random.default_rng(3)
    hard = rng.normal(10, 3, 60)  # what makes a clip hard is hard for both
    better, worse = hard + rng.normal(0, 0.2, 60), hard + 0.5 + rng.normal(0, 0.2, 60)
    a, b = intervals.mean(better), intervals.mean(worse)
    assert a.high > b.low  # the sets' own intervals overlap
    got = intervals.difference(a, intervals.bootstrap_means(better), b, intervals.bootstrap_means(worse))
    paired = scipy.stats.bootstrap((better - worse,), np.mean, method="percentile", rng=0).confidence_interval
    assert got.value == pytest.approx((better - worse).mean()) and got.high < 0
    assert got.low == pytest.approx(paired.low, abs=0.02) and got.high == pytest.approx(paired.high, abs=0.02)
    gap = np.where(np.arange(60) < 3, np.nan, better)
    assert np.isfinite(intervals.bootstrap_means(gap)).all()


def test_report_of_folders_equals_that_of_shards(true, tmp_path):
    for name, clip in true.items():
        clip.save(tmp_path / "true" / name)
        worse(clip, 0.05).save(tmp_path / "generated" / name)
    progress = RecordedProgress()
    report = evaluate(tmp_path / "generated", tmp_path / "true", **NETWORKS_OFF, progress=progress).clips
    assert list(report.columns) == ["generated", "pasted", "plate", REFERENCE] and report.clips == tuple(true)
    assert progress.stages == ["scoring clips"] and progress.steps == [(i, 4) for i in (1, 2, 3, 4)]
    writer = ShardWriter(tmp_path / "shards", samples_per_shard=3, image="png")
    writer.write(true.values())
    shards = open_clips(tmp_path / "shards")
    for key, name in zip(shards, true, strict=True):
        worse(true[name], 0.05).save(tmp_path / "by_key" / key)
    again = evaluate(tmp_path / "by_key", tmp_path / "shards", **NETWORKS_OFF).clips
    assert again.to_json() == report.to_json()


def test_relative_rows_are_ratios_to_the_true_clips(true):
    clips = {name: replace(worse(clip, 0.02), pose=clip.pose) for name, clip in true.items()}
    report = compare_clips({"generated": clips}, clips, Evaluator())
    assert report.estimate("generated", "flicker_of_true").value == 1
    assert np.isnan(report.estimate("generated", "joints_of_true").value)


def test_report_survives_json_and_prints_every_row(true):
    evaluator = Evaluator(detect_joints=lambda video: true["000"].pose)
    report = compare_clips({"generated": {n: worse(c, 0.05) for n, c in true.items()}}, true, evaluator)
    values = json.loads(json.dumps(report.to_json(per_clip=True), allow_nan=False))
    psnr = values["per_clip"]["generated"]["000"]["psnr"]
    assert psnr == report.columns["generated"][0].psnr and values["per_clip"]["true"]["000"]["lpips"] is None
    assert values["clips"] == 4 and set(values["columns"]["generated"]) == {row.key for row in ROWS}
    console = Console(file=StringIO(), width=120)
    console.print(report.table("drawn"))
    printed = console.file.getvalue()
    assert "silhouette IoU" in printed and "LPIPS" not in printed and "4 clips" in printed


def test_the_table_has_headings_and_says_how_many_clips_had_a_number(true):
    some = {n: without_depth(c) if n == "000" else c for n, c in true.items()}
    console = Console(file=StringIO(), width=120)
    console.print(compare_clips({"generated": some}, true, Evaluator()).table())
    lines = console.file.getvalue().splitlines()
    headings = [i for i, line in enumerate(lines) if line.strip("│ ").split("│")[0].strip() in GROUPS]
    assert len(headings) == len(GROUPS)
    row = next(i for i, line in enumerate(lines) if "depth L2, whole frame" in line)
    assert "n = 3" in lines[row + 1]
    row = next(i for i, line in enumerate(lines) if "PSNR" in line)
    assert "n =" not in lines[row + 1]


def test_every_number_has_a_row():
    assert {row.field for row in ROWS} == set(FIELDS)
    assert len({row.key for row in ROWS}) == len(ROWS)


def test_folders_without_clips_are_the_users_mistake(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no clip"):
        open_clips(tmp_path / "empty")
    with pytest.raises(UserError, match="no such folder"):
        open_clips(tmp_path / "missing")


def test_one_clip_alone(true, tmp_path):
    true["000"].save(tmp_path / "a")
    true["000"].save(tmp_path / "b")
    assert evaluate(tmp_path / "a", tmp_path / "b", **NETWORKS_OFF).clips.clips == ("clip",)


@pytest.mark.parametrize("name", ["generated", "pasted", "plate", "true"])
def test_names_that_are_taken_are_refused(true, tmp_path, name):
    true["000"].save(tmp_path / "a")
    with pytest.raises(UserError, match=f"others: '{name}' is the name of a column"):
        evaluate(tmp_path / "a", tmp_path / "a", others={name: tmp_path / "a"}, **NETWORKS_OFF)


def test_what_cannot_go_well_ends_before_a_clip_is_judged(true, tmp_path):
    true["000"].save(tmp_path / "a")
    (tmp_path / "file").write_text("")

    class Refusing(ProgressCallback):
        def stage(self, name):
            raise AssertionError(f"{name} was begun")

    off = {**NETWORKS_OFF, "progress": Refusing()}
    for out in (tmp_path, tmp_path / "file" / "numbers.json"):
        with pytest.raises(UserError, match="out: "):
            evaluate(tmp_path / "a", tmp_path / "a", **off, out=out)
    with pytest.raises(UserError, match="plots: .*cannot be written"):
        evaluate(tmp_path / "a", tmp_path / "a", **off, plots=tmp_path / "file")
    alike = {"a b": tmp_path / "a", "a/b": tmp_path / "a"}
    with pytest.raises(UserError, match="'a b' and 'a/b' would both write"):
        evaluate(tmp_path / "a", tmp_path / "a", **off, others=alike, plots=tmp_path / "plots")
    with pytest.raises(UserError, match="choose one of"):  # before the networks of the sets are loaded
        evaluate(tmp_path / "a", tmp_path / "a", **{**off, "distributions": True, "lpips": "best"})
    with pytest.raises(UserError, match="resnet"):
        evaluate(
            tmp_path / "a",
            tmp_path / "a",
            **{**off, "distributions": True},
            resnet3d=tmp_path / "resnet3d.pth",
        )


def test_one_clip_beside_a_folder_of_clips_is_told_as_that(true, tmp_path):
    true["000"].save(tmp_path / "one")
    true["000"].save(tmp_path / "many" / "000")
    for generated, other in (("one", "many"), ("many", "one")):
        with pytest.raises(UserError, match=r"^true: some sets are a single clip's folder"):
            evaluate(tmp_path / generated, tmp_path / other, **NETWORKS_OFF)


def test_whole_body_clips_are_scored_by_their_body_joints(true):
    """Of 133 driving joints the body's are re-detected: all of them where they should be."""
    clip = true["000"]
    keypoints = np.zeros((clip.frames, 133, 3), np.float32)
    keypoints[..., :2] = np.random.default_rng(0).uniform(4, 28, (clip.frames, 133, 2))
    keypoints[..., 2] = 1
    whole = replace(clip, pose=Pose(keypoints, clip.height, clip.width))
    found = compare_clips(
        {"same": {"a": whole}}, {"a": whole}, Evaluator(detect_joints=lambda _: body_18(whole.pose))
    )
    assert found.estimate("same", "joints").value == 1
    lost = replace(body_18(whole.pose), keypoints=body_18(whole.pose).keypoints + np.float32([99, 0, 0]))
    found = compare_clips({"same": {"a": whole}}, {"a": whole}, Evaluator(detect_joints=lambda _: lost))
    assert found.estimate("same", "joints").value == 0


def test_unknown_networks_are_the_users_mistake(true, tmp_path):
    true["000"].save(tmp_path / "a")
    for argument in ("pose", "mask", "lpips", "identity"):
        with pytest.raises(UserError, match="choose one of"):
            evaluate(tmp_path / "a", tmp_path / "a", **{**NETWORKS_OFF, argument: "nonesuch"})


@pytest.mark.slow
@pytest.mark.assets
def test_everything_at_once_from_folders_to_json_and_images(true, tmp_path):
    for name, clip in true.items():
        clip.save(tmp_path / "true" / name)
        worse(clip, 0.05).save(tmp_path / "generated" / name)
    off = {"pose": "none", "mask": "none", "lpips": "none"}
    folders = tmp_path / "generated", tmp_path / "true"
    begun = []

    class Watching(ProgressCallback):
        def stage(self, name):
            begun.append((name, (tmp_path / "numbers.json").exists()))

    places = {"plots": tmp_path / "plots", "out": tmp_path / "numbers.json"}
    found = evaluate(*folders, **off, baselines=False, **places, progress=Watching())
    # The metrics of the clips are saved before the distribution metrics are computed.
    assert begun == [("scoring clips", False), ("computing distribution metrics", True)]
    assert "sets" in json.loads((tmp_path / "numbers.json").read_text())
    values = json.loads(json.dumps(found.to_json()))
    sets = values["sets"]["columns"]
    assert sets["generated"]["fid"]["value"] > sets["true"]["fid"]["value"] == pytest.approx(0, abs=1e-6)
    assert sets["generated"]["fvd16"]["value"] is None and "16 frames" in sets["generated"]["fvd16"]["note"]
    assert values["columns"]["generated"]["identity"]["value"] < 1
    assert values["columns"]["true"]["identity"]["value"] == pytest.approx(1, abs=0.05)
    assert len(list((tmp_path / "plots").glob("*.png"))) >= 3
    assert len(found.tables()) == 2
    with pytest.raises(UserError, match="stride"):
        evaluate(*folders, **off, stride=0)
