"""What `generate` and `render` write is marked and signed, and only an explicit flag leaves the mark away."""

import json
import zipfile
from dataclasses import replace

import numpy as np
import pytest

from idol.clip import Clip
from idol.generation.environment import load_pipeline
from idol.generation.generate import repeat, run_prepared
from idol.generation.run_folder import read_inputs, read_record
from idol.progress import SILENT
from idol.provenance import Provenance, verify
from idol.provenance.watermark import Marker
from idol.webapp.requests import JobRequest, fulfill
from support.cli_runs import SIZE, call, refused, save_run, save_tiny_pipeline


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A run without the mark."""
    folder = tmp_path_factory.mktemp("written")
    return save_run(folder / "plain", save_tiny_pipeline(folder / "weights"), frames=10)


@pytest.fixture(scope="module")
def marked(plain):
    """The same with it."""
    record = read_record(plain.folder)
    pipe = load_pipeline(record.settings.weights, "cpu")
    record = replace(record, settings=replace(record.settings, watermark=True))
    return run_prepared(pipe, read_inputs(plain.folder, record), record, plain.folder.with_name("marked"))


def test_frames_bear_the_mark_and_depth_does_not(plain, marked):
    mark = Marker.fit(plain.clip.video[:8])  # written a few frames at a time
    assert np.array_equal(marked.clip.video, mark.mark(plain.clip.video))
    assert np.array_equal(marked.clip.depth, plain.clip.depth)
    assert not np.array_equal(marked.clip.video, plain.clip.video)


@pytest.mark.slow
def test_run_json_says_so_and_the_run_can_be_repeated(plain, marked, tmp_path):
    credentials = json.loads((marked.folder / "run.json").read_text())["settings"]
    assert credentials["watermark"] is True
    assert json.loads((plain.folder / "run.json").read_text())["settings"]["watermark"] is False
    again = repeat(marked.folder, tmp_path / "again")
    assert np.array_equal(again.clip.video, marked.clip.video)


@pytest.mark.parametrize("name", ["video.mp4", "depth.mp4", "preview.png"])
def test_videos_and_sheet_are_signed(marked, name):
    (file,) = verify(marked.folder / name).files
    assert file.credentials.state == "valid" and file.credentials.embedded
    facts = file.credentials.facts
    assert facts["seed"] == marked.record.settings.seed and facts["kind"] == name.split(".")[0]
    assert len(facts["checkpoint"]) == 64 and str(marked.folder.parent) not in json.dumps(facts)


def test_views_are_marked_and_signed_in_themselves_or_beside(marked, tmp_path):
    done = call(
        "render", marked.folder, "-o", tmp_path / "views", "--kind", "parallax", "--kind", "mesh", "--json"
    )
    assert done.code == 0, done.err
    assert json.loads((tmp_path / "views" / "render.json").read_text())["settings"]["watermark"] is True
    for name in ("parallax.mp4", "clip.glb"):
        (file,) = verify(tmp_path / "views" / name).files
        assert file.credentials.state == "valid" and file.credentials.embedded == (name == "parallax.mp4")


@pytest.mark.slow
def test_all_that_a_visitor_takes_home_is_signed(plain, tmp_path, own):
    request = JobRequest(
        frames=3, fps=10.0, num_inference_steps=2, seed=4, detail="none", person="man-standing", motion="walk"
    )
    weights = read_record(plain.folder).settings.weights
    studio = Provenance(certificate=own / "chain.pem", private_key=own / "key.pem")
    made = fulfill(load_pipeline(weights, "cpu"), weights, request, tmp_path, studio, SILENT)
    with zipfile.ZipFile(made.archive) as archive:
        archive.extractall(tmp_path / "home")
    home = tmp_path / "home" / "idol"
    credentials = {
        name: verify(home / name).files[0].credentials
        for name in ("video.mp4", "depth.mp4", "preview.png", "skeleton.mp4", "orbit.html")
    }
    assert {(each.state, each.signer) for each in credentials.values()} == {("valid", "desk 4")}
    assert credentials["skeleton.mp4"].sources == ("algorithmicMedia",)
    assert credentials["skeleton.mp4"].facts == {"kind": "skeleton"}
    assert (
        credentials["orbit.html"].sources == ("trainedAlgorithmicMedia",)
        and not credentials["orbit.html"].embedded
    )
    assert credentials["orbit.html"].facts == {**credentials["video.mp4"].facts, "kind": "orbit"}


def test_the_mark_of_views_can_be_switched_off(marked, tmp_path):
    for flag in ("--watermark", "--no-watermark"):
        done = call("render", marked.folder, "-o", tmp_path / flag, "--path", "still", flag)
        assert done.code == 0, done.err
    record = json.loads((tmp_path / "--no-watermark" / "render.json").read_text())
    assert record["settings"]["watermark"] is False
    on, off = ((tmp_path / flag / "parallax.mp4").read_bytes() for flag in ("--watermark", "--no-watermark"))
    assert on != off


def test_a_certificate_without_its_key_is_refused_before_any_work(tmp_path, marked):
    (tmp_path / "chain.pem").write_text("no certificate")
    told = refused("render", marked.folder, "-o", tmp_path / "v", "--certificate", tmp_path / "chain.pem")
    assert "--private-key" in told
    both = ("--certificate", tmp_path / "chain.pem", "--private-key", tmp_path / "chain.pem")
    assert "chain.pem" in refused("render", marked.folder, "-o", tmp_path / "v", *both)
    assert not (tmp_path / "v").exists()


def test_a_recording_is_signed_by_whom_the_user_says(marked, tmp_path, own):
    pytest.importorskip("rerun")
    path = tmp_path / "clip.rrd"
    keys = ("--certificate", own / "chain.pem", "--private-key", own / "key.pem")
    done = call("view", marked.folder, "--with", "rerun", "--save", path, *keys)
    assert done.code == 0, done.err
    credentials = verify(path).files[0].credentials
    assert (credentials.state, credentials.signer, credentials.embedded) == ("valid", "desk 4", False)


def test_a_clip_is_still_a_clip(marked):
    assert Clip.load(marked.folder).video.shape == (10, 3, SIZE, SIZE)
