import dataclasses
import pickle

import numpy as np
import pytest
import torch

from idol.data.batch import CachedSamples, DataConfig, ImageSamples, batches, collate
from idol.data.dataset import ImageConfig, WindowConfig
from idol.data.latent_cache import DatasetCopy, LatentCache, dataset_copies, weights_sha256
from idol.data.shards import ShardReader, ShardWriter
from idol.model.autoencoder import Autoencoder
from support.drawn import drawn_clip

STRAIGHT = (DatasetCopy(0, False),)
IMAGES = ImageConfig(size=64, foreground_size=32)


@pytest.fixture(scope="module")
def vae():
    torch.manual_seed(0)
    small = Autoencoder(latent_channels=4, channels=(8, 8), encoder_blocks=1, decoder_blocks=1)
    return small.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    clips = [drawn_clip(seed, frames=3 + seed % 2, moving=seed == 2) for seed in range(5)]
    ShardWriter(folder, samples_per_shard=2, image="png").write(clips)
    return folder


@pytest.fixture(scope="module")
def config(shards, tmp_path_factory):
    return DataConfig(
        (shards,), tmp_path_factory.mktemp("latents"), IMAGES, WindowConfig(frames=2), flip=True, variants=1
    )


def open_cache(config, vae, made=STRAIGHT):
    return LatentCache(ShardReader(config.folders[0]), config.cache, weights_sha256(vae), config.images, made)


def test_cached_latents_are_those_of_the_images(config, vae):
    cache = open_cache(config, vae)
    cache.build(vae.encode)
    cached = CachedSamples([cache], config, seed=3)
    direct = ImageSamples([ShardReader(config.folders[0])], dataclasses.replace(config, flip=False), seed=3)
    for number in range(12):
        left, right = cached[number], direct[number].encode(vae.encode)
        for field in dataclasses.fields(left):
            a, b = getattr(left, field.name), getattr(right, field.name)
            if field.name in ("latents", "background", "foreground"):
                torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)  # stored in half precision
            elif a is not None:
                assert torch.equal(a, b), field.name


def test_mirrored_copies_follow_the_clips(config, vae):
    cache = open_cache(config, vae, dataset_copies(1, mirrored=True))
    cache.build(vae.encode)
    assert len(cache) == 10 and cache.lengths.tolist() == [3, 4, 3, 4, 3] * 2
    plain, mirrored = cache.get(1, [0], 1), cache.get(6, [0], 1)
    flipped = torch.from_numpy(drawn_clip(1, frames=4).video[:1, :, :, ::-1].copy()).float() / 127.5 - 1
    torch.testing.assert_close(mirrored.video.float(), vae.encode(flipped), rtol=1e-3, atol=1e-3)
    assert torch.equal(mirrored.foreground_mask, plain.foreground_mask.flip(-1))
    assert not np.array_equal(mirrored.pose.keypoints, plain.pose.keypoints)


def test_only_what_is_missing_is_made(config, vae, tmp_path):
    config = dataclasses.replace(config, cache=tmp_path)
    cache = open_cache(config, vae)
    assert cache.build(vae.encode, rank=1, world=2) == 2  # the middle one of three shards
    assert cache.build(vae.encode, rank=0, world=2, workers=1) == 3
    assert cache.build(vae.encode) == 0
    assert pickle.loads(pickle.dumps(cache)).get(4, [0, 2], 1).video.shape == (2, 4, 8, 8)


def test_another_autoencoder_or_image_has_another_cache(config, vae):
    other = Autoencoder(latent_channels=4, channels=(8, 8), encoder_blocks=1, decoder_blocks=1)
    assert weights_sha256(other) != weights_sha256(vae)
    folders = {open_cache(config, network).folder for network in (vae, other)}
    changed = dataclasses.replace(config, images=dataclasses.replace(IMAGES, foreground_margin=0.2))
    assert len(folders | {open_cache(changed, vae).folder}) == 3


def test_still_and_moving_backgrounds_make_one_batch(config, vae):
    cache = open_cache(config, vae)
    cache.build(vae.encode)
    samples = CachedSamples([cache], config, seed=0)
    batch = collate([samples[n] for n in range(5)])
    assert batch.latents.shape == (5, 2, 2, 4, 8, 8) and batch.background.shape == (5, 2, 4, 8, 8)
    assert batch.pose.shape == (5, 2, 3, 64, 64) and batch.foreground_mask.shape == (5, 1, 32, 32)


def test_workers_change_nothing(config, vae):
    cache = open_cache(config, vae)
    cache.build(vae.encode)
    samples = CachedSamples([cache], config, seed=0)
    order = [[0, 7], [3, 1], [12, 5]]
    for here, there in zip(
        *(batches(samples, iter(order), workers, False) for workers in (0, 2)), strict=True
    ):
        assert torch.equal(here.latents, there.latents) and torch.equal(here.pose, there.pose)


def test_with_drafts_each_copy_has_one_reference_and_its_draft(config, vae, tmp_path):
    drafts = dataclasses.replace(IMAGES, draft=True)
    config = dataclasses.replace(config, cache=tmp_path, images=drafts, flip=False, variants=2)
    cache = open_cache(config, vae, dataset_copies(2, mirrored=False))
    cache.build(vae.encode)
    whole = cache.get(1, [0, 1, 2, 3], 0)
    assert whole.draft.shape == (2, *whole.video.shape) == (2, 4, 4, 8, 8)
    some = cache.get(1, [1, 3], 2)  # whatever reference is asked for
    assert torch.equal(some.draft, whole.draft[:, [1, 3]]) and torch.equal(some.foreground, whole.foreground)
    references = [cache.get(clip + copy * 5, [0], 0).foreground for clip in range(5) for copy in range(2)]
    assert len({tuple(r.flatten().tolist()) for r in references}) > 5
    batch = collate([CachedSamples([cache], config, seed=0)[n] for n in range(3)])
    assert batch.draft.shape == (3, 2, 2, 4, 8, 8)
    direct = ImageSamples([ShardReader(config.folders[0])], config, seed=0)[0].encode(vae.encode)
    assert direct.draft.shape == (1, 2, 2, 4, 8, 8)
