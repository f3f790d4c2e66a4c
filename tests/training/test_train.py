import dataclasses
import json
import signal
import time
from pathlib import Path

import pytest
import torch
from PIL import Image

from idol.config import load_config
from idol.errors import UserError
from idol.training.checkpoint import load_tensors
from idol.training.config import TrainConfig
from idol.training.train import fit
from support.training_runs import config, in_two_processes, make_data, start, trained


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    make_data(folder)
    return folder


def assert_same(a: Path, b: Path, groups=("networks", "average", "optimizer"), **tolerance):
    for group in groups:
        left, right = load_tensors(a, group), load_tensors(b, group)
        assert left.keys() == right.keys()
        for name, tensor in left.items():
            torch.testing.assert_close(tensor, right[name], **tolerance, msg=lambda m, n=name: f"{n}: {m}")


def test_a_killed_run_resumes_bit_for_bit(data):
    run = config(data, "whole", frames=2, steps=7, save_every=3, noise={"drop_foreground": 0.5})
    whole = fit(run)
    killed = dataclasses.replace(run, out=data / "killed", steps=7)
    child = start(trained, killed)
    while not (killed.out / "checkpoints" / "step-00000003").exists():
        assert child.is_alive()
        time.sleep(0.002)
    child.kill()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    (killed.out / "checkpoints" / ".step-00000006.partial").mkdir(exist_ok=True)  # killed while saving
    with pytest.raises(UserError, match="resume"):
        fit(killed)
    assert_same(fit(killed, resume=True), whole, rtol=0, atol=0)


@pytest.mark.parametrize("way", ["data parallel", "split"])
def test_two_processes_equal_one(data, way):
    one = fit(config(data, f"one-{way}", frames=2, batch_size=4, steps=3, save_every=3))
    two = config(
        data, f"two-{way}", frames=2, batch_size=1, gradient_accumulation_steps=2, steps=3, save_every=3
    )
    in_two_processes(trained, two, ACCELERATE_USE_FSDP="true" if way == "split" else "false")
    assert_same(two.out / "checkpoints" / "step-00000003", one, groups=("networks",), rtol=0, atol=2e-4)
    # Adam divides by the gradient's size, which magnifies rounding where it is nearly 0: moments are closer
    assert_same(two.out / "checkpoints" / "step-00000003", one, groups=("optimizer",), rtol=1e-3, atol=1e-6)


def test_every_weight_of_a_stage_learns(data):
    run = config(
        data, "learns", frames=2, steps=3, loss={"w_mo": 1.0, "w_xattn": 1.0}, optimizer={"warmup_steps": 0}
    )
    start = fit(dataclasses.replace(run, out=data / "start", steps=1, save_every=1))
    end = fit(run)
    before, after = load_tensors(start, "networks"), load_tensors(end, "networks")
    # zero-initialized outputs hold back what is behind them for a step, so the start is compared after one
    still = [name for name in before if torch.equal(before[name], after[name])]
    assert still == []


def test_attention_alone_trains(data):
    settings = {"modalities": 1, "background": "hole"}
    run = config(
        data,
        "haop",
        stage="haop",
        trainable="attention",
        steps=2,
        model={"control": None, "unet": {"num_modalities": 1, "cross_modal": False}},
        data={"images": settings, "window": {"reference": "same"}, "variants": 2},
    )
    fit(run)
    before = load_tensors(run.out / "checkpoints" / "step-00000002", "networks")
    fit(dataclasses.replace(run, steps=4), resume=True)
    after = load_tensors(run.out / "checkpoints" / "step-00000004", "networks")
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert not any(".resnets." in name or "samplers" in name for name in changed)
    assert all(name in changed for name in before if ".transformer_blocks." in name)
    assert "unet.conv_in.weight" in changed and "foreground.embed.weight" in changed


def test_loss_falls_and_is_told(data):
    fast = {"warmup_steps": 5, "lr": 3e-3}
    run = config(data, "falls", steps=20, batch_size=4, optimizer=fast, noise={"drop_foreground": 0.0})
    run = dataclasses.replace(run, sample_grid=dataclasses.replace(run.sample_grid, every=10))
    fit(run)
    lines = [json.loads(line) for line in (run.out / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 21))
    assert {"loss", "denoising", "motion", "attention_map", "video", "depth", "lr", "seconds"} < lines[
        0
    ].keys()
    first, last = (sum(line["loss"] for line in part) for part in (lines[:5], lines[-5:]))
    assert last < 0.9 * first
    grids = sorted(p.name for p in (run.out / "sample_grids").iterdir())
    assert grids == ["step-00000010.png", "step-00000020.png"]
    assert Image.open(run.out / "sample_grids" / grids[0]).size == (6 * 64, 2 * 64)
    assert list((run.out / "tensorboard").iterdir())
    assert load_config(TrainConfig, run.out / "config.yaml") == run
    assert len(list((run.out / "checkpoints").iterdir())) == run.keep_checkpoints


def test_out_of_time_saves_and_stops(data):
    run = config(data, "late", steps=1000, save_every=1000)
    path = fit(dataclasses.replace(run, max_minutes=1e-4))
    assert path.name == "step-00000001"


@pytest.mark.parametrize(
    "changes", [{"precision": "bf16"}, {"gradient_checkpointing": True}, {"data": {"cache": None}}]
)
def test_variants_run_and_agree(data, changes):
    plain = load_tensors(fit(config(data, f"plain-{next(iter(changes))}", frames=2, steps=1)), "networks")
    varied = fit(config(data, f"varied-{next(iter(changes))}", frames=2, steps=1, **changes))
    varied = load_tensors(varied, "networks")
    # a step of Adam moves a weight by the rate at most: two runs differ by twice that where signs differ
    rate = 1e-3 / 2
    for name, weight in plain.items():
        assert (weight - varied[name]).abs().max() <= 2.1 * rate
    close = [(weight - varied[name]).abs().mean() / rate for name, weight in plain.items()]
    assert sum(close) / len(close) < (0.05 if "gradient_checkpointing" in changes else 0.3)


@pytest.mark.parametrize(
    "changes",
    [
        {"data": {"window": {"frames": 99}}, "model": {"unet": {"temporal": "handcrafted"}}},
        {"data": {"folders": ["nowhere"]}},
        {"autoencoder": {"path": "nowhere"}},
        {"model": {"init": "nowhere"}},
        {"model": {"unet": {"num_modalities": 1}}},
        {"data": {"window": {"frames": 2}}},
        {"steps": 0},
    ],
)
def test_mistakes_are_told(data, changes):
    with pytest.raises(UserError):
        fit(config(data, "wrong", **changes))


def test_a_split_run_goes_on_alone_and_the_other_way_round(data):
    """Checkpoints are the same: two steps split and one not, or the reverse, are three of either."""
    three = config(data, "three", frames=2, batch_size=2, steps=3, save_every=3, trainable="attention")
    through = fit(three)
    for name, split_first in (("first", True), ("last", False)):
        run = dataclasses.replace(three, out=data / f"split-{name}", steps=2, save_every=2)
        shares = dataclasses.replace(
            run, batch_size=1, sample_grid=dataclasses.replace(run.sample_grid, every=1)
        )
        if split_first:
            in_two_processes(trained, shares, ACCELERATE_USE_FSDP="true")
            end = fit(dataclasses.replace(run, steps=3), resume=True)
            assert len(list((run.out / "sample_grids").iterdir())) == 2
        else:
            fit(run)
            longer = dataclasses.replace(shares, steps=3)
            in_two_processes(trained, longer, True, ACCELERATE_USE_FSDP="true")
            end = run.out / "checkpoints" / "step-00000003"
        assert_same(end, through, groups=("networks", "average"), rtol=0, atol=2e-4)
        assert_same(end, through, groups=("optimizer",), rtol=1e-3, atol=1e-6)
