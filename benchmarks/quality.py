"""Does it do what it should? `python benchmarks/quality.py` prints every figure beside its trivial baselines.

The synthetic test split (people and motions that no training saw) is made from a fixed seed; each clip is
made anew from its first frame, its clean plate and its joints, with the defaults of `idol generate`; all are
judged by `idol.evaluate`, beside them the reference pasted without moving, the clean plate alone, the draft
that the network starts from ("draft"), and what the autoencoder makes of the true clip ("ceiling"). May be
stopped at any moment and started again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from idol.clip import Clip
from idol.clip.depth import colorize_tensor
from idol.console import progress_bar
from idol.evaluation.evaluate import ClipShards, evaluate
from idol.evaluation.report import Report
from idol.experiments.regenerate import anew, inputs_of, make_all
from idol.generation.generate import checkpoint_files, load_pipeline
from idol.pipeline.config import IdolOutput
from idol.pipeline.pipeline import IdolPipeline
from idol.pose.foreground_crop import foreground_crop
from idol.pose.limb_warp import draft

SEED = 20241015
"""Of the clips; changing it makes every earlier number incomparable."""

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Goal:
    """One figure that must be reached: `value` at most or at least `limit`, and better `aim`."""

    name: str
    value: float
    limit: float
    aim: float | None
    at_most: bool

    @property
    def reached(self) -> bool:
        """Whether it is; never for a figure that could not be measured."""
        return self.value <= self.limit if self.at_most else self.value >= self.limit


def goals(report: Report) -> list[Goal]:
    """What the small model is asked to reach on the test split."""

    def get(row: str, column: str = "generated") -> float:
        return report.estimate(column, row).value

    from_ceiling = get("lpips") - get("lpips", "ceiling")
    way = get("lpips", "pasted") - get("lpips", "ceiling")
    nearer = from_ceiling / way if way > 0 else math.inf  # a ceiling below the pasted image is no ceiling
    return [
        Goal("depth L2", get("depth_l2"), 0.010, 0.005, True),
        Goal("silhouette IoU", get("silhouette_iou"), 0.88, 0.93, False),
        Goal("alignment IoU, depth and own video", get("alignment_found"), 0.90, 0.95, False),
        Goal("joints, share of the true video's", get("joints_of_true"), 0.90, None, False),
        Goal("LPIPS, way from ceiling (0) to pasted (1)", nearer, 0.5, None, True),
        Goal("flicker, multiple of the true video's", get("flicker_of_true"), 1.5, None, True),
    ]


def main() -> None:
    """Make, judge, print, write."""
    options = _options()
    test = split_clips(options)
    pipe = load_pipeline(options.weights, options.device)
    run = options.out / _fingerprint(pipe, options.steps)
    made = {
        "generated": lambda clip: anew(pipe, clip, options.steps),
        "ceiling": lambda clip: reconstructed(pipe, clip),
        "draft": drafted,
    }
    for name, make in made.items():
        with progress_bar(name) as progress:
            make_all(test, run / name, make, progress, options.clips)
    steps = options.steps or pipe.defaults.num_inference_steps
    del pipe
    report = judged(run, test, options)
    result = {
        "weights": options.weights,
        "split": options.split,
        "seed": SEED,
        "steps": steps,
        "lpips": options.lpips,
        **report.to_json(),
        "goals": [{**asdict(g), "value": _finite(g.value), "reached": g.reached} for g in goals(report)],
    }
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(result, indent=2) + "\n")
    console = Console(width=None if sys.stdout.isatty() else 150)
    console.print(report.table(f"{options.weights} on the synthetic {options.split} split"))
    console.print(_goal_table(report))


def split_clips(options: argparse.Namespace) -> ClipShards:
    """The clips to be made anew: those given by `--data`, or drawn (once) from the fixed seed."""
    if options.data is not None:
        return ClipShards(options.data)
    from idol import synthesis

    folder = options.out / f"{options.split}-{SEED}"
    with progress_bar("drawing the clips") as progress:
        synthesis.generate(folder, options.clips, SEED, split=options.split, progress=progress)
    return ClipShards(folder)


@torch.no_grad()
def reconstructed(pipe: IdolPipeline, true: Clip) -> Clip:
    """The true clip after a way through the autoencoder: no generation through it can come closer.

    The pipeline runs one step, after which the true latents take the place of its own: what it does with
    latents (known detail is put back, depth below the floor is cleared) is done with these, too.
    """
    device = pipe.device
    video = torch.from_numpy(true.video)[None].to(device).float() / 127.5 - 1
    depth = colorize_tensor(torch.from_numpy(true.depth)[None].to(device), pipe.codec_config.colormap)
    latents = pipe.codec.encode(video, depth, _reference(pipe, true))
    inputs = inputs_of(true)
    output = pipe(
        inputs.person,
        inputs.mask,
        inputs.background,
        inputs.pose,
        foreground_pose=inputs.person_pose,
        num_inference_steps=1,
        output_type="np",
        callback_on_step_end=lambda *_: {"latents": latents},
    )
    assert isinstance(output, IdolOutput) and isinstance(output.depth, np.ndarray)
    frames = np.rint(np.asarray(output.video)[0] * 255).astype(np.uint8)
    return replace(true, video=frames, depth=output.depth[0])


def _reference(pipe: IdolPipeline, true: Clip) -> torch.Tensor:
    """What the pipeline's latents of a clip are counted from."""
    if pipe.codec_config.offset != "draft":
        return pipe.codec.encode_image(torch.from_numpy(true.background)[None].to(pipe.device) / 127.5 - 1)
    made = drafted(true)
    video = torch.from_numpy(made.video)[None].to(pipe.device) / 127.5 - 1
    return pipe.codec.encode_draft(video, torch.from_numpy(made.depth)[None].to(pipe.device))


def drafted(true: Clip) -> Clip:
    """What the network starts from: the first frame's person, laid limb by limb onto the skeletons."""
    crop = foreground_crop(true.video[0], true.mask[0], true.pose.select([0]), max(true.height, true.width))
    video, depth = draft(*crop, true.pose, true.background)
    return replace(true, video=video, depth=depth, mask=depth > 0)


def judged(run: Path, true: ClipShards, options: argparse.Namespace) -> Report:
    """Scores of the run's clips; every number of every clip is left in `scores.json`."""
    return evaluate(
        run / "generated",
        true.reader.folder,
        others={"ceiling": run / "ceiling", "draft": run / "draft"},
        pose=options.pose,
        mask=options.mask,
        lpips=options.lpips,
        identity="none",
        sets=False,
        out=run / "scores.json",
        device=options.device,
        bar=progress_bar,
    ).clips


def _fingerprint(pipe: IdolPipeline, steps: int | None) -> str:
    """Names what decides the clips, so that a run is never gone on with by other weights."""
    files = [(file.name, file.sha256) for file in checkpoint_files(pipe)]
    said = json.dumps([files, steps or pipe.defaults.num_inference_steps, pipe.defaults.guidance_scale])
    return hashlib.sha256(said.encode()).hexdigest()[:12]


def _goal_table(report: Report) -> Table:
    table = Table(title="asked for")
    for column in ("", "got", "limit", "aim", ""):
        table.add_column(column, justify="right" if column else "left")
    for goal in goals(report):
        sign = "≤" if goal.at_most else "≥"
        aim = "" if goal.aim is None else f"{sign} {goal.aim}"
        verdict = "[green]reached[/green]" if goal.reached else "[red]missed[/red]"
        table.add_row(goal.name, f"{goal.value:.4f}", f"{sign} {goal.limit}", aim, verdict)
    return table


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def add_judging(parser: argparse.ArgumentParser, split: str) -> None:
    """Options of which clips are judged, and by what."""
    add = parser.add_argument
    add("--split", default=split, choices=("val", "test"))
    add("--data", type=Path, help="shards to use; drawn under --out by default")
    add("--pose", default="rtmpose", help="pose estimator, or none")
    add("--mask", default="mediapipe", help="mask estimator, or none")
    add("--lpips", default="vgg", choices=("vgg", "alex", "none"))
    add("--device", default="cuda" if torch.cuda.is_available() else "cpu")


def _options() -> argparse.Namespace:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    add = parser.add_argument
    add("--weights", default="mini", help="name, folder or hub id of a checkpoint")
    add("--clips", type=int, default=64)
    add("--out", type=Path, default=ROOT / "runs" / "quality", help="gone on from if there")
    add("--steps", type=int, help="denoising steps; the checkpoint's own by default")
    add("--json", type=Path, default=ROOT / "docs" / "results" / "mini_quality.json")
    add_judging(parser, split="test")
    return parser.parse_args()


if __name__ == "__main__":
    main()
