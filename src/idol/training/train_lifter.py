"""Training of the lifter, from joints in the image to points in space, on synthetic performances.

Data and noise of a step depend on (seed, step) only, and the number of available windows on the step only:
a run that was stopped and resumed gives the same weights as an uninterrupted one.
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
from torch import Tensor

from idol.atomic_io import atomic_file
from idol.body.lifter import SEEN, Lifter, LifterConfig, lift_both_ways, person_frame, save_lifter
from idol.body.limb_depths import LIMBS
from idol.config import dump
from idol.errors import UserError
from idol.progress import SILENT, ProgressCallback
from idol.training.checkpoint import load_network, save_network
from idol.training.optimizer import EMA, OptimizerConfig, build_optimizer
from idol.training.random_views import Views, draw_length, random_views
from idol.training.window_pool import WindowPool, WindowsConfig, split_windows

Lifting = Callable[[Tensor, Tensor], Tensor]

WEIGHTS = "lifter.safetensors"
_STATE = "state.safetensors"
_WEIGHT = torch.tensor([0.5, 0.5, 1.0])  # of errors in x, y and depth; only depth is not observed
_BEND = 0.08  # meters of depth from which a limb counts as pointing toward or away from the camera


@dataclass(frozen=True)
class LifterTrainConfig:
    """One training run of the lifter.

    Attributes:
        out: Run folder.
        stage: Marks a config file as one of the lifter.
        model: Sizes of the network.
        windows: Training data.
        optimizer: AdamW, its learning rate and the EMA of the weights.
        steps: Optimizer steps.
        batch_size: Windows per step, before they are cut into shorter ones.
        lengths: Lengths in frames that windows are cut to; each divides `windows.frames`.
        shares: Relative frequency of each length.
        w_velocity: Weight of errors of the change from frame to frame.
        w_limb: Weight of errors of the extent of limbs in depth.
        validation: Number of windows of the validation split that errors are measured on.
        validate_every: Steps between such measurements.
        seed: Seed of initial weights and views.
        log_every: Steps between lines of the log.
        save_every: Steps between checkpoints.
        max_minutes: Save and stop after this time; the run can be resumed.

    Raises:
        ValueError: If a length does not divide the window or exceeds the network's, or shares are missing.
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
                f"lengths: found {self.lengths}, expected divisors of {self.windows.frames}, a share each"
            )
        if max(self.lengths) > self.model.window:
            raise ValueError(
                f"lengths: found {self.lengths}, expected at most {self.model.window}, model.window"
            )


def fit_lifter(config: LifterTrainConfig, resume: bool = False, progress: ProgressCallback = SILENT) -> Path:
    """Train the lifter.

    Args:
        config: Data, network and settings.
        resume: Continue from the checkpoint in `config.out`, or start if there is none.
        progress: Receives the number of steps done.

    Returns:
        The file of the EMA weights, for `idol.body.lifter.load_lifter`.

    Raises:
        UserError: If `out` holds a run and `resume` is off, or there is no motion.
    """
    out = Path(config.out)
    if (out / _STATE).exists() and not resume:
        raise UserError("resume", f"{out} holds a run", "resume it, or use another folder")
    out.mkdir(parents=True, exist_ok=True)
    (out / "config.yaml").write_text(dump(config))
    run = _Run(config)
    started, step = time.monotonic(), run.resume(out)
    held_out = _held_out(config, out / "windows")
    with WindowPool(out / "windows", config.windows) as pool:
        while step < config.steps:
            entry = run.step(step, pool)
            step += 1
            progress.step(step, config.steps)
            late = time.monotonic() - started > 60 * config.max_minutes
            if step % config.validate_every == 0:
                entry |= lifting_errors(partial(lift_both_ways, run.ema.module), held_out)
            if step % config.log_every == 0 or step % config.validate_every == 0 or late:
                _log(out, {"step": float(step), "seconds": round(time.monotonic() - started, 1), **entry})
            if step % config.save_every == 0 or step == config.steps or late:
                run.save(out, step)
            if late:
                break
    return out / WEIGHTS


def _log(out: Path, line: dict[str, float]) -> None:
    with (out / "log.jsonl").open("a") as log:
        log.write(json.dumps({k: float(f"{v:.5g}") for k, v in line.items()}) + "\n")


def _held_out(config: LifterTrainConfig, folder: Path) -> Views:
    """Return views of validation windows; the same in every run with this config."""
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
        lift: Maps joints and confidence to points, as `Lifter.forward`.
        views: Detected joints and reference points.

    Returns:
        `depth_cm`, the mean error of the 18 joints in depth relative to the hips; `depth_cm_8` and
        `depth_cm_1`, the same with windows of 8 frames and 1 frame; `flat_cm`, the error if all depths are 0;
        `plane_cm`, the mean error in the image plane; `bent_right`, among limbs that extend at least 8 cm in
        depth, the share whose direction (toward or away from the viewer) is right.
    """
    found = {}
    for frames in (views.reference.shape[1], 8, 1):
        cut = views.cut(frames)
        points = torch.cat(
            [lift(j, c) for j, c in zip(cut.joints.split(8192), cut.confidence.split(8192), strict=True)]
        ).reshape(views.reference.shape)
        error = (points - views.reference)[:, :, :SEEN] / views.scale[..., None, None] * 100
        name = "depth_cm" if frames == views.reference.shape[1] else f"depth_cm_{frames}"
        found[name] = float(error[..., 2].abs().mean())
        if name == "depth_cm":
            found["plane_cm"] = float(error[..., :2].norm(dim=-1).mean())
            found["bent_right"] = _bent_right(points, views)
    found["flat_cm"] = float((views.reference[:, :, :SEEN, 2].abs() / views.scale[..., None]).mean() * 100)
    return found


def _bent_right(points: Tensor, views: Views) -> float:
    reach, expected = _limb_reach(points), _limb_reach(views.reference)
    counts = expected.abs() / views.scale[..., None] > _BEND
    return float((reach.sign() == expected.sign())[counts].float().mean())


def _limb_reach(points: Tensor) -> Float[Tensor, "n f 8"]:
    """Return how much nearer to the viewer each limb ends than it starts, pixels."""
    start, end = zip(*LIMBS, strict=True)
    return points[:, :, end, 2] - points[:, :, start, 2]


class _Run:
    """The state of a run: weights, their EMA and the optimizer."""

    def __init__(self, config: LifterTrainConfig) -> None:
        self.config = config
        torch.manual_seed(config.seed)
        self.model = Lifter(config.model)
        self.ema = EMA(self.model, config.optimizer.ema_decay)
        self.optimizer = build_optimizer(list(self.model.parameters()), config.optimizer)

    def step(self, step: int, pool: WindowPool) -> dict[str, float]:
        """Take one optimizer step and return the values to log."""
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
        """Return the weighted errors of points, velocities and limb depths, relative to the person's size."""
        points = self.model(views.joints, views.confidence)
        _, size = person_frame(views.joints, views.confidence)
        size = size.clamp_min(0.1 * float(views.scale.median()))  # few joints seen: limit the weight
        error = (points - views.reference) / size[:, None, None, None]
        loss = ((error.square() + 1e-4).sqrt() * _WEIGHT).mean()
        limb = (_limb_reach(points) - _limb_reach(views.reference)).abs() / size[:, None, None]
        loss = loss + self.config.w_limb * limb.mean()
        if error.shape[1] > 1:
            change = (error[:, 1:] - error[:, :-1]).abs() * _WEIGHT
            loss = loss + self.config.w_velocity * change.mean()
        return loss

    def save(self, out: Path, step: int) -> None:
        """Write the EMA weights, then the state, each atomically."""
        with atomic_file(out / WEIGHTS) as fresh:
            save_lifter(self.ema.module, fresh)
        save_network(out / _STATE, self.model, self.ema.module, self.optimizer, step)

    def resume(self, out: Path) -> int:
        """Load the saved state, if any, and return the next step.

        Raises:
            UserError: If the state belongs to another network.
        """
        return load_network(out / _STATE, self.model, self.ema.module, self.optimizer)
