"""Costs side by side: identities between the methods, and the verb."""

import json
import statistics

import pytest
import torch
import yaml

from idol.errors import UserError
from idol.experiments.cost.flops import count_flops
from idol.experiments.cost.measure import measure_costs
from idol.experiments.cost.methods import METHODS, DptDepthEstimator, build_pipeline
from idol.experiments.cost.report import CostReport, MethodCost
from support.cli_runs import call, refused
from support.recorded_progress import RecordedProgress
from support.training_runs import config, settings


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    return config(tmp_path_factory.mktemp("costs"), "run", frames=2, generation={"guidance_scale": 1.0})


@pytest.fixture(scope="module")
def report(stage):
    progress = RecordedProgress()
    names = ("idol", "separate", "mm-diffusion", "ldm3d", "estimate")
    made = measure_costs(stage, names, frames=2, num_inference_steps=3, repeat=2, progress=progress)
    assert progress.steps[-1] == (10, 10) and len(progress.steps) == 10
    return made


def test_two_networks_cost_twice_what_one_stream_does(report):
    alone, both = report.costs["estimate"], report.costs["separate"]
    assert both.step_flops == 2 * alone.step_flops
    assert report.costs["ldm3d"].step_flops == alone.step_flops
    assert report.costs["mm-diffusion"].step_flops > both.step_flops
    assert report.costs["mm-diffusion"].parameters > both.parameters > report.costs["idol"].parameters


def test_a_step_is_counted_as_a_separate_count_of_the_network_does(stage, report):
    from torch.utils.flop_counter import FlopCounterMode

    unet = build_pipeline(stage, METHODS["estimate"]).unet
    sample, tokens = torch.randn(1, 1, 2, 4, 4, 4), torch.randn(1, 4, 24)
    kv = unet.encode_foreground(tokens)
    with torch.enable_grad(), FlopCounterMode(display=False) as counter:  # the plain formula of attention
        unet(sample, torch.tensor([1.0]), kv, torch.randn(1, 4, 4, 4))
    assert counter.get_total_flops() == report.costs["estimate"].step_flops


def test_a_clip_is_its_steps_and_the_rest(stage, report):
    longer = measure_costs(stage, ["idol"], frames=2, num_inference_steps=5, repeat=1).costs["idol"]
    cost = report.costs["idol"]
    assert longer.clip_flops - cost.clip_flops == 2 * cost.step_flops == 2 * longer.step_flops
    assert cost.clip_flops > 3 * cost.step_flops  # encoders and decoder


def test_parameters_are_those_of_the_networks(stage, report):
    pipe = build_pipeline(stage, METHODS["idol"])
    parts = pipe.unet, pipe.control, pipe.foreground_encoder
    assert report.costs["idol"].parameters == sum(p.numel() for part in parts for p in part.parameters())
    assert report.costs["idol"].frozen == sum(p.numel() for p in pipe.vae.parameters())
    assert report.costs["estimate"].frozen > 100e6  # the depth estimator


def test_the_report_says_what_was_measured(report):
    values = report.to_json()
    assert values["frames"] == 2 and values["steps"] == 3 and values["size"] == 64
    for name, cost in report.costs.items():
        assert len(cost.seconds) == 2 and min(cost.seconds) > 0 and (cost.memory is None or cost.memory > 0)
        assert values["costs"][name]["median_seconds"] == statistics.median(cost.seconds)
    cost = MethodCost(10**6, 10**6, 10**9, 10**10, ("float32",), (1.0, 3.0), None)
    table = CostReport({"idol": cost}, 8, 256, 2, "x", 2, "float32", "2.13").table()
    assert table.caption == "x, threads: 2, all in float32, torch 2.13; rounds: 2; weights are random"
    cells = [list(column.cells)[0] for column in table.columns]
    assert cells == ["IDOL", "1.0", "2.0", "1.0", "10.0", "?", "2.00 (1.00–3.00)"]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_all_methods_compute_in_the_precision_that_is_asked_for(stage, precision):
    report = measure_costs(stage, frames=2, num_inference_steps=1, repeat=1, dtype=precision)
    assert {name: cost.arithmetic for name, cost in report.costs.items()} == dict.fromkeys(
        METHODS, (precision,)
    )
    pipe, estimator = build_pipeline(stage, METHODS["idol"], precision), DptDepthEstimator(precision)
    networks = [*pipe.networks, estimator]
    assert {p.dtype for network in networks for p in network.parameters()} == {getattr(torch, precision)}


def test_other_arithmetic_than_that_of_the_weights_is_noticed():
    layer, x = torch.nn.Linear(4, 5), torch.randn(3, 4)

    def mixed():
        with torch.autocast("cpu", torch.bfloat16):
            layer(x)
        layer(x)

    counted = count_flops(mixed)
    assert counted.arithmetic == ("bfloat16", "float32") and counted.clip == 2 * (2 * 3 * 4 * 5)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"methods": ["gan"]}, "choose from idol"),
        ({"repeat": 0}, "repeat: 0"),
        ({"frames": 0}, "frames: 0"),
        ({"num_inference_steps": 0}, "num_inference_steps: 0"),
        ({"dtype": "float8"}, "float32, bfloat16"),
        ({"device": "cuda:9"}, "cuda:9 cannot be used"),
        ({"device": "abacus"}, "abacus cannot be used"),
    ],
)
def test_mistakes_are_told_before_anything_is_built(stage, asked, told):
    with pytest.raises(UserError, match=told):
        measure_costs(stage, **asked)


def test_the_verb_prints_the_table_and_writes_the_numbers(tmp_path):
    stage = tmp_path / "stage.yaml"
    stage.write_text(yaml.safe_dump(settings(tmp_path, "run", frames=2)))
    how = ["--method", "idol", "--method", "ldm3d", "--repeat", 1, "--frames", 2, "--steps", 1, "--json"]
    done = call("benchmark", stage, *how, "-o", tmp_path / "costs.json")
    assert done.code == 0 and "LDM3D" in done.err
    written = json.loads((tmp_path / "costs.json").read_text())
    assert done.json == {"ok": True, **written} and set(written["costs"]) == {"idol", "ldm3d"}
    assert "--method" in refused("benchmark", stage, "--method", "gan")
