"""The provenance of files, in sentences and as JSON: the function behind `idol verify`."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from idol.clip.images import read_image
from idol.clip.video import read_video
from idol.errors import UserError
from idol.provenance.credentials import Credentials, read_credentials
from idol.provenance.watermark import MIN_SIDE, WatermarkDetection, detect

MAX_FRAMES = 32
"""Number of frames of a video that are examined, from its start."""

_DEPTH = "depth, which is never marked"


@dataclass(frozen=True)
class FileReport:
    """Provenance of one file, or of the frames of a folder together.

    Attributes:
        path: The file.
        watermark: Result of the detector, None if it was not run.
        skipped: Why it was not run; "" if it was.
        credentials: The content credentials.
    """

    path: Path
    watermark: WatermarkDetection | None
    skipped: str
    credentials: Credentials

    def sentences(self) -> tuple[str, ...]:
        """Return the report as sentences for people."""
        return (_watermark_sentence(self.watermark, self.skipped), *_credential_sentences(self.credentials))

    def to_json(self) -> dict[str, Any]:
        """Return the report as a JSON object."""
        mark = {"examined": False, "why": self.skipped}
        if self.watermark is not None:
            mark = {"examined": True, **asdict(self.watermark)}
        return {"path": str(self.path), "watermark": mark, "credentials": asdict(self.credentials)}


@dataclass(frozen=True)
class ProvenanceReport:
    """Provenance of a file, or of the files of a folder.

    Attributes:
        path: The path that was examined.
        files: One report per file.
    """

    path: Path
    files: tuple[FileReport, ...]

    @property
    def watermark_found(self) -> bool:
        """Whether any of the files carries the watermark."""
        return any(f.watermark is not None and f.watermark.found for f in self.files)

    def to_json(self) -> dict[str, Any]:
        """Return the report as a JSON object."""
        found = self.watermark_found
        return {"path": str(self.path), "watermark_found": found, "files": [f.to_json() for f in self.files]}


def verify(path: str | Path, trust: str | Path | None = None) -> ProvenanceReport:
    """Look for the watermark and the content credentials of a file or a run.

    Args:
        path: An image, a video, any file with a `.c2pa` file beside it, or the folder of a run or a clip.
        trust: PEM file of the certificate authorities whose signers are trusted; none by default.

    Raises:
        UserError: If there is no such file, or nothing in it can be examined.
    """
    path, trust = Path(path), None if trust is None else Path(trust)
    if path.is_dir():
        return ProvenanceReport(path, _report_folder(path, trust))
    if not path.is_file():
        raise UserError(str(path), "no such file", "give an image, a video or a run folder")
    return ProvenanceReport(path, (_report_file(path, trust),))


def _report_folder(folder: Path, trust: Path | None) -> tuple[FileReport, ...]:
    frames = [p for p in sorted((folder / "frames").glob("*")) if p.suffix in (".png", ".jpg")]
    if not frames:
        raise UserError(str(folder), "not the folder of a run or a clip", "give such a folder, or files")
    video = np.stack([read_image(p) for p in frames[:MAX_FRAMES]])
    mark, skipped = _detect(video)
    reports = [FileReport(folder / "frames", mark, skipped, read_credentials(frames[0], trust))]
    for name in ("video.mp4", "preview.png", "depth.mp4"):
        if (folder / name).is_file():
            reports.append(_report_file(folder / name, trust, _DEPTH if name == "depth.mp4" else ""))
    return tuple(reports)


def _report_file(path: Path, trust: Path | None, skipped: str = "") -> FileReport:
    credentials = read_credentials(path, trust)
    if skipped:
        return FileReport(path, None, skipped, credentials)
    try:
        mark, skipped = _detect(_frames(path))
    except UserError:
        if credentials.state == "none":
            raise
        mark, skipped = None, "it cannot be decoded as an image or a video"
    return FileReport(path, mark, skipped, credentials)


def _frames(path: Path) -> np.ndarray:
    """Return (f, 3, h, w) uint8: the first frames of a video, or the one of an image."""
    try:
        with Image.open(path):
            return read_image(path)[None]
    except (OSError, SyntaxError):
        return read_video(path, max_frames=MAX_FRAMES).frames


def _detect(frames: np.ndarray) -> tuple[WatermarkDetection | None, str]:
    h, w = frames.shape[2:]
    if min(h, w) < MIN_SIDE:
        return None, f"{w} x {h} pixels are too few"
    return detect(frames), ""


def _watermark_sentence(mark: WatermarkDetection | None, skipped: str) -> str:
    if mark is None:
        return f"watermark: not examined ({skipped})"
    score = f"score {mark.score:.1f}"
    if not mark.found:
        return f"watermark: not found ({score}); that proves nothing"
    rate = max(1, math.floor(-math.log10(max(mark.false_alarm, 1e-300))))
    flipped = ", mirrored" if mark.mirrored else ""
    how = f"{score}, at {mark.scale:.2f} of the marked size{flipped}"
    return f"watermark: found ({how}); fewer than one in 10^{rate} images without it score as high"


def _credential_sentences(found: Credentials) -> tuple[str, ...]:
    if found.state == "none":
        return ("credentials: none",)
    if found.state == "tampered":
        return (f"credentials: TAMPERED, changed since signing ({'; '.join(found.problems)})",)
    trust = "trusted" if found.state == "trusted" else "untrusted"
    who = ", ".join(filter(None, (found.signer, found.organization)))
    claims = [f"made by {found.generator}", *found.sources]
    claims += [f"{key} {value}" for key, value in (found.facts or {}).items()]
    where = "" if found.embedded else ", in a file beside it"
    return (
        f"credentials: valid, unchanged since signing{where}",
        f"signed by: {who} ({trust} signer)",
        f"claims: {', '.join(claims)}",
    )
