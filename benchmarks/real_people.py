"""Does it work on real people? `python benchmarks/real_people.py` animates photos and re-detects the poses.

Every bundled photo follows a real video and a built-in motion before a real background, with the defaults of
`idol generate`. Printed for each run: the share of the driving joints that the estimator finds again in the
video within a tenth of the person's height, and how well the silhouette in the depth fits the person found in
the video. There is no true video to compare with; look at the contact sheets (`preview.png` of each run).
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from statistics import fmean

from rich.console import Console
from rich.table import Table

from idol import media
from idol.evaluate import joint_finder, person_finder
from idol.evaluation import metrics
from idol.generate import Run, generate
from idol.terminal import reporter

ROOT = Path(__file__).resolve().parents[1]
MOTIONS = (str(media.path("jumping-jacks.mp4")), "builtin:dance-a")


def main() -> None:
    """Generate what is missing, judge, print, write."""
    options = _options()
    people = [media.path(name) for name in media.PEOPLE] + options.person
    runs = {}
    for person in people:
        for motion in MOTIONS:
            name = f"{person.stem}-{Path(motion.removeprefix('builtin:')).stem}"
            runs[name] = made(options, name, person, motion)
    table = Table("run", "joints found again", "alignment IoU", title=f"{options.weights} on real people")
    for name, scores in runs.items():
        table.add_row(name, *(f"{value:.3f}" for value in scores.values()))
    means = {key: fmean(scores[key] for scores in runs.values()) for key in ("joints", "alignment")}
    table.add_row("mean", *(f"{value:.3f}" for value in means.values()))
    Console().print(table)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    result = {"weights": options.weights, "frames": options.frames, "mean": means, "runs": runs}
    options.json.write_text(json.dumps(result, indent=2) + "\n")


def made(options: argparse.Namespace, name: str, person: Path, motion: str) -> dict[str, float]:
    """The scores of one run, which is made anew."""
    with reporter() as tells:
        run = generate(
            person,
            media.path("park.jpg"),
            motion,
            options.out / name,
            weights=options.weights,
            frames=options.frames,
            fps=10.0,
            overwrite=True,
            reporter=tells,
        )
    return judged(run)


def judged(run: Run) -> dict[str, float]:
    """Pose and alignment of a run's video."""
    clip = run.clip
    joints = joint_finder("rtmpose")(clip.video).keypoints
    height = metrics.person_height(clip.mask)
    found = metrics.joints_reached(joints, clip.pose.keypoints, height) if height else math.nan
    person = person_finder("mediapipe")(clip.video)
    return {"joints": found, "alignment": metrics.iou(metrics.silhouette(clip.depth), person)}


def _options() -> argparse.Namespace:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    add = parser.add_argument
    add("--weights", default="mini", help="name, folder or hub id of a checkpoint")
    add("--frames", type=int, default=16)
    add("--person", type=Path, action="append", default=[], help="another photo; may be repeated")
    add("--out", type=Path, default=ROOT / "runs" / "real")
    add("--json", type=Path, default=ROOT / "docs" / "results" / "mini_real_people.json")
    return parser.parse_args()


if __name__ == "__main__":
    main()
