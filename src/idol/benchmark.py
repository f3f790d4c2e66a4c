"""What a clip costs: IDOL and the compared methods side by side in one process (the paper's Table 7).

All methods are built at the sizes of one training config, with random weights: time, memory and operations do
not depend on them. (An autoencoder of our own kind has the sizes of `mini`'s.) Rounds alternate over the
methods, so that a machine that slows down slows all of them.
"""

from __future__ import annotations

import ctypes
import dataclasses
import gc
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.table import Table
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from idol.clip import Pose
from idol.config import to_dict
from idol.diffusion import sampler
from idol.errors import UserError
from idol.model.autoencoder import Autoencoder
from idol.model.codec import LatentConfig
from idol.pipeline import IdolPipeline
from idol.train import TrainConfig
from idol.training.export import settled
from idol.training.networks import build_networks


@dataclass(frozen=True)
class Method:
    """A compared method as changes of IDOL's config.

    Attributes:
        unet: Changed fields of `UNetConfig`.
        stacked: Frame and depth in one latent.
        estimates_depth: The network makes the video alone; depth is estimated on its frames.
    """

    unet: dict[str, Any]
    stacked: bool = False
    estimates_depth: bool = False


_ONE = {"num_modalities": 1, "cross_modal": False}
METHODS: dict[str, Method] = {
    "idol": Method({}),
    "separate": Method({"coupling": "separate"}),
    "mm-diffusion": Method({"coupling": "random_shift"}),
    "ldm3d": Method(_ONE, stacked=True),
    "estimate": Method(_ONE, estimates_depth=True),
}
TITLES = {
    "idol": "IDOL",
    "separate": "separate U-Nets",
    "mm-diffusion": "MM-Diffusion",
    "ldm3d": "LDM3D",
    "estimate": "video, then depth by DPT (ViT-B)",
}


@dataclass(frozen=True)
class Cost:
    """What one method costs.

    Attributes:
        parameters: Of what is trained: U-Net, pose control, foreground encoder without CLIP.
        frozen: Parameters beside: autoencoder, CLIP, depth estimator.
        step_flops: Of one denoising step, a multiplication with its addition counted as 2.
        clip_flops: Of the whole clip: encoders, steps, decoder, depth estimation.
        seconds: Of the whole clip, of every round.
        memory: Bytes at the highest while the clip is made, weights included; None if unknown.
    """

    parameters: int
    frozen: int
    step_flops: int
    clip_flops: int
    seconds: tuple[float, ...]
    memory: int | None


@dataclass(frozen=True)
class CostReport:
    """Costs by method, and of what."""

    costs: dict[str, Cost]
    frames: int
    size: int
    steps: int
    machine: str

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        values = dataclasses.asdict(self)
        for name, cost in self.costs.items():
            values["costs"][name]["median_seconds"] = statistics.median(cost.seconds)
        return values

    def table(self) -> Table:
        """As Table 7, with medians and the least and most."""
        rounds = len(next(iter(self.costs.values())).seconds)
        title = f"{self.frames} frames with depth at {self.size}², {self.steps} steps"
        table = Table(title=title, caption=f"{self.machine}; {rounds} rounds, weights random")
        headings = "", "trained, M", "in all, M", "GFLOPs a step", "GFLOPs a clip", "memory, GB", "seconds"
        for heading in headings:
            table.add_column(heading, justify="right" if heading else "left")
        for name, cost in self.costs.items():
            low, middle, high = min(cost.seconds), statistics.median(cost.seconds), max(cost.seconds)
            table.add_row(
                TITLES[name],
                f"{cost.parameters / 1e6:,.1f}",
                f"{(cost.parameters + cost.frozen) / 1e6:,.1f}",
                f"{cost.step_flops / 1e9:,.1f}",
                f"{cost.clip_flops / 1e9:,.1f}",
                "?" if cost.memory is None else f"{cost.memory / 1e9:.2f}",
                f"{middle:.2f} ({low:.2f}–{high:.2f})",
            )
        return table


def benchmark(
    config: TrainConfig,
    methods: Sequence[str] = tuple(METHODS),
    *,
    frames: int = 8,
    steps: int | None = None,
    repeat: int = 3,
    device: str = "cpu",
    dtype: str = "float32",
    progress: Callable[[int, int], None] | None = None,
) -> CostReport:
    """Measure what one clip costs by each method.

    Args:
        config: A stage with temporal layers; its sizes, autoencoder, pose control and defaults are taken.
        methods: Names of `METHODS`.
        frames: Of the clip.
        steps: Denoising steps; the config's own by default.
        repeat: Rounds, each of all methods.
        device: Where.
        dtype: Of the weights.
        progress: Told (runs done, runs) after each.

    Raises:
        UserError: If a method is unknown, or there is no round.
    """
    for name in methods:
        if name not in METHODS:
            raise UserError("--method", f"{name!r}", f"choose from {', '.join(METHODS)}")
    if repeat < 1:
        raise UserError("--repeat", f"{repeat}", "give at least 1")
    generation = settled(config.generation, config.data)
    steps = steps or generation.num_inference_steps
    parts: dict[str, list[_Run]] = {name: [] for name in methods}
    for number in range(repeat):
        for i, name in enumerate(methods):
            parts[name].append(_run(config, METHODS[name], frames, steps, device, dtype, count=number == 0))
            if progress is not None:
                progress(number * len(methods) + i + 1, repeat * len(methods))
    costs = {name: _cost(runs, steps) for name, runs in parts.items()}
    machine = torch.cuda.get_device_name() if device.startswith("cuda") else processor()
    named = f"{machine}, {torch.get_num_threads()} threads, {dtype}, torch {torch.__version__}"
    return CostReport(costs, frames, generation.height, steps, named)


@dataclass(frozen=True)
class _Run:
    parameters: int
    frozen: int
    first_flops: int
    step_flops: int
    seconds: float
    memory: int | None


def _cost(runs: list[_Run], steps: int) -> Cost:
    first = runs[0]
    memory = None if first.memory is None else int(statistics.median(run.memory or 0 for run in runs))
    return Cost(
        parameters=first.parameters,
        frozen=first.frozen,
        step_flops=first.step_flops,
        clip_flops=first.first_flops + (steps - 1) * first.step_flops,
        seconds=tuple(run.seconds for run in runs),
        memory=memory,
    )


def _run(
    config: TrainConfig, method: Method, frames: int, steps: int, device: str, dtype: str, count: bool
) -> _Run:
    """Build a method, make a clip, and let go of both."""
    gc.collect()
    meter = _MemoryMeter(device)
    pipe = build(config, method, dtype).to(device)
    pipe.set_progress_bar_config(disable=True)
    estimator = _depth_estimator(dtype).to(device) if method.estimates_depth else None
    generate = _generation(pipe, estimator, frames)
    trained, frozen = _parameters(pipe, estimator)
    first, step = _flops(generate) if count else (0, 0)
    if not count:
        generate(1)  # memory is laid out, kernels are chosen
    meter.start()
    start = time.perf_counter()
    generate(steps)
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return _Run(trained, frozen, first, step, time.perf_counter() - start, meter.read())


def build(config: TrainConfig, method: Method, dtype: str = "float32") -> IdolPipeline:
    """The method's pipeline with random weights."""
    unet = dataclasses.replace(config.model.unet, **method.unet)
    model = dataclasses.replace(config.model, unet=unet, init=None)
    torch.manual_seed(0)
    vae = _autoencoder(config, method.stacked)
    networks = build_networks(model, _downscale(vae), pretrained=False)
    streams, channels = unet.num_modalities, unet.in_channels
    ones, zeros = (1.0,) * channels, (0.0,) * channels
    latents = LatentConfig((ones,) * streams, (zeros,) * streams, ones, zeros, config.autoencoder.offset)
    scheduler: Any = sampler(config.schedule)
    pipe = IdolPipeline(
        vae=vae,
        unet=networks.unet,
        control=networks.control,
        foreground_encoder=networks.foreground,
        scheduler=scheduler,
        background_control=networks.background,
        latent_config=to_dict(latents),
        generation_config=to_dict(settled(config.generation, config.data)),
    )
    # without depth there is no silhouette to composite with
    pipe.defaults = dataclasses.replace(pipe.defaults, detail="none", window=None)
    for part in pipe.networks:
        nn.Module.to(part, getattr(torch, dtype))
    return pipe


def _autoencoder(config: TrainConfig, stacked: bool) -> Any:
    channels = 6 if stacked else 3
    if config.autoencoder.kind == "idol":
        return Autoencoder(config.model.unet.in_channels, in_channels=channels).eval()
    from diffusers import AutoencoderKL

    vae: Any = AutoencoderKL(  # Stable Diffusion's
        in_channels=channels,
        out_channels=channels,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(128, 256, 512, 512),
        layers_per_block=2,
    )
    return vae.eval()


def _downscale(vae: Any) -> int:
    return vae.downscale if isinstance(vae, Autoencoder) else 8


def _depth_estimator(dtype: str) -> nn.Module:
    """The design of MiDaS 3, on ViT-B: cheaper than what MiDaS publishes."""
    from transformers import DPTConfig, DPTForDepthEstimation

    return DPTForDepthEstimation(DPTConfig()).to(getattr(torch, dtype)).eval()


def _generation(pipe: IdolPipeline, estimator: nn.Module | None, frames: int) -> Callable[[int], None]:
    """What makes a clip with its depth in so many steps."""
    picture, mask, pose = drawn_inputs(pipe.defaults.height, frames)

    def generate(steps: int) -> None:
        inputs = picture, mask, picture, pose
        seed = torch.Generator().manual_seed(0)
        output: Any = pipe(
            *inputs, foreground_pose=pose.select([0]), num_inference_steps=steps, generator=seed
        )
        if estimator is not None:
            with torch.no_grad():
                for frame in output.video[0]:
                    estimator(_for_dpt(frame, estimator))

    return generate


def _for_dpt(frame: Tensor, estimator: nn.Module) -> Tensor:
    resized = nn.functional.interpolate(frame[None] * 2 - 1, (384, 384), mode="bicubic")
    return resized.to(next(estimator.parameters()).dtype)


def _parameters(pipe: IdolPipeline, estimator: nn.Module | None) -> tuple[int, int]:
    """Numbers of trained and of frozen parameters."""
    frozen: list[nn.Module] = [pipe.vae] if estimator is None else [pipe.vae, estimator]
    networks = [network for network in pipe.networks if network is not pipe.vae]
    trained = sum(p.numel() for n in networks for p in n.parameters() if p.requires_grad)
    everything = sum(p.numel() for n in [*networks, *frozen] for p in n.parameters())
    return trained, everything - trained


def _flops(generate: Callable[[int], None]) -> tuple[int, int]:
    """Of a clip in one step, and of the step. Attention by its formula: fused kernels are not all counted."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        generate(1)
    counts = counter.get_flop_counts()
    every_step = ("UnifiedUNet", "PoseControlNet")
    return counter.get_total_flops(), sum(sum(counts[n].values()) for n in every_step if n in counts)


class _MemoryMeter:
    """The most memory that is taken after `start`, over what was taken when the meter was made."""

    def __init__(self, device: str) -> None:
        self.cuda = device.startswith("cuda")
        self._let_go()
        self.before = torch.cuda.memory_allocated() if self.cuda else self._resident("VmRSS") or 0

    def start(self) -> None:
        """Forget the peak so far: networks are built in float32, and counting takes memory of its own."""
        self._let_go()
        if self.cuda:
            torch.cuda.reset_peak_memory_stats()
        elif self._resident("VmHWM") is not None:
            Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak starts anew

    def _let_go(self) -> None:
        if self.cuda:
            torch.cuda.empty_cache()
        else:
            _trim_heap()

    def read(self) -> int | None:
        """Bytes, or None where the system does not say."""
        peak = torch.cuda.max_memory_allocated() if self.cuda else self._resident("VmHWM")
        return None if peak is None else peak - self.before

    @staticmethod
    def _resident(field: str) -> int | None:
        status = Path("/proc/self/status")
        lines = status.read_text().splitlines() if status.exists() else []
        return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:")), None)


def _trim_heap() -> None:
    """Give freed memory back to the system, or what is taken from it next would not show."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's
    if trim is not None:
        trim(0)


def drawn_inputs(size: int, frames: int) -> tuple[np.ndarray, np.ndarray, Pose]:
    """A picture (3, h, w), a mask (h, w) and a standing pose that sways: the cost does not depend on them."""
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (3, size, size), dtype=np.uint8)
    y, x = np.mgrid[:size, :size] / size
    mask = ((x - 0.5) / 0.15) ** 2 + ((y - 0.5) / 0.4) ** 2 < 1
    standing = [
        (50, 18), (50, 25), (44, 25), (42, 36), (41, 46), (56, 25), (58, 36), (59, 46), (46, 48), (46, 64),
        (46, 80), (54, 48), (54, 64), (54, 80), (49, 17), (51, 17), (47, 18), (53, 18),
    ]  # fmt: skip
    keypoints = np.ones((frames, 18, 3), np.float32)
    keypoints[..., :2] = np.array(standing) * size / 100
    keypoints[..., 0] += np.linspace(0, size * 0.05, frames)[:, None]
    return picture, mask, Pose(keypoints.astype(np.float32), size, size)


def processor() -> str:
    """Name of this machine's processor."""
    info = Path("/proc/cpuinfo")
    for line in info.read_text().splitlines() if info.exists() else ():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    import platform

    return platform.processor() or platform.machine()
