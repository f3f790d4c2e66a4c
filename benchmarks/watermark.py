"""Watermark: detection rate under attacks, visibility, and false alarms.

    python benchmarks/watermark.py -o docs/results/watermark.json

Clips of 8 frames (`--frames`), 256 x 256: videos (the bundled motions, the dancer), slow pans over the
bundled photos, clips made by this program (`--clips`, folders of clips or shards), and a view of each of them
with a moving camera, as `idol render` makes it. With `--held-out` there are no videos, and pans over photos
that come with scikit-image: no parameter of the watermark was chosen on them. Each clip is marked, attacked
and searched, whole and by one frame; each unmarked frame is attacked and searched too, for false alarms. Two
attacks combine three of the others: `all` crops, halves and encodes in one go, as when a clip is shared
again; `all, encoded first` halves and crops what a site has encoded.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.table import Table

from idol import media
from idol.assets import asset_path
from idol.atomic_io import write_json
from idol.clip import Clip
from idol.clip.images import read_image
from idol.clip.video import read_video, write_video
from idol.console import show, show_progress
from idol.evaluation import optional_imports
from idol.evaluation.evaluate import open_clips
from idol.evaluation.metrics.image import gray, psnr, ssim
from idol.provenance import WatermarkDetection, detect, embed
from idol.provenance.watermark import MAX_FALSE_ALARM
from idol.rendering import render

SIZE = 256
HELD_OUT = (
    "astronaut brick camera chelsea coffee coins grass gravel hubble_deep_field "
    "immunohistochemistry moon retina rocket"
).split()
"""Photos that come with scikit-image: a portrait, a cat, a cup, walls, grass, the sky, tissue, ..."""
Attack = Callable[[np.ndarray], np.ndarray]


def encoded(video: np.ndarray, crf: int) -> np.ndarray:
    """After H.264."""
    with tempfile.TemporaryDirectory() as folder:
        write_video(Path(folder, "clip.mp4"), video, 10.0, crf=crf)
        return read_video(Path(folder, "clip.mp4")).frames[..., : video.shape[2], : video.shape[3]]


def images(video: np.ndarray, change: Callable[[Image.Image], Image.Image]) -> np.ndarray:
    """Frame by frame, by Pillow."""
    changed = (change(Image.fromarray(frame.transpose(1, 2, 0))) for frame in video)
    return np.stack([np.asarray(image).transpose(2, 0, 1) for image in changed])


def halved(video: np.ndarray) -> np.ndarray:
    """Half the size, bicubic."""
    return images(video, lambda p: p.resize((p.width // 2, p.height // 2), Image.Resampling.BICUBIC))


def cropped(video: np.ndarray) -> np.ndarray:
    """Cut a tenth of height and width off, unevenly from both sides."""
    h, w = video.shape[2:]
    top, left = round(0.06 * h), round(0.04 * w)
    return video[:, :, top : top + round(0.9 * h), left : left + round(0.9 * w)]


def jpeg(video: np.ndarray) -> np.ndarray:
    """Each frame as JPEG of quality 75, colors subsampled."""

    def change(image: Image.Image) -> Image.Image:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=75)
        return Image.open(buffer)

    return images(video, change)


def brighter(video: np.ndarray) -> np.ndarray:
    """20 % more of each channel, and 10 gray levels."""
    return np.clip(video * 1.2 + 10, 0, 255).astype(np.uint8)


PATHS = ("sway", "orbit", "dolly")
"""Camera paths of the views, in turn."""

ATTACKS: dict[str, Attack] = {
    "none": lambda v: v,
    "H.264 CRF 23": lambda v: encoded(v, 23),
    "H.264 CRF 28": lambda v: encoded(v, 28),
    "H.264 CRF 33": lambda v: encoded(v, 33),
    "half size": halved,
    "10 % crop": cropped,
    "JPEG 75": jpeg,
    "brighter": brighter,
    "mirrored": lambda v: np.ascontiguousarray(v[..., ::-1]),
    "all": lambda v: encoded(halved(cropped(v)), 28),
    "all, encoded first": lambda v: cropped(halved(encoded(v, 28))),
}


@dataclass(frozen=True)
class Found:
    """Of one clip under one attack: the marked clip, one marked frame, the clean clip, each clean frame."""

    marked: WatermarkDetection
    marked_frame: WatermarkDetection
    clean: WatermarkDetection
    clean_frames: tuple[WatermarkDetection, ...]


@dataclass(frozen=True)
class Judged:
    """One clip: how near the marked one is to it, milliseconds of a processor, and what was found."""

    kind: str
    psnr: float
    ssim: float
    delta_e: float
    embed_ms: float
    detect_ms: float
    found: dict[str, Found]


def judged(kind: str, clip: np.ndarray) -> Judged:
    """Mark a clip, compare it with the original, attack it and search the mark."""
    started = time.process_time()
    marked = embed(clip)
    embed_ms = (time.process_time() - started) * 1000 / len(clip)
    started = time.process_time()
    detect(marked[:1])
    detect_ms = (time.process_time() - started) * 1000
    found = {name: _searched(attack(clip), attack(marked)) for name, attack in ATTACKS.items()}
    near = ssim(gray(marked), gray(clip))
    return Judged(kind, psnr(marked, clip), near, _delta_e(marked, clip), embed_ms, detect_ms, found)


def _searched(clean: np.ndarray, marked: np.ndarray) -> Found:
    middle = len(marked) // 2
    alone = tuple(detect(frame[None]) for frame in clean)
    return Found(detect(marked), detect(marked[middle : middle + 1]), detect(clean), alone)


def _delta_e(marked: np.ndarray, clip: np.ndarray) -> float:
    """CIEDE2000, the mean of the middle frame's pixels."""
    color = optional_imports.require("skimage.color")
    one, other = (color.rgb2lab(v[len(v) // 2].transpose(1, 2, 0)) for v in (marked, clip))
    return float(color.deltaE_ciede2000(one, other).mean())


def clips(folders: list[str], most: int, held_out: bool, frames: int) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the examined clips with their kinds; `folders` as of `--clips`, up to `most` clips of each."""
    if not held_out:
        yield from (("film", clip) for clip in _films(frames))
    for photo in _held_out() if held_out else _bundled():
        yield "pan", _pan(photo, frames)
    for folder in folders:
        path, _, first = folder.partition(":")
        found = open_clips(path)
        for number, key in enumerate(list(found)[int(first or 0) :][:most]):
            yield "generated", _square(found[key].video[:frames])
            yield "view", _square(_view(found[key], PATHS[number % len(PATHS)])[:frames])


def _view(clip: Clip, path: str) -> np.ndarray:
    """Return the frames of a parallax video before they are marked."""
    with tempfile.TemporaryDirectory() as folder:
        made = render(clip, Path(folder, "view"), ("parallax",), path=path, watermark=False)
        return read_video(made.files[0]).frames


def _films(frames: int) -> Iterator[np.ndarray]:
    """Seven pieces of each film."""
    for film in [media.path(name) for name in media.MOTIONS] + [asset_path("dancer")]:
        video = read_video(film, max_frames=600).frames
        for start in np.linspace(0, len(video) - frames, 7).astype(int):
            yield _square(video[start : start + frames])


def _bundled() -> Iterator[np.ndarray]:
    """Yield the photos of this package, (3, h, w)."""
    for name in (*media.PEOPLE, "two-people.jpg", *media.BACKGROUNDS):
        yield read_image(media.path(name))


def _held_out() -> Iterator[np.ndarray]:
    """Yield the photos of scikit-image, (3, h, w)."""
    data = optional_imports.require("skimage.data")
    for name in HELD_OUT:
        yield np.asarray(Image.fromarray(getattr(data, name)()).convert("RGB")).transpose(2, 0, 1)


def _square(video: np.ndarray) -> np.ndarray:
    """(f, 3, SIZE, SIZE): the middle, resized."""
    side = min(video.shape[2:])
    top, left = (video.shape[2] - side) // 2, (video.shape[3] - side) // 2
    middle = video[:, :, top : top + side, left : left + side]
    return (
        middle if side == SIZE else images(middle, lambda p: p.resize((SIZE, SIZE), Image.Resampling.LANCZOS))
    )


def _pan(photo: np.ndarray, frames: int) -> np.ndarray:
    """Move a window over the middle of a photo of twice its size, 2 pixels a frame."""
    whole = Image.fromarray(photo.transpose(1, 2, 0))
    shrink = 2 * SIZE / min(whole.size)
    whole = whole.resize(
        (round(whole.width * shrink), round(whole.height * shrink)), Image.Resampling.LANCZOS
    )
    pixels = np.asarray(whole).transpose(2, 0, 1)
    top, left = ((n - SIZE) // 2 for n in pixels.shape[1:])
    return np.stack([pixels[:, top : top + SIZE, left + 2 * f :][:, :, :SIZE] for f in range(frames)])


def _kinds(results: list[Judged]) -> list[str]:
    return sorted({result.kind for result in results})


def _share_found(results: list[Judged], attack: str, kind: str) -> float:
    return float(np.mean([result.found[attack].marked.found for result in results if result.kind == kind]))


def rates(results: list[Judged]) -> dict[str, dict[str, Any]]:
    """Per attack: shares found and falsely found, and the least and greatest scores."""
    table = {}
    for name in ATTACKS:
        of = [result.found[name] for result in results]
        alone = [d for found in of for d in found.clean_frames]
        table[name] = {
            "clips_found": float(np.mean([f.marked.found for f in of])),
            "found_by_kind": {kind: _share_found(results, name, kind) for kind in _kinds(results)},
            "frames_found": float(np.mean([f.marked_frame.found for f in of])),
            "least_score": min(f.marked.score for f in of),
            "median_score": float(np.median([f.marked.score for f in of])),
            "clean_clips_found": float(np.mean([f.clean.found for f in of])),
            "clean_frames_found": float(np.mean([d.found for d in alone])),
            "clean_frames": len(alone),
            "greatest_clean_score": max(d.score for d in alone),
        }
    return table


def calibration(results: list[Judged]) -> dict[str, float]:
    """Share of clean frames of all attacks whose stated false-alarm probability is at most so much."""
    stated = np.array([d.false_alarm for r in results for f in r.found.values() for d in f.clean_frames])
    return {f"{p:g}": float(np.mean(stated <= p)) for p in (0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.001)}


def main() -> None:
    """Measure, print, write."""
    options = _options()
    given = list(clips(options.clips, options.most, options.held_out, options.frames))
    results: list[Judged] = []
    with show_progress("clips") as progress, ProcessPoolExecutor(options.workers) as pool:
        for one in pool.map(judged, *zip(*given, strict=True)):
            results.append(one)
            progress.step(len(results), len(given))
            print(f"{len(results)} of {len(given)}", flush=True)
    values = _summary(results, options.frames)
    show(_table(values["attacks"]))
    print({key: values[key] for key in ("kinds", "quality", "milliseconds", "calibration")})
    if options.out is not None:
        known = json.loads(options.out.read_text()) if options.out.is_file() else {}
        name = f"{'held_out' if options.held_out else 'chosen_on'}_{options.frames}_frames"
        write_json(options.out, {**known, name: values})


def _summary(results: list[Judged], frames: int) -> dict:
    kinds = {kind: sum(r.kind == kind for r in results) for kind in _kinds(results)}
    means = {key: float(np.mean([getattr(r, key) for r in results])) for key in ("psnr", "ssim", "delta_e")}
    speed = {key: float(np.median([getattr(r, key) for r in results])) for key in ("embed_ms", "detect_ms")}
    return {
        "kinds": kinds,
        "frames_per_clip": frames,
        "size": SIZE,
        "threshold": MAX_FALSE_ALARM,
        "quality": {
            **means,
            "least_psnr": min(r.psnr for r in results),
            "least_ssim": min(r.ssim for r in results),
        },
        "milliseconds": {**speed, "processors": os.cpu_count()},
        "attacks": rates(results),
        "calibration": calibration(results),
        "clips": [
            {"kind": r.kind, "psnr": r.psnr, **{n: asdict(f.marked)["score"] for n, f in r.found.items()}}
            for r in results
        ],
    }


def _table(attacks: dict[str, dict[str, Any]]) -> Table:
    kinds = list(attacks["none"]["found_by_kind"])
    table = Table(
        "attack", "clips", *kinds, "one frame", "least score", "clean frames", "greatest clean score"
    )
    for name, row in attacks.items():
        by_kind = (row["found_by_kind"][kind] for kind in kinds)
        shares = (f"{share:.1%}" for share in (row["clips_found"], *by_kind, row["frames_found"]))
        false = f"{row['clean_frames_found']:.2%} of {row['clean_frames']}"
        table.add_row(name, *shares, f"{row['least_score']:.1f}", false, f"{row['greatest_clean_score']:.1f}")
    return table


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--clips", nargs="*", default=[], help="folders of clips, or shards; FOLDER:20 leaves out 20"
    )
    parser.add_argument("--most", type=int, default=16, help="clips of each folder")
    parser.add_argument("--held-out", action="store_true", help="photos that no choice was made on, no films")
    parser.add_argument("--frames", type=int, default=8, help="of each clip, at most 64")
    parser.add_argument("--workers", type=int, default=1, help="processes")
    parser.add_argument(
        "-o", "--out", type=Path, help="keep the numbers here, beside those of the other clips"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
