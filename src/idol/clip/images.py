"""Image files to arrays and back."""

import io
import logging
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from idol.atomic_io import atomic_file
from idol.errors import UserError

_log = logging.getLogger(__name__)


def read_image(path: str | Path) -> np.ndarray:
    """Read an image as RGB.

    The orientation tag of cameras is applied; transparent pixels are composited onto white, with a warning in
    the log.

    Args:
        path: Any image that Pillow can read.

    Returns:
        (3, h, w) uint8 sRGB.

    Raises:
        UserError: If the file is missing or not a readable image.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(str(path), "no such file", "give an image")
    try:
        with Image.open(path) as opened:
            image = ImageOps.exif_transpose(opened)
            rgb = _to_rgb(image, path)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as wrong:
        raise UserError(str(path), f"cannot be read as an image ({wrong})", "give a PNG or JPEG") from wrong
    return np.ascontiguousarray(np.asarray(rgb).transpose(2, 0, 1))


def _to_rgb(image: Image.Image, path: Path) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bit: Pillow's own conversion clips instead of scaling
        return Image.fromarray((np.asarray(image).astype(np.float64) / 257).round().astype(np.uint8)).convert(
            "RGB"
        )
    if not image.has_transparency_data:
        return image.convert("RGB")
    layers = image.convert("RGBA")
    if layers.getchannel("A").getextrema()[0] < 255:  # type: ignore[operator]
        _log.warning("%s: its transparent parts are shown white", path)
    return Image.alpha_composite(Image.new("RGBA", layers.size, "white"), layers).convert("RGB")


def write_image(path: str | Path, image: np.ndarray) -> None:
    """Write an image; the file appears complete or not at all.

    Args:
        path: The file; its suffix chooses the format.
        image: (3, h, w) or (h, w) uint8, or (h, w) bool.

    Raises:
        ValueError: If the image has another type or shape.
        UserError: If the suffix is unknown, or the file cannot be written.
    """
    if image.dtype not in (np.uint8, np.bool_) or not (
        image.ndim == 2 or (image.ndim == 3 and len(image) == 3)
    ):
        raise ValueError(f"image: found {image.dtype} {image.shape}, expected uint8 (3, h, w) or (h, w)")
    pixels = np.ascontiguousarray(image.transpose(1, 2, 0)) if image.ndim == 3 else image
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as new:
            Image.fromarray(pixels).save(new)
    except OSError as wrong:
        remedy = "check the suffix and the space left"
        raise UserError(str(path), f"cannot be written ({wrong})", remedy) from wrong
    except ValueError as wrong:  # what Pillow raises for an unknown suffix
        raise UserError(str(path), str(wrong), "end the name in .png or .jpg") from wrong


def encode_depth16(depth: np.ndarray) -> bytes:
    """Encode depth as a 16-bit PNG, rounded to 1 / 65535.

    Args:
        depth: (h, w) in [0, 1].

    Returns:
        The content of the PNG file.

    Raises:
        ValueError: If a value is NaN or outside [0, 1].
    """
    if not (depth.min() >= 0 and depth.max() <= 1):
        raise ValueError(f"depth: found {depth.min()} to {depth.max()}, expected [0, 1]")
    buffer = io.BytesIO()
    values = np.rint(depth.astype(np.float64) * 65535).astype(np.uint16)
    Image.fromarray(values).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
