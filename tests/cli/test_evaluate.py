"""`idol evaluate` on the command line: what it prints and writes, and what it refuses."""

import json
from dataclasses import replace

import pytest

from support.cli_runs import call, refused
from support.drawn import drawn_clip

OFF = [word for option in ("pose", "mask", "lpips", "identity") for word in (f"--{option}", "none")]
OFF += ["--no-distributions", "--no-baselines"]


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Three clips of two people."""
    folder = tmp_path_factory.mktemp("clips")
    for i, who in enumerate("aab"):
        replace(drawn_clip(i), subject=who).save(folder / str(i))
    return folder


def test_one_line_on_stdout_the_same_numbers_in_the_file(clips, tmp_path):
    done = call(
        "evaluate", clips, clips, *OFF, "--other", f"again={clips}", "-o", tmp_path / "n.json", "--json"
    )
    assert done.code == 0 and len(done.out.splitlines()) == 1
    assert (done.json["clips"], done.json["people"]) == (3, 2)
    assert list(done.json["columns"]) == ["generated", "again", "true"]
    written = json.loads((tmp_path / "n.json").read_text())
    assert written["columns"] == done.json["columns"] and written["shows"] == {"0": "a", "1": "a", "2": "b"}


@pytest.mark.parametrize("name", ["generated", "pasted", "plate", "true"])
def test_no_set_takes_the_name_of_another(clips, name):
    assert f"'{name}' is the name of a column" in refused(
        "evaluate", clips, clips, *OFF, "--other", f"{name}=bad"
    )


def test_names_given_twice(clips):
    named = ("--other", f"bad={clips}", "--other", "bad=elsewhere")
    assert "the name bad occurs twice" in refused("evaluate", clips, clips, *OFF, *named)


def test_a_place_that_cannot_be_written(clips):
    assert "is a folder" in refused("evaluate", clips, clips, *OFF, "-o", clips)
