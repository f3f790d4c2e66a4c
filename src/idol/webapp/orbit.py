"""The 3-D view: one self-contained HTML page, for a sandboxed frame or a browser offline.

The page holds an H.264 video (color and depth side by side), the background, and `static/orbit.js`, a small
WebGL viewer.
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
"""CRF of the H.264 video; smaller is better."""
RIM = 3
"""Width in pixels of the rim along the outline where generated depth fades to 0."""


def side_by_side(clip: Clip) -> UInt8[np.ndarray, "f 3 h w2"]:
    """Return frames with color on the left and depth on the right, as 8-bit gray, larger is nearer.

    Args:
        clip: A clip with depth.

    Returns:
        (f, 3, h, 2 w) sRGB; the right half is 255 times the depth, rounded. Depth of a person has a flat rim.

    Raises:
        UserError: If the clip has no depth.
    """
    depth = clip.require_depth()
    if clip.depth_kind == "person":
        depth = np.stack([flatten_rim(frame) for frame in depth])
    gray = np.rint(depth * 255).astype(np.uint8)
    return np.concatenate([clip.video, np.repeat(gray[:, None], 3, axis=1)], axis=3)


def flatten_rim(depth: Float32[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w"]:
    """Set the depth of the person's rim to that of the nearest pixel further inside.

    Seen from the side, a fading rim would trail off behind the person.

    Args:
        depth: In [0, 1]; exactly 0 outside the person.

    Returns:
        Depth of the same outline; pixels deeper inside than `RIM`, and parts too thin to have any, are
        unchanged.
    """
    person = depth > 0
    inside = ndimage.distance_transform_edt(person) > RIM
    if not inside.any():
        return depth
    away, (y, x) = ndimage.distance_transform_edt(~inside, return_indices=True)
    return np.where(person & (away <= RIM + 1), depth[y, x], depth)


def orbit_page(clip: Clip) -> str:
    """Return the HTML page of a clip.

    Args:
        clip: A clip with depth; of a moving background, the first frame is shown behind the person.

    Raises:
        UserError: If the clip has no depth.
    """
    background = clip.background if clip.background.ndim == 3 else clip.background[0]
    given = {
        "film": base64.b64encode(_video(clip)).decode(),
        "background": _data_url(background),
        "width": clip.width,
        "height": clip.height,
        "kind": clip.depth_kind,
    }
    page = static("orbit.html").replace("__SCRIPT__", static("orbit.js"))
    return page.replace("__GIVEN__", json.dumps(given))


def orbit_iframe(page: str) -> str:
    """Return an iframe that shows a page; its scripts cannot reach the page around it."""
    attributes = 'class="orbit" title="The person in 2.5D: drag to orbit" sandbox="allow-scripts"'
    return f'<iframe {attributes} srcdoc="{html.escape(page)}"></iframe>'


def static(name: str) -> str:
    """Return the text of a file in `static/`."""
    return (files("idol.webapp") / "static" / name).read_text(encoding="utf-8")


def _video(clip: Clip) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "video.mp4")
        write_video(path, side_by_side(clip), clip.fps, crf=QUALITY)
        return path.read_bytes()


def _data_url(image: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0))).save(buffer, "JPEG", quality=92)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
