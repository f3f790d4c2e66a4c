"""The main command, `idol.generate`, and its exact repetition, `idol.repeat`."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import torch

from idol.atomic_io import check_destination, staged_folder
from idol.clip import Clip
from idol.clip.depth import Colormap
from idol.errors import UserError
from idol.generation.clips import stream_clip
from idol.generation.environment import checkpoint_files, cpu_threads, load_pipeline, package_versions
from idol.generation.inputs import PreparedInputs, Sources, prepare_inputs
from idol.generation.run_folder import (
    RUN,
    SIGNED,
    RunInputs,
    RunRecord,
    RunSettings,
    read_inputs,
    read_record,
    write_record,
    write_run,
)
from idol.pipeline.compositing import Detail
from idol.progress import SILENT, ProgressCallback
from idol.provenance import Facts, Provenance, checkpoint_digest, provenance_of

if TYPE_CHECKING:
    from idol.pipeline.pipeline import IdolPipeline


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        folder: The run folder; its files are described in `idol.generation.run_folder`.
        record: The contents of `run.json`.
    """

    folder: Path
    record: RunRecord

    @cached_property
    def clip(self) -> Clip:
        """The generated clip, read from the folder at first access."""
        return Clip.load(self.folder)


def generate(
    person: str | Path,
    background: str | Path,
    motion: str | Path,
    out: str | Path,
    *,
    weights: str = "mini",
    num_inference_steps: int | None = None,
    guidance_scale: float | None = None,
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
    """Animate the person of a photo: write a run folder with a video and its depth.

    Args:
        person: An image file: the photo of the person.
        background: An image file, a color ("gray", "#88aaff"), or "photo": the photo's own background with
            the person removed.
        motion: A video file, a folder of OpenPose JSON files, or "builtin:NAME".
        out: The run folder to write; it appears complete or not at all.
        weights: "mini", a folder, or a hub id.
        num_inference_steps: Denoising steps, at least 1; the checkpoint's default if None.
        guidance_scale: Scale of classifier-free guidance, at least 0; 1 is no guidance. The checkpoint's
            default if None.
        seed: Seed of the initial noise, from 0 to 2^63 - 1.
        frames: Number of frames of the result; as many as the motion has, at most 64, if None.
        fps: Frames per second of the result: the motion is resampled to it. The motion's own if None.
        height: Height of the frames, pixels; the checkpoint's default if None.
        width: Width of the frames, pixels; the checkpoint's default if None.
        retarget: Fit the motion's limb lengths, scale and position to the person.
        person_index: Which of several persons in the photo: 0 is the largest. None takes it with a note.
        estimator: Pose estimator for the photo and the motion video: "rtmpose", "mediapipe" or "dwpose".
        colormap: Color map of `depth.mp4`: "hot" or "gray".
        detail: "composite" puts the person in front of the background as given; "restore" keeps the
            generated background and adds its lost detail; "none" leaves the decoded frames as they are. The
            checkpoint's default if None.
        device: "cpu", "cuda", "cuda:1", ...; a GPU if there is one, if None.
        watermark: Embed the invisible watermark in the frames (`idol.provenance`).
        certificate: PEM file of the certificate chain that signs the files; one of this machine's if None.
        private_key: PEM file of the certificate's key.
        overwrite: Replace a run folder at `out`.
        progress: Receives stages, notes, steps and previews.

    Raises:
        UserError: If an input cannot be used or a setting is out of range; nothing is written then.
    """
    out = Path(out)
    check_destination(out, overwrite, RUN)
    if not 0 <= seed < 2**63:
        raise UserError("seed", str(seed), "give a number from 0 to 2^63 - 1")
    if colormap not in get_args(Colormap):
        raise UserError("colormap", repr(colormap), f"choose one of {', '.join(get_args(Colormap))}")
    provenance = provenance_of(watermark, certificate, private_key)

    progress.stage("loading the weights")
    pipe = load_pipeline(weights, device)
    chosen = pipe.resolve_settings(
        num_inference_steps=num_inference_steps,
        guidance_scale=guidance_scale,
        height=height,
        width=width,
        detail=detail,
    )

    progress.stage("reading the photo, the motion and the background")
    sources = Sources(str(person), str(background), str(motion), retarget, person_index, estimator)
    prepared = prepare_inputs(sources, chosen.height, chosen.width, frames, fps)
    for note in prepared.notes:
        progress.note(note)

    settings = RunSettings(
        weights=weights,
        num_inference_steps=chosen.num_inference_steps,
        guidance_scale=chosen.guidance_scale,
        seed=seed,
        fps=prepared.fps,
        height=chosen.height,
        width=chosen.width,
        device=str(pipe.device),
        threads=torch.get_num_threads(),
        colormap=colormap,
        detail=chosen.detail,
        watermark=watermark,
    )
    record = new_record(pipe, settings, sources, prepared)
    return run_prepared(pipe, prepared.inputs, record, out, overwrite, progress, provenance)


def repeat(
    run: str | Path, out: str | Path, *, overwrite: bool = False, progress: ProgressCallback = SILENT
) -> Run:
    """Generate the frames of an earlier run again, from the inputs in its folder.

    On the same machine with the same package versions they are equal bit for bit.

    Args:
        run: The run folder, or its `run.json`.
        out: As `generate`.
        overwrite: As `generate`.
        progress: As `generate`.

    Raises:
        UserError: If the run folder is incomplete or changed, or the weights are not those of the run.
    """
    out = Path(out)
    check_destination(out, overwrite, RUN)
    record = read_record(Path(run))
    inputs = read_inputs(Path(run), record)
    progress.stage("loading the weights")
    pipe = load_pipeline(record.settings.weights, record.settings.device)
    if checkpoint_files(pipe) != record.checkpoint:
        found = f"the weights {record.settings.weights} are not those of the run"
        raise UserError("run", found, "get the weights that it was made with")
    if package_versions() != record.versions:
        progress.note("the run was made with other package versions: frames may differ in the last bit")
    return run_prepared(pipe, inputs, record, out, overwrite, progress)


def new_record(
    pipe: IdolPipeline, settings: RunSettings, sources: Sources, prepared: PreparedInputs
) -> RunRecord:
    """Return the record of a run that is about to start; `run_prepared` fills in the rest.

    Args:
        pipe: The loaded pipeline.
        settings: Settings of the run.
        sources: What the user gave.
        prepared: What was made of it.
    """
    return RunRecord(
        settings=settings,
        frames=prepared.inputs.pose.frames,
        preparation=sources.as_lines(),
        sources=sources.checksums(),
        inputs=(),
        checkpoint=checkpoint_files(pipe),
        versions=package_versions(),
        notes=prepared.notes,
        seconds=0.0,
    )


def run_prepared(
    pipe: IdolPipeline,
    inputs: RunInputs,
    record: RunRecord,
    out: str | Path,
    overwrite: bool = False,
    progress: ProgressCallback = SILENT,
    provenance: Provenance | None = None,
) -> Run:
    """Generate a clip from prepared inputs and write the run folder.

    Args:
        pipe: The pipeline, on the settings' device.
        inputs: Prepared inputs of the settings' size.
        record: The record so far; time and checksums are filled in.
        out: As `generate`.
        overwrite: As `generate`.
        progress: As `generate`.
        provenance: Who signs; this machine if None. The settings decide on the watermark.

    Raises:
        UserError: If the pipeline produces no depth, or the folder cannot be written.
    """
    settings, out = record.settings, Path(out)
    if not pipe.produces_depth:
        raise UserError("weights", f"{settings.weights} produces no depth", "give weights of both modalities")
    steps = "1 step" if settings.num_inference_steps == 1 else f"{settings.num_inference_steps} steps"
    progress.stage(f"denoising {record.frames} frames, {steps}, on {settings.device}")
    started = time.monotonic()
    provenance = replace(provenance or Provenance(), watermark=settings.watermark)
    with staged_folder(out, overwrite, RUN) as folder, cpu_threads(settings.threads):
        parts = stream_clip(pipe, inputs, settings, progress)
        first = next(parts)
        mark = provenance.marker(first.video)
        marked = (replace(part, video=mark(part.video)) for part in chain([first], parts))
        checksums = write_run(folder, marked, inputs, settings)
        for name, kind in SIGNED.items():
            provenance.sign(folder / name, replace(facts_of(record), kind=kind))
        record = replace(record, inputs=checksums, seconds=time.monotonic() - started)
        write_record(folder, record)
    return Run(out, record)


def facts_of(record: RunRecord) -> Facts:
    """Return what the content credentials of a run's files state."""
    digest = checkpoint_digest((file.name, file.sha256) for file in record.checkpoint)
    return Facts(record.settings.weights, digest, record.settings.seed)
