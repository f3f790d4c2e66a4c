"""Quality of a checkpoint on synthetic test clips, beside trivial baselines and fixed goals.

    python benchmarks/quality.py

The test split (people and motions that no training saw) is rendered from a fixed seed. Each clip is
regenerated from its first frame, its background and its joints with the defaults of `idol generate`, and
scored by `idol.evaluate` against: the person pasted without moving ("pasted"), the background alone
("plate"), the draft that the network starts from ("draft"), and the reference after a round trip
through the autoencoder ("ceiling"). Can be interrupted and continued.
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

from idol.body.draft import avatar_draft
from idol.clip import Clip
from idol.clip.depth import colorize_tensor
from idol.console import show_progress
from idol.evaluation.clip_sets import ClipShards
from idol.evaluation.evaluate import evaluate
from idol.evaluation.report import ClipMetricsReport
from idol.experiments.regenerate import inputs_from_clip, make_clips, regenerate_clip
from idol.generation.environment import checkpoint_files, load_pipeline
from idol.pipeline.config import IdolOutput
from idol.pipeline.pipeline import IdolPipeline
from idol.pose.foreground_crop import foreground_crop

SEED = 20241015
"""Seed of the clips; results of another seed cannot be compared with earlier ones."""

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Goal:
    """A result that must be reached.

    Attributes:
        name: What is measured.
        value: The result.
        limit: The largest or smallest acceptable value.
        aim: A better value to aim for; None for none.
        at_most: Whether smaller is better.
    """

    name: str
    value: float
    limit: float
    aim: float | None
    at_most: bool

    @property
    def reached(self) -> bool:
        """Whether the limit is met; never by a value that could not be measured."""
        return self.value <= self.limit if self.at_most else self.value >= self.limit


def goals(report: ClipMetricsReport) -> list[Goal]:
    """Return what the small model must reach on the test split."""

    def get(row: str, column: str = "generated") -> float:
        return report.estimate(column, row).value

    above_ceiling = get("lpips") - get("lpips", "ceiling")
    span = get("lpips", "pasted") - get("lpips", "ceiling")
    relative_lpips = (
        above_ceiling / span if span > 0 else math.inf
    )  # a ceiling below the pasted image is no ceiling
    return [
        Goal("depth L2", get("depth_l2"), 0.010, 0.005, True),
        Goal("silhouette IoU", get("silhouette_iou"), 0.88, 0.93, False),
        Goal("alignment IoU, depth and own video", get("alignment_found"), 0.90, 0.95, False),
        Goal("joints, relative to the reference video", get("joints_of_true"), 0.90, None, False),
        Goal("LPIPS, from ceiling (0) to pasted (1)", relative_lpips, 0.5, None, True),
        Goal("flicker, relative to the reference video", get("flicker_of_true"), 1.5, None, True),
    ]


def main() -> None:
    """Generate, score, print and write."""
    options = _options()
    test = test_clips(options)
    pipe = load_pipeline(options.weights, options.device)
    run = options.out / _fingerprint(pipe, options.steps)
    outputs = {
        "generated": lambda clip: regenerate_clip(pipe, clip, options.steps),
        "ceiling": lambda clip: reconstruct(pipe, clip),
        "draft": body_draft,
    }
    for name, make in outputs.items():
        with show_progress(name) as progress:
            make_clips(test, run / name, make, progress, options.clips)
    steps = options.steps or pipe.defaults.num_inference_steps
    del pipe
    report = score_clips(run, test, options)
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


def test_clips(options: argparse.Namespace) -> ClipShards:
    """Return the clips to regenerate: those of `--data`, or ones rendered once from the fixed seed."""
    if options.data is not None:
        return ClipShards(options.data)
    from idol import synthesis

    folder = options.out / f"{options.split}-{SEED}"
    with show_progress("rendering the clips") as progress:
        synthesis.synth(folder, options.clips, SEED, split=options.split, progress=progress)
    return ClipShards(folder)


@torch.no_grad()
def reconstruct(pipe: IdolPipeline, reference: Clip) -> Clip:
    """Return the reference after a round trip through the autoencoder: a bound of what can be generated.

    The pipeline runs one step, after which the reference's latents replace its own, so that what it does with
    latents (detail is restored, depth below the floor is cleared) is done with these too.
    """
    device = pipe.device
    video = torch.from_numpy(reference.video)[None].to(device).float() / 127.5 - 1
    depth = colorize_tensor(torch.from_numpy(reference.depth)[None].to(device), pipe.codec_config.colormap)
    latents = pipe.codec.encode(video, depth, _latent_reference(pipe, reference))
    inputs = inputs_from_clip(reference)
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
    return replace(reference, video=frames, depth=output.depth[0])


def _latent_reference(pipe: IdolPipeline, reference: Clip) -> torch.Tensor:
    """Return what the pipeline's latents of a clip are relative to."""
    if pipe.codec_config.latent_reference != "draft":
        return pipe.codec.encode_image(
            torch.from_numpy(reference.background)[None].to(pipe.device) / 127.5 - 1
        )
    outputs = body_draft(reference)
    video = torch.from_numpy(outputs.video)[None].to(pipe.device) / 127.5 - 1
    return pipe.codec.encode_draft(video, torch.from_numpy(outputs.depth)[None].to(pipe.device))


def body_draft(reference: Clip) -> Clip:
    """Return the draft that the network starts from: the first frame's person, posed as the clip."""
    crop = foreground_crop(
        reference.video[0],
        reference.mask[0],
        reference.pose.select([0]),
        max(reference.height, reference.width),
    )
    video, depth = avatar_draft(*crop, reference.pose, reference.background)
    return replace(reference, video=video, depth=depth, mask=depth > 0)


def score_clips(run: Path, reference: ClipShards, options: argparse.Namespace) -> ClipMetricsReport:
    """Score the run's clips; every metric of every clip is written to `scores.json`."""
    with show_progress() as progress:
        return evaluate(
            run / "generated",
            reference.reader.folder,
            others={"ceiling": run / "ceiling", "draft": run / "draft"},
            pose=options.pose,
            mask=options.mask,
            lpips=options.lpips,
            identity="none",
            distributions=False,
            out=run / "scores.json",
            device=options.device,
            progress=progress,
        ).clips


def _fingerprint(pipe: IdolPipeline, steps: int | None) -> str:
    """Return a name for what determines the clips, so that a run is never continued with other weights."""
    files = [(file.name, file.sha256) for file in checkpoint_files(pipe)]
    text = json.dumps([files, steps or pipe.defaults.num_inference_steps, pipe.defaults.guidance_scale])
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _goal_table(report: ClipMetricsReport) -> Table:
    table = Table(title="goals")
    for column in ("", "value", "limit", "aim", ""):
        table.add_column(column, justify="right" if column else "left")
    for goal in goals(report):
        sign = "≤" if goal.at_most else "≥"
        aim = "" if goal.aim is None else f"{sign} {goal.aim}"
        verdict = "[green]reached[/green]" if goal.reached else "[red]missed[/red]"
        table.add_row(goal.name, f"{goal.value:.4f}", f"{sign} {goal.limit}", aim, verdict)
    return table


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def add_scoring_options(parser: argparse.ArgumentParser, split: str) -> None:
    """Add the options that choose the clips and the networks that score them."""
    add = parser.add_argument
    add("--split", default=split, choices=("val", "test"))
    add("--data", type=Path, help="shards to use; rendered below --out by default")
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
    add(
        "--out",
        type=Path,
        default=ROOT / "runs" / "quality",
        help="folder of the clips; continued if it exists",
    )
    add("--steps", type=int, help="denoising steps; the checkpoint's own by default")
    add("--json", type=Path, default=ROOT / "docs" / "results" / "mini_quality.json")
    add_scoring_options(parser, split="test")
    return parser.parse_args()


if __name__ == "__main__":
    main()
