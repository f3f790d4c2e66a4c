"""The commands: what they write and print, that a run can be repeated, that nothing half-made is left."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
import wave

import av
import numpy as np
import pytest
from PIL import Image

import idol.generation.generate
from idol import __version__
from idol.clip import Clip
from idol.clip.images import read_image
from idol.clip.video import read_video
from support.cli_runs import COMMANDS, SIZE, call, heeds_ctrl_c, refused, save_run, save_tiny_pipeline


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("cli")


@pytest.fixture(scope="module")
def weights(place):
    return save_tiny_pipeline(place / "tiny")


@pytest.fixture(scope="module")
def run(place, weights):
    return save_run(place / "run", weights)


def everything(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_run_folder_is_a_clip_with_its_videos_and_its_settings(run):
    folder = run.folder
    clip = Clip.load(folder)
    np.testing.assert_array_equal(clip.video, run.clip.video)
    np.testing.assert_allclose(clip.depth, run.clip.depth, atol=0.5 / 65535 + 1e-7)
    np.testing.assert_array_equal(clip.mask, clip.depth > 0.1)
    depth = np.asarray(Image.open(folder / "depth" / "00001.png"))
    np.testing.assert_array_equal(depth, np.rint(clip.depth[1] * 65535))
    for name in ("video.mp4", "depth.mp4"):
        video = read_video(folder / name)
        assert video.frames.shape == (3, 3, SIZE, SIZE) and video.fps == 12.5
    record = json.loads((folder / "run.json").read_text())
    assert record["settings"]["seed"] == 5 and record["notes"] == ["drawn"] and record["seconds"] > 0
    assert {entry["name"] for entry in record["checkpoint"]} >= {"unet/diffusion_pytorch_model.safetensors"}
    assert any(version.startswith("torch==") for version in record["versions"])
    assert read_image(folder / "preview.png").shape == (3, 3 * SIZE + 2 * 4, 4 * SIZE + 3 * 4)


def test_repeating_a_run_gives_the_same_frames(run, place):
    done = call("repeat", run.folder / "run.json", "-o", place / "again", "--json")
    assert done.code == 0, done.err
    assert done.json["ok"] and done.json["frames"] == 3 and done.json["seed"] == 5
    first, again = everything(run.folder), everything(place / "again")
    assert first.keys() == again.keys()
    changed = {name for name in first if first[name] != again[name]}
    assert changed <= {"run.json", "video.mp4", "depth.mp4", "preview.png"}  # signed: of their own each time
    sheets = [read_image(folder / "preview.png") for folder in (run.folder, place / "again")]
    assert np.array_equal(*sheets)
    one, two = (json.loads(files["run.json"]) for files in (first, again))
    assert one | {"seconds": 0} == two | {"seconds": 0}


def test_the_seed_matters(run, place, weights):
    other = save_run(place / "other", weights, seed=6)
    assert (other.clip.video != run.clip.video).any()


def test_a_run_folder_can_be_named_instead_of_its_json(run, place):
    assert call("repeat", run.folder, "-o", place / "named").code == 0


def test_without_json_stdout_stays_empty(run, place):
    done = call("repeat", run.folder, "-o", place / "quiet")
    assert done.code == 0 and not done.out
    assert str(place / "quiet" / "video.mp4") in done.err


def test_sound_is_kept_and_kept_again(run, place, weights):
    sound = place / "tone.wav"
    with wave.open(str(sound), "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        tone = np.sin(np.arange(16000) / 16000 * 2 * np.pi * 440) * 12000
        file.writeframes(tone.astype("<i2").tobytes())
    loud = save_run(place / "loud", weights, audio=sound)
    assert call("repeat", loud.folder, "-o", place / "loud again").code == 0
    for folder in (loud.folder, place / "loud again"):
        with av.open(str(folder / "video.mp4")) as container:
            (audio,) = container.streams.audio
            # 3 frames at 12.5 a second; sound comes in blocks of 1024 samples
            assert 0.2 < float(audio.duration * audio.time_base) < 0.24 + 2 * 1024 / 16000


def test_an_existing_run_is_replaced_only_when_asked(run, place):
    there = place / "there"
    assert call("repeat", run.folder, "-o", there).code == 0
    (there / "left over").touch()
    assert refused("repeat", run.folder, "-o", there).startswith("--out: ")
    assert (there / "left over").exists()
    assert call("repeat", run.folder, "-o", there, "--overwrite").code == 0
    assert not (there / "left over").exists() and (there / "run.json").exists()


def test_a_run_may_replace_itself(run, place, weights):
    own = save_run(place / "own", weights)
    assert call("repeat", own.folder, "-o", own.folder, "--overwrite").code == 0
    np.testing.assert_array_equal(Clip.load(own.folder).video, run.clip.video)


def test_what_is_no_run_folder_is_never_replaced(run, place):
    precious = place / "precious"
    precious.mkdir()
    (precious / "thesis.tex").write_text("...")
    assert "not a run folder" in refused("repeat", run.folder, "-o", precious, "--overwrite")
    (place / "file").write_text("...")
    assert "not a run folder" in refused("repeat", run.folder, "-o", place / "file", "--overwrite")
    assert refused("repeat", run.folder, "-o", place / "file" / "below").startswith("--out: ")
    assert (precious / "thesis.tex").exists()


def test_an_empty_folder_is_filled(run, place):
    (place / "empty").mkdir()
    assert call("repeat", run.folder, "-o", place / "empty").code == 0


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "frames.png"), "disk is full"),
        (RuntimeError("I/O error: No space left on device (os error 28)"), "disk is full"),
        (PermissionError(errno.EACCES, "Permission denied", "frames.png"), "Permission denied"),
        (MemoryError(), "there is not enough"),
    ],
)
def test_what_the_machine_refuses_is_told_and_leaves_nothing(run, tmp_path, monkeypatch, error, told):
    def refuse(folder, *_):
        (folder / "half").touch()
        raise error

    monkeypatch.setattr(idol.generation.generate, "write_run", refuse)
    assert told in refused("repeat", run.folder, "-o", tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_a_fault_of_ours_is_exit_code_1_and_leaves_nothing(run, tmp_path, monkeypatch):
    def fail(*_):
        raise KeyError("surprise")

    monkeypatch.setattr(idol.generation.generate, "write_record", fail)
    done = call("repeat", run.folder, "-o", tmp_path / "out", "--json")
    assert done.code == 1 and not done.json["ok"] and done.json["exit_code"] == 1
    assert "surprise" in done.err
    assert not list(tmp_path.iterdir())


def test_a_failed_replacement_leaves_the_old_run(run, place, weights, monkeypatch):
    own = save_run(place / "kept", weights)
    before = everything(own.folder)
    monkeypatch.setattr(idol.generation.generate, "write_record", lambda *_: 1 / 0)
    assert call("repeat", run.folder, "-o", own.folder, "--overwrite").code == 1
    assert everything(own.folder) == before


def process(*arguments, **options):
    return subprocess.Popen(
        [sys.executable, "-m", "idol", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


@pytest.mark.slow
def test_a_disk_that_fills_up(run, tmp_path):
    import resource

    def little():  # no file may grow beyond 2 kB: the kernel refuses the rest, as a full disk does
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))

    child = process("repeat", run.folder, "-o", tmp_path / "out", preexec_fn=little)
    out, err = child.communicate()
    assert child.returncode == 2 and not out, err
    assert err.splitlines()[-1].startswith("error: ") and "Traceback" not in err
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_ctrl_c_ends_at_once_with_nothing_left(place, weights, tmp_path):
    long = save_run(place / "long", weights, steps=2)
    record = json.loads((long.folder / "run.json").read_text())
    record["settings"]["num_inference_steps"] = 100_000
    (long.folder / "run.json").write_text(json.dumps(record))

    child = process("repeat", long.folder, "-o", tmp_path / "out", preexec_fn=heeds_ctrl_c)
    for line in child.stderr:
        if line.startswith("denoising"):
            break
    time.sleep(0.5)
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=120)
    assert child.returncode == 130
    assert err.strip() == "error: interrupted"
    assert not list(tmp_path.iterdir())


def test_module_and_command_are_the_same(run):
    command = os.path.join(os.path.dirname(sys.executable), "idol")
    for arguments in (["--version"], ["fly"]):
        outcomes = [
            subprocess.run([*program, *arguments], capture_output=True, text=True, check=False)
            for program in ([command], [sys.executable, "-m", "idol"])
        ]
        seen = [(o.returncode, o.stdout, o.stderr) for o in outcomes]
        assert seen[0] == seen[1]


def test_version_and_help():
    assert call("--version").out.strip() == __version__
    assert call().out == call("--help").out
    assert all(f"\n  {name} " in call("--help").out for name in COMMANDS)
    assert all(call(name, "--help").code == 0 for name in COMMANDS)


def test_dry_run_prints_a_config_that_is_read_back_to_itself(tmp_path):
    first = call("train", "configs/mini/autoencoder.yaml", "steps=7", "--dry-run")
    assert first.code == 0 and "steps: 7\n" in first.out
    (tmp_path / "resolved.yaml").write_text(first.out)
    assert call("train", tmp_path / "resolved.yaml", "--dry-run").out == first.out
    (tmp_path / "based.yaml").write_text("base: resolved.yaml\nlr: 0.5\n")  # whose stage its base names
    assert "lr: 0.5" in call("train", tmp_path / "based.yaml", "--dry-run").out
    assert call("train", tmp_path / "resolved.yaml", "--dry-run", "--json").json["steps"] == 7


def test_preview_shows_what_was_given(run):
    sheet = read_image(run.folder / "preview.png")
    np.testing.assert_array_equal(sheet[:, :SIZE, :SIZE], read_image(run.folder / "person.png"))
    np.testing.assert_array_equal(sheet[:, :SIZE, SIZE + 4 : 2 * SIZE + 4], run.clip.video[0])
    assert Image.open(run.folder / "mask" / "00000.png").mode == "1"
