"""`idol render` and `idol.rendering.render`: whole folders, one-line refusals, camera paths."""

import json
import wave

import numpy as np
import pytest

from idol.clip.video import read_video, write_video
from idol.errors import UserError
from idol.rendering import render, view_settings
from idol.rendering.geometry.camera import Camera
from idol.rendering.geometry.camera_paths import camera_path
from support.cli_runs import call, refused
from support.drawn import drawn_clip
from support.recorded_progress import RecordedProgress

PERSON = np.array([0.3, 0.2, 4.0])
TIMES = np.arange(17) / 4


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips") / "clip"
    drawn_clip(0, frames=3).save(folder)
    return folder


@pytest.fixture
def sound(tmp_path):
    """A second of a tone."""
    file = tmp_path / "tone.wav"
    samples = (8000 * np.sin(np.arange(16000) * 440 * 2 * np.pi / 16000)).astype("<i2")
    with wave.open(str(file), "wb") as out:
        out.setparams((1, 2, 16000, 0, "NONE", ""))
        out.writeframes(samples.tobytes())
    return file


def in_place(view):
    return Camera(40.0, 100, 100).project(view.to_camera(PERSON))


def test_videos_and_record(clip, tmp_path):
    done = call("render", clip, "-o", tmp_path / "out", "--kind", "parallax", "--kind", "stereo", "--json")
    assert done.code == 0, done.err
    files = [tmp_path / "out" / name for name in ("parallax.mp4", "stereo.mp4")]
    assert done.json["files"] == [str(f) for f in files]
    assert [read_video(f).frames.shape for f in files] == [(3, 3, 64, 64), (3, 3, 64, 128)]
    record = json.loads((tmp_path / "out" / "render.json").read_text())
    assert record["settings"]["baseline"] == 0.063 and record["files"] == ["parallax.mp4", "stereo.mp4"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out"]


@pytest.mark.parametrize(
    ("asked", "size"),
    [((128, None), (128, 128)), ((None, 32), (32, 32)), ((48, 96), (48, 96))],
)
def test_the_size_is_as_asked(clip, tmp_path, asked, size):
    made = render(clip, tmp_path / "out", height=asked[0], width=asked[1], path="still")
    assert read_video(made.files[0]).frames.shape[2:] == size


def test_a_still_camera_gives_the_video_back(clip, tmp_path):
    made = render(clip, tmp_path / "out", path="still", watermark=False)
    drawn = drawn_clip(0, frames=3)
    write_video(tmp_path / "own.mp4", drawn.video, drawn.fps)  # hard stripes lose much of their color
    own, ours = (read_video(f).frames.astype(int) for f in (tmp_path / "own.mp4", made.files[0]))
    assert np.abs(own - ours).mean() < 2


def test_a_video_in_parts_is_the_same_video(clip, tmp_path, monkeypatch):
    """Without the mark, which the first part settles, it does not matter how many frames go together."""
    whole = render(clip, tmp_path / "whole", watermark=False).files[0]
    monkeypatch.setattr(view_settings, "CHUNK_FRAMES", 2)
    progress = RecordedProgress()
    parts = render(clip, tmp_path / "parts", watermark=False, progress=progress).files[0]
    np.testing.assert_array_equal(read_video(whole).frames, read_video(parts).frames)
    assert progress.steps == [(2, 3), (3, 3)]


def test_sound_is_kept(clip, tmp_path, sound):
    run = tmp_path / "run"
    drawn = drawn_clip(0, frames=3)
    drawn.save(run)
    write_video(run / "video.mp4", drawn.video, drawn.fps, audio_from=sound)
    made = render(run, tmp_path / "out", ("stereo",), stereo="anaglyph")
    assert read_video(made.files[0]).audio is not None
    assert read_video(render(clip, tmp_path / "mute").files[0]).audio is None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--kind", "hologram"], "--kind: 'hologram'; choose from parallax, stereo"),
        (["--stereo", "cross"], "--stereo: 'cross'; choose from side-by-side"),
        (["--path", "fly"], "--path: 'fly' is neither a move nor a file"),
        (["--amount", "0.1", "--kind", "stereo"], "--amount: no camera moves"),
        (["--amount", "5"], "--amount: 5.0; give a fraction"),
        (["--baseline", "9"], "--baseline: 9.0; give meters from -1 to 1"),
        (["--convergence", "0"], "--convergence: 0.0; give meters"),
        (["--fov", "200"], "--fov: 200.0; give degrees"),
        (["--person-height", "17"], "--person-height: 17.0; give meters"),
        (["--mesh-step", "5", "--kind", "mesh"], "--mesh-step: 5; give 1 to 4 pixels"),
        (["--mesh-step", "2"], "--mesh-step: is only used by meshes; add --kind mesh"),
        (["--height", "2"], "--height: 2 pixels"),
        (["--width", "65", "--kind", "stereo", "--stereo", "side-by-side-half"], "--width: 65 pixels cannot"),
    ],
)
def test_wrong_arguments_are_told_in_one_line(clip, tmp_path, arguments, words):
    assert words in refused("render", clip, "-o", tmp_path / "out", *arguments)
    assert not list(tmp_path.iterdir())


def test_what_is_no_clip_is_refused(tmp_path):
    assert "no clip.json" in refused("render", tmp_path, "-o", tmp_path / "out")


def test_a_folder_is_replaced_only_on_demand(clip, tmp_path):
    out = tmp_path / "out"
    render(clip, out)
    with pytest.raises(UserError, match="overwrite=True"):
        render(clip, out)
    render(clip, out, ("stereo",), overwrite=True)
    assert sorted(p.name for p in out.iterdir()) == ["render.json", "stereo.mp4"]
    with pytest.raises(UserError, match="not a folder of views"):
        render(clip, clip, overwrite=True)


def test_nothing_is_left_of_a_render_that_fails(tmp_path):
    run, out = tmp_path / "run", tmp_path / "views" / "out"
    drawn_clip(0, frames=3).save(run)
    (run / "video.mp4").write_bytes(b"no video")  # its sound is asked for when the frames are there
    assert "sound cannot be decoded" in refused("render", run, "-o", out)
    assert not list(out.parent.iterdir())


@pytest.mark.parametrize("move", ["sway", "orbit", "dolly", "still"])
def test_moves_keep_the_person_in_its_place(move):
    views = camera_path(move, None, TIMES, PERSON)
    assert len(views) == len(TIMES)
    places = np.array([in_place(view) for view in views])
    assert np.abs(places - in_place(camera_path("still", None, TIMES, PERSON)[0])).max() < 1


def test_a_sway_ends_where_it_began_and_goes_as_far_as_asked():
    x = np.array([view.position[0] for view in camera_path("sway", 0.1, TIMES, PERSON)])
    assert x[0] == 0 and abs(x).max() == pytest.approx(0.1 * np.linalg.norm(PERSON), rel=0.05)
    assert x.sum() == pytest.approx(0, abs=1e-9)  # one whole swing


def test_an_orbit_stays_at_one_distance():
    away = [np.linalg.norm(v.position - PERSON) for v in camera_path("orbit", 0.3, TIMES, PERSON)]
    np.testing.assert_allclose(away, np.linalg.norm(PERSON), rtol=1e-6)


def test_a_dolly_comes_nearer():
    away = [np.linalg.norm(v.position - PERSON) for v in camera_path("dolly", 0.2, TIMES, PERSON)]
    assert (np.diff(away) < 0).all()
    assert away[-1] == pytest.approx(0.8 * np.linalg.norm(PERSON))


def keyframes(tmp_path, text):
    file = tmp_path / "path.yaml"
    file.write_text(text)
    return str(file)


def test_keyframes_are_passed_through(tmp_path):
    text = """
keyframes:
  - {time: 0}
  - {time: 1, position: [0.5, -0.1, 0.2], look_at: [0, 0, 5]}
  - {time: 2, position: [0.5, 0, 0], yaw: 10, pitch: -5}
"""
    views = camera_path(keyframes(tmp_path, text), None, np.array([0.0, 0.5, 1.0, 2.0, 3.0]), PERSON)
    np.testing.assert_allclose(views[0].rotation, np.eye(3), atol=1e-9)
    assert 0 < views[1].position[0] < 0.5
    np.testing.assert_allclose(views[2].to_camera(np.array([0.0, 0, 5]))[:2], 0, atol=1e-9)
    forward = views[3].rotation[2]
    assert np.degrees(np.arctan2(forward[0], forward[2])) == pytest.approx(10)
    assert np.degrees(np.arcsin(-forward[1])) == pytest.approx(-5)
    np.testing.assert_allclose(views[4].rotation, views[3].rotation)  # it stays at the last


def test_json_keyframes_are_read_too(tmp_path):
    text = json.dumps({"keyframes": [{"time": 0.0, "position": [0.1, 0.0, 0.0]}]})
    views = camera_path(keyframes(tmp_path, text), None, TIMES, PERSON)
    assert {tuple(view.position) for view in views} == {(0.1, 0.0, 0.0)}
    np.testing.assert_allclose(
        in_place(views[0]), in_place(camera_path("still", None, TIMES, PERSON)[0]), atol=1
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("keyframes: []", "at least one"),
        ("keyframes: [{time: 1}, {time: 1}]", "each later than the last"),
        ("keyframes: [{time: 0, zoom: 2}]", "unknown key"),
        ("keyframes: [{time: 0, yaw: 1, look_at: [0, 0, 1]}]", "expected only one of them"),
        ("keyframes: [{time: 0, position: [0, 0]}]", "give 3"),
    ],
)
def test_wrong_keyframes_are_told(tmp_path, text, words):
    with pytest.raises(UserError, match=words):
        camera_path(keyframes(tmp_path, text), None, TIMES, PERSON)
