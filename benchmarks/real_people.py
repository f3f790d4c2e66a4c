"""Does it work on real people? `python benchmarks/real_people.py` animates photos and re-detects the poses.

Every bundled photo, and a frame of each of three films that are downloaded for it, follows a real video and a
built-in motion before a real background, with the defaults of `idol generate`. (The dancers in black and in
white are themselves from a generative model, if photographic.) Printed for each run: the share of the driving
joints that the estimator finds again in the video within a tenth of the person's height, and how well
the silhouette in the depth fits the person found in the video. There is no true video to compare with; look
at the contact sheets (`preview.png` of each run).
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
from idol.console import reporter
from idol.evaluation.evaluate import joint_finder, person_finder
from idol.evaluation.metrics import clip as clip_metrics
from idol.generation.generate import Run, generate

ROOT = Path(__file__).resolve().parents[1]
FILMS = {"dancer": 600, "dancer-in-black": 0, "dancer-in-white": 0}
"""Downloaded films of one person, and the frame that is taken as a photo."""
MOTIONS = (str(media.path("jumping-jacks.mp4")), "builtin:dance-a")


def main() -> None:
    """Generate, judge, print, write."""
    options = _options()
    people = [media.path(name) for name in media.PEOPLE[: options.bundled]] + options.person
    people += [frame_of(name, number, options.out) for name, number in FILMS.items() if options.films]
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


def frame_of(name: str, number: int, out: Path) -> Path:
    """One frame of a downloaded film as an image in `out`."""
    image, film = out / f"{name}.png", asset_path(name)
    if not image.exists():
        out.mkdir(parents=True, exist_ok=True)
        if film.suffix == ".webp":
            still = Image.open(film)
            still.seek(number)
        else:
            with av.open(str(film)) as container:
                still = next(itertools.islice(container.decode(video=0), number, None)).to_image()
        still.convert("RGB").save(image)
    return image


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
    height = clip_metrics.person_height(clip.mask)
    found = clip_metrics.joints_reached(joints, clip.pose.keypoints, height) if height else math.nan
    person = person_finder("mediapipe")(clip.video)
    return {"joints": found, "alignment": clip_metrics.iou(clip_metrics.silhouette(clip.depth), person)}


def _options() -> argparse.Namespace:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    add = parser.add_argument
    add("--weights", default="mini", help="name, folder or hub id of a checkpoint")
    add("--frames", type=int, default=16)
    add("--person", type=Path, action="append", default=[], help="another photo; may be repeated")
    add("--bundled", type=int, default=len(media.PEOPLE), help="how many of the bundled photos")
    add("--films", action=argparse.BooleanOptionalAction, default=True, help="download three people more")
    add("--out", type=Path, default=ROOT / "runs" / "real")
    add("--json", type=Path, default=ROOT / "docs" / "results" / "mini_real_people.json")
    return parser.parse_args()


if __name__ == "__main__":
    main()
