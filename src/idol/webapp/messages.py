"""What the page says: errors as sentences, progress as a line with a bar and an image.

Everything is escaped for HTML.
"""

from __future__ import annotations

import base64
import html
import io
import re
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from idol.errors import UserError
from idol.webapp.job_queue import Progress
from idol.webapp.requests import Result

_NAMES = {
    "person": "The photo",
    "background": "The background",
    "motion": "The motion",
    "frames": "The number of frames",
    "fps": "Frames per second",
    "steps": "The number of steps",
    "seed": "The seed",
    "detail": "The detail",
    "queue": "The queue",
}
_OPTION = re.compile(r"\s*\(--[^)]*\)")


def sentence(error: UserError) -> str:
    """An error of the command line's, as the page tells it: no options, no paths of the server."""
    option, _, rest = error.argument.partition(" ")
    name = _NAMES.get(option, Path(option).name)
    found = error.found.replace(rest, Path(rest).name) if rest else error.found
    hint = "" if "--" in error.hint else f" Please {error.hint}."
    return f"{name}: {found}.{hint}"


def said(note: str) -> str:
    """A note as a sentence, without what only the command line offers."""
    text = _OPTION.sub("", note)
    return f"{text[:1].upper()}{text[1:]}."


def progress_html(progress: Progress) -> str:
    """A bar, the stage, the time left and the notes."""
    if progress.ahead:
        stage = f"waiting: {progress.ahead} {'job' if progress.ahead == 1 else 'jobs'} before yours"
    elif progress.total:
        stage = f"{progress.stage}: {100 * progress.done // progress.total} %"
    else:
        stage = progress.stage
    time = f"{progress.elapsed:.0f} s so far"
    value = ""
    if progress.left is not None:
        time = _left(progress.left)
        value = f' value="{progress.elapsed / (progress.elapsed + progress.left):.3f}"'
    bar = f'<progress max="1"{value} aria-label="progress"></progress>'
    stage = f"{stage[:1].upper()}{stage[1:]}"
    line = f'<p><span class="stage">{html.escape(stage)}</span><span class="time">{time}</span></p>'
    return f'<div class="status running" role="status">{line}{bar}{_notes(progress.notes)}</div>'


def forming_html(image: UInt8[np.ndarray, "3 h w2"]) -> str:
    """What has formed so far: the middle frame and its depth side by side, as a small JPEG in the page."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0))).save(buffer, "JPEG", quality=85)
    data = base64.b64encode(buffer.getvalue()).decode()
    label = "The middle frame and its depth, as they form"
    return (
        f'<figure><img src="data:image/jpeg;base64,{data}" alt=""><figcaption>{label}</figcaption></figure>'
    )


def _left(seconds: float) -> str:
    return f"about {seconds / 60:.0f} min left" if seconds >= 100 else f"about {max(1.0, seconds):.0f} s left"


def done_html(result: Result) -> str:
    """What was made, in a line."""
    line = f"Done: seed {result.seed}, {result.seconds:.1f} s of denoising."
    return f'<div class="status done" role="status"><p>{line}</p>{_notes(result.notes)}</div>'


def told_html(text: str, kind: str = "failed") -> str:
    """A sentence for everything else; `kind` is "failed" or "idle"."""
    role = "alert" if kind == "failed" else "status"
    return f'<div class="status {kind}" role="{role}"><p>{html.escape(text)}</p></div>'


def _notes(notes: tuple[str, ...]) -> str:
    return "".join(f'<p class="note">{html.escape(said(note))}</p>' for note in notes)
