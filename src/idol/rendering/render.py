"""CLIP -> a folder of views: the function behind `idol render`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from idol import __version__
from idol.atomic_io import FolderKind, check_destination, staged_folder, write_json
from idol.clip import Clip
from idol.config import to_dict
from idol.errors import UserError
from idol.progress import SILENT, ProgressCallback
from idol.provenance import Facts, Provenance, provenance_of
from idol.rendering.geometry.camera import Camera
from idol.rendering.layers.depth_discontinuities import firm_silhouette
from idol.rendering.layers.metric_scale import PERSON_HEIGHT
from idol.rendering.layers.separate import separate
from idol.rendering.outputs.kinds import KINDS
from idol.rendering.outputs.mesh import MESH_STEPS
from idol.rendering.outputs.stereo import BASELINE, LAYOUTS, Layout
from idol.rendering.provenance import clip_facts
from idol.rendering.view_settings import RenderJob, ViewSettings

_SIZES = range(16, 8193)
RENDER_FOLDER = FolderKind("a folder of views", "render.json")


@dataclass(frozen=True)
class RenderResult:
    """What `render` has written.

    Attributes:
        folder: Folder with all files and `render.json`.
        files: The views, in the order of the kinds.
        settings: The settings used.
        camera: The clip's camera with the field of view that was used.
        metric: Whether the clip came with metric depth; if not, the scale follows from the field of view and
            the person's height.
    """

    folder: Path
    files: tuple[Path, ...]
    settings: ViewSettings
    camera: Camera
    metric: bool


def render(
    clip: Clip | str | Path,
    out: str | Path,
    kind: Sequence[str] = ("parallax",),
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
        clip: A clip, or its folder (such as a run of `idol generate`), from which sound is copied.
        out: New folder; it appears complete or not at all.
        kind: Names of `outputs.kinds.KINDS`, such as "parallax" and "stereo".
        path: Camera path: "sway", "dolly", "orbit", "still", or a file of keyframes
            (`camera_paths.Keyframes`). None: sway for parallax, still for stereo.
        amount: Extent of a built-in move, -0.6 to 0.6 distances of the person; None: the move's default.
        stereo: Layout of the stereo video.
        baseline: Distance between the eyes in meters, -1 to 1; negative swaps them.
        convergence: Distance in meters, 0.1 to 1000, of what appears on the screen; None: the person's.
        fov: Vertical field of view of the clip in degrees, 1 to 150; None: the one that fits metric depth to
            `person_height`, else 35.
        person_height: Height of the person in meters, 0.3 to 3; it sets the scale of relative depth.
        height: Height of the videos in pixels, 16 to 8192; None: the clip's, or in proportion to `width`.
        width: Width of the videos in pixels, 16 to 8192; None: the clip's, or in proportion to `height`.
        mesh_step: Side of a cell of the person's mesh in pixels of the clip, 1 to 4; larger cells make
            smaller files. The background's cells are four times as wide.
        watermark: Whether to put the invisible watermark into videos, textures and colors
            (`idol.provenance`).
        certificate: PEM file of the certificate chain that signs every file; None: one of this machine.
        private_key: PEM file of its private key.
        overwrite: Whether to replace `out` if it is a folder of views.
        progress: Receives one step per frame of each kind.

    Returns:
        The files and the settings used.

    Raises:
        UserError: If the clip has no depth or no person, an argument is invalid, or `out` cannot be written.
    """
    _check_choices(kind, stereo)
    settings = ViewSettings(
        tuple(dict.fromkeys(kind)),
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
    _check_numbers(settings)
    provenance = provenance_of(watermark, certificate, private_key)
    out = Path(out)
    check_destination(out, overwrite, RENDER_FOLDER)
    clip_folder = None if isinstance(clip, Clip) else Path(clip)
    source = clip if isinstance(clip, Clip) else Clip.load(clip)
    facts = clip_facts(source, clip_folder)
    sound = clip_folder and clip_folder / "video.mp4"
    output_camera(Camera(45.0, source.height, source.width), settings)  # refuses sizes before any work
    layers = firm_silhouette(separate(source, fov=fov, person_height=person_height))
    camera = output_camera(layers.camera, settings)
    with staged_folder(out, overwrite, RENDER_FOLDER) as folder:
        audio = sound if sound and sound.is_file() else None
        job = RenderJob(layers, source.video, camera, settings, folder, provenance, audio, progress)
        files = [file for name in settings.kind for file in KINDS[name](job)]
        _sign(folder, provenance, facts)
        names = [str(file.relative_to(folder)) for file in files]
        record = _record(settings, clip_folder, layers.camera, layers.metric, names)
        write_json(folder / "render.json", record)
    return RenderResult(out, tuple(out / name for name in names), settings, layers.camera, layers.metric)


def _sign(folder: Path, provenance: Provenance, facts: Facts) -> None:
    """Sign every file, inside the file or beside it."""
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        kind = file.stem if file.parent == folder else file.parent.name
        provenance.sign(file, replace(facts, kind=kind))


def output_camera(camera: Camera, settings: ViewSettings) -> Camera:
    """Return the clip's camera for the output's size, zoomed so that the clip fills its aspect ratio.

    Args:
        camera: The clip's camera.
        settings: Settings with the size and the stereo layout.

    Raises:
        UserError: If a size is out of range, or odd where the stereo layout halves it.
    """
    shape = camera.width / camera.height
    height = settings.height or (round(settings.width / shape) if settings.width else camera.height)
    width = settings.width or (round(settings.height * shape) if settings.height else camera.width)
    for name, size in (("height", height), ("width", width)):
        if size not in _SIZES:
            raise UserError(name, f"{size} pixels", f"give {_SIZES[0]} to {_SIZES[-1]}")
    if "stereo" in settings.kind and settings.stereo.endswith("-half"):
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
    if settings.amount is not None and settings.path is None and "parallax" not in settings.kind:
        raise UserError("amount", "no camera moves", "give `path=sway`, `path=dolly` or `path=orbit`")
    if not abs(settings.baseline) <= 1:
        raise UserError("baseline", f"{settings.baseline}", "give meters from -1 to 1")
    if settings.convergence is not None and not 0.1 <= settings.convergence <= 1000:
        raise UserError("convergence", f"{settings.convergence}", "give meters from 0.1 to 1000")
    if settings.mesh_step not in MESH_STEPS:
        raise UserError("mesh_step", f"{settings.mesh_step}", "give 1 to 4 pixels")
    if settings.mesh_step != 1 and "mesh" not in settings.kind:
        raise UserError("mesh_step", "is only used by meshes", "add `kind=mesh`")


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
