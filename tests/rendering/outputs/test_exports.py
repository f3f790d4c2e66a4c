import json
import sys

import numpy as np
import pytest

from idol.rendering import render
from idol.rendering.layers.separate import separate
from support.cli_runs import call, refused
from support.depth_videos import read_depth_video
from support.drawn import drawn_clip
from support.recorded_progress import RecordedProgress

FILES = {
    "points": ["points/00000.ply", "points/00001.ply", "background.ply"],
    "scene-points": ["scene-points/00000.ply", "scene-points/00001.ply"],
    "mesh": ["clip.glb", "mesh/00000.glb", "mesh/00001.glb"],
    "exr": ["exr/00000.exr", "exr/00001.exr", "background.exr"],
    "depth": ["depth.mkv", "scene-depth.mkv"],
}


def test_the_verb_writes_what_it_says(tmp_path):
    pytest.importorskip("OpenEXR")
    drawn_clip(3, frames=2, size=32).save(tmp_path / "clip")
    kinds = [word for kind in FILES for word in ("--kind", kind)]
    done = call("render", tmp_path / "clip", "-o", tmp_path / "out", *kinds, "--json")
    assert done.code == 0, done.err
    expected = [name for names in FILES.values() for name in names]
    assert [name.removeprefix(f"{tmp_path}/out/") for name in done.json["files"]] == expected
    found = {str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*") if p.is_file()}
    assert found == {*expected, *(f"{name}.c2pa" for name in expected), "render.json"}
    assert json.loads((tmp_path / "out" / "render.json").read_text())["files"] == expected


@pytest.mark.parametrize("kind", ["points", "exr"])
def test_a_moving_background_is_a_file_a_frame(tmp_path, kind):
    pytest.importorskip("OpenEXR")
    made = render(drawn_clip(3, frames=2, size=32, moving=True), tmp_path / "out", [kind])
    suffix = made.files[0].suffix
    names = [f"00000{suffix}", f"00001{suffix}"]
    assert [p.name for p in made.files if p.parent.name == "background"] == names


def test_kinds_may_share_the_folder_of_a_moving_background(tmp_path):
    pytest.importorskip("OpenEXR")
    made = render(drawn_clip(3, frames=2, size=32, moving=True), tmp_path / "out", ["points", "exr"])
    assert len([p for p in made.files if p.parent.name == "background"]) == 4


def test_a_wider_step_makes_smaller_meshes(tmp_path):
    clip = drawn_clip(3, frames=2, size=32)
    clip.save(tmp_path / "clip")
    sizes = []
    for step in ("1", "2", "4"):
        out = tmp_path / step
        done = call("render", tmp_path / "clip", "-o", out, "--kind", "mesh", "--mesh-step", step)
        assert done.code == 0, done.err
        assert json.loads((out / "render.json").read_text())["settings"]["mesh_step"] == int(step)
        data = (out / "mesh" / "00000.glb").read_bytes()
        accessors = json.loads(data[20 : 20 + int.from_bytes(data[12:16], "little")])["accessors"]
        sizes.append(sum(each["count"] for each in accessors))
    assert sizes[0] > 2 * sizes[1] > 4 * sizes[2]


def test_progress_counts_frames(tmp_path):
    progress = RecordedProgress()
    clip = drawn_clip(3, frames=3, size=32)
    render(clip, tmp_path / "out", ["points"], progress=progress)
    assert progress.steps == [(1, 3), (2, 3), (3, 3)]


def test_depth_videos_show_the_person_before_the_scene(tmp_path):
    clip = drawn_clip(3, frames=2, size=32)
    layers = separate(clip)
    render(clip, tmp_path / "out", ["depth"])
    person = read_depth_video(tmp_path / "out" / "depth.mkv")
    scene = read_depth_video(tmp_path / "out" / "scene-depth.mkv")
    there = layers.alpha >= 0.5
    assert person[there].all() and not person[~there].any()
    np.testing.assert_array_equal(scene[there], person[there])
    behind = np.broadcast_to(layers.background_z, there.shape)[~there]
    np.testing.assert_allclose(scene[~there], np.minimum(behind * 1000, 65535), atol=0.51)


def test_exr_without_its_package_is_told(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "OpenEXR", None)
    drawn_clip(3, frames=2, size=32).save(tmp_path / "clip")
    told = refused("render", tmp_path / "clip", "-o", tmp_path / "out", "--kind", "exr")
    assert told == "--kind: exr needs OpenEXR, which is not installed; pip install idol-diffusion[render]"
    assert [p.name for p in tmp_path.iterdir()] == ["clip"]
