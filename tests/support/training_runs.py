"""Tiny runs for the tests of training: drawn clips, a small autoencoder, the smallest networks."""

import multiprocessing
import os
import socket
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch

from idol.config import from_dict
from idol.data.shards import ShardWriter
from idol.model.autoencoder import Autoencoder
from idol.training.config import TrainConfig
from idol.training.train import fit
from support.drawn import drawn_clip

FRAMES = 4


def make_data(folder: Path, clips: int = 3) -> None:
    """Shards and an untrained autoencoder with 8 times fewer pixels a side."""
    ShardWriter(folder / "shards", samples_per_shard=2).write(
        drawn_clip(seed, FRAMES) for seed in range(clips)
    )
    torch.manual_seed(0)
    for name, channels in (("autoencoder", 3), ("autoencoder-6", 6)):
        Autoencoder(4, (8, 8), 1, 1, in_channels=channels).save_pretrained(folder / name)


def settings(folder: Path, out: str, frames: int = 1, **changes) -> dict:
    values = {
        "stage": "video" if frames > 1 else "image",
        "out": str(folder / out),
        "autoencoder": {"path": str(folder / "autoencoder")},
        "model": {
            "unet": {
                "in_channels": 4,
                "out_channels": 4,
                "block_out_channels": [16, 32],
                "layers_per_block": 1,
                "attention": [True, True],
                "attention_head_dim": 2,
                "cross_attention_dim": 24,
                "norm_num_groups": 8,
                "background": "concat",
                "temporal": "handcrafted" if frames > 1 else None,
            },
            "adapter_res_blocks": 1,
            "foreground": {"grid_size": 4, "num_layers": 1, "num_heads": 2},
        },
        "schedule": {"prediction": "flow", "timesteps": "logit_normal"},
        "data": {
            "folders": [str(folder / "shards")],
            "cache": str(folder / "latents"),
            "images": {"size": 64, "foreground_size": 32},
            "window": {"frames": frames},
        },
        "optimizer": {"lr": 1e-3, "warmup_steps": 2},
        "sample_grid": {"every": 0, "samples": 2, "num_inference_steps": 2},
        "steps": 4,
        "batch_size": 2,
        "save_every": 2,
        "log_every": 1,
        "precision": "fp32",
        "threads": 1,
    }
    return merged(values, changes)


def merged(low: dict, high: dict) -> dict:
    both = {
        k: merged(low[k], v) for k, v in high.items() if isinstance(v, dict) and isinstance(low.get(k), dict)
    }
    return {**low, **high, **both}


def config(folder: Path, out: str, frames: int = 1, **changes) -> TrainConfig:
    return from_dict(TrainConfig, settings(folder, out, frames, **changes))


def start(work: Callable[..., object], *arguments: object, **environment: str) -> BaseProcess:
    """Work in a process of its own, forked from one that has imported everything and done nothing yet."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["training_runs"])
    process = context.Process(target=_within, args=(work, arguments, environment))
    process.start()
    return process


def in_two_processes(work: Callable[..., object], *arguments: object, **environment: str) -> None:
    """Work in two processes that know of each other, as `accelerate launch` starts them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    shared |= {"CUDA_VISIBLE_DEVICES": "", "GLOO_SOCKET_IFNAME": "lo"} | environment
    started = [start(work, *arguments, **shared, RANK=rank, LOCAL_RANK=rank) for rank in ("0", "1")]
    for process in started:
        process.join()
    assert [process.exitcode for process in started] == [0, 0]


def trained(run: TrainConfig, resume: bool = False) -> None:
    """What is done in a process."""
    fit(run, resume)


def _within(work: Callable[..., object], arguments: tuple, environment: dict[str, str]) -> None:
    os.environ.update(environment)
    work(*arguments)
