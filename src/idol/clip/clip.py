"""The clip record: video, depth, mask, pose and background of one person, and its files."""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from PIL import Image

from idol.atomic_io import staged_folder
from idol.clip.images import encode_depth16
from idol.clip.pose import Pose
from idol.errors import UserError

DepthKind = Literal["person", "scene", "none"]
_VERSION = 1


@dataclass(frozen=True)
class Clip:
    """A clip of one person, with all that training, rendering and evaluation need.

    Attributes:
        video: (f, 3, h, w) uint8 sRGB.
        depth: (f, h, w) float32 in [0, 1] over the clip, larger is nearer.
        mask: (f, h, w) bool: the person.
        pose: Joints, in pixels of the video.
        background: (3, h, w) uint8 sRGB, the scene without the person, or (f, 3, h, w) if the camera moves.
        fps: Frames per second.
        depth_kind: `person` (person in [0.2, 1], exactly 0 elsewhere), `scene` (the whole frame in [0, 1]),
            or `none` (a video without depth: `depth` is 0 everywhere, `depth_range` is None).
        depth_range: (near, far) in meters where known: `idol.clip.depth.to_meters` then inverts exactly.
        source: Origin of the clip, for people to read.
        subject: Identifier of the person; splits never share a subject.

    Raises:
        ValueError: If shapes, types or ranges disagree with the above.
    """

    video: np.ndarray
    depth: np.ndarray
    mask: np.ndarray
    pose: Pose
    background: np.ndarray
    fps: float
    depth_kind: DepthKind = "person"
    depth_range: tuple[float, float] | None = None
    source: str = ""
    subject: str = ""

    def __post_init__(self) -> None:
        if self.video.ndim != 4 or self.video.shape[1] != 3 or 0 in self.video.shape:
            raise ValueError(f"video: found {self.video.shape}, expected (f, 3, h, w), none of them 0")
        f, _, h, w = self.video.shape
        background = (f, 3, h, w) if self.background.ndim == 4 else (3, h, w)
        _expect("video", self.video, np.uint8, (f, 3, h, w))
        _expect("depth", self.depth, np.float32, (f, h, w))
        _expect("mask", self.mask, np.bool_, (f, h, w))
        _expect("background", self.background, np.uint8, background)
        if not (self.depth.min() >= 0 and self.depth.max() <= 1):  # NaN fails both
            raise ValueError(f"depth: found {self.depth.min()} to {self.depth.max()}, expected [0, 1]")
        if (self.pose.frames, self.pose.height, self.pose.width) != (f, h, w):
            found = f"{self.pose.frames} frames of {self.pose.height} x {self.pose.width}"
            raise ValueError(f"pose: found {found}, expected {f} of {h} x {w}")
        self._check_scalars()

    def _check_scalars(self) -> None:
        if not 0 < self.fps < np.inf:
            raise ValueError(f"fps: found {self.fps}, expected a positive number")
        if self.depth_kind not in get_args(DepthKind):
            expected = ", ".join(get_args(DepthKind))
            raise ValueError(f"depth_kind: found {self.depth_kind!r}, expected one of {expected}")
        if self.depth_kind == "none" and (self.depth.any() or self.depth_range is not None):
            raise ValueError("depth: found values or a range in a clip of depth_kind none, expected all 0")
        if self.depth_range is not None and not 0 < self.depth_range[0] < self.depth_range[1] < np.inf:
            raise ValueError(f"depth_range: found {self.depth_range}, expected 0 < near < far in meters")

    @property
    def frames(self) -> int:
        """Number of frames."""
        return self.video.shape[0]

    def require_depth(self) -> np.ndarray:
        """Return the depth, (f, h, w) float32 in [0, 1].

        Raises:
            UserError: If the clip has no depth.
        """
        if self.depth_kind == "none":
            raise UserError(self.source or "clip", "has no depth", "give clips with depth")
        return self.depth

    @property
    def height(self) -> int:
        """Height of the frames in pixels."""
        return self.video.shape[2]

    @property
    def width(self) -> int:
        """Width of the frames in pixels."""
        return self.video.shape[3]

    def select(self, frames: slice | Sequence[int] | np.ndarray) -> "Clip":
        """Return the clip of some frames, given by slice or by indices; at least one must remain."""
        # A list copies the frames, a slice is a view of them.
        index = frames if isinstance(frames, slice) else list(frames)
        return replace(
            self,
            video=self.video[index],
            depth=self.depth[index],
            mask=self.mask[index],
            pose=self.pose.select(frames),
            background=self.background if self.background.ndim == 3 else self.background[index],
        )

    def save(self, folder: str | Path) -> None:
        """Write the clip as a folder of PNG files and `clip.json`.

        The folder appears complete or not at all; an existing one is replaced.

        Args:
            folder: Path of the folder.

        Raises:
            UserError: If it cannot be written (a full disk, for instance); an existing folder then stays.
        """
        folder = Path(folder)
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with staged_folder(folder, True, None) as new:
                for name, data in clip_to_files(self, image="png").items():
                    (new / name).parent.mkdir(parents=True, exist_ok=True)
                    (new / name).write_bytes(data)
        except OSError as wrong:
            raise UserError(str(folder), f"cannot be written ({wrong})", "check the space left") from wrong

    @classmethod
    def load(cls, folder: str | Path) -> "Clip":
        """Read a clip that `save` wrote.

        Args:
            folder: Path of the folder; files that do not belong to a clip are ignored.

        Raises:
            UserError: If the folder is not a clip, or one of its files is missing or broken.
        """
        folder = Path(folder)
        if not (folder / "clip.json").is_file():
            raise UserError(str(folder), "no clip.json", "give the folder of a clip")
        names = ["clip.json", "background.png", "background.jpg"]
        names += [f"{part}/*.{kind}" for part in _FOLDERS for kind in ("png", "jpg")]
        files = {str(p.relative_to(folder)): p.read_bytes() for name in names for p in folder.glob(name)}
        try:
            return clip_from_files(files)
        except ValueError as wrong:
            raise UserError(str(folder), str(wrong), "make the clip again") from wrong


_FOLDERS = ("frames", "depth", "mask", "background")


def _expect(name: str, array: np.ndarray, dtype: Any, shape: tuple[int, ...]) -> None:
    if array.dtype != dtype or array.shape != shape:
        expected = f"{np.dtype(dtype)} {shape}"
        raise ValueError(f"{name}: found {array.dtype} {array.shape}, expected {expected}")


def clip_to_files(
    clip: Clip, image: Literal["jpeg", "png"] = "jpeg", quality: int = 95, first: int = 0
) -> dict[str, bytes]:
    """Encode a clip as files.

    The files are `frames/00000.jpg` and so on, `depth/00000.png` (16 bit; not for `depth_kind` none),
    `mask/00000.png` (1 bit), `background.jpg` (`background/00000.jpg` and so on if it moves) and `clip.json`,
    which holds everything else.

    Args:
        clip: The clip.
        image: Format of frames and background: "jpeg", or "png", which is lossless.
        quality: JPEG quality, 1 to 100; chroma is not subsampled.
        first: Index of the first frame, if the clip is a part of a longer one (`idol.clip.writer`).

    Returns:
        Bytes by relative file name.
    """
    suffix = "jpg" if image == "jpeg" else "png"
    files = {"clip.json": json.dumps(_to_json(clip), separators=(",", ":"), default=float).encode()}
    for i, number in enumerate(range(first, first + clip.frames)):
        files[f"frames/{number:05d}.{suffix}"] = _encode(clip.video[i], image, quality)
        if clip.depth_kind != "none":
            files[f"depth/{number:05d}.png"] = encode_depth16(clip.depth[i])
        files[f"mask/{number:05d}.png"] = _to_png(Image.fromarray(clip.mask[i]))
    if clip.background.ndim == 3:
        files[f"background.{suffix}"] = _encode(clip.background, image, quality)
    else:
        for number, background in enumerate(clip.background, first):
            files[f"background/{number:05d}.{suffix}"] = _encode(background, image, quality)
    return files


def clip_from_files(files: Mapping[str, bytes], frames: Sequence[int] | None = None) -> Clip:
    """Decode a clip from the files that `clip_to_files` made.

    Args:
        files: Bytes by relative file name; unknown names are ignored.
        frames: Indices of the frames to decode; None decodes all. `depth_range` stays that of the whole clip.

    Returns:
        The clip.

    Raises:
        ValueError: If a file is missing or broken, or `clip.json` was written by a later version.
    """
    record = _read_record(files)
    f = range(record["frames"]) if frames is None else frames
    stems = ["background"] if record["background"] == "still" else [f"background/{i:05d}" for i in f]
    background = np.stack([_decode(files, name, "RGB") for name in stems])
    return Clip(
        video=np.stack([_decode(files, f"frames/{i:05d}", "RGB") for i in f]),
        depth=_depth_of(files, record, f),
        mask=np.stack([_decode(files, f"mask/{i:05d}", "1") for i in f]),
        pose=Pose(np.array(record["pose"], np.float32)[list(f)], record["height"], record["width"]),
        background=background[0] if record["background"] == "still" else background,
        fps=record["fps"],
        depth_kind=record["depth_kind"],
        depth_range=None if record["depth_range"] is None else tuple(record["depth_range"]),
        source=record["source"],
        subject=record["subject"],
    )


def _depth_of(files: Mapping[str, bytes], record: Mapping[str, Any], frames: Sequence[int]) -> np.ndarray:
    """Decode the depth, (f, h, w) float32: zeros if the clip has none."""
    if record["depth_kind"] == "none":
        return np.zeros((len(frames), record["height"], record["width"]), np.float32)
    return np.stack([_decode(files, f"depth/{i:05d}", "I;16") for i in frames])


_KEYS = (
    "frames",
    "height",
    "width",
    "fps",
    "depth_kind",
    "depth_range",
    "source",
    "subject",
    "background",
    "pose",
)


def _to_json(clip: Clip) -> dict[str, Any]:
    record = {key: getattr(clip, key) for key in _KEYS[:-2]}
    moving = "still" if clip.background.ndim == 3 else "moving"
    return {"version": _VERSION, **record, "background": moving, "pose": clip.pose.keypoints.tolist()}


def _read_record(files: Mapping[str, bytes]) -> dict[str, Any]:
    """Parse `clip.json` and check its version and keys."""
    if "clip.json" not in files:
        raise ValueError("clip.json: missing")
    try:
        record = json.loads(files["clip.json"])
        version = int(record["version"])
    except (ValueError, KeyError, TypeError) as wrong:
        raise ValueError(f"clip.json: broken ({wrong!r})") from wrong
    if version > _VERSION:
        raise ValueError(f"clip.json: found version {version}, this program reads up to {_VERSION}")
    if missing := [key for key in _KEYS if key not in record]:
        raise ValueError(f"clip.json: lacks {', '.join(missing)}")
    return record


def _encode(image: np.ndarray, kind: Literal["jpeg", "png"], quality: int) -> bytes:
    pixels = Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0)))
    if kind == "png":
        return _to_png(pixels)
    buffer = io.BytesIO()
    pixels.save(buffer, "JPEG", quality=quality, subsampling=0)
    return buffer.getvalue()


def _to_png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _decode(files: Mapping[str, bytes], stem: str, mode: Literal["RGB", "I;16", "1"]) -> np.ndarray:
    """Decode one image: RGB to (3, h, w) uint8, I;16 to (h, w) float32 in [0, 1], 1 to (h, w) bool."""
    data = files.get(f"{stem}.png", files.get(f"{stem}.jpg"))
    if data is None:
        raise ValueError(f"{stem}: missing")
    try:
        image = Image.open(io.BytesIO(data))
        image.load()
    except (OSError, SyntaxError, Image.DecompressionBombError) as wrong:
        raise ValueError(f"{stem}: broken image ({wrong})") from wrong
    if image.mode != mode:
        raise ValueError(f"{stem}: found an image of mode {image.mode}, expected {mode}")
    array = np.asarray(image)
    match mode:
        case "RGB":
            return np.ascontiguousarray(array.transpose(2, 0, 1))
        case "I;16":
            return array.astype(np.float32) / np.float32(65535)
    return array.astype(bool)
