"""Training of the small autoencoder: it gets better, and stopping at every step changes nothing."""

import dataclasses

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from drawn import drawn_clip
from idol.data.shards import ShardWriter
from idol.errors import UserError
from idol.model.autoencoder import Autoencoder
from idol.train_autoencoder import AutoencoderConfig, AutoencoderSize, ImageBatches, fit_autoencoder


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("autoencoder")
    ShardWriter(folder / "shards", image="png").write(drawn_clip(seed) for seed in range(4))
    return AutoencoderConfig(
        data=folder / "shards",
        out=folder / "run",
        model=AutoencoderSize(latent_channels=4, channels=(8, 8), encoder_blocks=1, decoder_blocks=1),
        steps=4,
        warmup=1,
        clips_per_step=2,
        side=32,
        patch_clips=4,
        w_perceptual=0.0,
        precision="fp32",
        log_every=1,
        workers=0,
    )


def test_images_of_a_step_are_squares_of_what_the_clips_hold(config):
    data = ImageBatches(config)
    images, again = data[3], data[3]
    assert images.pixels.shape == (6, 3, 32, 32) and images.person.shape == (6, 1, 32, 32)
    assert torch.equal(images.pixels, again.pixels) and not torch.equal(images.pixels, data[2].pixels)
    depth, seen = images.pixels[1::3], images.person[1::3]
    nowhere = depth.movedim(1, -1)[~seen[:, 0]]
    assert len(nowhere) and (nowhere == nowhere[0]).all()  # the colour of 0 where the person is not
    assert images.person.any() and images.pixels.abs().max() <= 1


def test_stopped_after_every_step_it_ends_with_the_same_weights(config):
    through = fit_autoencoder(config)
    often = dataclasses.replace(config, out=config.out.with_name("often"), max_minutes=0.0)
    for _ in range(config.steps):
        fit_autoencoder(often)
    left, right = (load_file(folder.parent / "state.safetensors") for folder in (through, often.out / "x"))
    assert left.keys() == right.keys()
    assert all(torch.equal(left[name], right[name]) for name in left)


def test_training_improves_on_the_linear_code(config):
    longer = dataclasses.replace(config, out=config.out.with_name("longer"), steps=60, lr=3e-3, ema=0.9)
    trained = Autoencoder.from_pretrained(fit_autoencoder(longer))
    data = ImageBatches(config).draw(np.random.default_rng(1), 8).pixels
    linear = Autoencoder(**vars(config.model))
    linear.fit_patches(ImageBatches(config).draw(np.random.default_rng(0), 4).pixels)
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
    images = ImageBatches(both)[3]
    assert images.pixels.shape == (4, 6, 32, 32)  # a frame with its depth, a picture without
    empty = images.pixels[1::2, 3:]
    assert (empty == empty[:1, :, :1, :1]).all()
    depth, seen = images.pixels[::2, 3:], images.person[::2]
    assert (depth.movedim(1, -1)[~seen[:, 0]] == empty[0, :, 0, 0]).all()
    trained = Autoencoder.from_pretrained(fit_autoencoder(both))
    assert trained(images.pixels).shape == images.pixels.shape and (both.out / "sheet.png").exists()
