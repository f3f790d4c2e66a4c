"""One order of a visitor's: checked, made, and packed to be taken home."""

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
from idol.webapp.upload_limits import Limits, check_film, check_image, check_number

if TYPE_CHECKING:
    from idol.pipeline.pipeline import IdolPipeline


@dataclass(frozen=True)
class Order:
    """What a visitor asks for. An uploaded file goes before a name; its own name is never used.

    Attributes:
        frames: Length of the result.
        fps: Frames per second.
        steps: Denoising steps.
        seed: Of the starting noise.
        detail: What becomes of the background's detail (`model.detail`).
        photo: An uploaded photo, or None.
        person: Name of a bundled photo (`choices.people`).
        background: A name, a color, or "photo" (`choices.background_named`).
        background_file: An uploaded image, or None.
        motion: Name of a motion (`choices.motions`).
        motion_file: An uploaded video, or None.
    """

    frames: int
    fps: float
    steps: int
    seed: int
    detail: Detail
    photo: Path | None = None
    person: str = ""
    background: str = options.PHOTO
    background_file: Path | None = None
    motion: str = ""
    motion_file: Path | None = None

    @property
    def is_filmed(self) -> bool:
        """Whether the motion has to be found in a film first, which takes its time."""
        return self.motion_file is not None or self.motion in options.filmed()


@dataclass(frozen=True)
class Result:
    """What is made of an order.

    Attributes:
        video: `video.mp4` of the run folder.
        depth: `depth.mp4` of it, colored.
        skeleton: A video of the skeleton that drove it.
        archive: A zip of the run folder, the skeleton and the view from the side, all of them signed.
        page: The view from the side (`orbit.orbit_page`).
        notes: What the visitor should know about what they gave.
        seed: Of the starting noise.
        seconds: Spent denoising.
    """

    video: Path
    depth: Path
    skeleton: Path
    archive: Path
    page: str
    notes: tuple[str, ...]
    seed: int
    seconds: float


def check_order(order: Order, limits: Limits) -> None:
    """Refuse what cannot be made, before it waits for its turn.

    Raises:
        UserError: Naming the argument.
    """
    check_number("frames", float(order.frames), 2.0, float(limits.frames))
    check_number("fps", float(order.fps), 1.0, 60.0)
    check_number("steps", float(order.steps), 1.0, float(limits.steps))
    check_number("seed", float(order.seed), 0.0, 2.0**32 - 1)
    if order.detail not in get_args(Detail):
        raise UserError("detail", f"{order.detail!r:.60}", f"choose one of {', '.join(get_args(Detail))}")
    if order.photo is None:
        if not order.person:
            raise UserError("person", "there is none", "give a photo of the person")
        options.person_named(order.person)
    else:
        check_image(order.photo, "person", limits)
    if order.background_file is None:
        options.background_named(order.background)
    else:
        check_image(order.background_file, "background", limits)
    if order.motion_file is None:
        options.motion_named(order.motion)
    else:
        check_film(order.motion_file, "motion", limits)


def make(
    pipe: IdolPipeline,
    weights: str,
    order: Order,
    folder: Path,
    provenance: Provenance,
    progress: ProgressCallback,
) -> Result:
    """Make what was ordered.

    Args:
        pipe: The loaded weights.
        weights: Their name, for `run.json`.
        order: Checked.
        folder: An empty folder of the order's own; everything is written there.
        provenance: Who signs.
        progress: Hears how it goes; what it raises ends the work.

    Raises:
        UserError: If what was given cannot be used.
    """
    progress.stage("looking at the photo, the motion and the background")
    record, inputs = _prepared(pipe, weights, _given(order, folder), order, progress)
    run = run_prepared(pipe, inputs, record, folder / "run", progress=progress, provenance=provenance)
    progress.stage("making the view from the side")
    skeleton, orbit, archive = (folder / name for name in ("skeleton.mp4", "orbit.html", "idol.zip"))
    pose, page = run.clip.pose, orbit_page(run.clip)
    write_video(skeleton, draw(pose, pose.height, pose.width), run.clip.fps)
    orbit.write_text(page, encoding="utf-8")
    provenance.sign(skeleton, Facts(kind="skeleton", origin="drawn"))
    provenance.sign(orbit, replace(facts_of(run.record), kind="orbit"))
    pack(run.folder, (skeleton, orbit, sidecar(orbit)), archive)
    return Result(
        video=run.folder / "video.mp4",
        depth=run.folder / "depth.mp4",
        skeleton=skeleton,
        archive=archive,
        page=page,
        notes=run.record.notes,
        seed=order.seed,
        seconds=run.record.seconds,
    )


def _given(order: Order, folder: Path) -> Sources:
    """The order's sources, uploads under names of ours inside `folder`."""

    def ours(upload: Path, name: str) -> str:
        return str(shutil.copyfile(upload, folder / name))

    photo, background, motion = order.photo, order.background_file, order.motion_file
    return Sources(
        ours(photo, "photo") if photo else options.person_named(order.person),
        ours(background, "background") if background else options.background_named(order.background),
        ours(motion, "motion") if motion else options.motion_named(order.motion),
    )


def _prepared(
    pipe: IdolPipeline, weights: str, given: Sources, order: Order, progress: ProgressCallback
) -> tuple[RunRecord, RunInputs]:
    """As in `idol.generation.generate.generate`, with weights that are loaded already."""
    height, width = pipe.defaults.height, pipe.defaults.width
    ready = prepare_inputs(given, height, width, order.frames, order.fps)
    for note in ready.notes:
        progress.note(note)
    settings = RunSettings(
        weights=weights,
        steps=order.steps,
        guidance=pipe.defaults.guidance_scale,
        seed=order.seed,
        fps=ready.fps,
        height=height,
        width=width,
        device=str(pipe.device),
        threads=torch.get_num_threads(),
        detail=order.detail,
        watermark=True,
    )
    # Without the server's folders: the visitor takes run.json home.
    named = replace(
        given,
        person=_last(given.person),
        background=_last(given.background),
        motion=_last(given.motion),
    )
    return replace(
        new_record(pipe, settings, given, ready),
        preparation=named.listed(),
        sources=tuple(FileChecksum(_last(source.name), source.sha256) for source in given.checksums()),
    ), ready.inputs


def _last(source: str) -> str:
    return Path(source).name


def pack(folder: Path, more: Iterable[Path], archive: Path) -> None:
    """Zip a folder; all is compressed already.

    Args:
        folder: What is packed, files in folders too.
        more: Other files that go with it.
        archive: The zip; everything lies in one folder `idol` in it.
    """
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as zipped:
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            zipped.write(path, Path("idol", path.relative_to(folder)))
        for path in more:
            zipped.write(path, Path("idol", path.name))
