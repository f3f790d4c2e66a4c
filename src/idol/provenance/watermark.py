"""An invisible mark in the pixels that says "made by a machine", and the detector that finds it again.

One fixed pseudo-random tile, periodic in both directions, is added to every frame: to the luma at middle
frequencies, more where the image is busy, and a little to the blue-difference chroma at lower ones, where
eyes hardly see it. Because the tile repeats, a crop only shifts it; because it is the same in every frame,
motion compensation of a video codec keeps it, and a detector may average over a video. As the detector must
search all shifts anyhow, the tile is laid where the video already resembles it most: what of the image
would drown the mark then speaks for it, and nothing more is to be seen.

The detector takes the spectrum of both planes at the tile_spectrum of the tile only, keeps the phases, which for
images without the mark know nothing of the tile's own, and correlates them with the tile's at all shifts,
at a set of scales, as seen and mirrored. Without a mark each correlation is a standard normal variable
whatever the image shows, so that the chance of a false alarm is known.

The tile is public: whoever reads this file can find the mark, and can also remove or forge it.
"""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Complex, Float, UInt8
from scipy import fft, ndimage
from scipy.signal import windows

from idol.errors import UserError

KEY = b"idol watermark, version 5"
"""The public key: what the phases of the tile are hashed from."""

TILE = 128
"""Period of the mark, in pixels of the frame as it was made."""

BANDS = ((4, 14), (2, 4))
"""Frequencies of luma and chroma, in cycles per tile, from and to: periods of 32 to 9 and 64 to 32 pixels."""

LUMA_RMS = 1.0
"""Root mean square of the luma's mark, in gray levels, where the image is flat."""

MAX_GAIN = 3.2
"""How many times as strong it is at most where the image is busy: with this, PSNR is about 41 dB."""

CHROMA_RMS = 0.5
"""Root mean square of the chroma's mark: its blotches are the first thing that is seen on gray."""

MAX_FALSE_ALARM = 0.001
"""A mark counts as found when an image without one scores as high with at most this probability."""

MIN_SIDE = 48
"""Images with a side shorter than this hold too little of the tile to be examined."""

_ALIGNMENT_FRAMES = 4  # frames, evenly taken, that settle where the tile lies
_SCALES = (0.45, 2.05)  # of the frames that are examined, against the frames that were marked
_MAX_SIDE = 512  # the middle of larger frames is examined: more would only ask for finer scales
_MAX_HARMONIC = BANDS[0][1]  # the highest harmonic
_TO_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # BT.601, as in JPEG
_FROM_BLUE = np.array([0, -0.344, 1.772], np.float32)[:, None, None]
_NOISE_FLOOR = (
    4.0,
    2.0,
)  # gray levels that a codec leaves uncertain in luma and chroma where nothing is seen
_TINY = np.finfo(np.float32).tiny


@dataclass(frozen=True)
class WatermarkDetection:
    """What was found.

    Attributes:
        found: Whether `false_alarm` is at most `MAX_FALSE_ALARM`.
        score: The greatest correlation with the tile, in standard deviations of that of an image without it.
        false_alarm: Probability that an image without the mark scores as high.
        scale: Size of the frames against that when they were marked; means nothing unless found.
        mirrored: Whether they have been flipped left to right; means nothing unless found.
        frames: How many frames were examined together.
    """

    found: bool
    score: float
    false_alarm: float
    scale: float
    mirrored: bool
    frames: int


@lru_cache
def tile_spectrum() -> Complex[np.ndarray, "planes rows columns"]:
    """The tiles' harmonic_sums on a half plane: numbers of modulus 1 and hashed phase in the band, else 0.

    Returns:
        Luma, chroma. Rows are 0 to K cycles per tile downwards, columns -K to K cycles to the right; the
        other half plane is the complex conjugate, as the tiles are real.
    """
    shape = (len(BANDS), _MAX_HARMONIC + 1, 2 * _MAX_HARMONIC + 1)
    hashed = hashlib.shake_256(KEY).digest(2 * int(np.prod(shape)))
    phases = np.frombuffer(hashed, "<u2").reshape(shape) * (2 * np.pi / 65536)
    down, right = _cycles()
    radius = np.hypot(down, right)
    half = (down > 0) | (right > 0)
    inside = np.stack([(radius >= low) & (radius < high) & half for low, high in BANDS])
    return np.where(inside, np.exp(1j * phases), 0).astype(np.complex64)


def _cycles() -> tuple[np.ndarray, np.ndarray]:
    """Cycles per tile of rows (K + 1, 1) and columns (1, 2 K + 1)."""
    return np.arange(_MAX_HARMONIC + 1)[:, None], np.arange(-_MAX_HARMONIC, _MAX_HARMONIC + 1)[None]


@lru_cache
def tiles() -> Float[np.ndarray, "planes size size"]:
    """One period of the mark of luma and chroma: float32 of mean 0 and mean square 1."""
    patterns = _sum_harmonics(tile_spectrum())
    return (patterns / patterns.std((1, 2), keepdims=True)).astype(np.float32)


def _sum_harmonics(half: np.ndarray) -> np.ndarray:
    """(..., TILE, TILE): the real part, at each shift, of the sum over a half plane (..., K + 1, 2 K + 1)."""
    grid = np.zeros((*half.shape[:-2], TILE // 2 + 1, TILE), np.complex64)
    grid[..., : _MAX_HARMONIC + 1, : _MAX_HARMONIC + 1] = half[..., _MAX_HARMONIC:]
    grid[..., : _MAX_HARMONIC + 1, -_MAX_HARMONIC:] = half[..., :_MAX_HARMONIC]
    grid[..., 1:, :] /= 2  # the transform adds their conjugates, but to row 0 none
    return fft.irfft2(grid, axes=(-1, -2), norm="forward")


@dataclass(frozen=True)
class Marker:
    """The mark of one video: where it lies is settled by the first frames, later ones may come in parts.

    Attributes:
        luma: One period of what is added to the luma where the image is flat, in gray levels.
        tint: One period of what is added to R, G and B besides, everywhere.
    """

    luma: Float[np.ndarray, "size size"]
    tint: Float[np.ndarray, "3 size size"]

    @classmethod
    def fit(cls, first: np.ndarray, strength: float = 1.0) -> Marker:
        """Lays the tile where a video resembles it most.

        Args:
            first: (f, 3, h, w) uint8 sRGB: the whole video or its beginning, of which a few frames are taken.
            strength: As of `embed`.

        Raises:
            UserError: As of `embed`.
        """
        _check(first)
        if not 0 <= strength < np.inf:
            raise UserError("strength", str(strength), "give 0 or a positive number")
        sample = first[np.unique(np.linspace(0, len(first) - 1, _ALIGNMENT_FRAMES).astype(int))]
        luma, blue = np.roll(tiles(), best_alignment(sample), (1, 2))
        return cls(
            np.float32(strength * LUMA_RMS) * luma, np.float32(strength * CHROMA_RMS) * blue * _FROM_BLUE
        )

    def mark(self, video: np.ndarray) -> UInt8[np.ndarray, "f 3 h w"]:
        """Frames of the video with its mark.

        Args:
            video: (f, 3, h, w) uint8 sRGB.

        Raises:
            UserError: If they are none such.
        """
        _check(video)
        luma, tint = (_repeated(tile, *video.shape[2:]) for tile in (self.luma, self.tint))

        def mark(frame: np.ndarray) -> np.ndarray:
            changed = frame + (masking_gain(_luma(frame)) * luma + tint)
            return np.clip(np.rint(changed, out=changed), 0, 255, out=changed).astype(np.uint8)

        with ThreadPoolExecutor() as pool:
            return np.stack(list(pool.map(mark, video)))


def embed(video: np.ndarray, strength: float = 1.0) -> UInt8[np.ndarray, "f 3 h w"]:
    """Adds the mark to every frame; the same clip always gives the same result.

    Args:
        video: (f, 3, h, w) uint8 sRGB, a whole one: for one that comes in parts take a `Marker` for all.
        strength: Multiple of the amplitude for which `docs/provenance.md` gives figures; 0 marks nothing.

    Returns:
        The marked frames, (f, 3, h, w) uint8.

    Raises:
        UserError: If the frames are not uint8 (f, 3, h, w), or the strength is negative.
    """
    return Marker.fit(video, strength).mark(video)


def _repeated(tile: np.ndarray, h: int, w: int) -> np.ndarray:
    """(..., h, w): the tile side by side."""
    repeats = (1,) * (tile.ndim - 2) + (-(-h // TILE), -(-w // TILE))
    return np.tile(tile, repeats)[..., :h, :w]


def best_alignment(video: UInt8[np.ndarray, "f 3 h w"]) -> tuple[int, int]:
    """By how many pixels down and right the tile is to be rolled so that the frames resemble it most.

    Measured at half the size, where a mark has the hardest time.
    """
    h, w = video.shape[2:]
    if min(h, w) < MIN_SIDE:  # never examined
        return 0, 0
    half = np.rint(np.stack([_downsample(frame) for frame in video])).astype(np.uint8)
    likeness = correlations(residual(half), 0.5)[0]
    down, right = np.unravel_index(int(likeness.argmax()), likeness.shape)
    return int(down) + h // 2, int(right) + w // 2  # phases are counted from the middle of the frame


def _downsample(planes: np.ndarray) -> np.ndarray:
    """(..., ceil(h / 2), ceil(w / 2)) float32: the means of 2 x 2 pixels of (..., h, w)."""
    h, w = planes.shape[-2:]
    even = np.pad(planes, [(0, 0)] * (planes.ndim - 2) + [(0, h % 2), (0, w % 2)], mode="edge")
    rows = even[..., ::2, :].astype(np.float32) + even[..., 1::2, :]
    return (rows[..., ::2] + rows[..., 1::2]) / 4


def masking_gain(luma: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """How much more of the luma's mark a place hides than a flat one: 1 to `MAX_GAIN` by the spread around it.

    Measured at half the size, in 5 x 5 of its pixels. The calmest of the windows around a place counts, so
    that a flat area stays flat up to its edge. Less in the dark, down to 0.4 of that, where a gray level is a
    larger part of the light.
    """
    half = _downsample(luma)
    mean, square = (_reduce_5x5(values, np.add) / 25 for values in (half, half * half))
    spread = _reduce_5x5(np.sqrt(np.maximum(square - mean * mean, 0)), np.minimum)
    gain = np.clip(1 + (spread - 1) / 2.5, 1, MAX_GAIN) * np.clip(mean / 48, 0.4, 1)
    return gain.repeat(2, 0).repeat(2, 1)[: luma.shape[0], : luma.shape[1]]


def _reduce_5x5(values: np.ndarray, two: np.ufunc) -> np.ndarray:
    """Sums or minima over 5 x 5, edges repeated: several times as fast as the filters of SciPy."""
    for _ in range(2):  # along columns, then, turned, along rows
        padded = np.pad(values, ((2, 2), (0, 0)), mode="edge")
        pairs = two(padded[:-1], padded[1:])
        values = np.ascontiguousarray(two(two(pairs[:-3], pairs[2:-1]), padded[4:]).T)
    return values


def _luma(frame: np.ndarray) -> np.ndarray:
    """(h, w) float32 in [0, 255] of a frame (3, h, w) uint8."""
    return np.tensordot(_TO_LUMA, frame.astype(np.float32), 1)


def _check(video: np.ndarray) -> None:
    if video.ndim != 4 or video.shape[1] != 3 or video.dtype != np.uint8 or 0 in video.shape:
        raise UserError("video", f"{video.dtype} {video.shape}", "give color frames, uint8 (f, 3, h, w)")


def detect(video: np.ndarray) -> WatermarkDetection:
    """Looks for the mark in the frames of one video, or in one image (f = 1).

    Args:
        video: (f, 3, h, w) uint8 sRGB, perhaps compressed, cropped, mirrored, scaled with its shape kept.

    Raises:
        UserError: If the frames are not uint8 (f, 3, h, w), or smaller than `MIN_SIDE`.
    """
    _check(video)
    h, w = video.shape[2:]
    if min(h, w) < MIN_SIDE:
        raise UserError("video", f"frames of {w} x {h} pixels", f"give {MIN_SIDE} x {MIN_SIDE} or more")
    rest = residual(video)
    scales = search_scales(max(rest.shape))
    score, mirrored, scale = max((*best_correlation(rest, scale), scale) for scale in scales)
    chance = false_alarm_probability(score, len(scales))
    return WatermarkDetection(chance <= MAX_FALSE_ALARM, score, chance, scale, mirrored, len(video))


def search_scales(longest: int) -> tuple[float, ...]:
    """The scales tried on frames of which the longer side has so many pixels, 1 always among them.

    Neighbors differ by 4 pixels of the marked frame over its whole length, so that at the nearest one no
    corner is off by more than 1, a ninth of the shortest period.
    """
    # equal steps of 1 / scale, which is what the marked frame's length is proportional to
    first, last = (int(np.floor((1 / scale - 1) * longest / 4)) for scale in reversed(_SCALES))
    return tuple(float(longest / (longest + 4 * step)) for step in range(first, last + 1))


def false_alarm_probability(score: float, scales: int) -> float:
    """Probability, at most, that the greatest correlation of an image without the mark reaches `score`.

    Over the shifts the correlation is a smooth normal field of variance 1; the expected Euler characteristic
    of the places where it exceeds a high z is, for area A and covariance L of its gradient,
    A sqrt(det L) z exp(-z^2 / 2) / (2 pi)^(3/2) (R. J. Adler, The Geometry of Random Fields, 1981), the
    chance of one. Each scale counts, as seen and mirrored, as if on its own, which errs upwards.
    """
    used = np.abs(tile_spectrum())
    down, right = _cycles()
    slopes = [(2 * np.pi * used * cycles) ** 2 for cycles in (down, right)]  # per tile; A is 1 tile
    area = np.sqrt(np.prod([slope.sum() / used.sum() for slope in slopes]))
    z = max(score, 1.0)
    expected = 2 * scales * area * z * np.exp(-z * z / 2) / (2 * np.pi) ** 1.5
    return float(-np.expm1(-expected))


def residual(video: UInt8[np.ndarray, "f 3 h w"]) -> Float[np.ndarray, "planes rows columns"]:
    """Luma and chroma without the image's shapes and contrasts, averaged over the frames.

    Large shapes are taken off, and what is left is divided by its local variance: the weight of a place in a
    matched filter. Faded out at the edges; of frames larger than 512 pixels only the middle.
    """
    middle = [slice((n - min(n, _MAX_SIDE)) // 2, (n + min(n, _MAX_SIDE)) // 2) for n in video.shape[2:]]
    total = sum(_planes(frame[:, middle[0], middle[1]]) for frame in video) / np.float32(len(video))
    rows, columns = (windows.tukey(n, 0.2).astype(np.float32) for n in total.shape[1:])
    return total * rows[:, None] * columns


def _planes(frame: np.ndarray) -> np.ndarray:
    luma = _luma(frame)
    both = luma, np.float32(0.564) * (frame[2] - luma)
    return np.stack([_whiten(plane, floor) for plane, floor in zip(both, _NOISE_FLOOR, strict=True)])


def _whiten(plane: np.ndarray, floor: float) -> np.ndarray:
    rest = plane - ndimage.gaussian_filter(plane, 4, truncate=2.5)
    variance = ndimage.gaussian_filter(rest * rest, 4, truncate=2.5)
    return rest / (variance + np.float32(floor**2))


def best_correlation(rest: Float[np.ndarray, "planes rows columns"], scale: float) -> tuple[float, bool]:
    """The greatest of the `correlations` at one scale, and whether it is with the mirrored tiles."""
    scores = correlations(rest, scale).max((1, 2))
    return float(scores.max()), bool(scores[1] > scores[0])


def correlations(
    rest: Float[np.ndarray, "planes rows columns"], scale: float
) -> Float[np.ndarray, "2 size size"]:
    """With the tiles, as they are and mirrored, at each of their shifts; in standard deviations.

    Args:
        rest: As `residual` gives it.
        scale: Of the frames against those that were marked.
    """
    seen, key = harmonic_sums(rest, scale), tile_spectrum()
    size = np.abs(seen)
    # next to nothing is no phase: a weight below 1 for what is small among the tile_spectrum of its plane
    typical = np.array([np.median(s[k != 0]) for s, k in zip(size, key, strict=True)])[:, None, None]
    phases = seen / np.maximum(size + typical.astype(np.float32), _TINY)
    products = np.stack([phases * np.conj(key), phases * np.conj(key[..., ::-1])])
    variance = np.square(np.abs(products)).sum((1, 2, 3)) / 2  # of a sum of cosines of random phase
    return _sum_harmonics(products.sum(1)) / np.sqrt(np.maximum(variance, _TINY))[:, None, None]


def harmonic_sums(
    planes: Float[np.ndarray, "planes h w"], scale: float
) -> Complex[np.ndarray, "planes rows columns"]:
    """Fourier sums at the tile_spectrum of a tile of period `TILE * scale`, laid out as `tile_spectrum()`."""
    rows, columns = (_waves(n, scale) for n in planes.shape[1:])
    rows = rows[_MAX_HARMONIC:]
    parts = np.concatenate([rows.real, rows.imag]) @ planes  # real numbers: half the work
    return (parts[:, : _MAX_HARMONIC + 1] + 1j * parts[:, _MAX_HARMONIC + 1 :]) @ columns.T


@lru_cache(maxsize=1024)
def _waves(length: int, scale: float) -> np.ndarray:
    """(2 K + 1, length) complex64: waves of -K to K cycles per scaled tile along `length` pixels."""
    cycles = np.arange(-_MAX_HARMONIC, _MAX_HARMONIC + 1) / (TILE * scale)
    return np.exp(-2j * np.pi * np.outer(cycles, np.arange(length) - length / 2)).astype(np.complex64)
