import json
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import replace

import numpy as np
import pytest

from idol.rendering.layers.separate import separate
from idol.rendering.outputs.point_cloud import person_cloud
from idol.rendering.viewers import Player, save_recording
from support.browsing import browser_page, image_of
from support.built_layers import built_layers
from support.cli_runs import call, heeds_ctrl_c, refused
from support.drawn import drawn_clip


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def recorded(path):
    """Values by "entity component", one per frame, read by rerun's own reader."""
    chunk = pytest.importorskip("rerun.chunk")
    found = {}
    for each in chunk.RrdReader(str(path)).stream():
        batch = each.to_record_batch()
        for name in batch.schema.names:
            found.setdefault(f"{each.entity_path} {name}", []).extend(batch.column(name).to_pylist())
    return found


def test_a_recording_holds_points_images_depth_and_camera(tmp_path):
    pytest.importorskip("rerun")
    clip = drawn_clip(3, frames=3, size=32)
    layers = separate(clip)
    save_recording(tmp_path / "deep" / "clip.rrd", clip, layers)
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["clip.rrd"]
    found = recorded(tmp_path / "deep" / "clip.rrd")
    assert found["/world/person frame"] == [0, 1, 2]
    for frame, points in enumerate(found["/world/person Points3D:positions"]):
        np.testing.assert_array_equal(np.array(points, np.float32), person_cloud(layers, frame).points)
    matrix = np.array(found["/world/camera Pinhole:image_from_camera"]).reshape(3, 3).T
    np.testing.assert_allclose(matrix, layers.camera.intrinsics, rtol=1e-6)
    for frame, buffer in enumerate(found["/world/camera/depth DepthImage:buffer"]):
        millimeters = np.array(buffer[0], np.uint8).view("<u2").reshape(32, 32)
        there = layers.alpha[frame] >= 0.5
        assert not millimeters[~there].any()
        np.testing.assert_allclose(millimeters[there], layers.z[frame][there] * 1000, atol=0.51)
    assert len(found["/world/camera/image EncodedImage:blob"]) == 3
    assert len(found["/world/background Mesh3D:vertex_positions"]) == 1


def test_a_background_that_moves_is_recorded_with_each_frame(tmp_path):
    pytest.importorskip("rerun")
    clip = drawn_clip(3, frames=3, size=32, moving=True)
    save_recording(tmp_path / "clip.rrd", clip, separate(clip))
    found = recorded(tmp_path / "clip.rrd")
    assert found["/world/background frame"] == [0, 1, 2]


def test_the_verb_saves_a_recording(tmp_path):
    pytest.importorskip("rerun")
    drawn_clip(3, frames=2, size=32).save(tmp_path / "clip")
    path = tmp_path / "clip.rrd"
    done = call("view", tmp_path / "clip", "--with", "rerun", "--save", path, "--fov", "30", "--json")
    assert done.code == 0 and done.json == {"ok": True, "recording": str(path)}
    matrix = recorded(path)["/world/camera Pinhole:image_from_camera"]
    assert np.array(matrix).ravel()[0] == pytest.approx(16 / np.tan(np.radians(15)), rel=1e-6)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--with", "blender"], "--with: 'blender'; give one of viser, rerun"),
        (["--save", "a.rrd"], "--save: a.rrd with viser; give --with rerun and a name that ends in .rrd"),
        (["--with", "rerun", "--save", "a.mp4"], "--save: a.mp4 with rerun"),
        (["--with", "rerun", "--save", "a.rrd", "--fov", "0"], "--fov: 0.0"),
    ],
)
def test_what_cannot_be_shown_is_told(tmp_path, options, told):
    drawn_clip(3, frames=2, size=32).save(tmp_path / "clip")
    assert refused("view", tmp_path / "clip", *options).startswith(told)


def test_a_folder_without_a_clip_is_told(tmp_path):
    assert refused("view", tmp_path).endswith("no clip.json; give the folder of a clip")


@pytest.mark.parametrize("name", ["viser", "rerun"])
def test_a_viewer_that_is_not_installed_is_told(tmp_path, monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    drawn_clip(3, frames=2, size=32).save(tmp_path / "clip")
    told = refused("view", tmp_path / "clip", "--with", name)
    assert told == f"--with: needs {name}, which is not installed; pip install idol-diffusion[view]"


COLORS = np.array([[255, 40, 0], [0, 230, 60], [30, 0, 240]], np.uint8)


def colored_layers():
    """Three frames of a person of one color each, before a gray wall."""
    layers = built_layers(frames=3, height=48, width=64)
    color = np.broadcast_to(COLORS[:, :, None, None], layers.color.shape).copy()
    return replace(layers, color=color, background=np.full_like(layers.background, 128))


def near(image, color):
    """Where an image has a color; viser's tone mapping moves it a little."""
    return np.abs(image.astype(int) - color).max(-1) <= 40


def shows(page, frame, patience=20.0):
    """Waits until the middle of the page, where all frames have the person, has the frame's color."""
    stop = time.monotonic() + patience
    while time.monotonic() < stop:
        image = image_of(page.screenshot())
        if near(image[235:245, 315:325], COLORS[frame]).all():
            return image
        time.sleep(0.2)
    raise AssertionError(f"the middle of the page is {image[240, 320]}, not frame {frame}'s {COLORS[frame]}")


@pytest.mark.slow
def test_viser_shows_the_clip_in_a_browser():
    """The person stands where the clip's camera sees it, frames change, and the console has no complaint."""
    pytest.importorskip("viser")
    layers = colored_layers()
    with browser_page(640, 480) as (page, complaints):
        player = Player(layers, port=free_port())
        try:
            page.goto(player.url)
            image = shows(page, 0)
            _check_place(image, layers)
            player.frame.value = 2
            shows(page, 2)
            player.person.value = "points"
            shows(page, 2)
            player.playing.value = True
            shows(page, 0)
            shows(page, 1)
        finally:
            player.stop()
    assert not complaints


def _check_place(image, layers):
    """The left and the lower edge of the person, which no panel hides; 10 pixels of the page for one."""
    person = near(image, COLORS[0])
    there = layers.alpha[0] >= 0.5
    assert abs(np.flatnonzero(person[400])[0] - 10 * np.flatnonzero(there[40])[0]) <= 10
    assert abs(np.flatnonzero(person[:, 320])[-1] - 10 * np.flatnonzero(there[:, 32])[-1]) <= 10


@pytest.mark.slow
def test_the_verb_serves_until_ctrl_c(tmp_path):
    pytest.importorskip("viser")
    drawn_clip(3, frames=2, size=32).save(tmp_path / "clip")
    command = [
        sys.executable,
        "-m",
        "idol",
        "view",
        str(tmp_path / "clip"),
        "--port",
        str(free_port()),
        "--json",
    ]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    program = subprocess.Popen(command, **pipes, text=True, preexec_fn=heeds_ctrl_c)
    try:
        told = json.loads(program.stdout.readline())
        with urllib.request.urlopen(told["url"]) as answer:
            assert answer.status == 200
        program.send_signal(signal.SIGINT)
        out, _ = program.communicate(timeout=60)
    finally:
        program.kill()
    assert told["ok"] and program.returncode == 0 and not out


def test_viser_listens_on_this_machine_only():
    pytest.importorskip("viser")
    port = free_port()
    player = Player(colored_layers(), port=port)
    try:
        assert player.url == f"http://127.0.0.1:{port}"
        with pytest.raises(OSError), socket.create_connection((_other_address(), port), timeout=2):
            pass
    finally:
        player.stop()


def _other_address():
    """Another address of the loopback network: a server that is open to all answers there, too."""
    return "127.0.0.2"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a window needs no display to be named")
def test_a_window_that_does_not_open_is_told(tmp_path, monkeypatch):
    pytest.importorskip("rerun")
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "WAYLAND_SOCKET"):
        monkeypatch.delenv(name, raising=False)
    drawn_clip(3, frames=2, size=32).save(tmp_path / "clip")
    told = refused("view", tmp_path / "clip", "--with", "rerun", "--port", free_port())
    assert told.startswith("--with: the rerun window does not open (")
    assert told.endswith("; give --save FILE.rrd and open the file elsewhere")
