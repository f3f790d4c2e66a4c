"""What the files of a render say of themselves: the mark in their colors, whom their credentials name."""

import io
import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from idol.errors import UserError
from idol.provenance import Provenance, detect, embed
from idol.provenance.credentials import read_credentials, sidecar
from idol.rendering import render
from idol.rendering.layers.separate import separate
from idol.rendering.outputs.exr import write_person_exr
from idol.rendering.outputs.mesh import frame_glb
from idol.rendering.provenance import clip_facts, watermark_layers, watermark_once
from support.built_layers import built_layers
from support.cli_runs import call, save_run, save_tiny_pipeline
from support.drawn import drawn_clip

SIZE = 160


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("IDOL_CACHE", str(tmp_path / "cache"))


def textured(clip):
    """The drawn clip with a soft texture over everything, as films have it."""
    rng = np.random.default_rng(0)

    def grained(images):
        shape = images.shape[-2:]
        grain = gaussian_filter(rng.normal(size=shape), 1.5) * 25
        return np.clip(images * 0.6 + 50 + grain, 0, 255).astype(np.uint8)

    return replace(clip, video=grained(clip.video), background=grained(clip.background))


@pytest.fixture(scope="module")
def clip():
    return textured(drawn_clip(3, frames=2, size=SIZE))


def srgb(linear):
    high = 1.055 * np.maximum(linear, 1e-9) ** (1 / 2.4) - 0.055
    return np.rint(255 * np.where(linear <= 0.0031308, 12.92 * linear, high)).astype(np.uint8)


def texture(path, name):
    trimesh = pytest.importorskip("trimesh")
    scene = trimesh.load_scene(io.BytesIO(path.read_bytes()), file_type="glb", process=False)
    return np.asarray(scene.geometry[name].visual.material.baseColorTexture).transpose(2, 0, 1)[None]


def exr_colors(path):
    openexr = pytest.importorskip("OpenEXR")
    rgba = openexr.File(str(path)).channels()["RGBA"].pixels.astype(float)
    color = np.where(rgba[..., 3:] > 0, rgba[..., :3] / np.maximum(rgba[..., 3:], 1e-9), 0)
    return srgb(color).transpose(2, 0, 1)[None]


def test_textures_points_and_exr_bear_the_mark(clip, tmp_path):
    made = {
        on: render(clip, tmp_path / str(on), ("mesh", "exr", "points"), watermark=on) for on in (True, False)
    }
    for on in (True, False):
        folder = made[on].folder
        backgrounds = [texture(folder / "clip.glb", "background"), exr_colors(folder / "background.exr")]
        backgrounds.append(ply_colors(folder / "background.ply").T.reshape(1, 3, SIZE, SIZE))
        for background in backgrounds:
            assert detect(background).found is on
            np.testing.assert_array_equal(background, backgrounds[0])  # marked once, and the same everywhere


def ply_colors(path):
    data = path.read_bytes()
    body = np.frombuffer(data[data.index(b"end_header\n") + 11 :], np.uint8).reshape(-1, 15)
    return body[:, 12:]


def test_the_person_bears_the_mark_where_there_is_enough_of_it(tmp_path):
    rng = np.random.default_rng(1)
    built = built_layers(frames=2, height=192, width=160)
    grain = gaussian_filter(rng.normal(size=built.color.shape), (0, 0, 1.5, 1.5))
    built = replace(built, color=np.clip(120 + 80 * grain, 0, 255).astype(np.uint8))
    layers = watermark_layers(built, built.color, Provenance())
    (tmp_path / "frame.glb").write_bytes(frame_glb(layers, 1))
    write_person_exr(tmp_path / "frame.exr", layers, 1)
    seen = {
        "glb": texture(tmp_path / "frame.glb", "person")[:, :3],
        "exr": exr_colors(tmp_path / "frame.exr"),
    }
    assert all(detect(each).found for each in seen.values())
    assert not detect(built.color[1:]).found
    assert np.abs(layers.color.astype(int) - built.color).max() < 16
    beyond = replace(built, color=built.color * (built.alpha[:, None] > 0).astype(np.uint8))
    again = watermark_layers(beyond, beyond.color, Provenance())
    assert not again.color.transpose(0, 2, 3, 1)[built.alpha == 0].any()


def test_what_bears_the_mark_is_not_marked_again(clip):
    marked = embed(clip.video)
    assert watermark_once(marked, Provenance()) is marked
    layers = separate(replace(clip, video=marked))
    again = watermark_layers(layers, marked, Provenance())
    assert again.color is layers.color and not np.array_equal(again.background, layers.background)
    off = watermark_layers(layers, clip.video, Provenance(watermark=False))
    assert off.color is layers.color and off.background is layers.background


def manifest(path):
    """Actions, ingredients and our own assertion, as the C2PA library reads them."""
    import c2pa

    beside = sidecar(path)
    kind = "application/octet-stream" if beside.is_file() else "video/mp4"
    with path.open("rb") as file:
        reader = c2pa.Reader(kind, file, beside.read_bytes() if beside.is_file() else None)
        store = json.loads(reader.json())
        assert reader.get_validation_state() == "Valid"
    found = store["manifests"][store["active_manifest"]]
    data = {each["label"]: each["data"] for each in found["assertions"]}
    actions = [
        (each["action"], each.get("digitalSourceType", "").rsplit("/", 1)[-1])
        for each in data["c2pa.actions.v2"]["actions"]
    ]
    return actions, found.get("ingredients", []), data["org.idol-diffusion.generation"], json.dumps(store)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("origin")
    return save_run(folder / "run", save_tiny_pipeline(folder / "secret-place" / "tiny"))


def test_views_of_a_run_name_its_model_checkpoint_and_seed(run, tmp_path):
    made = render(run.folder, tmp_path / "views", ("parallax", "depth"))
    own = read_credentials(run.folder / "video.mp4").facts
    for path, kind in zip(made.files, ("parallax", "depth", "scene-depth"), strict=True):
        actions, ingredients, facts, text = manifest(path)
        assert actions == [("c2pa.created", "trainedAlgorithmicMedia")] and not ingredients
        assert facts == {**own, "kind": kind}
        assert facts["model"] == "tiny" and facts["seed"] == 5 and len(facts["checkpoint"]) == 64
        assert "secret-place" not in text


def test_views_of_a_clip_that_nobody_generated_are_edits_and_name_nothing(clip, tmp_path):
    given = replace(clip, source="/home/someone/films/private.mov")
    given.save(tmp_path / "private")
    made = render(tmp_path / "private", tmp_path / "views", ("parallax", "mesh"))
    for path in made.files:
        actions, ingredients, facts, text = manifest(path)
        assert actions == [("c2pa.opened", ""), ("c2pa.edited", "composite")]
        (parent,) = ingredients
        assert parent["relationship"] == "parentOf" and parent["title"] == "given clip"
        assert set(facts) == {"kind"}
        assert "private" not in text and "trained" not in text


def test_a_generated_clip_without_its_record_is_still_a_generated_one(run, clip):
    assert clip_facts(run.clip, None).origin == "generated" and not clip_facts(run.clip, None).model
    assert clip_facts(clip, None).origin == "edited"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"settings": {"weights": "a", "seed": "x"}}'])
def test_a_run_json_of_another_kind_is_told(clip, tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(UserError, match="clip: .*is not the record of a run"):
        clip_facts(clip, tmp_path)


def test_a_recording_is_marked_and_signed_beside_it(run, tmp_path):
    pytest.importorskip("rerun")
    path = tmp_path / "clip.rrd"
    assert call("view", run.folder, "--with", "rerun", "--save", path).code == 0
    actions, _, facts, _ = manifest(path)
    assert actions == [("c2pa.created", "trainedAlgorithmicMedia")] and facts["kind"] == "recording"
    assert sorted(each.name for each in tmp_path.iterdir() if each.is_file()) == ["clip.rrd", "clip.rrd.c2pa"]
