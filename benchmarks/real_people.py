"""Results on photos of real people: share of re-detected joints, and alignment of depth and video.

    python benchmarks/real_people.py

Every bundled photo, and a frame of each of three downloaded videos, follows a real video and a built-in
motion before a real background, with the defaults of `idol generate`. (The dancers in black and in white are
themselves from a generative model, though photographic.) For each run it prints the share of the driving
joints that are re-detected within a tenth of the person's height, and the IoU of the silhouette in the depth
and the person segmented in the video. There is no reference video; look at the contact sheets (`preview.png`
of each run).
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
from pathlib import Path
from statistics import fmean

import av
from PIL import Image
from rich.console import Console
from rich.table import Table

from idol import media
from idol.assets import asset_path
from idol.console import show_progress
from idol.evaluation.evaluator import joint_detector, person_segmenter
from idol.evaluation.metrics import clip as clip_metrics
from idol.generation.generate import Run, generate

ROOT = Path(__file__).resolve().parents[1]
VIDEOS = {"dancer": 600, "dancer-in-black": 0, "dancer-in-white": 0}
"""Downloaded videos of one person, and the frame that is used as a photo."""
MOTIONS = (str(media.path("jumping-jacks.mp4")), "builtin:dance-a")


def main() -> None:
    """Generate, score, print and write."""
    options = _options()
    people = [media.path(name) for name in media.PEOPLE[: options.bundled]] + options.person
    people += [frame_of(name, number, options.out) for name, number in VIDEOS.items() if options.videos]
    runs = {}
    for person in people:
        for motion in MOTIONS:
            name = f"{person.stem}-{Path(motion.removeprefix('builtin:')).stem}"
            runs[name] = generate_run(options, name, person, motion)
    table = Table("run", "joints re-detected", "alignment IoU", title=f"{options.weights} on real people")
    for name, scores in runs.items():
        table.add_row(name, *(f"{value:.3f}" for value in scores.values()))
    means = {key: fmean(scores[key] for scores in runs.values()) for key in ("joints", "alignment")}
    table.add_row("mean", *(f"{value:.3f}" for value in means.values()))
    Console().print(table)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    result = {"weights": options.weights, "frames": options.frames, "mean": means, "runs": runs}
    options.json.write_text(json.dumps(result, indent=2) + "\n")


def frame_of(name: str, number: int, out: Path) -> Path:
    """Write one frame of a downloaded video as an image in `out`, and return its path."""
    image, video = out / f"{name}.png", asset_path(name)
    if not image.exists():
        out.mkdir(parents=True, exist_ok=True)
        if video.suffix == ".webp":
            still = Image.open(video)
            still.seek(number)
        else:
            with av.open(str(video)) as container:
                still = next(itertools.islice(container.decode(video=0), number, None)).to_image()
        still.convert("RGB").save(image)
    return image


def generate_run(options: argparse.Namespace, name: str, person: Path, motion: str) -> dict[str, float]:
    """Generate one run, replacing an existing one, and return its scores."""
    with show_progress() as progress:
        run = generate(
            person,
            media.path("park.jpg"),
            motion,
            options.out / name,
            weights=options.weights,
            frames=options.frames,
            fps=10.0,
            overwrite=True,
            progress=progress,
        )
    return score_run(run)


def score_run(run: Run) -> dict[str, float]:
    """Return re-detected joints and alignment of a run's video."""
    clip = run.clip
    joints = joint_detector("rtmpose")(clip.video).keypoints
    height = clip_metrics.person_height(clip.mask)
    found = clip_metrics.joints_reached(joints, clip.pose.keypoints, height) if height else math.nan
    person = person_segmenter("mediapipe")(clip.video)
    return {"joints": found, "alignment": clip_metrics.iou(clip_metrics.silhouette(clip.depth), person)}


def _options() -> argparse.Namespace:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    add = parser.add_argument
    add("--weights", default="mini", help="name, folder or hub id of a checkpoint")
    add("--frames", type=int, default=16)
    add("--person", type=Path, action="append", default=[], help="another photo; may be repeated")
    add("--bundled", type=int, default=len(media.PEOPLE), help="how many of the bundled photos")
    add(
        "--videos",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="download videos of three more people",
    )
    add("--out", type=Path, default=ROOT / "runs" / "real")
    add("--json", type=Path, default=ROOT / "docs" / "results" / "mini_real_people.json")
    return parser.parse_args()


if __name__ == "__main__":
    main()
