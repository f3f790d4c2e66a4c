"""Training of autoencoders: they get better, and stopping at every step changes nothing."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file

from idol.config import dump, load_config
from idol.data.shards import ShardWriter
from idol.diffusion.latents import LatentConfig, decode_raw, encode_raw
from idol.errors import UserError
from idol.model.autoencoder import Autoencoder
from idol.model.rgbd_autoencoder import widen_to_rgbd
from idol.pipeline.pipeline import IdolPipeline
from idol.training import checkpoint, train_autoencoder
from idol.training.export import export
from idol.training.train import fit
from idol.training.train_autoencoder import (
    AutoencoderConfig,
    AutoencoderSize,
    StableDiffusionAutoencoder,
    fit_autoencoder,
)
from idol.training.trainable import load_autoencoder
from support.drawn import drawn_clip
from support.training_runs import config as stage

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("autoencoder")
    ShardWriter(folder / "shards", image="png").write(drawn_clip(seed) for seed in range(4))
    return AutoencoderConfig(
        data=folder / "shards",
        out=folder / "run",
        model=AutoencoderSize(latent_channels=4, channels=(8, 8), encoder_blocks=1, decoder_blocks=1),
        steps=4,
        warmup_steps=1,
        clips_per_step=2,
        crop_size=32,
        patch_clips=4,
        w_perceptual=0.0,
        precision="fp32",
        log_every=1,
        workers=0,
    )


def test_images_of_a_step_are_squares_of_what_the_clips_hold(config):
    data = config.crops
    images, again = data[3], data[3]
    assert images.pixels.shape == (6, 3, 32, 32) and images.person.shape == (6, 1, 32, 32)
    assert torch.equal(images.pixels, again.pixels) and not torch.equal(images.pixels, data[2].pixels)
    depth, seen = images.pixels[1::3], images.person[1::3]
    nowhere = depth.movedim(1, -1)[~seen[:, 0]]
    assert len(nowhere) and (nowhere == nowhere[0]).all()  # the color of 0 where the person is not
    assert images.person.any() and images.pixels.abs().max() <= 1


@pytest.fixture(scope="module")
def stable(config):
    """A tiny Stable Diffusion, as far as its autoencoder goes, and the run that starts from it."""
    torch.manual_seed(0)
    vae = AutoencoderKL(
        block_out_channels=(8, 8, 8, 16),
        norm_num_groups=4,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
    )
    folder = config.out.with_name("stable-diffusion")
    vae.save_pretrained(folder / "vae")
    (folder / "model_index.json").write_text("{}")  # as in a folder downloaded from the hub
    return dataclasses.replace(
        config,
        model=StableDiffusionAutoencoder(str(folder)),
        out=config.out.with_name("wide"),
        w_person=1.0,
        w_gradient=0.0,
    )


@pytest.mark.parametrize("kind", ["config", "stable"])
def test_stopped_after_every_step_it_ends_with_the_same_weights(kind, request):
    config = request.getfixturevalue(kind)
    through = fit_autoencoder(config)
    often = dataclasses.replace(config, out=config.out.with_name(f"often-{kind}"), max_minutes=0.0)
    for _ in range(config.steps):
        fit_autoencoder(often, resume=True)
    left, right = (load_file(folder.parent / "state.safetensors") for folder in (through, often.out / "x"))
    assert left.keys() == right.keys()
    assert all(torch.equal(left[name], right[name]) for name in left)


@pytest.mark.parametrize("torn", ["save_file", "staged_folder"])
def test_killed_while_saving_it_goes_on_to_the_same_model(torn, config, monkeypatch):
    through = dataclasses.replace(config, out=config.out.with_name("whole"))
    killed = dataclasses.replace(config, out=config.out.with_name(f"killed-{torn}"), save_every=2)
    owner = checkpoint if torn == "save_file" else train_autoencoder
    real, calls = getattr(owner, torn), []

    def second_fails(*arguments, **options):
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*arguments, **options)

    monkeypatch.setattr(owner, torn, second_fails)
    with pytest.raises(KeyboardInterrupt):
        fit_autoencoder(killed)
    monkeypatch.undo()
    name = "diffusion_pytorch_model.safetensors"
    left = load_file(fit_autoencoder(killed, resume=True) / name)
    if not through.out.exists():
        fit_autoencoder(through)
    right = load_file(through.out / "autoencoder" / name)
    assert left.keys() == right.keys() and all(torch.equal(left[key], right[key]) for key in left)


def test_training_improves_on_the_linear_code(config):
    longer = dataclasses.replace(config, out=config.out.with_name("longer"), steps=60, lr=3e-3, ema_decay=0.9)
    trained = Autoencoder.from_pretrained(fit_autoencoder(longer))
    data = config.crops.sample(np.random.default_rng(1), 8).pixels
    linear = Autoencoder(**vars(config.model))
    linear.fit_patches(config.crops.sample(np.random.default_rng(0), 4).pixels)
    with torch.no_grad():
        before, after = ((model(data) - data).abs().mean() for model in (linear, trained))
    assert after < 0.95 * before


def test_without_clips_there_is_nothing_to_learn(config, tmp_path):
    ShardWriter(tmp_path / "empty").write([])
    with pytest.raises(UserError, match="no clips"):
        fit_autoencoder(dataclasses.replace(config, data=tmp_path / "empty", out=tmp_path / "run"))


def test_frames_and_depth_are_learned_together_in_six_channels(config):
    model = dataclasses.replace(config.model, in_channels=6)
    both = dataclasses.replace(
        config, model=model, out=config.out.with_name("both"), w_perceptual=0.1, steps=2
    )
    images = both.crops[3]
    assert images.pixels.shape == (4, 6, 32, 32)  # a frame with its depth, an image without
    empty = images.pixels[1::2, 3:]
    assert (empty == empty[:1, :, :1, :1]).all()
    depth, seen = images.pixels[::2, 3:], images.person[::2]
    assert (depth.movedim(1, -1)[~seen[:, 0]] == empty[0, :, 0, 0]).all()
    trained = Autoencoder.from_pretrained(fit_autoencoder(both))
    assert trained(images.pixels).shape == images.pixels.shape and (both.out / "reconstructions.png").exists()


def test_the_widened_autoencoder_starts_from_stable_diffusions_loss(stable):
    """Sums over an image of L1 and KL / 10^6, of a draw from the encoder's distribution, per number."""
    weighty = StableDiffusionAutoencoder(stable.model.stable_diffusion, w_kl=1e-2)
    config = dataclasses.replace(stable, model=weighty, out=stable.out.with_name("loss"), steps=1)
    fit_autoencoder(config)
    told = json.loads((config.out / "log.jsonl").read_text())
    pixels = config.crops[0].pixels
    wide = widen_to_rgbd(AutoencoderKL.from_pretrained(stable.model.stable_diffusion, subfolder="vae"))
    code = wide.requires_grad_(False).encode(pixels).latent_dist
    made = wide.decode(code.sample(torch.Generator().manual_seed(0))).sample
    normal, standard = torch.distributions.Normal(code.mean, code.std), torch.distributions.Normal(0.0, 1.0)
    divergence = torch.distributions.kl_divergence(normal, standard).sum()
    expected = ((made - pixels).abs().sum() + 1e-2 * divergence) / pixels.numel()
    assert told["loss"] == pytest.approx(float(expected), rel=1e-4)
    assert told["penalty"] == pytest.approx(float(1e-2 * divergence / pixels.numel()), rel=1e-4)
    error = (made.clamp(-1, 1) - pixels)[:, 3:].square().mean() / 4
    assert told["psnr_depth"] == pytest.approx(float(-10 * error.log10()), rel=1e-4)


def test_the_widened_autoencoder_learns_depth_and_is_gone_on_with(stable):
    longer = dataclasses.replace(
        stable, out=stable.out.with_name("longer-wide"), steps=25, lr=3e-3, ema_decay=0.9
    )
    images = stable.crops.sample(np.random.default_rng(1), 8).pixels

    def errors(source):
        vae = load_autoencoder("kl", str(source))
        vae = vae if vae.config.in_channels == 6 else widen_to_rgbd(vae)
        with torch.no_grad():
            error = (decode_raw(vae, encode_raw(vae, images)) - images).abs()
        return error[:, :3].mean(), error[:, 3:].mean()

    finished = fit_autoencoder(longer)
    before, after = errors(stable.model.stable_diffusion), errors(finished)
    assert after[0] < 0.9 * before[0] and after[1] < 0.5 * before[1]  # of frames, of depth
    further = StableDiffusionAutoencoder(str(finished))
    on = dataclasses.replace(stable, model=further, out=stable.out.with_name("further"), steps=1, lr=1e-12)
    torch.testing.assert_close(errors(fit_autoencoder(on, resume=True)), after)
    with pytest.raises(UserError, match="resume: .*further holds a run"):
        fit_autoencoder(on)


def test_frames_with_depth_are_generated_in_the_widened_autoencoders_latents(stable, tmp_path):
    """LDM3D with Stable Diffusion's kind of autoencoder: a diffusion stage on it, and a pipeline."""
    folder = fit_autoencoder(stable, resume=True)
    ldm3d = {
        "model": {"unet": {"num_modalities": 1, "cross_modal": False, "background": "add"}},
        "data": {"images": {"stacked": True, "colormap": "gray"}},
        "autoencoder": {
            "path": str(folder), "kind": "kl", "latent_reference": "none", "normalization": "stable_diffusion"
        },
        "sample_grid": {"every": 2, "samples": 1, "num_inference_steps": 1},
    }  # fmt: skip
    (tmp_path / "shards").symlink_to(stable.data)
    fit(stage(tmp_path, "video", frames=2, steps=2, **ldm3d))
    assert list((tmp_path / "video" / "sample_grids").glob("*.png"))
    export(tmp_path / "video", tmp_path / "pipeline", "fp32")
    pipe = IdolPipeline.from_pretrained(tmp_path / "pipeline")
    trained = load_autoencoder("kl", str(folder))
    assert isinstance(pipe.vae, AutoencoderKL) and pipe.codec.stacked
    for name, weight in pipe.vae.state_dict().items():
        assert torch.equal(weight, trained.state_dict()[name])
    assert pipe.codec_config == LatentConfig.stable_diffusion(1, "gray")
    clip = drawn_clip(0, 2)
    given = clip.video[0], clip.mask[0], clip.background, clip.pose
    made = pipe(*given, foreground_pose=clip.pose.select([0]), num_inference_steps=2)
    assert made.video.shape == (1, 2, 3, 64, 64) and made.depth.shape == (1, 2, 64, 64)
    assert made.video.isfinite().all() and made.depth.min() >= 0


def test_a_run_of_either_kind_reads_its_own_config_back(config, stable, tmp_path):
    for run, kind in ((config, "idol"), (stable, "kl")):
        (tmp_path / "config.yaml").write_text(dump(run))
        assert load_config(AutoencoderConfig, tmp_path / "config.yaml") == run and run.kind == kind


@pytest.mark.parametrize("size", ["mini", "sd14"])
def test_configs_of_autoencoders_load(size):
    loaded = load_config(AutoencoderConfig, CONFIGS / size / "autoencoder.yaml", ["steps=3"])
    assert loaded.steps == 3 and loaded.kind == {"mini": "idol", "sd14": "kl"}[size]


def test_an_autoencoder_that_is_not_there_or_of_the_other_kind_is_told(stable, tmp_path):
    source = stable.model.stable_diffusion
    with pytest.raises(UserError, match="holds a AutoencoderKL"):
        load_autoencoder("idol", source)
    Autoencoder(4, (8, 8), 1, 1).save_pretrained(tmp_path / "ours")
    with pytest.raises(UserError, match="holds a Autoencoder"):
        load_autoencoder("kl", str(tmp_path / "ours"))
    for kind in ("idol", "kl"):
        with pytest.raises(UserError, match="no config.json"):
            load_autoencoder(kind, str(tmp_path))
