"""Whatever a user gets wrong ends in one line that names it, exit code 2, and nothing written."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from idol import media
from idol.clip import Pose
from idol.pose.openpose_json import write_openpose_json
from support.cli_runs import SIZE, call, refused, save_run, save_tiny_pipeline
from support.drawn import drawn_clip

PERSON, TWO = media.path("woman-walking.jpg"), media.path("two-people.jpg")
EMPTY, WALK = media.path("palace.jpg"), media.path("walk.mp4")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("bad")


@pytest.fixture(scope="module")
def weights(place):
    return save_tiny_pipeline(place / "tiny")


@pytest.fixture(scope="module")
def run(place, weights):
    return save_run(place / "run", weights)


@pytest.fixture
def generate(weights, tmp_path):
    """Calls `idol generate` with one thing wrong; looks that nothing was written."""

    def wrong(person=PERSON, background="gray", motion="builtin:walk", frames=2, **options):
        more = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", value)]
        if "--weights" not in more:
            more += ["--weights", weights]
        out = tmp_path / "made" / "out"
        told = refused(
            *("generate", "--person", person, "--background", background, "--motion", motion),
            *("--frames", frames, "-o", out, *more),
        )
        assert not out.parent.exists() or not list(out.parent.iterdir())
        return told

    return wrong


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["fly"], "fly"),
        (["generate", "--color", "red"], "--color"),
        (["generate", "--seed", "three", "-o", "x"], "--seed"),
        (["generate", "-o"], "-o"),
        (["synth", "--clips", "3"], "--out"),
        (["train"], "config"),
        (["evaluate", "somewhere"], "reference"),
        (["generate", "--person", "a.jpg"], "--background"),
        (["repeat", "x"], "--out"),
        (["demo", "--frames", "0", "-o", "x"], "--frames"),
        (["evaluate", "a", "b", "--other", "c"], "--other"),
        (["import", "a", "--reference", "b"], "--out"),
        (["reproduce", "table1", "--clips", "FOMM"], "--clips"),
        (["reproduce", "table99", "--dry-run"], "table8"),
    ],
)
def test_usage(arguments, named):
    assert named.lower() in refused(*arguments).lower()


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("num_inference_steps", 0),
        ("frames", 0),
        ("frames", -3),
        ("fps", 0),
        ("fps", "inf"),
        ("guidance_scale", "nan"),
        ("guidance_scale", -1),
        ("height", 0),
        ("seed", -1),
        ("colormap", "blue"),
        ("detail", "sharp"),
        ("device", "abacus"),
    ],
)
def test_numbers(generate, option, value):
    assert generate(**{option: value}).startswith(f"--{option.replace('_', '-')}: ")


def test_a_json_line_tells_of_the_mistake_too(tmp_path):
    done = call("repeat", tmp_path / "none", "-o", tmp_path / "out", "--json")
    assert done.code == 2 and done.json == {
        "ok": False,
        "exit_code": 2,
        "error": done.err.strip().removeprefix("error: "),
    }


# --- weights


def broken(weights, folder, change):
    shutil.copytree(weights, folder)
    change(folder)
    return folder


def cut(folder):
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def swap(folder):
    for name in ("config.json", "diffusion_pytorch_model.safetensors"):
        shutil.copy(folder / "vae" / name, folder / "unet" / name)


def pickle(folder):
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    file.rename(file.with_name("diffusion_pytorch_model.bin"))


def forget(folder):
    shutil.rmtree(folder / "vae")


@pytest.mark.parametrize("change", [cut, swap, pickle, forget])
def test_weights_that_are_damaged(generate, weights, tmp_path, change):
    told = generate(weights=broken(weights, tmp_path / "broken", change))
    assert told.startswith("--weights: ") and ("unet" in told or "vae" in told)


def test_weights_that_are_not_there(generate, tmp_path):
    (tmp_path / "file.pt").touch()
    assert generate(weights=tmp_path / "nowhere").startswith("--weights: ")
    assert generate(weights=tmp_path / "file.pt").startswith("--weights: ")
    assert generate(weights="maxi").startswith("--weights: ")


def test_a_hub_model_without_network(generate):
    assert generate(weights="somebody/something").startswith("--weights: somebody/something")


# --- repeating a run


def test_repeating_takes_no_other_setting(run, tmp_path):
    assert "--seed" in refused("repeat", run.folder, "-o", tmp_path / "out", "--seed", 3)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"settings": 3}', "\x00"])
def test_repeating_something_else(tmp_path, content):
    (tmp_path / "run.json").write_text(content)
    assert str(tmp_path) in refused("repeat", tmp_path, "-o", tmp_path / "out")


@pytest.mark.parametrize("name", ["person.png", "background.png", "pose.json"])
def test_repeating_a_run_with_changed_or_missing_inputs(run, tmp_path, name):
    shutil.copytree(run.folder, tmp_path / "run")
    (tmp_path / "run" / name).write_bytes((tmp_path / "run" / name).read_bytes() + b" ")
    assert "not those of the run" in refused("repeat", tmp_path / "run", "-o", tmp_path / "out")
    (tmp_path / "run" / name).unlink()
    assert name in refused("repeat", tmp_path / "run", "-o", tmp_path / "out")


def test_repeating_a_run_whose_weights_have_changed(place, tmp_path):
    weights = save_tiny_pipeline(tmp_path / "tiny")
    run = save_run(tmp_path / "run", weights)
    config = weights / "scheduler" / "scheduler_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"shift": 2.0}))
    assert "not those of the run" in refused("repeat", run.folder, "-o", tmp_path / "out")


# --- a photo, a background, a motion


def test_a_photo_that_cannot_be_read(generate, tmp_path):
    assert generate(person=tmp_path / "none.jpg").startswith("--person: ")
    (tmp_path / "text.jpg").write_text("not an image")
    assert generate(person=tmp_path / "text.jpg").startswith("--person: ")
    (tmp_path / "half.jpg").write_bytes(PERSON.read_bytes()[:20000])
    assert generate(person=tmp_path / "half.jpg").startswith("--person: ")
    assert generate(person=tmp_path).startswith("--person: ")


@pytest.mark.assets
def test_a_photo_without_a_person(generate):
    assert "no person found" in generate(person=EMPTY)


@pytest.mark.assets
def test_a_person_who_is_not_there(generate):
    told = generate(person=TWO, person_index=7)
    assert told.startswith("--person-index: 7") and "shows 2" in told


@pytest.mark.assets
def test_several_people_are_told_of(weights, tmp_path):
    done = call(
        *("generate", "--person", TWO, "--background", "photo", "--motion", "builtin:walk", "--frames", 2),
        *("-o", tmp_path / "out", "--weights", weights, "--json"),
    )
    assert done.code == 0, done.err
    (note,) = [note for note in done.json["notes"] if "people" in note]
    assert "largest" in note and "--person-index" in note and f"note: {note}" in done.err
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert note.replace("--person-index", "`person_index`") in record["notes"]
    assert str(TWO) in {source["name"] for source in record["sources"]}
    assert call("repeat", tmp_path / "out", "-o", tmp_path / "again").code == 0
    for name in ("frames/00001.png", "depth/00001.png"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


@pytest.mark.assets
@pytest.mark.parametrize("background", ["no such color", "#12345", "none.jpg", "."])
def test_backgrounds(generate, background):
    assert generate(background=background).startswith("--background: ")


@pytest.mark.assets
def test_motions_that_are_not_there(generate, tmp_path):
    assert "walk" in generate(motion="builtin:flying")
    assert generate(motion=tmp_path / "none.mp4").startswith("--motion: ")
    assert generate(motion=tmp_path).startswith("--motion: ")


@pytest.mark.assets
def test_videos_that_cannot_be_decoded(generate, tmp_path):
    (tmp_path / "text.mp4").write_text("not a video")
    assert generate(motion=tmp_path / "text.mp4").startswith("--motion: ")
    (tmp_path / "empty.mp4").touch()
    assert generate(motion=tmp_path / "empty.mp4").startswith("--motion: ")
    (tmp_path / "half.mp4").write_bytes(WALK.read_bytes()[: WALK.stat().st_size // 2])
    assert generate(motion=tmp_path / "half.mp4", frames=64).startswith("--motion: ")


@pytest.mark.assets
def test_a_video_without_a_person(generate, tmp_path):
    from idol.clip.images import read_image
    from idol.clip.video import write_video

    write_video(tmp_path / "empty.mp4", np.repeat(read_image(EMPTY)[None], 4, axis=0), 10)
    assert "no person" in generate(motion=tmp_path / "empty.mp4")


def keypoints(folder, missing, frames=30):
    """An OpenPose folder of a standing person who is gone in some frames."""
    joints = np.zeros((frames, 18, 3), np.float32)
    joints[...] = [
        [x, y, 1] for x, y in zip(np.tile([90, 110, 100], 6), np.arange(18) * 10 + 20, strict=True)
    ]
    joints[list(missing)] = 0
    write_openpose_json(folder, Pose(joints, 240, 200))
    return folder


@pytest.mark.assets
def test_gaps_in_a_motion(generate, weights, tmp_path):
    told = generate(motion=keypoints(tmp_path / "long", range(5, 25)), frames=30)
    assert told.startswith("--motion: ") and "5-24" in told
    done = call(
        *("generate", "--person", PERSON, "--background", "gray", "--weights", weights, "--frames", 9),
        *("--motion", keypoints(tmp_path / "short", [4]), "-o", tmp_path / "out", "--json", "--no-retarget"),
    )
    assert done.code == 0, done.err
    assert any("4" in note and "interpolated" in note for note in done.json["notes"])


# --- train, synth, evaluate


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("stage: image\nstepps: 3\n", "stepps"),
        ("stage: autoencoder\ndata: d\nout: o\nclips: 3\n", "clips"),
        ("stage: cooking\n", "stage"),
        ("steps: [", "YAML"),
        ("- 1\n", "list"),
        ("", "missing"),
    ],
)
def test_configs(tmp_path, text, named):
    (tmp_path / "stage.yaml").write_text(text)
    assert named in refused("train", tmp_path / "stage.yaml")


def test_configs_that_are_not_there(tmp_path):
    assert str(tmp_path / "none.yaml") in refused("train", tmp_path / "none.yaml")
    assert str(tmp_path) in refused("train", tmp_path)


@pytest.mark.parametrize(
    ("override", "named"),
    [("model.wings=2", "model.wings"), ("steps=many", "steps"), ("steps", "steps"), ("steps=0", "steps")],
)
def test_overrides(override, named):
    assert named in refused("train", "configs/mini/autoencoder.yaml", override)


def test_exports_that_cannot_be(tmp_path):
    told = refused("train", "configs/mini/autoencoder.yaml", "--export", tmp_path / "weights")
    assert told.startswith("--export: ")
    assert "holds no weights" in refused("train", "configs/mini/image.yaml", "--export", tmp_path)


def test_training_without_its_inputs(tmp_path):
    config, out = "configs/mini/autoencoder.yaml", tmp_path / "out"
    assert "none" in refused("train", config, f"out={out}", f"data={tmp_path / 'none'}", "compile=false")
    config, out = "configs/mini/image.yaml", tmp_path / "image"
    assert "autoencoder" in refused("train", config, f"out={out}", f"autoencoder.path={tmp_path / 'none'}")


@pytest.mark.parametrize(
    ("option", "value"),
    [("clips", 0), ("split", "rest"), ("size", 3), ("frames", 0), ("motion-dir", "nowhere")],
)
def test_synth(tmp_path, option, value):
    words = {"clips": 1, "seed": 0, "out": tmp_path / "out", option: value}
    refused("synth", *(word for name, value in words.items() for word in (f"--{name}", value)))
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").glob("*.tar"))


def without_networks(*arguments):
    off = [word for option in ("pose", "mask", "lpips", "identity") for word in (f"--{option}", "none")]
    return call("evaluate", *arguments, *off, "--no-distributions", "--json")


def test_evaluating_what_is_not_there(run, tmp_path):
    assert str(tmp_path / "none") in refused("evaluate", tmp_path / "none", run.folder)
    assert str(tmp_path) in refused("evaluate", run.folder, tmp_path)
    refused("evaluate", run.folder, run.folder, "--lpips", "best")
    refused("evaluate", run.folder, run.folder, "--lpips", "none", "--pose", "best")


def test_evaluating_clips_of_different_sizes(run, tmp_path):
    drawn_clip(1, 3, SIZE // 2).save(tmp_path / "small")
    done = without_networks(run.folder, tmp_path / "small")
    assert done.code == 2 and done.json["error"]


def test_evaluating_damaged_clips(run, tmp_path):
    for name, content in {"depth/00001.png": b"no", "clip.json": b"{}", "frames/00000.png": None}.items():
        folder = tmp_path / name.replace("/", "-")
        shutil.copytree(run.folder, folder)
        (folder / name).write_bytes(content) if content else (folder / name).unlink()
        assert without_networks(folder, run.folder).code == 2
    shutil.copytree(run.folder, tmp_path / "flat")
    Image.fromarray(np.zeros((SIZE, SIZE), np.uint8)).save(tmp_path / "flat" / "depth" / "00000.png")
    assert without_networks(tmp_path / "flat", run.folder).code == 2


def test_constant_depth_is_judged_not_refused(run, tmp_path):
    shutil.copytree(run.folder, tmp_path / "flat")
    for file in (tmp_path / "flat" / "depth").iterdir():
        Image.fromarray(np.zeros((SIZE, SIZE), np.uint16)).save(file)
    done = without_networks(tmp_path / "flat", run.folder)
    assert done.code == 0, done.err
    truth = np.mean([run.clip.depth**2])
    assert done.json["columns"]["generated"]["depth_l2"]["value"] == pytest.approx(truth, rel=1e-3)


# --- in a process of its own


@pytest.mark.slow
def test_one_line_on_the_real_stderr(tmp_path):
    for arguments in (["fly"], ["repeat", str(tmp_path), "-o", str(tmp_path / "out")]):
        done = subprocess.run([sys.executable, "-m", "idol", *arguments], capture_output=True, text=True)
        assert done.returncode == 2 and not done.stdout
        assert len(done.stderr.splitlines()) == 1 and done.stderr.startswith("error: ")
