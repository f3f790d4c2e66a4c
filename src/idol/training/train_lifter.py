"""Training of the lifter: joints in the image to points in space, on synthetic performances.

Data and noise of every step come from (seed, step), and which windows there are from the step alone: a run
that was stopped and resumed gives the weights of one that was not.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor

from idol.atomic_io import atomic_file
from idol.body.lifter import SEEN, Lifter, LifterConfig, lift_both_ways, person_frame, save_lifter
from idol.config import dump
from idol.errors import UserError
from idol.progress import SILENT, ProgressCallback
from idol.training.checkpoint import load_exactly, load_optimizer, optimizer_tensors
from idol.training.optimizer import EMA, OptimizerConfig, build_optimizer
from idol.training.random_views import Views, draw_length, random_views
from idol.training.window_pool import WindowPool, WindowsConfig, split_windows

Lifting = Callable[[Tensor, Tensor], Tensor]

WEIGHTS = "lifter.safetensors"
_STATE = "state.safetensors"
_LIMBS = ((2, 3), (3, 4), (5, 6), (6, 7), (8, 9), (9, 10), (11, 12), (12, 13))
_WEIGHT = torch.tensor([0.5, 0.5, 1.0])  # of errors in x, y and depth: only depth is not seen
_BEND = 0.08  # meters of depth from which on a limb counts as pointing towards or away from the camera


@dataclass(frozen=True)
class LifterTrainConfig:
    """One training run of the lifter.

    Attributes:
        out: Run folder.
        stage: Tells this file from the other stages'.
        model: Sizes of the network.
        windows: What it learns from.
        optimizer: AdamW, its learning rate and the EMA of the weights.
        steps: Optimizer steps.
        batch_size: Windows in a step; they are cut into shorter ones now and then.
        lengths: Lengths in frames that windows are cut to; each divides `windows.frames`.
        shares: How often each length is taken, relative to the others.
        w_velocity: Weight of errors of the change from frame to frame.
        w_limb: Weight of errors of how far a limb reaches in depth.
        validation: Windows of the held-out recordings that errors are measured on.
        validate_every: Steps between such measurements.
        seed: Of weights and views.
        log_every: Steps between lines of the log.
        save_every: Steps between checkpoints.
        max_minutes: Stop (and save) after this much time; resume goes on.

    Raises:
        ValueError: If lengths do not divide the window or have no share each.
    """

    out: Path
    stage: Literal["lifter"] = "lifter"
    model: LifterConfig = field(default_factory=LifterConfig)
    windows: WindowsConfig = field(default_factory=WindowsConfig)
    optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(
            lr=1e-3, weight_decay=0.01, warmup_steps=300, lr_schedule="cosine"
        )
    )
    steps: int = 50000
    batch_size: int = 64
    lengths: tuple[int, ...] = (16, 8, 1)
    shares: tuple[float, ...] = (0.55, 0.3, 0.15)
    w_velocity: float = 0.3
    w_limb: float = 0.5
    validation: int = 512
    validate_every: int = 1000
    seed: int = 0
    log_every: int = 50
    save_every: int = 500
    max_minutes: float = math.inf

    def __post_init__(self) -> None:
        if len(self.lengths) != len(self.shares) or any(self.windows.frames % n for n in self.lengths):
            raise ValueError(
                f"lengths {self.lengths}: expected divisors of {self.windows.frames}, a share each"
            )
        if max(self.lengths) > self.model.window:
            raise ValueError(f"lengths {self.lengths}: expected at most model.window {self.model.window}")


def fit_lifter(config: LifterTrainConfig, resume: bool = False, progress: ProgressCallback = SILENT) -> Path:
    """Train the lifter.

    Args:
        config: Data, network and settings.
        resume: Continue from the checkpoint in `config.out`, or start if there is none.
        progress: Receives the steps.

    Returns:
        The file of the EMA weights: `idol.body.lifter.load_lifter` reads it.

    Raises:
        UserError: If `out` holds a run and `resume` is off, or there is no motion.
    """
    out = Path(config.out)
    if (out / _STATE).exists() and not resume:
        raise UserError("resume", f"{out} holds a run", "resume it, or choose another out")
    out.mkdir(parents=True, exist_ok=True)
    (out / "config.yaml").write_text(dump(config))
    run = _Run(config)
    started, step = time.monotonic(), run.resume(out)
    held_out = _held_out(config, out / "windows")
    with WindowPool(out / "windows", config.windows) as pool:
        while step < config.steps:
            told = run.step(step, pool)
            step += 1
            progress.step(step, config.steps)
            late = time.monotonic() - started > 60 * config.max_minutes
            if step % config.validate_every == 0:
                told |= lifting_errors(partial(lift_both_ways, run.ema.module), held_out)
            if step % config.log_every == 0 or step % config.validate_every == 0 or late:
                _log(out, {"step": float(step), "seconds": round(time.monotonic() - started, 1), **told})
            if step % config.save_every == 0 or step == config.steps or late:
                run.save(out, step)
            if late:
                break
    return out / WEIGHTS


def _log(out: Path, line: dict[str, float]) -> None:
    with (out / "log.jsonl").open("a") as log:
        log.write(json.dumps({k: float(f"{v:.5g}") for k, v in line.items()}) + "\n")


def _held_out(config: LifterTrainConfig, folder: Path) -> Views:
    """The validation split's windows, seen by cameras that are the same in every run."""
    path = folder / "val.npy"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        np.save(path, split_windows(config.windows, "val", 0, config.validation))
    points = torch.from_numpy(np.load(path)).float()
    return random_views(points, torch.Generator().manual_seed(config.seed))


@torch.no_grad()
def lifting_errors(lift: Lifting, views: Views) -> dict[str, float]:
    """Measure how well joints are lifted.

    Args:
        lift: From joints and confidence to points, as `Lifter.forward`.
        views: What is seen, and the truth.

    Returns:
        `depth_cm`, the mean error of the 18 joints in depth relative to the hips; `depth_cm_8` and
        `depth_cm_1`, the same when it sees 8 frames or one; `flat_cm`, with all depths 0; `plane_cm`, the
        mean distance in the image's plane; `bent_right`, the share of the limbs that reach 8 cm in depth
        whose direction is right.
    """
    found = {}
    for frames in (views.truth.shape[1], 8, 1):
        cut = views.cut(frames)
        points = torch.cat(
            [lift(j, c) for j, c in zip(cut.joints.split(8192), cut.confidence.split(8192), strict=True)]
        ).reshape(views.truth.shape)
        error = (points - views.truth)[:, :, :SEEN] / views.scale[..., None, None] * 100
        name = "depth_cm" if frames == views.truth.shape[1] else f"depth_cm_{frames}"
        found[name] = float(error[..., 2].abs().mean())
        if name == "depth_cm":
            found["plane_cm"] = float(error[..., :2].norm(dim=-1).mean())
            found["bent_right"] = _bent_right(points, views)
    found["flat_cm"] = float((views.truth[:, :, :SEEN, 2].abs() / views.scale[..., None]).mean() * 100)
    return found


def _bent_right(points: Tensor, views: Views) -> float:
    reach, true = _limb_reach(points), _limb_reach(views.truth)
    counts = true.abs() / views.scale[..., None] > _BEND
    return float((reach.sign() == true.sign())[counts].float().mean())


def _limb_reach(points: Tensor) -> Float[Tensor, "n f 8"]:
    """How far each limb's end is nearer than its start, pixels."""
    start, end = zip(*_LIMBS, strict=True)
    return points[:, :, end, 2] - points[:, :, start, 2]


class _Run:
    """Weights, their EMA and the optimizer."""

    def __init__(self, config: LifterTrainConfig) -> None:
        self.config = config
        torch.manual_seed(config.seed)
        self.model = Lifter(config.model)
        self.ema = EMA(self.model, config.optimizer.ema_decay)
        self.optimizer = build_optimizer(list(self.model.parameters()), config.optimizer)

    def step(self, step: int, pool: WindowPool) -> dict[str, float]:
        """One optimizer step; returns what to log."""
        config = self.config
        rng = torch.Generator().manual_seed(config.seed * 1_000_003 + step)
        views = random_views(pool.draw(step, config.batch_size, rng), rng)
        views = views.cut(draw_length(config.lengths, config.shares, rng))
        for group in self.optimizer.param_groups:
            group["lr"] = config.optimizer.learning_rate(step, config.steps)
        loss = self._loss(views)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), config.optimizer.max_grad_norm or math.inf)
        self.optimizer.step()
        self.ema.update(step)
        return {"loss": float(loss.detach())}

    def _loss(self, views: Views) -> Tensor:
        """Errors as shares of the person's size: of points, their velocity, and the limbs' depth."""
        points = self.model(views.joints, views.confidence)
        _, size = person_frame(views.joints, views.confidence)
        size = size.clamp_min(0.1 * float(views.scale.median()))  # hardly anything seen: no huge weight
        error = (points - views.truth) / size[:, None, None, None]
        loss = ((error.square() + 1e-4).sqrt() * _WEIGHT).mean()
        limb = (_limb_reach(points) - _limb_reach(views.truth)).abs() / size[:, None, None]
        loss = loss + self.config.w_limb * limb.mean()
        if error.shape[1] > 1:
            change = (error[:, 1:] - error[:, :-1]).abs() * _WEIGHT
            loss = loss + self.config.w_velocity * change.mean()
        return loss

    def save(self, out: Path, step: int) -> None:
        """Write the EMA weights, then the state, each by rename."""
        with atomic_file(out / WEIGHTS) as fresh:
            save_lifter(self.ema.module, fresh)
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.ema.module.state_dict().items()}
        tensors |= {f"optimizer.{k}": v for k, v in optimizer_tensors(self.optimizer).items()}
        with atomic_file(out / _STATE) as fresh:
            save_file({k: v.contiguous() for k, v in tensors.items()}, fresh, {"step": str(step)})

    def resume(self, out: Path) -> int:
        """Load the newest state if there is one; returns the next step.

        Raises:
            UserError: If it is of another network.
        """
        path = out / _STATE
        if not path.exists():
            return 0
        tensors = load_file(path)

        def part(prefix: str) -> dict[str, Tensor]:
            return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

        load_exactly(self.model, part("model."), path)
        load_exactly(self.ema.module, part("average."), path)
        load_optimizer(self.optimizer, part("optimizer."))
        return int(tensors["optimizer.0.step"])
