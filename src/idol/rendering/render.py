"""CLIP -> a folder of views, whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from idol import __version__
from idol.atomic_io import FolderKind, check_destination, staged_folder
from idol.clip import Clip
from idol.config import to_dict
from idol.errors import UserError
from idol.progress import SILENT, ProgressCallback
from idol.provenance import Facts, Provenance, provenance_of
from idol.rendering.geometry.camera import Camera
from idol.rendering.job import RenderJob, ViewSettings
from idol.rendering.layers.depth_discontinuities import firm_silhouette
from idol.rendering.layers.metric_scale import PERSON_HEIGHT
from idol.rendering.layers.separate import separate
from idol.rendering.outputs.kinds import KINDS
from idol.rendering.outputs.mesh import MESH_STEPS
from idol.rendering.outputs.stereo import BASELINE, LAYOUTS, Layout
from idol.rendering.provenance import clip_facts

_SIZES = range(16, 8193)
RENDER_FOLDER = FolderKind("a folder of views", "render.json")


@dataclass(frozen=True)
class RenderResult:
    """What `render` has written.

    Attributes:
        folder: Holds everything below, and `render.json`.
        files: The views, in the order asked for.
        settings: As given.
        camera: The clip's, with the field of view that was used.
        metric: Whether the distances are the clip's own; if not, they follow from the field of view and the
            person's height.
    """

    folder: Path
    files: tuple[Path, ...]
    settings: ViewSettings
    camera: Camera
    metric: bool


def render(
    clip: Clip | str | Path,
    out: str | Path,
    kinds: Sequence[str] = ("parallax",),
    *,
    path: str | None = None,
    amount: float | None = None,
    stereo: Layout = "side-by-side",
    baseline: float = BASELINE,
    convergence: float | None = None,
    fov: float | None = None,
    person_height: float = PERSON_HEIGHT,
    height: int | None = None,
    width: int | None = None,
    mesh_step: int = 1,
    watermark: bool = True,
    certificate: str | Path | None = None,
    private_key: str | Path | None = None,
    overwrite: bool = False,
    progress: ProgressCallback = SILENT,
) -> RenderResult:
    """Write 2.5-D views of a clip.

    Args:
        clip: A clip, or the folder of one (a run of `idol generate`): then sound is kept, too.
        out: The new folder. It appears whole or not at all.
        kinds: Names of `KINDS`: "parallax", "stereo", ...
        path: The camera's: "sway", "dolly", "orbit", "still", or a file of keyframes (`paths.Keyframes`). By
            default sway for parallax and still for stereo.
        amount: How far a move goes, in distances of the person.
        stereo: Layout of the stereo video.
        baseline: Meters between the eyes; a negative one swaps them.
        convergence: Meters to what appears at the screen; the person by default.
        fov: Vertical field of view of the clip in degrees; by default the one that fits known distances and
            `person_height`, else 35.
        person_height: Meters; the scale where the clip's distances are not known.
        height: Of the videos in pixels; the clip's by default, or what keeps the shape if `width` is given.
        width: Alike.
        mesh_step: Pixels of the clip along a side of a cell of the person's mesh, 1 to 4: a larger one makes
            smaller files. That of the background is four times as wide.
        watermark: Put the invisible mark into videos, textures and colors (`idol.provenance`).
        certificate: PEM of a certificate chain that signs every file; one of this machine's by default.
        private_key: PEM of its key.
        overwrite: Replace `out` if it is a folder of views.
        progress: Receives one step per frame.

    Raises:
        UserError: If the clip has no depth or no person, an argument is wrong, or `out` cannot be written.
    """
    _check_choices(kinds, stereo)
    asked = ViewSettings(
        tuple(dict.fromkeys(kinds)),
        path,
        amount,
        stereo,
        baseline,
        convergence,
        fov,
        person_height,
        height,
        width,
        mesh_step,
        watermark,
    )
    _check_numbers(asked)
    provenance = provenance_of(watermark, certificate, private_key)
    out = Path(out)
    check_destination(out, overwrite, RENDER_FOLDER)
    home = None if isinstance(clip, Clip) else Path(clip)
    source = clip if isinstance(clip, Clip) else Clip.load(clip)
    facts = clip_facts(source, home)
    sound = home and home / "video.mp4"
    camera = output_camera(Camera(45.0, source.height, source.width), asked)  # refused before any work
    layers = firm_silhouette(separate(source, fov=fov, person_height=person_height))
    camera = output_camera(layers.camera, asked)
    with staged_folder(out, overwrite, RENDER_FOLDER) as folder:
        audio = sound if sound and sound.is_file() else None
        job = RenderJob(layers, source.video, camera, asked, folder, provenance, audio, progress)
        files = [file for kind in asked.kinds for file in KINDS[kind](job)]
        _sign(folder, provenance, facts)
        names = [str(file.relative_to(folder)) for file in files]
        record = _record(asked, home, layers.camera, layers.metric, names)
        (folder / "render.json").write_text(json.dumps(record, indent=2) + "\n")
    return RenderResult(out, tuple(out / name for name in names), asked, layers.camera, layers.metric)


def _sign(folder: Path, provenance: Provenance, facts: Facts) -> None:
    """Sign every file, in itself or beside it."""
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        kind = file.stem if file.parent == folder else file.parent.name
        provenance.sign(file, replace(facts, kind=kind))


def output_camera(camera: Camera, settings: ViewSettings) -> Camera:
    """The clip's camera with the pixels of the output, which shows as much of the clip as fits its shape.

    Raises:
        UserError: If a size is out of range, or cannot be halved where the stereo layout asks for it.
    """
    shape = camera.width / camera.height
    height = settings.height or (round(settings.width / shape) if settings.width else camera.height)
    width = settings.width or (round(settings.height * shape) if settings.height else camera.width)
    for name, size in (("height", height), ("width", width)):
        if size not in _SIZES:
            raise UserError(name, f"{size} pixels", f"give {_SIZES[0]} to {_SIZES[-1]}")
    if "stereo" in settings.kinds and settings.stereo.endswith("-half"):
        name, size = ("width", width) if settings.stereo.startswith("side") else ("height", height)
        if size % 2:
            raise UserError(
                name, f"{size} pixels cannot be halved for {settings.stereo}", "give an even number"
            )
    focal = camera.focal * max(height / camera.height, width / camera.width)
    return Camera(float(2 * np.degrees(np.arctan(height / 2 / focal))), height, width)


def _check_choices(kinds: Sequence[str], stereo: str) -> None:
    if not kinds:
        raise UserError("kind", "none is given", f"give one of {', '.join(KINDS)}")
    for kind in kinds:
        if kind not in KINDS:
            raise UserError("kind", f"{kind!r}", f"choose from {', '.join(KINDS)}")
    if stereo not in LAYOUTS:
        raise UserError("stereo", f"{stereo!r}", f"choose from {', '.join(LAYOUTS)}")


def _check_numbers(settings: ViewSettings) -> None:
    if settings.amount is not None and settings.path is None and "parallax" not in settings.kinds:
        raise UserError("amount", "no camera moves", "give `path=sway`, `path=dolly` or `path=orbit`")
    if not abs(settings.baseline) <= 1:
        raise UserError("baseline", f"{settings.baseline}", "give meters from -1 to 1")
    if settings.convergence is not None and not 0.1 <= settings.convergence <= 1000:
        raise UserError("convergence", f"{settings.convergence}", "give meters from 0.1 to 1000")

    if settings.mesh_step not in MESH_STEPS:
        raise UserError("mesh_step", f"{settings.mesh_step}", "give 1 to 4 pixels")
    if settings.mesh_step != 1 and "mesh" not in settings.kinds:
        raise UserError("mesh_step", "no mesh is made", "add `kind=mesh`")


def _record(
    settings: ViewSettings, clip: Path | None, camera: Camera, metric: bool, files: list[str]
) -> dict[str, Any]:
    return {
        "settings": to_dict(settings),
        "clip": None if clip is None else str(clip),
        "fov": camera.fov,
        "metric": metric,
        "files": files,
        "versions": [f"idol-diffusion=={__version__}"],
    }
