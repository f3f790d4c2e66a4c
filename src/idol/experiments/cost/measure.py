"""`idol.benchmark`: the cost of a clip by each method.

Rounds alternate over the methods, so that all of them share a slow spell of the machine.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import torch
from torch import nn

from idol.atomic_io import check_file, write_json
from idol.config import load_config
from idol.errors import UserError
from idol.experiments.cost.dummy_inputs import dummy_inputs
from idol.experiments.cost.flops import FlopCount, count_flops
from idol.experiments.cost.hardware import MemoryMeter, check_device, device_name
from idol.experiments.cost.methods import METHODS, DptDepthEstimator, Method, Precision, build_pipeline
from idol.experiments.cost.report import CostReport, MethodCost
from idol.pipeline.pipeline import IdolPipeline
from idol.progress import SILENT, ProgressCallback
from idol.training.config import TrainConfig
from idol.training.export import with_training_settings


def benchmark(
    config: str | Path,
    overrides: Sequence[str] = (),
    *,
    methods: Sequence[str] = (),
    frames: int = 8,
    num_inference_steps: int | None = None,
    repeat: int = 3,
    device: str = "cpu",
    dtype: Precision = "float32",
    out: str | Path | None = None,
    progress: ProgressCallback = SILENT,
) -> CostReport:
    """Measure parameters, FLOPs, memory and time of IDOL and the compared methods, with random weights.

    Args:
        config: YAML file of a video stage, whose sizes are taken: `configs/mini/video.yaml`.
        overrides: Changes to the file, `key=value` or `a.b=value` each.
        methods: Names of `METHODS`; all if empty.
        frames: Number of frames of the clip, at least 1.
        num_inference_steps: Denoising steps, at least 1; the config's default if None.
        repeat: Rounds over the methods, at least 1.
        device: "cpu", "cuda", ...
        dtype: Precision of all weights and all arithmetic.
        out: JSON file to write the report to.
        progress: Receives one step per run.

    Raises:
        UserError: As `measure_costs`, and if the config cannot be used or `out` not be written.
    """
    stage = load_config(TrainConfig, Path(config), list(overrides))
    if out is not None:
        check_file(Path(out))
    progress.stage("measuring")
    report = measure_costs(
        stage,
        tuple(methods) or tuple(METHODS),
        frames=frames,
        num_inference_steps=num_inference_steps,
        repeat=repeat,
        device=device,
        dtype=dtype,
        progress=progress,
    )
    if out is not None:
        write_json(Path(out), report.to_json())
    return report


def measure_costs(
    config: TrainConfig,
    methods: Sequence[str] = tuple(METHODS),
    *,
    frames: int = 8,
    num_inference_steps: int | None = None,
    repeat: int = 3,
    device: str = "cpu",
    dtype: Precision = "float32",
    progress: ProgressCallback = SILENT,
) -> CostReport:
    """Measure what one clip costs by each method.

    One method is in memory at a time, so each is built again in every round. An untimed clip in one step
    precedes every timed one.

    Args:
        config: A stage with temporal layers; its sizes, autoencoder, pose control and defaults are used.
        methods: Names of `METHODS`.
        frames: Number of frames of the clip.
        num_inference_steps: Denoising steps; the config's default if None.
        repeat: Rounds over the methods.
        device: "cpu", "cuda", ...
        dtype: Precision of all weights and all arithmetic, including the depth estimator's.
        progress: Receives one step per run.

    Raises:
        UserError: If a method, the device or the precision is unknown, or a number is below 1.
    """
    generation = with_training_settings(config.generation, config.data)
    steps = generation.num_inference_steps if num_inference_steps is None else num_inference_steps
    _check(methods, dtype, frames=frames, num_inference_steps=steps, repeat=repeat)
    checked_device = check_device(device)
    runs: dict[str, list[_Run]] = {name: [] for name in methods}
    for number in range(repeat):
        for i, name in enumerate(methods):
            runs[name].append(_run(config, METHODS[name], frames, steps, checked_device, dtype))
            progress.step(number * len(methods) + i + 1, repeat * len(methods))
    return CostReport(
        costs={name: _cost(of, steps) for name, of in runs.items()},
        frames=frames,
        size=generation.height,
        steps=steps,
        machine=device_name(checked_device),
        threads=torch.get_num_threads(),
        weights=dtype,
        torch=torch.__version__,
    )


def _check(methods: Sequence[str], dtype: str, **numbers: int) -> None:
    for name in methods:
        if name not in METHODS:
            raise UserError("methods", f"{name!r}", f"choose from {', '.join(METHODS)}")
    if dtype not in get_args(Precision):
        raise UserError("dtype", f"{dtype!r}", f"choose from {', '.join(get_args(Precision))}")
    for name, number in numbers.items():
        if number < 1:
            raise UserError(name, f"{number}", "give at least 1")


@dataclass(frozen=True)
class _Run:
    parameters: int
    frozen: int
    flops: FlopCount
    seconds: float
    memory: int | None


def _cost(runs: list[_Run], steps: int) -> MethodCost:
    first = runs[0]
    known = [run.memory for run in runs if run.memory is not None]
    return MethodCost(
        parameters=first.parameters,
        frozen=first.frozen,
        step_flops=first.flops.step,
        clip_flops=first.flops.clip + (steps - 1) * first.flops.step,
        arithmetic=first.flops.arithmetic,
        seconds=tuple(run.seconds for run in runs),
        memory=int(statistics.median(known)) if known else None,
    )


def _run(
    config: TrainConfig, method: Method, frames: int, steps: int, device: torch.device, precision: Precision
) -> _Run:
    """Build a method, generate a clip, and release both."""
    gc.collect()
    meter = MemoryMeter(device)
    pipe = build_pipeline(config, method, precision).to(device)
    pipe.set_progress_bar_config(disable=True)
    estimator = DptDepthEstimator(precision).to(device) if method.estimates_depth else None
    generate = _generation(pipe, estimator, frames)
    flops = count_flops(lambda: generate(1))
    generate(1)  # memory is laid out, kernels are chosen
    meter.start()
    start = time.perf_counter()
    generate(steps)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    seconds = time.perf_counter() - start
    trained, frozen = _parameters(pipe, estimator)
    return _Run(trained, frozen, flops, seconds, meter.read())


def _generation(pipe: IdolPipeline, estimator: nn.Module | None, frames: int) -> Callable[[int], None]:
    """Return a function that generates a clip with its depth in a number of steps."""
    image, mask, pose = dummy_inputs(pipe.defaults.height, frames)

    @torch.no_grad()
    def generate(steps: int) -> None:
        inputs = image, mask, image, pose
        seed = torch.Generator().manual_seed(0)
        output: Any = pipe(
            *inputs, foreground_pose=pose.select([0]), num_inference_steps=steps, generator=seed
        )
        if estimator is not None:
            estimator(output.video[0])

    return generate


def _parameters(pipe: IdolPipeline, estimator: nn.Module | None) -> tuple[int, int]:
    """Return the numbers of trained and of frozen parameters."""
    frozen: list[nn.Module] = [pipe.vae] if estimator is None else [pipe.vae, estimator]
    networks = [network for network in pipe.networks if network is not pipe.vae]
    trained = sum(p.numel() for n in networks for p in n.parameters() if p.requires_grad)
    everything = sum(p.numel() for n in [*networks, *frozen] for p in n.parameters())
    return trained, everything - trained
