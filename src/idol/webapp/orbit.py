"""The view from the side: one HTML page with everything in it, for a sandboxed frame or a browser offline.

The page holds the film (color and depth side by side in one H.264 video), the background, and
`static/orbit.js`, a small WebGL viewer.
"""

from __future__ import annotations

import base64
import html
import io
import json
import tempfile
from importlib.resources import files
from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image
from scipy import ndimage

from idol.clip import Clip
from idol.clip.video import write_video

QUALITY = 12
"""H.264's CRF of the film."""
RIM = 3
"""Pixels from the outline within which a generated depth fades towards that of nobody."""


def packed(clip: Clip) -> UInt8[np.ndarray, "f 3 h w2"]:
    """Color on the left, depth on the right as gray of 8 bits, larger is nearer.

    Args:
        clip: With depth.

    Returns:
        (f, 3, h, 2 w) sRGB; the right half is 255 times the depth, rounded; a person's without its rim.

    Raises:
        UserError: If the clip has no depth.
    """
    depth = clip.require_depth()
    if clip.depth_kind == "person":
        depth = np.stack([without_rim(frame) for frame in depth])
    gray = np.rint(depth * 255).astype(np.uint8)
    return np.concatenate([clip.video, np.repeat(gray[:, None], 3, axis=1)], axis=3)


def without_rim(depth: Float32[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w"]:
    """The depth with the rim of the person as deep as what is nearest further inside.

    Seen from the side a fading rim would trail off behind the person.

    Args:
        depth: Exactly 0 where nobody is.

    Returns:
        The same outline; pixels more than `RIM` inside it, and parts too thin to have any, are as they were.
    """
    person = depth > 0
    inside = ndimage.distance_transform_edt(person) > RIM
    if not inside.any():
        return depth
    away, (y, x) = ndimage.distance_transform_edt(~inside, return_indices=True)
    return np.where(person & (away <= RIM + 1), depth[y, x], depth)


def orbit_page(clip: Clip) -> str:
    """The page.

    Args:
        clip: With depth; of a background that moves, the first frame stands behind the person.

    Raises:
        UserError: If the clip has no depth.
    """
    plate = clip.background if clip.background.ndim == 3 else clip.background[0]
    given = {
        "film": base64.b64encode(_film(clip)).decode(),
        "background": _as_url(plate),
        "width": clip.width,
        "height": clip.height,
        "kind": clip.depth_kind,
    }
    page = static("orbit.html").replace("__SCRIPT__", static("orbit.js"))
    return page.replace("__GIVEN__", json.dumps(given))


def framed(page: str) -> str:
    """A frame that shows a page: it may run scripts, but not reach the page round it."""
    attributes = 'class="orbit" title="The person in 2.5D: drag to orbit" sandbox="allow-scripts"'
    return f'<iframe {attributes} srcdoc="{html.escape(page)}"></iframe>'


def static(name: str) -> str:
    """The text of a file of `static/`."""
    return (files("idol.webapp") / "static" / name).read_text(encoding="utf-8")


def _film(clip: Clip) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "film.mp4")
        write_video(path, packed(clip), clip.fps, crf=QUALITY)
        return path.read_bytes()


def _as_url(image: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0))).save(buffer, "JPEG", quality=92)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
