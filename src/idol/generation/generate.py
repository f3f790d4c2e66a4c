"""One photo, a background and a motion in; a run folder with the video and its depth out."""

from __future__ import annotations

import importlib.metadata
import math
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import torch

from idol.assets import sha256_of
from idol.atomic_io import check_destination, staged_folder
from idol.clip import Clip, DepthKind
from idol.clip.background_subtraction import subtract_background
from idol.clip.depth import PERSON_FLOOR, Colormap
from idol.errors import UserError
from idol.generation.inputs import Given, Prepared, prepare_inputs
from idol.generation.run_folder import (
    RUN,
    SIGNED,
    Checksum,
    Inputs,
    Record,
    Settings,
    read_inputs,
    read_record,
    write_record,
    write_run,
)
from idol.pipeline.compositing import Detail
from idol.pipeline.config import as_numpy
from idol.progress import SILENT, ProgressCallback
from idol.provenance import Facts, Provenance, checkpoint_digest, provenance_of

if TYPE_CHECKING:
    from idol.pipeline.pipeline import IdolPipeline

_PACKAGES = ("idol-diffusion", "torch", "diffusers", "transformers", "numpy", "onnxruntime")


@dataclass(frozen=True)
class Run:
    """What `generate` made.

    Attributes:
        folder: The run folder; its files are described in `idol.generation.run_folder`.
        record: The contents of `run.json`.
    """

    folder: Path
    record: Record

    @cached_property
    def clip(self) -> Clip:
        """The folder's clip, read when it is asked for."""
        return Clip.load(self.folder)


def generate(
    person: str | Path,
    background: str | Path,
    motion: str | Path,
    out: str | Path,
    *,
    weights: str = "mini",
    steps: int | None = None,
    guidance: float | None = None,
    seed: int = 0,
    frames: int | None = None,
    fps: float | None = None,
    height: int | None = None,
    width: int | None = None,
    retarget: bool = True,
    person_index: int | None = None,
    estimator: str = "rtmpose",
    colormap: Colormap = "hot",
    detail: Detail | None = None,
    device: str | None = None,
    watermark: bool = True,
    certificate: str | Path | None = None,
    private_key: str | Path | None = None,
    overwrite: bool = False,
    progress: ProgressCallback = SILENT,
) -> Run:
    """Animate the person of a photo.

    Args:
        person: The photo.
        background: An image, a color, or "photo": the photo's own background, the person's place filled in.
        motion: A video, a folder of OpenPose JSON, or "builtin:NAME".
        out: The run folder to make; it appears whole, by rename, or not at all.
        weights: "mini", a folder, or a hub id.
        steps: Denoising steps; the checkpoint's own number by default.
        guidance: Classifier-free guidance scale, 1 is none; the checkpoint's own by default.
        seed: Of the starting noise.
        frames: Length of the result; by default as long as the motion, at most 64.
        fps: Frames per second of the result: the motion is sampled anew; its own by default.
        height: Of the frames in pixels; the checkpoint's own by default.
        width: Of the frames in pixels; the checkpoint's own by default.
        retarget: Fit the motion's limb lengths, scale and place to the person.
        person_index: Which of several people in the photo, 0 the largest.
        estimator: Name of the pose estimator for the photo and the motion video.
        colormap: Color map of `depth.mp4`.
        detail: `composite` puts the person before the given background as it is, `restore` keeps what the
            model made of the background and puts its lost detail back, `none` leaves all as decoded; the
            checkpoint's own by default.
        device: Where to compute: "cpu", "cuda", ...; a GPU if there is one by default.
        watermark: Put the invisible mark into the frames (`idol.provenance`).
        certificate: PEM of a certificate chain that signs the videos; one of this machine's by default.
        private_key: PEM of its key.
        overwrite: Replace a run folder at `out`.
        progress: Receives stages, notes, steps and previews.

    Raises:
        UserError: If something given cannot be used; nothing is written then.
    """
    out = Path(out)
    check_destination(out, overwrite, RUN)
    _check_numbers(steps=steps, guidance=guidance, frames=frames, fps=fps, height=height, width=width)
    if not 0 <= seed < 2**63:
        raise UserError("seed", str(seed), "give a number from 0 to 2^63 - 1")
    if colormap not in get_args(Colormap):
        raise UserError("colormap", repr(colormap), f"choose one of {', '.join(get_args(Colormap))}")
    if detail is not None and detail not in get_args(Detail):
        raise UserError("detail", repr(detail), f"choose one of {', '.join(get_args(Detail))}")

    provenance = provenance_of(watermark, certificate, private_key)

    progress.stage("loading the weights")
    pipe = load_pipeline(weights, device or best_device())
    height, width = height or pipe.defaults.height, width or pipe.defaults.width

    progress.stage("looking at the photo, the motion and the background")
    given = Given(str(person), str(background), str(motion), retarget, person_index, estimator)
    ready = prepare_inputs(given, height, width, frames, fps)
    for note in ready.notes:
        progress.note(note)

    settings = Settings(
        weights=weights,
        steps=steps or pipe.defaults.num_inference_steps,
        guidance=pipe.defaults.guidance_scale if guidance is None else guidance,
        seed=seed,
        fps=ready.fps,
        height=height,
        width=width,
        device=str(pipe.device),
        threads=torch.get_num_threads(),
        colormap=colormap,
        detail=detail or pipe.defaults.detail,
        watermark=watermark,
    )
    record = first_record(pipe, settings, given, ready)
    return run_prepared(pipe, ready.inputs, record, out, overwrite, progress, provenance)


def repeat(
    run: str | Path, out: str | Path, *, overwrite: bool = False, progress: ProgressCallback = SILENT
) -> Run:
    """Make the frames of an earlier run again, bit for bit, from what lies beside its `run.json`.

    Args:
        run: The `run.json`, or its folder.
        out: As of `generate`.
        overwrite: As of `generate`.
        progress: As of `generate`.

    Raises:
        UserError: If the run folder is not whole, or the weights are not those of the run.
    """
    out = Path(out)
    check_destination(out, overwrite, RUN)
    record = read_record(Path(run))
    inputs = read_inputs(Path(run), record)
    progress.stage("loading the weights")
    pipe = load_pipeline(record.settings.weights, record.settings.device)
    if checkpoint_files(pipe) != record.checkpoint:
        raise UserError(
            "run",
            f"the weights {record.settings.weights} are not those of the run",
            "get the same weights",
        )
    if package_versions() != record.versions:
        progress.note("made with other versions of the packages: frames may differ in the last bit")
    return run_prepared(pipe, inputs, record, out, overwrite, progress)


def _check_numbers(**given: float | None) -> None:
    """Refuse senseless numbers before anything is loaded."""
    least = {"steps": 1, "frames": 1, "fps": 0.1, "height": 16, "width": 16, "guidance": 0}
    for name, value in given.items():
        if value is not None and not (math.isfinite(value) and value >= least[name]):
            raise UserError(name, str(value), f"give a number of at least {least[name]}")


def best_device() -> str:
    """The GPU where there is one, else the CPU."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def load_pipeline(weights: str, device: str) -> IdolPipeline:
    """The pipeline of that name, on that device, ready to run.

    Raises:
        UserError: If there is no such checkpoint or device, or the checkpoint cannot be used.
    """
    from diffusers.utils import logging

    from idol.pipeline.pipeline import IdolPipeline

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # it would count components, which says nothing about the time
    try:
        pipe = IdolPipeline.from_pretrained(weights)
    finally:
        if shown:
            logging.enable_progress_bar()
    pipe.set_progress_bar_config(disable=True)
    try:
        return pipe.to(device)
    except (RuntimeError, AssertionError) as error:  # torch's words for a device it does not have
        raise UserError("device", f"{device} cannot be used ({error})", "try `device=cpu`") from error


def first_record(pipe: IdolPipeline, settings: Settings, given: Given, ready: Prepared) -> Record:
    """What is known of a run before it is made, for `run_prepared`."""
    return Record(
        settings=settings,
        frames=ready.inputs.pose.frames,
        preparation=given.listed(),
        sources=given.checksums(),
        inputs=(),
        checkpoint=checkpoint_files(pipe),
        versions=package_versions(),
        notes=ready.notes,
        seconds=0.0,
    )


def run_prepared(
    pipe: IdolPipeline,
    inputs: Inputs,
    record: Record,
    out: str | Path,
    overwrite: bool = False,
    progress: ProgressCallback = SILENT,
    provenance: Provenance | None = None,
) -> Run:
    """Denoise prepared inputs, and write the run folder.

    Args:
        pipe: On the device of the settings.
        inputs: Of the settings' size.
        record: What is known so far; time and checksums are filled in.
        out: As of `generate`, and so the next two.
        overwrite: See there.
        progress: See there.
        provenance: Who signs; this machine by default. The settings say whether frames are marked.
    """
    settings, out = record.settings, Path(out)
    if pipe.unet.config["num_modalities"] == 1 and not pipe.codec.stacked:
        raise UserError("weights", f"{settings.weights} makes no depth", "give weights of both modalities")
    steps = "1 step" if settings.steps == 1 else f"{settings.steps} steps"
    progress.stage(f"denoising {record.frames} frames, {steps}, on {settings.device}")
    started = time.monotonic()
    provenance = replace(provenance or Provenance(), watermark=settings.watermark)
    with staged_folder(out, overwrite, RUN) as folder, _threads(settings.threads):
        parts = generated(pipe, inputs, settings, progress)
        first = next(parts)
        mark = provenance.marker(first.video)
        marked = (replace(part, video=mark(part.video)) for part in chain([first], parts))
        checksums = write_run(folder, marked, inputs, settings)
        for name, kind in SIGNED.items():
            provenance.sign(folder / name, replace(facts_of(record), kind=kind))
        record = replace(record, inputs=checksums, seconds=time.monotonic() - started)
        write_record(folder, record)
    return Run(out, record)


def denoised(pipe: IdolPipeline, inputs: Inputs, settings: Settings, progress: ProgressCallback) -> Clip:
    """The generated clip in one piece; see `generated`."""
    parts = list(generated(pipe, inputs, settings, progress))
    video, depth, mask = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("video", "depth", "mask")
    )
    return replace(parts[0], video=video, depth=depth, mask=mask, pose=inputs.pose)


def generated(
    pipe: IdolPipeline, inputs: Inputs, settings: Settings, progress: ProgressCallback
) -> Iterator[Clip]:
    """The generated clip, a few frames after the others.

    Its mask is the silhouette that the depth holds; it is without depth, if none is made.
    """
    frames = inputs.pose.frames

    def formed(_pipe: Any, step: int, _time: Any, seen: dict[str, Any]) -> None:
        middle = frames // 2
        if step + 1 < settings.steps:
            progress.preview(lambda: _side_by_side(seen["decode"](slice(middle, middle + 1))))

    outputs = pipe.stream(
        inputs.person,
        inputs.mask,
        inputs.background,
        inputs.pose,
        foreground_pose=inputs.person_pose,
        num_inference_steps=settings.steps,
        guidance_scale=settings.guidance,
        generator=torch.Generator("cpu").manual_seed(settings.seed),
        height=settings.height,
        width=settings.width,
        detail=settings.detail,
        callback_on_step_end=formed,
        callback_on_step_end_tensor_inputs=(),
        progress=progress,
    )
    progress.stage("decoding the frames")
    first = 0
    for output in outputs:
        images = as_numpy(output)
        video = np.rint(np.clip(images.video[0], 0, 1) * 255).astype(np.uint8)
        yield _part(video, images.depth, pipe.defaults.depth_kind, first, inputs, settings)
        first += len(video)
        progress.step(first, frames)


def _side_by_side(images: torch.Tensor) -> np.ndarray:
    """The streams (1, m, 1, 3, h, w) of a frame in [-1, 1], beside one another."""
    beside = torch.cat(list(images[0, :, 0]), -1)
    return ((beside.float().cpu() + 1) * 127.5).round().byte().numpy()


def _part(
    video: np.ndarray, depth: Any, kind: DepthKind, first: int, inputs: Inputs, settings: Settings
) -> Clip:
    """Some frames, from number `first` on, with their depth (1, n, h, w) or None.

    Depth of the person alone shows where the person is; with that of a scene, the known background does.
    """
    made: dict[str, Any] = {"background": inputs.background, "fps": settings.fps, "source": "idol generate"}
    made["pose"] = inputs.pose.select(slice(first, first + len(video)))
    if depth is None:
        empty = np.zeros((len(video), *video.shape[2:]), np.float32)
        return Clip(video, empty, empty > 0, depth_kind="none", **made)
    depth = np.clip(depth[0], 0, 1).astype(np.float32)
    mask = depth > PERSON_FLOOR / 2 if kind == "person" else subtract_background(video, inputs.background)
    return Clip(video, depth, mask, depth_kind=kind, **made)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """So many CPU threads while the block runs: the order of sums, and with it the last bit, hangs on it."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def checkpoint_files(pipe: IdolPipeline) -> tuple[Checksum, ...]:
    """The files a pipeline was loaded from, configs too, with their checksums."""
    folder = Path(pipe.config["_name_or_path"])
    files = sorted(path for ending in ("json", "safetensors") for path in folder.rglob(f"*.{ending}"))
    return tuple(Checksum(str(file.relative_to(folder)), sha256_of(file)) for file in files)


def facts_of(record: Record) -> Facts:
    """What the credentials of a run's files say."""
    digest = checkpoint_digest((file.name, file.sha256) for file in record.checkpoint)
    return Facts(record.settings.weights, digest, record.settings.seed)


def package_versions() -> tuple[str, ...]:
    """`package==version` of what the frames hang on."""
    found = [f"python=={platform.python_version()}"]
    for package in _PACKAGES:
        try:
            found.append(f"{package}=={importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:  # an extra that is not installed made nothing
            continue
    return tuple(found)
