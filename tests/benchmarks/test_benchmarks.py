"""The benchmarks, whole, on drawn clips and the smallest networks."""

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from idol.clip import Clip
from idol.training.export import export
from idol.training.train import fit
from support.training_runs import config, make_data

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import quality  # noqa: E402
import real_people  # noqa: E402

NETWORKS_OFF = ["--pose", "none", "--mask", "none", "--lpips", "none", "--device", "cpu"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Drawn shards, and a pipeline after one step of training."""
    folder = tmp_path_factory.mktemp("benchmarks")
    make_data(folder)
    fit(config(folder, "run", frames=4, steps=1, save_every=1))
    export(folder / "run", folder / "weights")
    return folder


def run(monkeypatch, module, *arguments):
    monkeypatch.setattr(sys, "argv", [module.__name__, *map(str, arguments), *NETWORKS_OFF])
    module.main()


def test_quality_from_shards_to_json(folder, monkeypatch, capsys):
    arguments = ["--weights", folder / "weights", "--data", folder / "shards", "--out", folder / "quality"]
    arguments += ["--json", folder / "quality.json", "--clips", 2, "--steps", 2]
    run(monkeypatch, quality, *arguments)
    first = json.loads((folder / "quality.json").read_text())
    assert first["clips"] == 2 and first["steps"] == 2
    assert set(first["columns"]) == {"generated", "ceiling", "draft", "pasted", "plate", "true"}
    assert first["columns"]["true"]["depth_l2"]["value"] == 0
    made = sorted((folder / "quality").glob("*/generated/*"))
    assert len(made) == 2 and Clip.load(made[0]).source.startswith("drawn")
    printed = capsys.readouterr().out
    assert "depth L2, whole frame" in printed and "goals" in printed
    # Started again, it makes nothing anew and says the same.
    before = [path.stat().st_mtime_ns for path in made]
    run(monkeypatch, quality, *arguments)
    assert json.loads((folder / "quality.json").read_text()) == first
    assert [path.stat().st_mtime_ns for path in made] == before
    # Other settings do not go on from these clips.
    run(monkeypatch, quality, *arguments[:-1], 1)
    assert len(sorted((folder / "quality").glob("*/generated/*"))) == 4


def test_a_goal_that_could_not_be_measured_is_not_reached():
    for at_most in (True, False):
        assert not quality.Goal("x", math.nan, 0.5, None, at_most).reached
    assert quality.Goal("x", 0.4, 0.5, None, True).reached
    assert not quality.Goal("x", 0.4, 0.5, None, False).reached


def test_real_people_are_animated_and_judged(folder, monkeypatch, capsys):
    arguments = ["--weights", folder / "weights", "--out", folder / "real", "--frames", 2, "--bundled", 1]
    arguments += ["--no-videos", "--json", folder / "real.json"]
    monkeypatch.setattr(sys, "argv", ["real_people", *map(str, arguments)])
    real_people.main()
    result = json.loads((folder / "real.json").read_text())
    assert list(result["runs"]) == ["woman-walking-jumping-jacks", "woman-walking-dance-a"]
    for key in ("joints", "alignment"):
        values = [run[key] for run in result["runs"].values()]
        assert result["mean"][key] == pytest.approx(sum(values) / 2) and 0 <= min(values) <= max(values) <= 1
    assert Clip.load(folder / "real" / "woman-walking-dance-a").frames == 2
    assert "joints re-detected" in capsys.readouterr().out


def test_speed_of_one_fresh_process(folder):
    command = [sys.executable, str(BENCHMARKS / "speed.py"), "--weights", str(folder / "weights")]
    command += [
        "--frames",
        "2",
        "--size",
        "64",
        "--steps",
        "1",
        "--repeat",
        "1",
        "--json",
        str(folder / "s.json"),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result = json.loads((folder / "s.json").read_text())
    assert 0 < result["median"]["generate_s"] < 60 and 0.05 < result["median"]["peak_gb"] < 4
    assert "load the weights" in done.stdout and np.isfinite(list(result["median"].values())).all()
