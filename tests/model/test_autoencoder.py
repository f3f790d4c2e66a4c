"""The autoencoder of mini: shapes, its linear start, round trip through disk."""

import numpy as np
import pytest
import torch

from idol.model.autoencoder import Autoencoder


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return Autoencoder(latent_channels=4, channels=(8, 12, 16), encoder_blocks=1, decoder_blocks=1)


def test_latents_are_sixteen_times_smaller(model):
    latents = model.encode(torch.rand(2, 3, 64, 96) * 2 - 1)
    assert latents.shape == (2, 4, 4, 6)
    assert model.decode(latents).shape == (2, 3, 64, 96)


def test_untrained_it_is_the_best_linear_code_of_patches():
    torch.manual_seed(0)
    model = Autoencoder(latent_channels=6, channels=(8, 8), encoder_blocks=1, decoder_blocks=1)
    images = torch.nn.functional.interpolate(torch.rand(8, 3, 16, 16) * 2 - 1, size=64, mode="bilinear")
    model.fit_patches(images)
    patches = torch.nn.functional.pixel_unshuffle(images, 8).movedim(1, -1).flatten(0, -2).double()
    mean = patches.mean(0)
    u, s, v = np.linalg.svd((patches - mean).numpy(), full_matrices=False)
    best = torch.from_numpy(u[:, :6] * s[:6] @ v[:6]) + mean.unflatten(0, (3, 64)).mean(1).repeat_interleave(
        64
    )
    made = torch.nn.functional.pixel_unshuffle(model(images), 8).movedim(1, -1).flatten(0, -2)
    torch.testing.assert_close(made.double(), best, rtol=1e-3, atol=1e-4)
    latents = model.encode(images)
    assert latents.square().mean().item() == pytest.approx(1, abs=0.02)
    deviations = latents.std((0, 2, 3)) / torch.from_numpy(s[:6][::-1].copy()).sqrt()
    torch.testing.assert_close(deviations, deviations.mean().expand(6), rtol=0.02, atol=0)
    with pytest.raises(ValueError, match="patches"):
        Autoencoder(latent_channels=6, channels=(8, 8)).fit_patches(images[:1, :, :16, :16])


def test_size_that_does_not_divide_is_refused(model):
    with pytest.raises(ValueError, match="multiple of 16"):
        model.encode(torch.zeros(1, 3, 64, 72))


def test_saved_model_reads_back_equal(model, tmp_path):
    model.save_pretrained(tmp_path)
    images = torch.rand(1, 3, 32, 32)
    torch.testing.assert_close(Autoencoder.from_pretrained(tmp_path)(images), model(images))


def test_every_parameter_is_trained(model):
    model(torch.rand(1, 3, 32, 32)).square().mean().backward()
    silent = [n for n, p in model.named_parameters() if p.grad is None]
    assert not silent


@pytest.mark.slow
def test_it_can_learn_one_image():
    torch.manual_seed(0)
    model = Autoencoder(latent_channels=8, channels=(16, 16, 16), encoder_blocks=1, decoder_blocks=1)
    image = torch.nn.functional.interpolate(torch.rand(1, 3, 4, 4) * 2 - 1, size=32, mode="bilinear")
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    before = (model(image) - image).square().mean().item()
    for _ in range(80):
        loss = (model(image) - image).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.05 * before
