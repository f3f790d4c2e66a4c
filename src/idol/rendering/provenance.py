"""Provenance of rendered views: facts for their credentials, and the watermark in the colors of layers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from idol.clip import Clip
from idol.errors import UserError
from idol.provenance import Facts, Provenance, checkpoint_digest, detect
from idol.provenance.watermark import MIN_SIDE
from idol.rendering.geometry.camera import Layers

_SOURCE = "idol generate"  # `Clip.source` of a generated clip
_DETECTION_FRAMES = 8  # frames in which an existing mark is searched


def clip_facts(clip: Clip, folder: Path | None) -> Facts:
    """Return what may be published about a clip's origin; nothing that its author wrote into it.

    Args:
        clip: The clip.
        folder: Folder it was read from, if any; the `run.json` of a generated clip provides model and seed.

    Returns:
        Facts without a kind. For a clip that was not generated they only say that it was given.

    Raises:
        UserError: If `run.json` exists but was not written by `idol generate`.
    """
    record = None if folder is None else folder / "run.json"
    if record is not None and record.is_file():
        return _recorded(record)
    return Facts(origin="generated" if clip.source == _SOURCE else "edited")


def _recorded(path: Path) -> Facts:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        settings, files = record["settings"], record["checkpoint"]
        digest = checkpoint_digest((str(file["name"]), str(file["sha256"])) for file in files)
        return Facts(str(settings["weights"]), digest, int(settings["seed"]))
    except (OSError, ValueError, LookupError, TypeError) as error:
        remedy = "give the folder that `idol generate` wrote, or remove run.json"
        raise UserError("clip", f"{path} is not the record of a run", remedy) from error


def watermark_layers(layers: Layers, video: UInt8[np.ndarray, "f 3 h w"], provenance: Provenance) -> Layers:
    """Return layers with the watermark in their colors, for files that contain images: meshes, points, EXR.

    The frames and the background are each marked as one video before they are cut up, so that everything made
    of their pixels carries part of the mark. Videos that already carry it are not marked again, as that would
    be visible.

    Args:
        layers: The clip's layers.
        video: The clip's frames, sRGB, from which the person's colors were taken.
        provenance: Whether and how to mark.
    """
    background = watermark_once(layers.background, provenance)
    if not provenance.watermark or _is_marked(video):
        return replace(layers, background=background)
    marked = provenance.mark(layers.color)
    # pixels beyond the extrapolated colors are black and stay so
    color = np.where(layers.color.any(1, keepdims=True), marked, layers.color)
    return replace(layers, background=background, color=color)


def watermark_once(
    video: UInt8[np.ndarray, "f 3 h w"], provenance: Provenance
) -> UInt8[np.ndarray, "f 3 h w"]:
    """Return the frames with the watermark, unchanged if they already carry it or watermarking is off.

    Args:
        video: sRGB frames.
        provenance: Whether and how to mark.
    """
    return video if not provenance.watermark or _is_marked(video) else provenance.mark(video)


def _is_marked(video: UInt8[np.ndarray, "f 3 h w"]) -> bool:
    return min(video.shape[2:]) >= MIN_SIDE and detect(video[:_DETECTION_FRAMES]).found
