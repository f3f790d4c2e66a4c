"""Duration and peak memory of one generation.

    python benchmarks/speed.py

Each repetition is a fresh process that imports the package, loads the weights and generates one clip with its
depth, and reports how long each took and its peak memory. The inputs are dummies, on which the duration does
not depend.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

LIMITS = {"generate_s": 60.0, "peak_gb": 4.0}
NAMES = {
    "import_s": "import, seconds",
    "load_s": "load the weights, seconds",
    "generate_s": "generate, seconds",
    "peak_gb": "peak memory, GB",
}


def main() -> None:
    """Measure, print and write."""
    options = _options()
    if options.one:
        print(json.dumps(one_run(options)))
        return
    runs = [_in_a_fresh_process(number, options) for number in range(options.repeat)]
    medians = {name: statistics.median(run[name] for run in runs) for name in NAMES}
    result = {
        "weights": options.weights,
        "frames": options.frames,
        "size": options.size,
        "device": options.device,
        "machine": _machine(runs[0]["threads"]),
        "median": medians,
        "runs": runs,
    }
    _print(result)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(result, indent=2) + "\n")


def one_run(options: argparse.Namespace) -> dict[str, float]:
    """Import, load and generate once in this process; return seconds and gigabytes."""
    start = time.perf_counter()
    import torch

    from idol.pipeline.config import IdolOutput
    from idol.pipeline.pipeline import IdolPipeline

    if options.threads:
        torch.set_num_threads(options.threads)
    imported = time.perf_counter()
    from idol.experiments.cost.dummy_inputs import dummy_inputs  # not counted: generating does not need it

    image, mask, pose = dummy_inputs(options.size, options.frames)
    ready = time.perf_counter()
    pipe = IdolPipeline.from_pretrained(options.weights).to(options.device)
    pipe.set_progress_bar_config(disable=True)
    loaded = time.perf_counter()
    output = pipe(
        image,
        mask,
        image,
        pose,
        foreground_pose=pose.select([0]),
        num_inference_steps=options.steps,
        height=options.size,
        width=options.size,
        generator=torch.Generator().manual_seed(0),
    )
    assert isinstance(output, IdolOutput) and output.depth is not None
    assert tuple(output.video.shape) == (1, options.frames, 3, options.size, options.size)
    done = time.perf_counter()
    return {
        "import_s": imported - start,
        "load_s": loaded - ready,
        "generate_s": done - loaded,
        "peak_gb": _peak_bytes() / 1e9,
        "steps": options.steps or pipe.defaults.num_inference_steps,
        "threads": torch.get_num_threads(),
    }


def _peak_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _in_a_fresh_process(number: int, options: argparse.Namespace) -> dict[str, float]:
    print(f"run {number + 1} of {options.repeat} …", file=sys.stderr)
    command = [sys.executable, __file__, "--one", *sys.argv[1:]]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def _machine(threads: float) -> str:
    import torch

    from idol.experiments.cost.hardware import processor_name

    return f"{processor_name()}, {threads:.0f} threads, torch {torch.__version__}"


def _print(result: dict) -> None:
    from rich.console import Console
    from rich.table import Table

    title = f"{result['weights']}: {result['frames']} frames with depth at {result['size']}²"
    table = Table(
        title=title, caption=f"{result['machine']}; medians of {len(result['runs'])} fresh processes"
    )
    for column in ("", "median", "least", "most", "limit"):
        table.add_column(column, justify="left" if not column else "right")
    for name, label in NAMES.items():
        values = [run[name] for run in result["runs"]]
        limit = f"{LIMITS[name]:.0f}" if name in LIMITS else ""
        table.add_row(
            label, *(f"{v:.2f}" for v in (statistics.median(values), min(values), max(values))), limit
        )
    Console().print(table)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", default="mini", help="name, folder or hub id of a checkpoint")
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--size", type=int, default=256, help="side of the frames in pixels")
    parser.add_argument("--steps", type=int, help="denoising steps; the checkpoint's own by default")
    parser.add_argument("--repeat", type=int, default=3, help="fresh processes")
    parser.add_argument("--threads", type=int, help="CPU threads; torch's own choice by default")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path, help="also write the numbers here")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
