"""Checkpoints: saving, loading, and what is said about those that cannot be loaded."""

import json
import shutil

import pytest
import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file, save_file

from idol.errors import UserError
from idol.pipeline.pipeline import IdolPipeline
from support.tiny_pipelines import SIZE, clip_inputs, mini, noise, stable


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    mini().save_pretrained(folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("kind", [mini, stable, lambda: mini(background="controlnet")])
def test_save_and_load_round_trip(kind, tmp_path):
    pipe, folder = kind(), tmp_path
    pipe.save_pretrained(folder)
    index = json.loads((folder / "model_index.json").read_text())
    assert index["_class_name"] == "IdolPipeline" and index["unet"] == ["idol", "UnifiedUNet"]
    again = IdolPipeline.from_pretrained(folder)
    assert isinstance(again, DiffusionPipeline)
    assert again.codec_config == pipe.codec_config and again.defaults == pipe.defaults
    named = {"vae", "unet", "control", "foreground_encoder", "scheduler", "background_control"}
    assert set(again.components) == named
    assert (again.background_control is None) == (pipe.background_control is None)
    again.set_progress_bar_config(disable=True)
    before, after = (p(**clip_inputs(), generator=noise(2)) for p in (pipe, again))
    assert torch.equal(before.video, after.video) and torch.equal(before.depth, after.depth)


def test_checkpoints_that_name_files_load_still(saved, tmp_path):
    """Earlier versions wrote the module of each class into model_index.json."""
    folder = tmp_path / "old"
    shutil.copytree(saved, folder)
    index = json.loads((folder / "model_index.json").read_text())
    assert "idol." not in json.dumps(index)
    index |= {"unet": ["idol.gone.unet", "UnifiedUNet"], "control": ["idol.gone.control", "PoseAdapter"]}
    latents = index["latent_config"]
    latents["colour_map"] = latents.pop("colormap")
    (folder / "model_index.json").write_text(json.dumps(index))
    old, new = IdolPipeline.from_pretrained(folder), IdolPipeline.from_pretrained(saved)
    assert old.codec_config == new.codec_config
    assert all(torch.equal(a, b) for a, b in zip(old.unet.parameters(), new.unet.parameters(), strict=True))


def test_half_precision_weights_load_as_float32(tmp_path):
    mini().to(torch.bfloat16).save_pretrained(tmp_path)
    assert load_file(tmp_path / "unet" / "diffusion_pytorch_model.safetensors")["conv_in.weight"].dtype == (
        torch.bfloat16
    )
    assert IdolPipeline.from_pretrained(tmp_path).unet.dtype == torch.float32


@pytest.mark.slow
def test_a_pipeline_without_pose_control(tmp_path):
    pipe = mini()
    settings = {key: pipe.config[key] for key in ("latent_config", "generation_config")}
    pipe = IdolPipeline(**{**pipe.components, "control": None}, **settings)
    pipe.save_pretrained(tmp_path)
    again = IdolPipeline.from_pretrained(tmp_path)
    assert again.control is None
    again.set_progress_bar_config(disable=True)
    assert again(**clip_inputs()).video.shape == (2, 2, 3, SIZE, SIZE)


def broken(saved, tmp_path, change):
    folder = tmp_path / "broken"
    shutil.copytree(saved, folder)
    change(folder)
    with pytest.raises(UserError) as error:
        IdolPipeline.from_pretrained(folder)
    assert "\n" not in str(error.value)
    return str(error.value)


UNET_FILE = "unet/diffusion_pytorch_model.safetensors"


def truncate(folder):
    data = (folder / UNET_FILE).read_bytes()
    (folder / UNET_FILE).write_bytes(data[: len(data) // 2])


def scribble(folder):
    (folder / UNET_FILE).write_bytes(b"not weights at all" * 100)


def pickle_instead(folder):
    torch.save({}, folder / "unet/diffusion_pytorch_model.bin")
    (folder / UNET_FILE).unlink()


def other_width(folder):
    path = folder / "unet/config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "cross_attention_dim": 24}))


def lose_a_tensor(folder):
    weights = load_file(folder / UNET_FILE)
    del weights["conv_in.bias"]
    save_file(weights, folder / UNET_FILE)


def add_a_tensor(folder):
    save_file({**load_file(folder / UNET_FILE), "surplus": torch.zeros(1)}, folder / UNET_FILE)


def other_pipeline(folder):
    path = folder / "model_index.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "_class_name": "StableDiffusionPipeline"}))


def foreign_component(folder):
    path = folder / "model_index.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "unet": ["os", "system"]}))


BREAKS = [
    (truncate, "truncated"),
    (scribble, "not safetensors"),
    (pickle_instead, "only safetensors"),
    (other_width, "architecture"),
    (lose_a_tensor, "conv_in.bias is missing"),
    (add_a_tensor, "surplus"),
    (other_pipeline, "StableDiffusionPipeline"),
    (foreign_component, "system"),
    (lambda folder: (folder / "model_index.json").unlink(), "model_index.json"),
    (lambda folder: (folder / "model_index.json").write_text("{"), "not JSON"),
    (lambda folder: (folder / "unet/config.json").unlink(), "config.json"),
    (lambda folder: (folder / UNET_FILE).unlink(), "no weights"),
    (lambda folder: shutil.rmtree(folder / "vae"), "vae"),
]


@pytest.mark.parametrize("change, told", BREAKS)
def test_broken_checkpoints_are_named(saved, tmp_path, change, told):
    assert told in broken(saved, tmp_path, change)


def test_names_that_lead_nowhere(tmp_path):
    with pytest.raises(UserError, match="no folder"):
        IdolPipeline.from_pretrained("no-such-name")
    file = tmp_path / "weights.safetensors"
    file.touch()
    with pytest.raises(UserError, match="is a file"):
        IdolPipeline.from_pretrained(file)


def test_a_hub_id_without_network_is_the_users_to_mend(tmp_path):
    """Tests run offline (`conftest.py`)."""
    with pytest.raises(UserError, match="cannot be fetched") as error:
        IdolPipeline.from_pretrained("nobody/nothing", cache_dir=tmp_path)
    assert "\n" not in str(error.value)
