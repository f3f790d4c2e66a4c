"""One request of a visitor: checked, carried out, and packed for download."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import torch

from idol.clip.video import write_video
from idol.errors import UserError
from idol.generation.generate import facts_of, new_record, run_prepared
from idol.generation.inputs import Sources, prepare_inputs
from idol.generation.run_folder import FileChecksum, RunInputs, RunRecord, RunSettings
from idol.pipeline.compositing import Detail
from idol.pose.skeleton import draw
from idol.progress import ProgressCallback
from idol.provenance import Facts, Provenance
from idol.provenance.credentials import sidecar
from idol.webapp import options
from idol.webapp.orbit import orbit_page
from idol.webapp.upload_limits import Limits, check_image, check_number, check_video

if TYPE_CHECKING:
    from idol.pipeline.pipeline import IdolPipeline


@dataclass(frozen=True)
class JobRequest:
    """What a visitor asks for. An uploaded file takes precedence over a name; its own name is never used.

    Attributes:
        frames: Number of frames of the result.
        fps: Frames per second.
        num_inference_steps: Denoising steps.
        seed: Seed of the initial noise.
        detail: How known detail is restored (`idol.pipeline.compositing`).
        photo: An uploaded photo, or None.
        person: Name of a bundled photo (`options.people`).
        background: A name, a color, or "photo" (`options.background_named`).
        background_file: An uploaded image, or None.
        motion: Name of a motion (`options.motions`).
        motion_file: An uploaded video, or None.
    """

    frames: int
    fps: float
    num_inference_steps: int
    seed: int
    detail: Detail
    photo: Path | None = None
    person: str = ""
    background: str = options.PHOTO
    background_file: Path | None = None
    motion: str = ""
    motion_file: Path | None = None

    @property
    def has_video(self) -> bool:
        """Whether the motion has to be estimated from a video first, which takes time."""
        return self.motion_file is not None or self.motion in options.video_motions()


@dataclass(frozen=True)
class JobResult:
    """What is made of an request.

    Attributes:
        video: `video.mp4` of the run folder.
        depth: `depth.mp4` of the run folder.
        skeleton: A video of the driving skeleton.
        archive: A zip of the run folder, the skeleton video and the 3-D view, all signed.
        page: HTML of the 3-D view (`orbit.orbit_page`).
        notes: Remarks on the inputs.
        seed: Seed of the initial noise.
        seconds: Time spent in the pipeline.
    """

    video: Path
    depth: Path
    skeleton: Path
    archive: Path
    page: str
    notes: tuple[str, ...]
    seed: int
    seconds: float


def check_request(request: JobRequest, limits: Limits) -> None:
    """Refuse a request that cannot be fulfilled, before it is queued.

    Args:
        request: The request.
        limits: The limits of the page.

    Raises:
        UserError: If an argument is missing or not allowed.
    """
    check_number("frames", float(request.frames), 2.0, float(limits.frames))
    check_number("fps", float(request.fps), 1.0, 60.0)
    check_number(
        "num_inference_steps", float(request.num_inference_steps), 1.0, float(limits.num_inference_steps)
    )
    check_number("seed", float(request.seed), 0.0, 2.0**32 - 1)
    if request.detail not in get_args(Detail):
        raise UserError("detail", f"{request.detail!r:.60}", f"choose one of {', '.join(get_args(Detail))}")
    if request.photo is None:
        if not request.person:
            raise UserError("person", "is missing", "give a photo of the person")
        options.person_named(request.person)
    else:
        check_image(request.photo, "person", limits)
    if request.background_file is None:
        options.background_named(request.background)
    else:
        check_image(request.background_file, "background", limits)
    if request.motion_file is None:
        options.motion_named(request.motion)
    else:
        check_video(request.motion_file, "motion", limits)


def fulfill(
    pipe: IdolPipeline,
    weights: str,
    request: JobRequest,
    folder: Path,
    provenance: Provenance,
    progress: ProgressCallback,
) -> JobResult:
    """Generate what was requested.

    Args:
        pipe: The loaded pipeline.
        weights: Name of its weights, for `run.json`.
        request: A checked request.
        folder: An empty folder; everything is written there.
        provenance: Watermark and signer.
        progress: Receives stages, notes, steps and previews; an exception from it ends the work.

    Raises:
        UserError: If the inputs cannot be used.
    """
    progress.stage("reading the photo, the motion and the background")
    record, inputs = _prepared(pipe, weights, _sources(request, folder), request, progress)
    run = run_prepared(pipe, inputs, record, folder / "run", progress=progress, provenance=provenance)
    progress.stage("making the 3-D view")
    skeleton, orbit, archive = (folder / name for name in ("skeleton.mp4", "orbit.html", "idol.zip"))
    pose, page = run.clip.pose, orbit_page(run.clip)
    write_video(skeleton, draw(pose, pose.height, pose.width), run.clip.fps)
    orbit.write_text(page, encoding="utf-8")
    provenance.sign(skeleton, Facts(kind="skeleton", origin="drawn"))
    provenance.sign(orbit, replace(facts_of(run.record), kind="orbit"))
    pack(run.folder, (skeleton, orbit, sidecar(orbit)), archive)
    return JobResult(
        video=run.folder / "video.mp4",
        depth=run.folder / "depth.mp4",
        skeleton=skeleton,
        archive=archive,
        page=page,
        notes=run.record.notes,
        seed=request.seed,
        seconds=run.record.seconds,
    )


def _sources(request: JobRequest, folder: Path) -> Sources:
    """Return the sources of a request, with uploads copied to fixed names inside `folder`."""

    def copied(upload: Path, name: str) -> str:
        return str(shutil.copyfile(upload, folder / name))

    photo, background, motion = request.photo, request.background_file, request.motion_file
    return Sources(
        copied(photo, "photo") if photo else options.person_named(request.person),
        copied(background, "background") if background else options.background_named(request.background),
        copied(motion, "motion") if motion else options.motion_named(request.motion),
    )


def _prepared(
    pipe: IdolPipeline, weights: str, given: Sources, request: JobRequest, progress: ProgressCallback
) -> tuple[RunRecord, RunInputs]:
    """Prepare inputs and record as `idol.generate` does, with weights that are loaded already."""
    height, width = pipe.defaults.height, pipe.defaults.width
    ready = prepare_inputs(given, height, width, request.frames, request.fps)
    for note in ready.notes:
        progress.note(note)
    settings = RunSettings(
        weights=weights,
        num_inference_steps=request.num_inference_steps,
        guidance_scale=pipe.defaults.guidance_scale,
        seed=request.seed,
        fps=ready.fps,
        height=height,
        width=width,
        device=str(pipe.device),
        threads=torch.get_num_threads(),
        detail=request.detail,
        watermark=True,
    )
    # without the server's folders, since the visitor downloads run.json
    named = replace(
        given,
        person=_last(given.person),
        background=_last(given.background),
        motion=_last(given.motion),
    )
    return replace(
        new_record(pipe, settings, given, ready),
        preparation=named.as_lines(),
        sources=tuple(FileChecksum(_last(source.name), source.sha256) for source in given.checksums()),
    ), ready.inputs


def _last(source: str) -> str:
    return Path(source).name


def pack(folder: Path, more: Iterable[Path], archive: Path) -> None:
    """Zip a folder; all is compressed already.

    Args:
        folder: What is packed, files in its folders too.
        more: Other files that go with it.
        archive: The zip; everything lies in one folder `idol` in it.
    """
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as zipped:
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            zipped.write(path, Path("idol", path.relative_to(folder)))
        for path in more:
            zipped.write(path, Path("idol", path.name))
