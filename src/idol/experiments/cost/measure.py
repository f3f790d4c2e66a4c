"""Measuring: rounds alternate over the methods, so that a machine that slows down slows all of them."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import torch
from torch import nn

from idol.errors import UserError
from idol.experiments.cost.dummy_inputs import drawn_inputs
from idol.experiments.cost.flops import Operations, count
from idol.experiments.cost.hardware import MemoryMeter, name_of, usable
from idol.experiments.cost.methods import METHODS, DepthEstimator, Method, Precision, build
from idol.experiments.cost.report import Cost, CostReport
from idol.pipeline.pipeline import IdolPipeline
from idol.training.export import settled
from idol.training.train import TrainConfig


def benchmark(
    config: TrainConfig,
    methods: Sequence[str] = tuple(METHODS),
    *,
    frames: int = 8,
    steps: int | None = None,
    repeat: int = 3,
    device: str = "cpu",
    dtype: Precision = "float32",
    progress: Callable[[int, int], None] | None = None,
) -> CostReport:
    """Measure what one clip costs by each method.

    One method is in memory at a time, so all of them are built anew in every round. A clip in one step,
    untimed, comes before each that is timed.

    Args:
        config: A stage with temporal layers; its sizes, autoencoder, pose control and defaults are taken.
        methods: Names of `METHODS`.
        frames: Of the clip.
        steps: Denoising steps; the config's own by default.
        repeat: Rounds, each of all methods.
        device: Where.
        dtype: Of all weights and all arithmetic, the depth estimator's too.
        progress: Told (runs done, runs) after each.

    Raises:
        UserError: If a method, the device or the precision is unknown, or a number is below 1.
    """
    generation = settled(config.generation, config.data)
    steps = generation.num_inference_steps if steps is None else steps
    _check(methods, dtype, frames=frames, steps=steps, repeat=repeat)
    where = usable(device)
    runs: dict[str, list[_Run]] = {name: [] for name in methods}
    for number in range(repeat):
        for i, name in enumerate(methods):
            runs[name].append(_run(config, METHODS[name], frames, steps, where, dtype))
            if progress is not None:
                progress(number * len(methods) + i + 1, repeat * len(methods))
    return CostReport(
        costs={name: _cost(of, steps) for name, of in runs.items()},
        frames=frames,
        size=generation.height,
        steps=steps,
        machine=name_of(where),
        threads=torch.get_num_threads(),
        weights=dtype,
        torch=torch.__version__,
    )


def _check(methods: Sequence[str], dtype: str, **numbers: int) -> None:
    for name in methods:
        if name not in METHODS:
            raise UserError("--method", f"{name!r}", f"choose from {', '.join(METHODS)}")
    if dtype not in get_args(Precision):
        raise UserError("--dtype", f"{dtype!r}", f"choose from {', '.join(get_args(Precision))}")
    for name, number in numbers.items():
        if number < 1:
            raise UserError(f"--{name}", f"{number}", "give at least 1")


@dataclass(frozen=True)
class _Run:
    parameters: int
    frozen: int
    operations: Operations
    seconds: float
    memory: int | None


def _cost(runs: list[_Run], steps: int) -> Cost:
    first = runs[0]
    known = [run.memory for run in runs if run.memory is not None]
    return Cost(
        parameters=first.parameters,
        frozen=first.frozen,
        step_flops=first.operations.step,
        clip_flops=first.operations.clip + (steps - 1) * first.operations.step,
        arithmetic=first.operations.arithmetic,
        seconds=tuple(run.seconds for run in runs),
        memory=int(statistics.median(known)) if known else None,
    )


def _run(
    config: TrainConfig, method: Method, frames: int, steps: int, device: torch.device, precision: Precision
) -> _Run:
    """Build a method, make a clip, and let go of both."""
    gc.collect()
    meter = MemoryMeter(device)
    pipe = build(config, method, precision).to(device)
    pipe.set_progress_bar_config(disable=True)
    estimator = DepthEstimator(precision).to(device) if method.estimates_depth else None
    generate = _generation(pipe, estimator, frames)
    operations = count(lambda: generate(1))
    generate(1)  # memory is laid out, kernels are chosen
    meter.start()
    start = time.perf_counter()
    generate(steps)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    seconds = time.perf_counter() - start
    trained, frozen = _parameters(pipe, estimator)
    return _Run(trained, frozen, operations, seconds, meter.read())


def _generation(pipe: IdolPipeline, estimator: nn.Module | None, frames: int) -> Callable[[int], None]:
    """What makes a clip with its depth in so many steps."""
    image, mask, pose = drawn_inputs(pipe.defaults.height, frames)

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
    """Numbers of trained and of frozen parameters."""
    frozen: list[nn.Module] = [pipe.vae] if estimator is None else [pipe.vae, estimator]
    networks = [network for network in pipe.networks if network is not pipe.vae]
    trained = sum(p.numel() for n in networks for p in n.parameters() if p.requires_grad)
    everything = sum(p.numel() for n in [*networks, *frozen] for p in n.parameters())
    return trained, everything - trained
