"""Video files to arrays and back, with their sound (PyAV, H.264)."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from idol.atomic_io import atomic_file
from idol.errors import UserError

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Video:
    """A video in memory.

    Attributes:
        frames: (f, 3, h, w) uint8 sRGB.
        fps: Frames per second.
        audio: File that holds the sound, or None if there is no sound.
    """

    frames: np.ndarray
    fps: float
    audio: Path | None = None


def read_video(
    path: str | Path, max_frames: int | None = None, fps: float | None = None, *, max_side: int | None = None
) -> Video:
    """Decode a video.

    The rotation that phones store in the file is applied. Frames are sampled by their time stamps, so that a
    variable or different frame rate keeps the speed of the motion.

    Args:
        path: Any file that FFmpeg can decode.
        max_frames: Largest number of frames to return; None returns all.
        fps: Frames per second of the result: frames are dropped or repeated. None keeps the file's average
            rate.
        max_side: Shrink frames whose longer side exceeds this many pixels; None keeps their size.

    Returns:
        The frames, their rate, and the file itself as `audio` if it has sound.

    Raises:
        UserError: If the file is missing, cannot be decoded, has no frames, or breaks off half-way.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(str(path), "no such file", "give a video file")
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise UserError(str(path), "no video stream", "give a video file")
            frames, rate = _collect(container, path, max_frames, fps, max_side)
            sound = path if container.streams.audio else None
    except (av.error.FFmpegError, EOFError) as wrong:
        raise UserError(
            str(path), f"cannot be decoded ({wrong})", "convert it to MP4 or give another"
        ) from wrong
    if not frames:
        raise UserError(str(path), "a video without frames", "give another video")
    return Video(np.stack(frames), rate, sound)


def _collect(
    container: Any, path: Path, max_frames: int | None, fps: float | None, max_side: int | None
) -> tuple[list[np.ndarray], float]:
    stream = container.streams.video[0]
    stream.thread_type = "AUTO"
    rate = float(stream.average_rate or stream.guessed_rate or 25)
    frames: list[np.ndarray] = []
    decoded, start, total = 0, None, _announced_frames(container, stream, rate)
    try:
        for frame in container.decode(stream):
            decoded += 1
            start = frame.time if start is None else start
            wanted = _frames_due(frame, start, rate, fps, decoded) - len(frames)
            if wanted > 0:
                frames += [_to_array(frame, max_side)] * wanted
            if max_frames is not None and len(frames) >= max_frames:
                return frames[:max_frames], fps or rate
    except av.error.FFmpegError as wrong:
        raise _broken(path, decoded, total, str(wrong)) from wrong
    if decoded and decoded < 0.95 * total - 2:  # a cut file often just ends, without an error
        raise _broken(path, decoded, total, "the file ends early")
    return frames, fps or rate


def _announced_frames(container: Any, stream: Any, rate: float) -> int:
    """Return the number of frames that the file announces, 0 if it does not."""
    if stream.frames:
        return int(stream.frames)
    if stream.duration is not None:
        return round(float(stream.duration * stream.time_base) * rate)
    alone = len(container.streams) == 1  # otherwise the duration may be that of a longer sound track
    return round(container.duration / av.time_base * rate) if alone and container.duration else 0


def _frames_due(frame: Any, start: float | None, rate: float, fps: float | None, decoded: int) -> int:
    """Count the sampling times of the result that lie before the middle of this frame."""
    if fps is None:
        return decoded
    time = frame.time - start if frame.time is not None and start is not None else (decoded - 1) / rate
    return int(np.floor((time + 0.5 / rate) * fps - 1e-6)) + 1


def _broken(path: Path, decoded: int, total: int, why: str) -> UserError:
    expected = f" of {total}" if total else ""
    return UserError(str(path), f"breaks off after frame {decoded}{expected} ({why})", "give a whole video")


def _to_array(frame: Any, max_side: int | None) -> np.ndarray:
    """(3, h, w) uint8, upright and not larger than `max_side`."""
    height, width = frame.height, frame.width
    if max_side is not None and max(height, width) > max_side:
        shrink = max_side / max(height, width)
        height, width = max(1, round(height * shrink)), max(1, round(width * shrink))
    rgb = frame.to_ndarray(format="rgb24", width=width, height=height, interpolation="AREA")
    return np.ascontiguousarray(np.rot90(rgb, frame.rotation // 90).transpose(2, 0, 1))


def write_video(
    path: str | Path,
    frames: np.ndarray,
    fps: float,
    audio_from: Path | None = None,
    crf: int = 16,
    preset: str = "medium",
) -> None:
    """Encode a video as H.264 in yuv420p (BT.709); the file appears complete or not at all.

    Args:
        path: The file; its suffix chooses the container (.mp4, .mov, .mkv).
        frames: (f, 3, h, w) uint8 sRGB. An odd height or width is extended by repeating the last row or
            column, as yuv420p needs even sizes.
        fps: Frames per second.
        audio_from: A file whose sound is copied, cut to the length of the video.
        crf: x264's constant rate factor: 0 is lossless, 51 the worst quality.
        preset: x264's speed preset; faster ones make larger files.

    Raises:
        ValueError: If the frames are not uint8 (f, 3, h, w) with at least one frame, or fps is not positive.
        UserError: If the sound cannot be decoded, or the file cannot be written.
    """
    _check_frames(frames)
    with video_writer(path, frames.shape[2], frames.shape[3], fps, crf, preset) as writer:
        if audio_from is not None:
            writer.add_sound(audio_from, len(frames) / fps)
        writer.add(frames)


class VideoWriter:
    """A video file that is being written; create it with `video_writer`."""

    def __init__(self, out: Any, height: int, width: int, fps: float, crf: int, preset: str) -> None:
        self._out, self._size = out, (height, width)
        self._stream = _add_video_stream(out, height + height % 2, width + width % 2, fps, crf, preset)

    def add_sound(self, source: Path, seconds: float) -> None:
        """Copy the sound of a file; to be called before the first frame is added.

        Args:
            source: File with the sound; without any, the video stays silent.
            seconds: Length to copy.

        Raises:
            UserError: If the sound cannot be decoded.
        """
        _encode_sound(self._out, source, seconds)

    def add(self, frames: np.ndarray) -> None:
        """Append frames.

        Args:
            frames: (f, 3, h, w) uint8 sRGB.

        Raises:
            ValueError: If they have another type or size.
        """
        _check_frames(frames)
        h, w = self._size
        if frames.shape[2:] != (h, w):
            raise ValueError(f"frames: found {frames.shape[2:]}, expected {h} x {w}")
        if h % 2 or w % 2:
            frames = np.pad(frames, ((0, 0), (0, 0), (0, h % 2), (0, w % 2)), mode="edge")
        for frame in frames:
            self._out.mux(self._stream.encode(_to_frame(frame)))

    def finish(self) -> None:
        """Flush the encoder after the last frame."""
        self._out.mux(self._stream.encode())


@contextmanager
def video_writer(
    path: str | Path, height: int, width: int, fps: float, crf: int = 16, preset: str = "medium"
) -> Iterator[VideoWriter]:
    """Open a video for writing a few frames at a time; the file appears when the block ends without error.

    Args:
        path: The file; its suffix chooses the container (.mp4, .mov, .mkv).
        height: Height of the frames in pixels.
        width: Width in pixels.
        fps: Frames per second.
        crf: x264's constant rate factor: 0 is lossless, 51 the worst quality.
        preset: x264's speed preset; faster ones make larger files.

    Raises:
        ValueError: If fps is not positive.
        UserError: If the file cannot be written.
    """
    if not 0 < fps < np.inf:
        raise ValueError(f"fps: found {fps}, expected a positive number")
    with _new_video(Path(path)) as fresh, _open_for_writing(fresh) as out:
        writer = VideoWriter(out, height, width, fps, crf, preset)
        yield writer
        writer.finish()


def _check_frames(frames: np.ndarray) -> None:
    if frames.ndim != 4 or frames.shape[1] != 3 or frames.dtype != np.uint8 or 0 in frames.shape:
        raise ValueError(f"frames: found {frames.dtype} {frames.shape}, expected uint8 (f, 3, h, w)")


def _open_for_writing(path: Path) -> Any:
    try:
        return av.open(str(path), "w")
    except ValueError as wrong:  # what PyAV raises for an unknown suffix
        raise UserError(
            path.suffix or "no suffix", str(wrong), "end the name in .mp4, .mov or .mkv"
        ) from wrong


def _add_video_stream(out: Any, height: int, width: int, fps: float, crf: int, preset: str) -> Any:
    rate = Fraction(fps).limit_denominator(1001)
    # x264 buffers the frames it looks ahead at, 40 by default: for large frames that dominates the memory
    options = {"crf": str(crf), "preset": preset, "rc-lookahead": "16"}
    stream = out.add_stream("libx264", rate=rate, options=options)
    stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
    context = stream.codec_context
    context.colorspace = context.color_primaries = context.color_trc = 1  # BT.709
    context.color_range = 1  # studio range
    return stream


def _to_frame(rgb: np.ndarray) -> Any:
    frame = av.VideoFrame.from_ndarray(rgb.transpose(1, 2, 0), format="gbrp")  # planar: no interleaving
    return frame.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")


def _encode_sound(out: Any, source: Path, seconds: float) -> None:
    """Copy the first `seconds` of the sound as AAC; a source without sound leaves the video silent."""
    try:
        with av.open(str(source)) as container:
            if not container.streams.audio:
                return
            sound = container.streams.audio[0]
            stream = out.add_stream("aac", rate=sound.rate)
            resampler = av.AudioResampler(format="fltp", layout=sound.layout, rate=sound.rate)
            left = round(seconds * sound.rate)
            for frame in container.decode(sound):
                for part in resampler.resample(frame):
                    left = _encode_part(out, stream, part, left)
                if left <= 0:
                    break
            out.mux(stream.encode())
    except av.error.FFmpegError as wrong:
        raise UserError(
            str(source), f"sound cannot be decoded ({wrong})", "give another file or none"
        ) from wrong


def _encode_part(out: Any, stream: Any, part: Any, left: int) -> int:
    """Encode at most `left` samples of one audio frame; return how many remain to be encoded."""
    if left <= 0:
        return left
    if part.samples > left:
        cut = av.AudioFrame.from_ndarray(part.to_ndarray()[:, :left].copy(), "fltp", part.layout.name)
        cut.sample_rate, cut.pts, cut.time_base = part.sample_rate, part.pts, part.time_base
        part = cut
    out.mux(stream.encode(part))
    return left - part.samples


@contextmanager
def _new_video(path: Path) -> Iterator[Path]:
    """Yield a new file that replaces `path` when the block ends without error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with atomic_file(path) as new:
            yield new
    except (OSError, av.error.FFmpegError) as wrong:
        raise UserError(
            str(path), f"cannot be written ({wrong})", "check the suffix and the space left"
        ) from wrong
