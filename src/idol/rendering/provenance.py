"""Where a clip comes from: what the credentials of its views say, and the mark in its layers' colors."""

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

_SOURCE = "idol generate"  # what a generated clip names as its source
_DETECTION_FRAMES = 8  # frames in which a mark is looked for


def clip_facts(clip: Clip, folder: Path | None) -> Facts:
    """What may be published of a clip: nothing that its maker wrote into it.

    Args:
        clip: The clip.
        folder: That it was read from, if it was: the `run.json` of a generated one names model and seed.

    Returns:
        Facts without a kind; of a clip that nobody generated only that it was given.

    Raises:
        UserError: If there is a `run.json` that is none of `idol generate`.
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
    except (OSError, ValueError, LookupError, TypeError) as wrong:
        hint = "give the folder that `idol generate` made, or take run.json out"
        raise UserError("clip", f"{path} is not the record of a run", hint) from wrong


def watermark_layers(layers: Layers, video: UInt8[np.ndarray, "f 3 h w"], provenance: Provenance) -> Layers:
    """Layers whose colors carry the watermark, for files that hold images: meshes, points, EXR.

    Frames and background are marked as they are, each as one video, before they are cut up: what is made of
    their pixels then carries a part of the mark. What bears one already keeps that: a second would be seen.

    Args:
        layers: The clip's.
        video: Its frames, of which the person's colors are.
        provenance: Marks them, or leaves them as they are where marking is switched off.
    """
    background = watermark_once(layers.background, provenance)
    if not provenance.watermark or _is_marked(video):
        return replace(layers, background=background)
    marked = provenance.mark(layers.color)
    # black is where the person's colors end
    color = np.where(layers.color.any(1, keepdims=True), marked, layers.color)
    return replace(layers, background=background, color=color)


def watermark_once(
    video: UInt8[np.ndarray, "f 3 h w"], provenance: Provenance
) -> UInt8[np.ndarray, "f 3 h w"]:
    """Frames with the watermark; those that bear it already, or where it is switched off, as they are.

    Args:
        video: sRGB.
        provenance: Marks it.
    """
    return video if not provenance.watermark or _is_marked(video) else provenance.mark(video)


def _is_marked(video: UInt8[np.ndarray, "f 3 h w"]) -> bool:
    return min(video.shape[2:]) >= MIN_SIDE and detect(video[:_DETECTION_FRAMES]).found
