"""What cross-modal attention and the consistency losses bring: `python benchmarks/ablation.py`.

Each variant goes through the same stages with the same data, seed, steps and batches, one thing left out;
each then makes the clips of the synthetic validation split anew, and all are judged. Differences are
paired, clip by clip. Training and generation go on from where they were stopped.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path

import numpy as np
from quality import SEED, add_judging, generated, make_all, split_clips
from rich.console import Console
from rich.table import Table

from idol.config import load_config
from idol.errors import UserError
from idol.evaluate import judge
from idol.evaluation import statistics
from idol.evaluation.folders import ClipFolders
from idol.evaluation.tables import ROWS, Report, compare
from idol.generate import load_pipeline
from idol.terminal import progress_bar
from idol.train import TrainConfig, export, fit

ROOT = Path(__file__).resolve().parents[1]

FULL = "full"
VARIANTS = {
    FULL: (),
    "no cross-modal attention": ("model.unet.cross_modal=false",),
    "no consistency losses": ("loss.w_mo=0", "loss.w_xattn=0"),
}
"""What is left out, as overrides of every stage's config."""


def main() -> None:
    """Train what is not given, generate, judge, print, write."""
    options = _options()
    given = dict(_named(text) for text in options.weights)
    unknown = given.keys() - VARIANTS.keys()
    if unknown:
        raise UserError("--weights", f"{sorted(unknown)[0]!r}", f"choose from {', '.join(VARIANTS)}")
    clips = split_clips(options)
    columns = {}
    for name, overrides in VARIANTS.items():
        folder = options.out / _fingerprint(options) / name.replace(" ", "-")
        weights = given[name] if name in given else trained(folder, overrides, options)
        pipe = load_pipeline(str(weights), options.device)
        steps = options.sampling_steps
        make_all(clips, folder / "generated", options.clips, lambda c, p=pipe, n=steps: generated(p, c, n))
        columns[name] = ClipFolders(folder / "generated")
    with progress_bar("judging") as progress:
        report = compare(
            columns, clips, judge(options.pose, options.mask, options.lpips, options.device), progress
        )
    result = {
        "split": options.split,
        "seed": SEED,
        "stages": [] if given else [stage.stem for stage in options.stages],
        "training_steps": [] if given else options.steps,
        "overrides": {name: list(overrides) for name, overrides in VARIANTS.items()},
        **report.to_json(),
        "minus_full": {name: _differences(report, name) for name in columns if name != FULL},
    }
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(result, indent=2) + "\n")
    console = Console(width=None if sys.stdout.isatty() else 150)
    console.print(report.table(f"the synthetic {options.split} split"))
    console.print(_difference_table(result["minus_full"]))


def trained(folder: Path, overrides: tuple[str, ...], options: argparse.Namespace) -> Path:
    """Run the stages one after the other, each from the weights of the one before; the exported pipeline."""
    exported = folder / "weights"
    if exported.exists():
        return exported
    before = options.init
    for path, steps in zip(options.stages, options.steps, strict=True):
        out = folder / path.stem
        own = [f"out={out}", f"steps={steps}", f"seed={options.seed}"]
        own += [] if before is None else [f"model.init={before}"]
        fit(load_config(TrainConfig, path, [*options.set, *own, *overrides]), resume=True)
        before = out
    export(before, exported)
    return exported


def _differences(report: Report, variant: str) -> dict[str, dict[str, float] | None]:
    """Mean over clips of (variant - full) with its interval, for every row that was measured."""
    found = {}
    for row in (row for row in ROWS if not row.relative):
        values, full = (
            np.array([getattr(scores, row.field) for scores in report.columns[column]])
            for column in (variant, FULL)
        )
        estimate = statistics.mean(values - full)
        if estimate.clips:
            found[row.key] = {"value": estimate.value, "low": estimate.low, "high": estimate.high}
    return found


def _difference_table(differences: dict) -> Table:
    table = Table(title="variant minus full", caption="95 % intervals over clips, paired")
    table.add_column("")
    for name in differences:
        table.add_column(name, justify="right")
    for row in ROWS:
        if all(row.key in found for found in differences.values()):
            cells = [found[row.key] for found in differences.values()]
            shown = [f"{c['value']:+.4f}\n[dim]{c['low']:+.4f} – {c['high']:+.4f}[/dim]" for c in cells]
            table.add_row(f"{row.title} {'↓' if row.better == 'lower' else '↑'}", *shown)
    return table


def _fingerprint(options: argparse.Namespace) -> str:
    """Names what decides weights and clips, so that a run is never gone on with under other settings."""
    stages = [path.read_text() for path in options.stages]
    said = [stages, options.steps, str(options.init), options.set, options.seed, options.weights]
    return hashlib.sha256(json.dumps([*said, options.sampling_steps]).encode()).hexdigest()[:12]


def _named(text: str) -> tuple[str, str]:
    name, _, folder = text.partition("=")
    if not folder:
        raise UserError("--weights", text, "write VARIANT=FOLDER")
    return name, folder


def _options() -> argparse.Namespace:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    add = parser.add_argument
    mini = ROOT / "configs" / "mini"
    add("--stages", type=Path, nargs="+", default=[mini / "image.yaml", mini / "video.yaml"])
    add("--steps", type=int, nargs="+", default=[1000, 300], help="of each stage, equal for all variants")
    add("--sampling-steps", type=int, help="denoising steps; the checkpoint's own by default")
    add("--init", type=Path, help="weights that the first stage of every variant starts from")
    add("--set", nargs="*", default=[], metavar="a.b=value", help="overrides of every stage's config")
    add("--seed", type=int, default=0, help="of training")
    add(
        "--weights",
        nargs="*",
        default=[],
        metavar="VARIANT=FOLDER",
        help="pipelines that are trained already",
    )
    add("--clips", type=int, default=32)
    add("--out", type=Path, default=ROOT / "runs" / "ablation", help="gone on from if there")
    add_judging(parser, split="val")
    add("--json", type=Path, default=ROOT / "docs" / "results" / "mini_ablation.json")
    options = parser.parse_args()
    if len(options.steps) != len(options.stages):
        parser.error("--steps: give one number for each of --stages")
    return options


if __name__ == "__main__":
    main()
