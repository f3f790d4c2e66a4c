"""Stages hand their weights on, and a finished one becomes a pipeline."""

import itertools
import json
import shutil
from pathlib import Path

import pytest
import torch

from idol.body.draft import avatar_draft
from idol.config import load_config, to_dict
from idol.diffusion.schedule import Schedule, ScheduleConfig
from idol.errors import UserError
from idol.pipeline.compositing import Compositor
from idol.pipeline.image_inputs import Drafts, as_backgrounds
from idol.pipeline.pipeline import IdolPipeline
from idol.pose.foreground_crop import foreground_crop
from idol.training.checkpoint import load_state, load_tensors
from idol.training.config import TrainConfig
from idol.training.export import export, save_weights
from idol.training.noise import NoiseConfig, draw_noise
from idol.training.optimizer import EMA, OptimizerConfig
from idol.training.samples import sample_indices
from idol.training.train import fit
from idol.training.trainable import build_networks
from support.drawn import drawn_clip
from support.training_runs import config, make_data

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
STAGES = [
    path
    for size in ("mini", "sd14", "tables/scales/tiny")
    for path in sorted((CONFIGS / size).glob("*.yaml"))
    if path.stem not in ("networks", "autoencoder")
]
HAOP = {
    "model": {"control": None, "unet": {"num_modalities": 1, "cross_modal": False}},
    "data": {"images": {"modalities": 1, "background": "hole"}, "window": {"reference": "same"}},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    make_data(folder)
    return folder


@pytest.fixture(scope="module")
def runs(data):
    """All three stages, one after the other."""
    fit(config(data, "haop", stage="haop", steps=2, **HAOP))
    fit(config(data, "image", steps=2, model={"init": str(data / "haop")}))
    handed = {"model": {"init": str(data / "image")}, "autoencoder": {"normalization": "init"}}
    fit(config(data, "video", frames=2, steps=2, **handed))
    return data


def test_stages_go_on_from_one_another(runs):
    image, video = (runs / name / "checkpoints" / "step-00000002" for name in ("image", "video"))
    assert load_state(image).latents == load_state(video).latents
    first = load_tensors(image, "average"), load_tensors(video, "average")
    new = first[1].keys() - first[0].keys()
    assert new and all(".temporal" in name for name in new)


def test_a_normalization_is_of_its_own_colors(runs):
    handed = {"model": {"init": str(runs / "image")}, "autoencoder": {"normalization": "init"}}
    gray = config(runs, "gray", steps=1, data={"images": {"colormap": "gray"}}, **handed)
    with pytest.raises(UserError, match="colormap: gray, but .* hot"):
        fit(gray)


DRAFT = {
    "model": {"unet": {"draft": True}},
    "data": {"images": {"draft": True}},
    "autoencoder": {"latent_reference": "draft", "per_channel": False},
}


def test_with_drafts_the_stages_end_in_a_pipeline_that_draws_them(data, tmp_path):
    fit(
        config(
            data, "draft-image", steps=2, generation={"detail": "restore", "num_inference_steps": 2}, **DRAFT
        )
    )
    handed = {
        "model": {**DRAFT["model"], "init": str(data / "draft-image")},
        "autoencoder": {"latent_reference": "draft", "normalization": "init"},
    }
    fit(config(data, "draft-video", frames=2, steps=2, **{**DRAFT, **handed}))
    latents = load_state(data / "draft-video" / "checkpoints" / "step-00000002").latents
    assert latents.latent_reference == "draft" and all(len(set(row)) == 1 for row in latents.scale)
    export(data / "draft-image", tmp_path / "weights")
    pipe = IdolPipeline.from_pretrained(tmp_path / "weights")
    assert pipe.defaults.detail == "restore" and pipe.defaults.num_inference_steps == 2
    clip = drawn_clip(0, 2)
    person, given = clip.pose.select([0]), (clip.video[0], clip.mask[0], clip.background, clip.pose)
    plain, cut = (
        pipe(*given, foreground_pose=person, detail=d, generator=torch.manual_seed(0))
        for d in ("none", "composite")
    )
    assert cut.video.shape == (1, 2, 3, 64, 64) and cut.video.isfinite().all()
    backgrounds = as_backgrounds(clip.background, 1, 2, 64, 64)
    made = avatar_draft(*foreground_crop(*given[:2], person, 64, 0.1), clip.pose, clip.background)
    drafts = Drafts(torch.from_numpy(made.video)[None] / 127.5 - 1, torch.from_numpy(made.depth)[None])
    compositor = Compositor(pipe.codec, backgrounds, drafts)
    torch.testing.assert_close(cut.video, compositor.apply(plain.video, plain.depth, "composite"))
    assert not torch.equal(cut.video, plain.video)
    with pytest.raises(UserError, match="needs joints"):
        pipe(clip.video[0], clip.mask[0], clip.background, clip.pose)


def test_the_compared_methods_are_trained_and_generate_by_the_same_code(data, tmp_path):
    """Separate networks, MM-Diffusion's, LDM3D's and, with depth too, DisCo's background: each a config."""
    ldm3d = {
        "model": {"unet": {"num_modalities": 1, "cross_modal": False}},
        "data": {"images": {"stacked": True}},
        "autoencoder": {"path": str(data / "autoencoder-6")},
    }
    coupled = [{"model": {"unet": {"coupling": kind}}} for kind in ("separate", "random_shift")]
    disco = {"model": {"unet": {"background": "controlnet"}, "control": "controlnet_latent"}}
    clip = drawn_clip(0, 2)
    drafted = {"model": DRAFT["model"], "data": DRAFT["data"]}  # seen, but not what latents are counted from
    for i, method in enumerate((ldm3d, *coupled, disco, drafted)):
        fit(
            config(
                data,
                f"method-{i}",
                frames=2,
                steps=2,
                sample_grid={"every": 2, "samples": 1, "num_inference_steps": 1},
                **method,
            )
        )
        assert list((data / f"method-{i}" / "sample_grids").glob("*.png"))
        export(data / f"method-{i}", tmp_path / str(i))
        pipe = IdolPipeline.from_pretrained(tmp_path / str(i))
        given = clip.video[0], clip.mask[0], clip.background, clip.pose
        made = pipe(*given, foreground_pose=clip.pose.select([0]), num_inference_steps=2)
        assert made.video.shape == (1, 2, 3, 64, 64) and made.depth.shape == (1, 2, 64, 64)
        assert made.video.isfinite().all() and made.depth.min() >= 0
        assert (pipe.background_control is not None) == (method is disco)
    with pytest.raises(UserError, match="takes 6 channels"):
        fit(config(data, "unfit", steps=1, autoencoder=ldm3d["autoencoder"]))


@pytest.mark.parametrize("downscale", [4, 8, 16])
def test_a_controlnet_of_skeleton_images_fits_every_autoencoder(data, downscale):
    model = config(data, "sizes", model={"control": "controlnet"}).model
    control = build_networks(model, downscale).control
    assert control.embed_pose(torch.zeros(1, 2, 3, 64, 32)).shape[-2:] == (64 // downscale, 32 // downscale)


def test_a_draft_that_nobody_draws_or_reads_is_told(data):
    for part in ({"data": DRAFT["data"]}, {"autoencoder": {"latent_reference": "draft"}}):
        with pytest.raises(UserError, match="draft"):
            config(data, "half", **part)


def test_a_stage_that_does_not_fit_is_told(runs):
    wide = {"unet": {"block_out_channels": [24, 32]}, "init": str(runs / "image")}
    with pytest.raises(UserError):
        fit(config(runs, "wide", model=wide))
    with pytest.raises(UserError):
        fit(config(runs, "back", **{**HAOP, "model": {**HAOP["model"], "init": str(runs / "image")}}))


def test_a_run_becomes_a_pipeline(runs):
    export(runs / "video", runs / "pipeline", "fp32")
    pipe = IdolPipeline.from_pretrained(runs / "pipeline")
    pipe.set_progress_bar_config(disable=True)
    average = load_tensors(runs / "video" / "checkpoints" / "step-00000002", "average")
    for part, network in (
        ("unet", pipe.unet),
        ("control", pipe.control),
        ("foreground", pipe.foreground_encoder),
    ):
        for name, weight in network.state_dict().items():
            assert torch.equal(weight, average[f"{part}.{name}"])
    assert pipe.defaults.stick_width == 2.5 and pipe.defaults.draw_at == "model"
    assert pipe.defaults.height == 64 and pipe.defaults.window == 2 and pipe.defaults.foreground_size == 32
    clip = drawn_clip(7)
    person = clip.pose.select([0])
    made = pipe(
        clip.video[0], clip.mask[0], clip.background, clip.pose, foreground_pose=person, num_inference_steps=2
    )
    assert made.video.shape == (1, 4, 3, 64, 64) and made.depth.shape == (1, 4, 64, 64)


def test_checkpoints_of_earlier_versions_are_exported(runs, tmp_path):
    """Configs inside checkpoints had other keys, tensors other file names without an index."""
    old = shutil.copytree(runs / "video" / "checkpoints" / "step-00000002", tmp_path / "old")
    for group in ("networks", "average", "optimizer"):
        (old / f"{group}.safetensors").rename(old / f"{group}-0000.safetensors")
    state = json.loads((old / "state.json").read_text())
    images, schedule = state["config"]["data"]["images"], state["config"]["schedule"]
    images |= {"margin": images.pop("foreground_margin"), "other_clip": 0.25, "background": "plate"}
    del images["other_clip_probability"]
    schedule["times"] = schedule.pop("timesteps")
    state["latents"]["offset"] = state["latents"].pop("latent_reference")
    (old / "state.json").write_text(json.dumps(state))
    export(old, tmp_path / "pipeline")
    assert IdolPipeline.from_pretrained(tmp_path / "pipeline").defaults.foreground_margin == 0.1


def test_light_weights_are_small_files_that_go_on(runs):
    save_weights(runs / "video", runs / "light", "bf16", shard_mb=0.1)
    files = list((runs / "light").glob("*.safetensors"))
    assert len(files) > 3 and max(f.stat().st_size for f in files) < 0.15 * 2**20
    export(runs / "light", runs / "from-light", "bf16")
    assert IdolPipeline.from_pretrained(runs / "from-light").unet is not None
    fit(config(runs, "on", frames=2, steps=1, model={"init": str(runs / "light")}))


def test_training_goes_on_from_a_pipeline(runs):
    export(runs / "image", runs / "finished", "fp32")
    handed = {
        "model": {"init": str(runs / "finished")},
        "autoencoder": {"path": str(runs / "finished"), "normalization": "init"},
    }
    fit(config(runs, "tuned", steps=1, optimizer={"lr": 1e-12}, **handed))
    before, after = (
        runs / "image" / "checkpoints" / "step-00000002",
        runs / "tuned" / "checkpoints" / "step-00000001",
    )
    first, second = load_tensors(before, "average"), load_tensors(after, "networks")
    assert first.keys() == second.keys()
    for name, weight in first.items():
        torch.testing.assert_close(weight, second[name], rtol=0, atol=1e-9)
    assert load_state(before).latents == load_state(after).latents
    for wrong in ("nothing-here", str(runs / "shards")):
        with pytest.raises(UserError, match="checkpoint"):
            fit(config(runs, "wrong", model={"init": wrong}))


@pytest.mark.parametrize("path", STAGES, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_configs_load(path):
    loaded = load_config(TrainConfig, path, ["steps=3", "data.folders=[a, b]"])
    assert loaded.steps == 3 and loaded.stage == path.stem
    assert to_dict(loaded)["data"]["folders"] == ["a", "b"]


def test_noise_does_not_depend_on_the_batch():
    schedule = Schedule(ScheduleConfig(prediction="flow"))
    shape = torch.Size((4, 2, 1, 3, 5, 5))
    settings = NoiseConfig(drop_foreground=0.5, shared_timesteps=False)
    whole = draw_noise(range(4), 0, shape, schedule, settings)
    parts = [draw_noise([n], 0, torch.Size((1, *shape[1:])), schedule, settings) for n in range(4)]
    for name in ("noise", "timesteps", "dropped"):
        assert torch.equal(getattr(whole, name), torch.cat([getattr(p, name) for p in parts]))
    assert not torch.equal(whole.timesteps[:, 0], whole.timesteps[:, 1])
    shared = draw_noise(range(4), 0, shape, schedule, NoiseConfig())
    assert torch.equal(shared.timesteps[:, 0], shared.timesteps[:, 1])
    many = draw_noise(range(400), 0, torch.Size((400, 1, 1, 1, 1, 1)), schedule, settings)
    assert 0.4 < many.dropped.float().mean() < 0.6 and abs(many.noise.mean()) < 0.15


def test_a_step_learns_from_the_same_samples_however_spread():
    one = list(itertools.islice(sample_indices(5, 8, 1, 0, 1), 2))
    spread = [sample_indices(5, 2, 2, rank, 2) for rank in range(2)]
    for step in range(2):
        parts = [next(spread[rank]) for rank in range(2) for _ in range(2)]
        assert sum(parts, []) == one[step]


def test_learning_rate():
    warm = OptimizerConfig(lr=1.0, warmup_steps=4, lr_schedule="linear")
    assert [warm.learning_rate(s, 8) for s in range(9)] == [0.25, 0.5, 0.75, 1.0, 1.0, 0.75, 0.5, 0.25, 0.0]
    assert OptimizerConfig(lr=1.0, lr_schedule="cosine", final_lr_fraction=0.5).learning_rate(
        5, 10
    ) == pytest.approx(0.75)
    assert OptimizerConfig(lr=1.0, lr_schedule="constant").learning_rate(9, 10) == 1.0


def test_average_is_the_weighted_mean_of_the_weights():
    torch.manual_seed(0)
    network = torch.nn.Linear(2, 2)
    average = EMA(network, decay=0.3)
    expected = network.weight.detach().clone()
    for step in range(6):
        with torch.no_grad():
            network.weight.normal_()
        average.update(step)
        decay = min(0.3, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * network.weight.detach()
    torch.testing.assert_close(average.module.weight, expected)
