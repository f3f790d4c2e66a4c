"""The messages of the page: errors and notes as sentences, progress as a line with a bar and an image.

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

from idol.errors import UserError, replace_references
from idol.webapp.job_queue import JobProgress
from idol.webapp.requests import JobResult

_LABELS = {
    "person": "The photo",
    "background": "The background",
    "motion": "The motion",
    "frames": "The number of frames",
    "fps": "Frames per second",
    "num_inference_steps": "The number of denoising steps",
    "seed": "The seed",
    "detail": "The detail",
    "queue": "The queue",
}
EMPTY = '<div class="empty">drag to turn, once it is ready</div>'
_PATH = re.compile(r"(?<![^\s'(])/[^\s;:,']*/")
_OFFER = re.compile(r"\s*\([^()]*`[^()]*\)")


def error_sentence(error: UserError) -> str:
    """Return an error as a sentence of the page: labels of fields, no paths of the server.

    A remedy that mentions an argument without a field on the page is left out.
    """
    label = _LABELS.get(error.argument, Path(error.argument).name)
    mentioned = re.findall(r"`(\w+)", error.remedy)
    remedy = "" if any(name not in _LABELS for name in mentioned) else f" Please {_in_words(error.remedy)}."
    found = re.sub(r"^(photo|background|motion): ", "", _PATH.sub("", error.found))
    return f"{label}: {_in_words(found)}.{remedy}"


def note_sentence(note: str) -> str:
    """Return a note as a sentence of the page, without what only other interfaces offer."""
    text = _in_words(_OFFER.sub("", note))
    return f"{text[:1].upper()}{text[1:]}."


def _in_words(text: str) -> str:
    return replace_references(text, lambda name, value: value or _LABELS.get(name, name).lower())


def progress_html(progress: JobProgress) -> str:
    """Return a bar, the stage, the time left and the notes."""
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


def preview_html(image: UInt8[np.ndarray, "3 h w2"]) -> str:
    """Return the middle frame beside its depth in their present state, as a small JPEG in the page."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0))).save(buffer, "JPEG", quality=85)
    data = base64.b64encode(buffer.getvalue()).decode()
    label = "The middle frame and its depth, as they form"
    return (
        f'<figure><img src="data:image/jpeg;base64,{data}" alt=""><figcaption>{label}</figcaption></figure>'
    )


def _left(seconds: float) -> str:
    return f"about {seconds / 60:.0f} min left" if seconds >= 100 else f"about {max(1.0, seconds):.0f} s left"


def done_html(result: JobResult) -> str:
    """Return a line about the result, and the notes."""
    line = f"Done: seed {result.seed}, {result.seconds:.1f} s of denoising."
    return f'<div class="status done" role="status"><p>{line}</p>{_notes(result.notes)}</div>'


def message_html(text: str, kind: str = "failed") -> str:
    """Return any other sentence.

    Args:
        text: The sentence.
        kind: "failed" for an error, "idle" for the rest.
    """
    role = "alert" if kind == "failed" else "status"
    return f'<div class="status {kind}" role="{role}"><p>{html.escape(text)}</p></div>'


def _notes(notes: tuple[str, ...]) -> str:
    return "".join(f'<p class="note">{html.escape(note_sentence(note))}</p>' for note in notes)
