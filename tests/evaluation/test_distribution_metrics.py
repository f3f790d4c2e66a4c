"""Set metrics: what they are computed from, how sure they are, and when there is none."""

import json
from dataclasses import replace
from io import StringIO

import numpy as np
import pytest
from rich.console import Console

from idol.assets import ASSETS, sha256_of
from idol.clip import Clip
from idol.errors import UserError
from idol.evaluation.distribution_metrics import (
    METRICS,
    DistributionMetric,
    compare_distributions,
    estimate_distance,
    report_from_features,
    split_half_baseline,
)
from idol.evaluation.feature_extraction import FeatureExtractor, windows
from idol.evaluation.metrics.frechet import FrechetDistance, KernelDistance
from idol.evaluation.report import REFERENCE
from support.drawn import drawn_clip
from support.random_weights import write_resnet3d
from support.recorded_progress import RecordedProgress

FID, KID = (next(metric for metric in METRICS if metric.key == key) for key in ("fid", "kid"))


def frechet(a: np.ndarray, b: np.ndarray) -> float:
    return FrechetDistance([a], [b])(np.ones(1))


def kid(a: np.ndarray, b: np.ndarray) -> float:
    return KernelDistance([a], [b])(np.ones(1))


def features(seed: int, clips: int, samples: int = 3, d: int = 6, shift: float = 0.0) -> list[np.ndarray]:
    """Of clips, each of which has its own place that its samples scatter round."""
    rng = np.random.default_rng(seed)
    places = rng.normal(shift, 1, (clips, 1, d))
    return list((places + rng.normal(0, 0.3, (clips, samples, d))).astype(np.float32))


def noisy(clip: Clip, by: float) -> Clip:
    noise = np.random.default_rng(0).normal(0, 255 * by, clip.video.shape)
    return replace(clip, video=(clip.video + noise).clip(0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return write_resnet3d(tmp_path_factory.mktemp("weights") / "random.pth")


def test_windows_are_every_stretch_of_their_length():
    video = np.random.default_rng(0).integers(0, 256, (19, 3, 2, 5), dtype=np.uint8)
    for length, stride in ((8, 4), (16, 8), (8, 1), (19, 3)):
        starts = range(0, 19 - length + 1, stride)
        expected = np.stack([video[start : start + length] for start in starts])
        np.testing.assert_array_equal(windows(video, length, stride), expected)
    assert windows(video, 20, 1).shape == (0, 20, 3, 2, 5)


@pytest.mark.parametrize(("metric", "distance"), [(FID, frechet), (KID, kid)])
def test_value_is_the_distance_of_all_samples(metric, distance):
    found, true = features(0, 12, shift=1), features(1, 12)
    got = estimate_distance(found, true, metric, draws=50)
    assert got.value == pytest.approx(distance(np.concatenate(found), np.concatenate(true)), rel=1e-9)
    assert (got.clips, got.samples, got.note) == (12, 36, "")
    assert got.low < got.value < got.high
    assert estimate_distance(found, true, metric, draws=50) == got


@pytest.mark.parametrize("metric", [FID, KID])
def test_interval_is_as_wide_as_chance(metric):
    """Its width against the spread of the distance over fresh clips."""
    fresh = [
        estimate_distance(features(2 * i, 40, shift=1), features(2 * i + 1, 40), metric, draws=1)
        for i in range(80)
    ]
    spread = np.subtract(*np.percentile([got.value for got in fresh], [97.5, 2.5]))
    widths = []
    for i in range(8):
        got = estimate_distance(features(2 * i, 40, shift=1), features(2 * i + 1, 40), metric, draws=100)
        widths.append(got.high - got.low)
    assert np.mean(widths) == pytest.approx(spread, rel=0.35)


def test_interval_narrows_with_more_clips():
    few, many = (estimate_distance(features(0, n, shift=1), features(1, n), FID, draws=100) for n in (8, 128))
    assert many.high - many.low < 0.5 * (few.high - few.low)


def test_distance_of_a_set_to_itself():
    true = features(0, 6)
    got = estimate_distance(true, true, FID)
    assert got.value == pytest.approx(0, abs=1e-9) and got.high == pytest.approx(0, abs=1e-9)


def test_what_cannot_be_computed_is_none():
    true, short = features(0, 3), [np.zeros((0, 6), np.float32)] * 3
    metric = DistributionMetric("fvd16", "", "", 16)
    got = estimate_distance(short, true, metric)
    assert (got.value, got.low, got.clips, got.samples) == (None, None, 0, 0)
    assert got.note == "3 of 3 clips have fewer than 16 frames"
    got = estimate_distance([*true[:2], short[0]], true, metric, draws=9)
    assert got.note == "1 of 3 clips have fewer than 16 frames" and (got.clips, got.samples) == (2, 6)
    assert got.value == pytest.approx(0, abs=1e-9)
    got = estimate_distance(features(0, 1, samples=1), features(1, 1, samples=1), metric)
    assert got.value is None and got.note == "fewer than two samples"
    got = estimate_distance(features(0, 1), features(1, 1), metric)
    assert got.value > 0 and got.low is None and got.high is None and got.note == "one person: no interval"


@pytest.mark.parametrize("metric", [FID, KID])
def test_floor_is_the_distance_of_halves(metric):
    true = features(0, 2)
    got = split_half_baseline(true, metric)
    between = {"fid": frechet, "kid": kid}[metric.key](*true)
    assert (got.people, got.splits, got.note) == (1, 8, "")
    assert [got.value, got.low, got.high] == pytest.approx([between] * 3, rel=1e-9)
    few, many = split_half_baseline(features(0, 9), FID), split_half_baseline(features(0, 90), FID)
    assert few.people == 4 and many.people == 45
    assert few.low <= few.value <= few.high and many.value < 0.5 * few.value


def test_there_is_no_floor_without_two_halves():
    empty = np.zeros((0, 6), np.float32)
    for true in ([], features(0, 1), [empty, *features(0, 1)], features(0, 2, samples=1)):
        got = split_half_baseline(true, FID)
        assert got.value is None and got.note == "too few people for two halves"
    assert split_half_baseline(features(0, 4, samples=1), FID).value > 0


def test_one_persons_clips_stay_in_one_half():
    """Two people who differ: their halves are far apart, where halves of clips would be alike."""
    one, other = features(0, 4, samples=20), features(4, 4, samples=20, shift=5)
    people = ("one",) * 4 + ("other",) * 4
    apart = split_half_baseline([*one, *other], FID, people)
    expected = frechet(np.concatenate(one), np.concatenate(other))
    assert apart.people == 1 and [apart.low, apart.high] == pytest.approx([expected] * 2, rel=1e-9)
    assert split_half_baseline([*one, *other], FID).value < 0.5 * expected
    assert split_half_baseline([*one, *other], FID, ("one",) * 8).value is None


@pytest.mark.parametrize("metric", [FID, KID])
def test_people_are_drawn_with_all_their_clips(metric):
    """As if each person's clips were one; so copies of a clip make nothing surer."""
    found, true = features(0, 9, shift=0.3), features(20, 9)
    people = tuple("abc" * 3)
    got = estimate_distance(found, true, metric, people, draws=50)
    whole = [[np.concatenate(clips[i::3]) for i in range(3)] for clips in (found, true)]
    alone = estimate_distance(*whole, metric, draws=50)
    assert got.value == pytest.approx(alone.value, rel=1e-9) and got.clips == 9
    if metric is FID:  # a kernel's own sample is left out once for each repetition
        np.testing.assert_allclose(got.draws, alone.draws, rtol=1e-6)
        assert (got.low, got.high) == pytest.approx((alone.low, alone.high), rel=1e-6)
    assert estimate_distance(found, true, metric, ("one",) * 9).note == "one person: no interval"


def metrics(*names: str) -> list[DistributionMetric]:
    return [metric for metric in METRICS if metric.features in names]


def seen(
    seed: int, names: tuple[str, ...], clips: int = 5, shift: float = 0.0
) -> list[dict[str, np.ndarray]]:
    found = {name: features(seed + i, clips, shift=shift) for i, name in enumerate(names)}
    return [{name: found[name][i] for name in names} for i in range(clips)]


def test_report_holds_each_metric_of_each_set():
    names = ("inception", "i3d_16", "i3d_8", "i3d_8_pooled")
    found = {"generated": seen(0, names, shift=1), REFERENCE: seen(20, names)}
    report = report_from_features(tuple("abcde"), found, metrics(*names))
    keys = ["fid", "kid", "fvd16", "fvd8_disco", "fid_i3d"]
    assert (
        list(report.split_half)
        == list(report.columns["generated"])
        == list(report.columns[REFERENCE])
        == keys
    )
    for key in keys:
        got, same = report.columns["generated"][key], report.columns[REFERENCE][key]
        assert got.value > same.value and got.samples == 15
        assert same.value == pytest.approx(0, abs=1e-9) if key != "kid" else same.value < 0


def test_report_in_json_and_as_a_table():
    names = ("inception", "i3d_16", "i3d_8", "i3d_8_pooled")
    found, true = seen(0, names, shift=1), seen(20, names)
    found[0]["i3d_16"] = found[0]["i3d_16"][:0]
    columns = {"generated": found, REFERENCE: true}
    report = report_from_features(tuple("abcde"), columns, metrics(*names), weights={"i3d": "ab" * 32})
    values = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert (
        values["clips"] == 5
        and values["stride"] == {"fvd16": 8, "fvd8_disco": 4, "fid_i3d": 4}
        and values["weights"]["i3d"] == "ab" * 32
    )
    assert values["columns"]["generated"]["fvd16"]["clips"] == 4
    assert values["columns"]["generated"]["fvd16"]["samples"] == 12
    assert values["floor"]["fid"]["value"] == report.split_half["fid"].value
    console = Console(file=StringIO(), width=140)
    console.print(report.table("drawn"))
    printed = console.file.getvalue()
    for words in ("FVD, 16 frames (standard)", "generated", "baseline", "5 clips", "15 windows", "15 frames"):
        assert words in printed
    assert "fvd16: 1 of 5 clips have fewer than 16 frames" in printed and "FID-VID" not in printed


@pytest.mark.slow
def test_clips_to_report(weights):
    """The whole way, with the one network whose weights are the user's."""
    true = {name: drawn_clip(i, frames=10, size=32) for i, name in enumerate("ab")}
    columns = {by: {n: noisy(c, float(by)) for n, c in true.items()} for by in ("0.02", "0.1")}
    progress = RecordedProgress()
    extractor = FeatureExtractor(fid=False, fvd=False, resnet3d=weights, stride=2)
    report = compare_distributions(columns, true, extractor, progress)
    assert progress.steps == [(i, 6) for i in range(1, 7)]
    assert (
        report.clips == ("a", "b")
        and report.stride == 2
        and list(report.columns) == ["0.02", "0.1", REFERENCE]
    )
    values = [report.columns[column]["fid_vid"].value for column in (REFERENCE, "0.02", "0.1")]
    assert values == sorted(values) and values[0] == pytest.approx(0, abs=1e-6 * values[-1])
    assert {found["fid_vid"].samples for found in report.columns.values()} == {4}
    assert report.weights == {"resnet3d": sha256_of(weights)} and report.split_half["fid_vid"].value > 0


def test_equal_windows_are_looked_at_once_and_counted_each(weights):
    extractor = FeatureExtractor(fid=False, fvd=False, resnet3d=weights, stride=1)
    clip = drawn_clip(0, frames=9, size=32)
    moving = extractor.extract(clip.video)["resnet3d_8"]
    still = extractor.extract(np.concatenate([clip.video[:8], clip.video[:1], clip.video[1:8]]))["resnet3d_8"]
    assert moving.shape == (2, 2048) and still.shape == (9, 2048)
    np.testing.assert_array_equal(still[0], still[8])
    np.testing.assert_allclose(still[0], moving[0], rtol=1e-4)
    assert not np.allclose(moving[0], moving[1], rtol=1e-4)
    assert extractor.extract(clip.video[:7])["resnet3d_8"].shape == (0, 2048)


def test_sets_that_do_not_match_are_the_users_mistake(weights):
    true = {name: drawn_clip(i, frames=8, size=32) for i, name in enumerate("ab")}
    extractor = FeatureExtractor(fid=False, fvd=False)
    with pytest.raises(UserError, match="true: 1 of 3 clips are missing, 'c'"):
        compare_distributions({"generated": true | {"c": true["a"]}}, true, extractor)
    with pytest.raises(UserError, match="true: some sets are a single clip's folder"):
        compare_distributions({"generated": {"clip": true["a"]}}, true, extractor)
    with pytest.raises(ValueError, match="stride: found 0"):
        FeatureExtractor(fid=False, fvd=False, stride=0)


@pytest.mark.assets
def test_frames_get_fid_and_kid():
    true = {name: drawn_clip(i, frames=2, size=48) for i, name in enumerate("ab")}
    report = compare_distributions(
        {"noisy": {n: noisy(c, 0.2) for n, c in true.items()}}, true, FeatureExtractor(fvd=False)
    )
    assert report.columns["noisy"]["fid"].value > 10 > report.columns[REFERENCE]["fid"].value
    assert report.columns["noisy"]["kid"].value > report.columns[REFERENCE]["kid"].value
    assert report.columns["noisy"]["kid"].samples == 4
    assert report.weights == {"fid-inception": ASSETS["fid-inception"].sha256}


@pytest.mark.assets
def test_fid_vid_needs_no_stand_in(weights):
    extractor = FeatureExtractor(resnet3d=weights)
    keys = [metric.key for metric in extractor.metrics()]
    assert keys == ["fid", "kid", "fvd16", "fvd8_disco", "fid_vid"] and len(extractor.weights) == 3


@pytest.mark.slow
@pytest.mark.assets
def test_windows_get_fvd():
    true = {"a": drawn_clip(0, frames=16, size=48)}
    report = compare_distributions({"noisy": {"a": noisy(true["a"], 0.2)}}, true, FeatureExtractor(fid=False))
    found, same = report.columns["noisy"], report.columns[REFERENCE]
    assert list(found) == list(report.split_half) == ["fvd16", "fvd8_disco", "fid_i3d"]
    assert found["fvd16"].value is None and found["fvd16"].note == "fewer than two samples"
    for key in ("fvd8_disco", "fid_i3d"):
        assert found[key].value > 0.1 and found[key].samples == 3 and found[key].low is None
        assert same[key].value == pytest.approx(0, abs=1e-6) and report.split_half[key].value is None
    assert report.weights == {"i3d-kinetics-400": ASSETS["i3d-kinetics-400"].sha256}
