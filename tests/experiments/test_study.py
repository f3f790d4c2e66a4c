"""A table from its YAML to its report, on drawn clips and the smallest networks."""

import json
import shutil
import sys
from dataclasses import replace

import numpy as np
import pytest
import yaml

from idol.assets import sha256_of
from idol.cli import main
from idol.clip import Clip
from idol.errors import UserError
from idol.evaluation.clip_sets import DerivedClips, open_clips
from idol.evaluation.external.importers import write_clips
from idol.evaluation.metrics.clip import depth_l2
from idol.experiments import tables
from idol.experiments.quality_table import run_quality_table
from idol.experiments.regenerate import make_clips
from idol.experiments.study import plan_study
from idol.progress import ProgressCallback
from support.training_runs import make_data, settings

pytestmark = pytest.mark.assets  # Inception and I3D

ROWS = [
    {"name": "ours", "tiktok": {"fid": 1.0, "depth_l2": 0.1}},
    {"name": "no cross-modal attention", "set": ["model.unet.cross_modal=false"], "tiktok": {"fid": 2.0}},
    {
        "name": "video alone",
        "set": [
            "model.unet.num_modalities=1",
            "model.unet.cross_modal=false",
            "data.images.modalities=1",
            "loss.w_mo=0",
            "loss.w_xattn=0",
        ],
        "tiktok": {"fid": 4.0, "depth_l2": 0.2},
    },
    {"name": "theirs", "external": True, "tiktok": {"fid": 3.0}},
    {"name": "nobody's", "external": True},
]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Drawn shards, two stages of one step, a table of four rows, another method's clips."""
    folder = tmp_path_factory.mktemp("reproduce")
    make_data(folder)
    (folder / "tables" / "scales").mkdir(parents=True)
    for name, frames in (("image", 1), ("video", 4)):
        values = settings(folder, name, frames, save_every=1)
        values["generation"] = {"num_inference_steps": 1, "guidance_scale": 1.0, "autocast": False}
        (folder / "tables" / "scales" / f"{name}.yaml").write_text(yaml.safe_dump(values))
    scale = {
        "about": "one step",
        "stages": [{"config": "image.yaml", "steps": 1}, {"config": "video.yaml", "steps": 1}],
        "depth_estimator": {"set": ["noise.shared_timesteps=false"]},
        "test": {"folder": str(folder / "shards")},
    }
    (folder / "tables" / "scales" / "drawn.yaml").write_text(yaml.safe_dump(scale))
    table = {"title": "Table 0", "rows": ROWS}
    (folder / "tables" / "table0.yaml").write_text(yaml.safe_dump(table))
    true = open_clips(folder / "shards")
    write_clips(DerivedClips(true, without_depth), folder / "theirs")
    return folder


class Refusing(ProgressCallback):
    """Fails when any work is begun."""

    def stage(self, name):
        raise AssertionError(f"{name} was begun")


def without_depth(clip: Clip) -> Clip:
    return Clip(
        clip.video[:, ::-1].copy(),
        np.zeros_like(clip.depth),
        clip.mask,
        clip.pose,
        clip.background,
        clip.fps,
        depth_kind="none",
    )


def studied(place):
    return plan_study(
        "table0", "drawn", place / "runs", given={"theirs": place / "theirs"}, folder=place / "tables"
    )


def test_rows_are_trained_alike_made_and_judged(place):
    study = studied(place)
    found = run_quality_table(study)
    rows = {result.row.name: result for result in found.rows}
    assert list(rows) == [row["name"] for row in ROWS] and found.judged.startswith("3 clips of ")
    (learned,) = found.trained_on
    assert learned.clips == 3 and learned.sha256 == sha256_of(place / "shards" / "manifest.json")
    assert rows["nobody's"].skip_reason == "made by its own code: give its clips"
    assert rows["ours"].parameters > rows["no cross-modal attention"].parameters > 0
    # what was measured is what lies on disk
    true = open_clips(place / "shards")
    for name, plan in study.plans.items():
        folders = sorted(plan.folder.glob("clips-shards-*"))
        made = open_clips(folders[-1])
        if name == "video alone":
            bare = open_clips(folders[0])
            assert {bare[key].depth_kind for key in bare} == {"none"}
            assert folders[1].name == f"{folders[0].name}-{study.estimator.folder.name}"
            assert all(np.array_equal(made[key].video, bare[key].video) for key in bare)
        expected = np.mean([depth_l2(made[key].depth, true[key].depth) for key in true])
        assert rows[name].metrics["depth_l2"].value == pytest.approx(expected)
    assert "depth_l2" not in rows["theirs"].metrics and rows["theirs"].metrics["fid"].value > 1
    for result in found.rows:
        if result.skip_reason is None:
            assert {"fid", "flicker"} <= result.metrics.keys()
            assert "fvd8_disco" not in result.metrics  # four frames are no window of eight
    alike = [plan for name, plan in study.plans.items() if name != "video alone"]
    stages = [yaml.safe_load((plan.folder / "config.yaml").read_text()) for plan in alike]
    for stage in stages:
        del stage["out"], stage["model"]["init"], stage["model"]["unet"]["cross_modal"]
    assert stages[0] == stages[1]
    pairs = {(c.metric, c.first, c.second) for c in found.comparisons()}
    assert ("fid", "ours", "theirs") in pairs
    assert {p for p in pairs if p[0] == "depth_l2"} == {("depth_l2", "ours", "video alone")}
    assert study.estimated == ("video alone",) and "Depth of video alone: estimated" in found.notes[-1]

    # Again: nothing is trained, made or looked at anew, and the same is said.
    files = {path: path.stat().st_mtime_ns for path in (place / "runs").rglob("*") if path.is_file()}
    assert json.dumps(run_quality_table(studied(place)).to_json()) == json.dumps(found.to_json())
    assert {p: p.stat().st_mtime_ns for p in (place / "runs").rglob("*") if p.is_file()} == files


def test_data_that_is_not_there_is_told_before_anything_is_done(place, tmp_path):
    scale = yaml.safe_load((place / "tables" / "scales" / "drawn.yaml").read_text())
    scale["set"] = [f"data.folders=[{tmp_path / 'nowhere'}]"]
    for stage in scale["stages"]:
        stage["config"] = str(place / "tables" / "scales" / stage["config"])
    (tmp_path / "scale.yaml").write_text(yaml.safe_dump(scale))
    study = plan_study("table0", str(tmp_path / "scale.yaml"), tmp_path / "runs", folder=place / "tables")
    assert f"{tmp_path / 'nowhere'}: not drawn yet" in study.text()
    assert all("not-named-yet" in plan.folder.name for plan in study.plans.values())

    with pytest.raises(UserError, match="nowhere: not drawn yet; draw it with `idol synth`"):
        run_quality_table(study, progress=Refusing())
    assert not (tmp_path / "runs").exists()


def refused(study, **options):
    """What is said before any work is begun."""

    with pytest.raises(UserError) as told:
        run_quality_table(study, progress=Refusing(), **options)
    return str(told.value)


def test_what_can_be_told_at_once_is(place, tmp_path, monkeypatch):
    study = studied(place)
    assert refused(study, device="nowhere").startswith("device: nowhere cannot be used")
    gone = replace(study, given={"theirs": tmp_path / "gone"})
    assert "gone: no such folder" in refused(gone)
    drawing = replace(study, scale=replace(study.scale, test=tables.HeldOutClips()), out=tmp_path)
    for package, name in (("skimage.metrics", "eval"), ("anny", "synth")):
        with monkeypatch.context() as without:
            without.setitem(sys.modules, package, None)
            assert f"pip install 'idol-diffusion[{name}]'" in refused(drawing)
    assert not list(tmp_path.iterdir())


def test_given_clips_that_are_too_few_are_told_before_training(place, tmp_path):
    names = list(open_clips(place / "theirs"))
    shutil.copytree(place / "theirs" / names[0], tmp_path / "few" / names[0])
    study = plan_study(
        "table0",
        "drawn",
        tmp_path / "runs",
        given={"theirs": tmp_path / "few"},
        folder=place / "tables",
    )
    with pytest.raises(UserError, match=r"theirs: 2 of 3 clips are missing"):
        run_quality_table(study)
    assert not (tmp_path / "runs").exists()


def test_given_clips_of_a_row_that_is_not_asked_for_are_left_alone(place):
    study = plan_study("table0", "drawn", rows=("ours",), given={"theirs": "gone"}, folder=place / "tables")
    assert not study.given and study.left_out["theirs"] == "not asked for"


def test_given_clips_may_change_and_are_left_as_they_are(place):
    def fid():
        study = plan_study(
            "table0",
            "drawn",
            place / "runs",
            rows=("theirs",),
            folder=place / "tables",
            given={"theirs": place / "changing"},
        )
        return (
            next(row for row in run_quality_table(study).rows if row.row.name == "theirs")
            .metrics["fid"]
            .value
        )

    true = open_clips(place / "shards")
    write_clips(DerivedClips(true, without_depth), place / "changing")
    files = sorted((place / "changing").rglob("*"))
    before = fid()
    assert sorted((place / "changing").rglob("*")) == files and not list((place / "shards").glob("*.npz"))
    write_clips(true, place / "changing")
    assert fid() < 1 < before


def test_clips_that_are_there_are_kept(place):
    true = open_clips(place / "shards")
    made = []

    def make(clip):
        made.append(clip.source)
        return clip

    make_clips(true, place / "kept", make, count=1)
    make_clips(true, place / "kept", make)
    assert len(made) == len(true) == len(set(made))


def test_the_verb_writes_the_table_and_its_dry_run_nothing(place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    arguments = ["reproduce", str(place / "tables" / "table0.yaml"), "--runs", str(place / "runs")]
    arguments += ["--scale", str(place / "tables" / "scales" / "drawn.yaml"), "--clips", "theirs=theirs"]
    before = sorted(place.rglob("*"))
    assert main([*arguments, "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert "image: 1 steps" in printed and "model.unet.cross_modal=false" in printed
    assert "not run: made by its own code" in printed and sorted(place.rglob("*")) == before
    assert main([*arguments, "--out", "results", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    written = json.loads((place / "results" / "table0_drawn.json").read_text())
    assert said == {"ok": True, **written}
    assert (place / "results" / "table0_drawn.md").read_text().startswith("## Table 0")
    assert len(list((place / "results").iterdir())) == 2
    assert main([*arguments, "--row", "none such"]) == 2
