"""One photo, a background and a motion in; a run folder with the video and its depth out."""

from __future__ import annotations

import importlib.metadata
import math
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, get_args

import torch

from idol.assets import sha256_of
from idol.clip import Clip, Pose
from idol.depth import PERSON_FLOOR, ColourMap
from idol.errors import UserError
from idol.retarget import retarget as retarget_pose
from idol.run_folder import (
    Checksum,
    Inputs,
    Record,
    Settings,
    check_destination,
    read_inputs,
    read_record,
    staged_folder,
    write_record,
    write_run,
)

if TYPE_CHECKING:
    from idol.pipeline import IdolPipeline

LONGEST = 64
"""How many frames of a motion are made unless told otherwise."""

_PACKAGES = ("idol-diffusion", "torch", "diffusers", "transformers", "numpy", "onnxruntime")


class Reporter(Protocol):
    """Hears how a run goes."""

    def stage(self, what: str) -> None:
        """Something that takes a while begins."""

    def note(self, text: str) -> None:
        """Something the user should know about their input."""

    def step(self, done: int, total: int) -> None:
        """`done` of `total` denoising steps are behind us."""


class Silent:
    """The reporter that tells nobody."""

    def stage(self, what: str) -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        """Nothing."""

    def step(self, done: int, total: int) -> None:
        """Nothing."""


@dataclass(frozen=True)
class Run:
    """What `generate` made.

    Attributes:
        folder: The run folder; its files are described in `idol.run_folder`.
        clip: The same in memory.
        record: The contents of `run.json`.
    """

    folder: Path
    clip: Clip
    record: Record


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
    cmap: ColourMap = "hot",
    device: str | None = None,
    overwrite: bool = False,
    reporter: Reporter | None = None,
) -> Run:
    """Animate the person of a photo.

    Args:
        person: The photo.
        background: An image, a colour, or "photo": the photo's own background, the person's place filled in.
        motion: A video, a folder of OpenPose JSON, or "builtin:NAME".
        out: The run folder to make; it appears whole, by rename, or not at all.
        weights: "mini", a folder, or a hub id.
        steps: Denoising steps; the checkpoint's own number by default.
        guidance: Classifier-free guidance scale, 1 is none; the checkpoint's own by default.
        seed: Of the starting noise.
        frames: Length of the result; by default as long as the motion, at most `LONGEST`.
        fps: Frames per second of the result: the motion is sampled anew; its own by default.
        height: Of the frames in pixels; the checkpoint's own by default.
        width: Of the frames in pixels; the checkpoint's own by default.
        retarget: Fit the motion's limb lengths, scale and place to the person.
        person_index: Which of several people in the photo, 0 the largest.
        estimator: Name of the pose estimator for the photo and the motion video.
        cmap: Colour map of `depth.mp4`.
        device: Where to compute: "cpu", "cuda", ...; a GPU if there is one by default.
        overwrite: Replace a run folder at `out`.
        reporter: Hears how it goes.

    Raises:
        UserError: If something given cannot be used; nothing is written then.
    """
    reporter, out = reporter or Silent(), Path(out)
    check_destination(out, overwrite)
    wish = Wish(steps, guidance, seed, frames, fps, height, width, cmap)
    _check(wish)

    reporter.stage("loading the weights")
    pipe = load_pipeline(weights, device or best_device())

    reporter.stage("looking at the photo, the motion and the background")
    given = Given(str(person), str(background), str(motion), retarget, person_index, estimator)
    height, width = wish.height or pipe.defaults.height, wish.width or pipe.defaults.width
    inputs, rate, notes = _prepared(given, wish, height, width)
    for note in notes:
        reporter.note(note)

    record = Record(
        settings=_settings(pipe, weights, wish, inputs, rate),
        frames=inputs.pose.frames,
        preparation=tuple(f"{k}={v}" for k, v in vars(given).items()),
        sources=_sources(given),
        inputs=(),
        checkpoint=checkpoint_files(pipe),
        versions=_versions(),
        notes=notes,
        seconds=0.0,
    )
    return _run(pipe, inputs, record, out, overwrite, reporter)


def repeat(
    run: str | Path, out: str | Path, *, overwrite: bool = False, reporter: Reporter | None = None
) -> Run:
    """Make the frames of an earlier run again, bit for bit, from what lies beside its `run.json`.

    Args:
        run: The `run.json`, or its folder.
        out: As of `generate`.
        overwrite: As of `generate`.
        reporter: As of `generate`.

    Raises:
        UserError: If the run folder is not whole, or the weights are not those of the run.
    """
    reporter, out = reporter or Silent(), Path(out)
    check_destination(out, overwrite)
    record = read_record(Path(run))
    inputs = read_inputs(Path(run), record)
    reporter.stage("loading the weights")
    pipe = load_pipeline(record.settings.weights, record.settings.device)
    if checkpoint_files(pipe) != record.checkpoint:
        raise UserError(
            "--from",
            f"the weights {record.settings.weights} are not those of the run",
            "get the same weights",
        )
    if _versions() != record.versions:
        reporter.note("made with other versions of the packages: frames may differ in the last bit")
    return _run(pipe, inputs, record, out, overwrite, reporter)


@dataclass(frozen=True)
class Wish:
    """What was asked for about the result; None leaves it to the checkpoint or the motion."""

    steps: int | None
    guidance: float | None
    seed: int
    frames: int | None
    fps: float | None
    height: int | None
    width: int | None
    cmap: ColourMap


@dataclass(frozen=True)
class Given:
    """What was given, and how it is to be prepared."""

    person: str
    background: str
    motion: str
    retarget: bool
    person_index: int | None
    estimator: str


def _check(wish: Wish) -> None:
    """Refuse senseless numbers before anything is loaded."""
    for name, least in {
        "steps": 1,
        "frames": 1,
        "fps": 0.1,
        "height": 16,
        "width": 16,
        "guidance": 0.0,
    }.items():
        value = getattr(wish, name)
        if value is not None and not (math.isfinite(value) and value >= least):
            raise UserError(f"--{name}", str(value), f"give a number of at least {least}")
    if not 0 <= wish.seed < 2**63:
        raise UserError("--seed", str(wish.seed), "give a number from 0 to 2^63 - 1")
    if wish.cmap not in get_args(ColourMap):
        raise UserError("--cmap", repr(wish.cmap), f"choose one of {', '.join(get_args(ColourMap))}")


def best_device() -> str:
    """The GPU where there is one, else the CPU."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def load_pipeline(weights: str, device: str) -> IdolPipeline:
    """The pipeline of that name, on that device, ready to run.

    Raises:
        UserError: If there is no such checkpoint or device, or the checkpoint cannot be used.
    """
    from idol.pipeline import IdolPipeline

    pipe = IdolPipeline.from_pretrained(weights)
    pipe.set_progress_bar_config(disable=True)
    try:
        return pipe.to(device)
    except (RuntimeError, AssertionError) as error:  # torch's words for a device it does not have
        raise UserError("--device", f"{device} cannot be used ({error})", "try --device cpu") from error


def _settings(pipe: IdolPipeline, weights: str, wish: Wish, inputs: Inputs, rate: float) -> Settings:
    """What was asked for, with the checkpoint's own choice where nothing was."""
    return Settings(
        weights=weights,
        steps=wish.steps or pipe.defaults.num_inference_steps,
        guidance=pipe.defaults.guidance_scale if wish.guidance is None else wish.guidance,
        seed=wish.seed,
        fps=rate,
        height=inputs.pose.height,
        width=inputs.pose.width,
        device=str(pipe.device),
        threads=torch.get_num_threads(),
        cmap=wish.cmap,
    )


def _prepared(given: Given, wish: Wish, height: int, width: int) -> tuple[Inputs, float, tuple[str, ...]]:
    """Inputs of the wanted size and length, frames per second, and what the user should know."""
    from idol.prepare.background import background_from
    from idol.prepare.motion import motion_from
    from idol.prepare.person import person_from_photo

    person = person_from_photo(given.person, given.person_index, estimator=given.estimator)
    background = background_from(given.background, height, width, person)
    longest = wish.frames or LONGEST
    motion = motion_from(given.motion, max_frames=longest, fps=wish.fps, estimator=given.estimator)
    pose = _placed(motion.pose, person.pose, given.retarget, height, width)
    inputs = Inputs(person.image, person.mask, person.pose, pose, background, motion.audio)
    return inputs, motion.fps, (*person.notes, *motion.notes, *_length_notes(pose.frames, wish.frames))


def _length_notes(there: int, wanted: int | None) -> tuple[str, ...]:
    if wanted is not None and there < wanted:
        return (f"the motion has {there} frames, not {wanted}: the result is that long",)
    if wanted is None and there == LONGEST:
        return (f"the first {LONGEST} frames of the motion are taken (--frames takes more)",)
    return ()


def _placed(pose: Pose, person: Pose, fit: bool, height: int, width: int) -> Pose:
    """The motion in the frame: fitted to the person, or as it is, shown whole in the middle."""
    if fit:
        try:
            return retarget_pose(pose, person, frame_height=height, frame_width=width)
        except ValueError as error:
            raise UserError(
                "--motion", f"cannot be fitted to the person ({error})", "try --no-retarget"
            ) from error
    scale = min(height / pose.height, width / pose.width)
    wide, high = round(width / scale), round(height / scale)
    x0, y0 = (pose.width - wide) // 2, (pose.height - high) // 2
    return pose.cropped(x0, y0, x0 + wide, y0 + high).resized(height, width)


def _run(
    pipe: IdolPipeline, inputs: Inputs, record: Record, out: Path, overwrite: bool, reporter: Reporter
) -> Run:
    """Denoise, and write the run folder."""
    settings = record.settings
    reporter.stage(f"denoising {record.frames} frames, {settings.steps} steps, on {settings.device}")
    started = time.monotonic()
    with _threads(settings.threads):
        clip = denoised(pipe, inputs, settings, reporter)
    record = replace(record, seconds=time.monotonic() - started)
    reporter.stage("writing the files")
    with staged_folder(out, overwrite) as folder:
        checksums = write_run(folder, clip, inputs, settings.cmap)
        record = replace(record, inputs=checksums)
        write_record(folder, record)
    return Run(out, clip, record)


def denoised(pipe: IdolPipeline, inputs: Inputs, settings: Settings, reporter: Reporter) -> Clip:
    """The generated clip; its mask is the silhouette that the depth holds."""
    output = pipe(
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
        callback_on_step_end=lambda _pipe, step, *_: reporter.step(step + 1, settings.steps),
    )
    video = (output.video[0].clamp(0, 1) * 255).round().byte().cpu().numpy()
    depth = output.depth[0].float().cpu().numpy()
    mask = depth > PERSON_FLOOR / 2
    return Clip(video, depth, mask, inputs.pose, inputs.background, settings.fps, source="idol generate")


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """So many CPU threads while the block runs: the order of sums, and with it the last bit, hangs on it."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _sources(given: Given) -> tuple[Checksum, ...]:
    """What was given, with the checksum of what is a file."""
    named = (given.person, given.background, given.motion)
    return tuple(Checksum(name, sha256_of(Path(name)) if Path(name).is_file() else "") for name in named)


def checkpoint_files(pipe: IdolPipeline) -> tuple[Checksum, ...]:
    """The weight files a pipeline was loaded from, with their checksums."""
    folder = Path(pipe.config._name_or_path)
    files = sorted(folder.rglob("*.safetensors"))
    return tuple(Checksum(str(file.relative_to(folder)), sha256_of(file)) for file in files)


def _versions() -> tuple[str, ...]:
    """`package==version` of what the frames hang on."""
    found = [f"python=={platform.python_version()}"]
    for package in _PACKAGES:
        try:
            found.append(f"{package}=={importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:  # an extra that is not installed made nothing
            continue
    return tuple(found)
