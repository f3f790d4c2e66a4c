"""Long clips: visibility of window borders, and memory against length.

    python benchmarks/long_clips.py -o docs/results/mini_long_clips.json

A jump is the mean change from frame to frame at borders over the mean change elsewhere; 1 is no jump. It is
measured at the borders of stitched snippets and, where windows overlap, at the frames where a new window
begins. The jump of the reference clips at the same frames shows the effect of the motion alone. "stitched" is
the paper's way: snippets of one window's length, generated independently, one after the other.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import tempfile
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from idol.clip import Clip
from idol.evaluation.clip_sets import open_clips
from idol.evaluation.confidence_intervals import Estimate, mean
from idol.evaluation.metrics.clip import SILHOUETTE
from idol.experiments.cost.dummy_inputs import dummy_inputs
from idol.experiments.cost.hardware import processor_name
from idol.experiments.regenerate import inputs_from_clip, regenerate_clip, settings_for_clip
from idol.generation.clips import generate_clip, stream_clip
from idol.generation.environment import load_pipeline
from idol.generation.run_folder import RunInputs, RunSettings, write_run
from idol.pipeline.pipeline import IdolPipeline
from idol.progress import SILENT
from idol.synthesis import synth


def jump(images: np.ndarray, borders: range) -> float:
    """Return the mean change at the borders over the mean change elsewhere, of (f, ...)."""
    change = np.abs(np.diff(images.astype(np.float32), axis=0)).reshape(len(images) - 1, -1).mean(1)
    at = np.isin(np.arange(1, len(images)), borders)
    return float(change[at].mean() / change[~at].mean())


def depth_error(depth: np.ndarray, reference: np.ndarray) -> float:
    """Return the mean squared depth error where both depths have a person."""
    both = (depth > SILHOUETTE) & (reference > SILHOUETTE)
    return float(np.square(depth[both] - reference[both]).mean())


def depth_jitter(depth: np.ndarray) -> float:
    """Return the mean second difference of the person's mean depth from frame to frame."""
    people = [frame[frame > SILHOUETTE] for frame in depth]
    means = [person.mean() if person.size else np.nan for person in people]
    return float(np.nanmean(np.abs(np.diff(means, 2))))


def in_windows(pipe: IdolPipeline, clip: Clip) -> tuple[np.ndarray, np.ndarray]:
    """Return video (f, 3, h, w) and depth (f, h, w) of a clip regenerated in overlapping windows."""
    made = regenerate_clip(pipe, clip)
    return made.video, made.depth


def stitched(pipe: IdolPipeline, clip: Clip) -> tuple[np.ndarray, np.ndarray]:
    """Return the same of snippets without overlap, each with its own noise."""
    inputs, settings, size = inputs_from_clip(clip), settings_for_clip(pipe, clip), pipe.defaults.window or 8
    parts = []
    for number, start in enumerate(range(0, clip.frames, size)):
        snippet = replace(inputs, pose=clip.pose.select(slice(start, start + size)))
        parts.append(generate_clip(pipe, snippet, replace(settings, seed=number), SILENT))
    return np.concatenate([part.video for part in parts]), np.concatenate([part.depth for part in parts])


def seams(weights: str, clips: int, frames: int, seed: int) -> dict[str, dict[str, Estimate]]:
    """Return jumps, jitter and error of reference, windowed and stitched clips with intervals."""
    pipe = load_pipeline(weights, "cpu")
    window, overlap = pipe.defaults.window or 8, pipe.defaults.overlap
    borders, window_starts = range(window, frames, window), range(window - overlap, frames, window - overlap)
    methods: dict[str, Callable[[Clip], tuple[np.ndarray, np.ndarray]]] = {
        "true": lambda clip: (clip.video, clip.depth),
        "windows": lambda clip: in_windows(pipe, clip),
        "stitched": lambda clip: stitched(pipe, clip),
    }
    results: dict[str, list[dict[str, float]]] = {name: [] for name in methods}
    with tempfile.TemporaryDirectory() as folder:
        reference = open_clips(synth(Path(folder, "true"), clips, seed, frames=frames, split="test"))
        for name in reference:
            for method, make in methods.items():
                video, depth = make(reference[name])
                values = {
                    "video": jump(video, borders),
                    "depth": jump(depth, borders),
                    "unrest": depth_jitter(depth),
                    "depth_error": depth_error(depth, reference[name].depth),
                }
                if method != "stitched":
                    values |= {
                        "video_own": jump(video, window_starts),
                        "depth_own": jump(depth, window_starts),
                    }
                results[method].append(values)
                print(name, method, {key: round(value, 4) for key, value in values.items()}, flush=True)
    return {
        method: {key: mean(np.array([score[key] for score in scores])) for key in scores[0]}
        for method, scores in results.items()
    }


def memory(weights: str, frames: int) -> float:
    """Return the peak memory in megabytes of generating a run folder, in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak, (weights, frames))


def _peak(weights: str, frames: int) -> float:
    pipe = load_pipeline(weights, "cpu")
    image, mask, pose = dummy_inputs(pipe.defaults.height, frames)
    inputs = RunInputs(image, mask, pose.select([0]), pose, image)
    still = Clip(
        image[None], np.zeros((1, *mask.shape), np.float32), mask[None], pose.select([0]), image, 10.0
    )
    settings: RunSettings = settings_for_clip(pipe, still)
    with tempfile.TemporaryDirectory() as folder:
        write_run(Path(folder, "run"), stream_clip(pipe, inputs, settings, SILENT), inputs, settings)
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", default="mini")
    parser.add_argument("--clips", type=int, default=8)
    parser.add_argument("--frames", type=int, default=64)
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--lengths", type=int, nargs="*", default=[16, 64, 256])
    parser.add_argument("-o", "--out", type=Path)
    options = parser.parse_args()
    result = {
        "machine": processor_name(),
        "clips": options.clips,
        "frames": options.frames,
        "jumps": {
            method: {key: asdict(estimate) for key, estimate in of.items()}
            for method, of in seams(options.weights, options.clips, options.frames, options.seed).items()
        },
        "peak_megabytes": {str(frames): round(memory(options.weights, frames)) for frames in options.lengths},
    }
    print(json.dumps(result, indent=2))
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
