"""An invisible watermark that says "made by a machine", and its detector.

One fixed pseudo-random tile, periodic in both directions, is added to every frame: to the luma at middle
frequencies, more strongly in textured areas, and slightly to the blue-difference chroma at lower frequencies,
to which eyes are hardly sensitive. Because the tile repeats, cropping only shifts it; because it is the same
in every frame, a video codec's motion compensation preserves it and the detector may average over a video. As
the detector searches all shifts anyway, the tile is aligned where the video already resembles it most: image
content that would drown the mark then supports it, at no visible cost.

The detector takes the Fourier coefficients of both planes at the tile's harmonics only, keeps their phases,
which are independent of the tile's in images without the mark, and correlates them with the tile's at all
shifts, at a set of scales, plain and mirrored. Without the mark each correlation is a standard normal
variable whatever the image shows, so the probability of a false alarm is known.

The tile is public: anyone who reads this file can detect the mark, and can also remove or forge it.
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
"""The public key from which the phases of the tile are hashed."""

TILE = 128
"""Period of the mark in pixels of the marked frame."""

BANDS = ((4, 14), (2, 4))
"""Frequency bands of luma and chroma in cycles per tile: periods of 32 to 9 and 64 to 32 pixels."""

LUMA_RMS = 1.0
"""Root mean square of the mark in luma, in gray levels, in flat areas."""

MAX_GAIN = 3.2
"""Largest gain of the luma's mark in textured areas; with this value the PSNR is about 41 dB."""

CHROMA_RMS = 0.5
"""Root mean square of the mark in chroma, in gray levels; on gray it is what becomes visible first."""

MAX_FALSE_ALARM = 0.001
"""A mark counts as found if an image without one reaches its score with at most this probability."""

MIN_SIDE = 48
"""Images with a shorter side, in pixels, contain too little of the tile to be examined."""

_ALIGNMENT_FRAMES = 4  # evenly spaced frames that determine the alignment of the tile
_SCALES = (0.45, 2.05)  # searched sizes of the examined frames relative to the marked ones
_MAX_SIDE = 512  # only the middle of larger frames is examined: more would require finer scales
_MAX_HARMONIC = BANDS[0][1]  # the highest harmonic
_TO_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # BT.601, as in JPEG
_FROM_BLUE = np.array([0, -0.344, 1.772], np.float32)[:, None, None]
_NOISE_FLOOR = (
    4.0,
    2.0,
)  # gray levels of luma and chroma; keeps codec noise in flat areas small
_TINY = np.finfo(np.float32).tiny


@dataclass(frozen=True)
class WatermarkDetection:
    """Result of the detector.

    Attributes:
        found: Whether `false_alarm` is at most `MAX_FALSE_ALARM`.
        score: Largest correlation with the tile, in standard deviations of images without the mark.
        false_alarm: Probability that an image without the mark reaches this score.
        scale: Size of the frames relative to when they were marked; meaningless unless found.
        mirrored: Whether they have been flipped horizontally since; meaningless unless found.
        frames: Number of frames that were examined together.
    """

    found: bool
    score: float
    false_alarm: float
    scale: float
    mirrored: bool
    frames: int


@lru_cache
def tile_spectrum() -> Complex[np.ndarray, "planes rows columns"]:
    """Return the tiles' spectra on a half plane: modulus 1 and hashed phase within the band, else 0.

    Returns:
        Luma and chroma. Rows are 0 to K cycles per tile downwards, columns -K to K cycles to the right; the
        other half plane is the complex conjugate because the tiles are real.
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
    """Return the cycles per tile of rows, (K + 1, 1), and columns, (1, 2 K + 1)."""
    return np.arange(_MAX_HARMONIC + 1)[:, None], np.arange(-_MAX_HARMONIC, _MAX_HARMONIC + 1)[None]


@lru_cache
def tiles() -> Float[np.ndarray, "planes size size"]:
    """Return one period of the mark of luma and chroma: float32 of mean 0 and mean square 1."""
    patterns = _sum_harmonics(tile_spectrum())
    return (patterns / patterns.std((1, 2), keepdims=True)).astype(np.float32)


def _sum_harmonics(half: np.ndarray) -> np.ndarray:
    """Return real sums over a half plane at each shift, (..., K + 1, 2 K + 1) to (..., TILE, TILE)."""
    grid = np.zeros((*half.shape[:-2], TILE // 2 + 1, TILE), np.complex64)
    grid[..., : _MAX_HARMONIC + 1, : _MAX_HARMONIC + 1] = half[..., _MAX_HARMONIC:]
    grid[..., : _MAX_HARMONIC + 1, -_MAX_HARMONIC:] = half[..., :_MAX_HARMONIC]
    grid[..., 1:, :] /= 2  # irfft2 adds the conjugate half of every row except row 0
    return fft.irfft2(grid, axes=(-1, -2), norm="forward")


@dataclass(frozen=True)
class Marker:
    """The mark of one video. Its alignment is determined once, so that parts can be marked separately.

    Attributes:
        luma: One period of what is added to the luma in flat areas, in gray levels.
        tint: One period of what is also added to R, G and B everywhere, in gray levels.
    """

    luma: Float[np.ndarray, "size size"]
    tint: Float[np.ndarray, "3 size size"]

    @classmethod
    def fit(cls, first: np.ndarray, strength: float = 1.0) -> Marker:
        """Align the tile where a video resembles it most.

        Args:
            first: (f, 3, h, w) uint8 sRGB: the video or its beginning, of which a few frames are used.
            strength: Multiple of the default amplitude, at least 0.

        Raises:
            UserError: If the frames are not uint8 (f, 3, h, w), or the strength is negative.
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
        """Return frames of the video with its mark.

        Args:
            video: (f, 3, h, w) uint8 sRGB.

        Raises:
            UserError: If the frames are not uint8 (f, 3, h, w).
        """
        _check(video)
        luma, tint = (_repeated(tile, *video.shape[2:]) for tile in (self.luma, self.tint))

        def mark(frame: np.ndarray) -> np.ndarray:
            changed = frame + (masking_gain(_luma(frame)) * luma + tint)
            return np.clip(np.rint(changed, out=changed), 0, 255, out=changed).astype(np.uint8)

        with ThreadPoolExecutor() as pool:
            return np.stack(list(pool.map(mark, video)))


def embed(video: np.ndarray, strength: float = 1.0) -> UInt8[np.ndarray, "f 3 h w"]:
    """Return a video with the mark in every frame; deterministic.

    Args:
        video: (f, 3, h, w) uint8 sRGB, complete; for a video in parts use one `Marker`.
        strength: Multiple of the amplitude that `docs/provenance.md` reports figures for; 0 adds no mark.

    Returns:
        (f, 3, h, w) uint8 sRGB.

    Raises:
        UserError: If the frames are not uint8 (f, 3, h, w), or the strength is negative.
    """
    return Marker.fit(video, strength).mark(video)


def _repeated(tile: np.ndarray, h: int, w: int) -> np.ndarray:
    """Return the tile repeated to (..., h, w)."""
    repeats = (1,) * (tile.ndim - 2) + (-(-h // TILE), -(-w // TILE))
    return np.tile(tile, repeats)[..., :h, :w]


def best_alignment(video: UInt8[np.ndarray, "f 3 h w"]) -> tuple[int, int]:
    """Return by how many pixels down and right to roll the tile so that the frames resemble it most.

    This is measured at half size, where detection is hardest.

    Args:
        video: sRGB frames.
    """
    h, w = video.shape[2:]
    if min(h, w) < MIN_SIDE:  # too small to be examined
        return 0, 0
    half = np.rint(np.stack([_downsample(frame) for frame in video])).astype(np.uint8)
    likeness = correlations(residual(half), 0.5)[0]
    down, right = np.unravel_index(int(likeness.argmax()), likeness.shape)
    return int(down) + h // 2, int(right) + w // 2  # phases are relative to the middle of the frame


def _downsample(planes: np.ndarray) -> np.ndarray:
    """Return float32 means over 2 x 2 pixels, (..., h, w) to (..., ceil(h / 2), ceil(w / 2))."""
    h, w = planes.shape[-2:]
    even = np.pad(planes, [(0, 0)] * (planes.ndim - 2) + [(0, h % 2), (0, w % 2)], mode="edge")
    rows = even[..., ::2, :].astype(np.float32) + even[..., 1::2, :]
    return (rows[..., ::2] + rows[..., 1::2]) / 4


def masking_gain(luma: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """Return the gain of the luma's mark: 1 in flat areas to `MAX_GAIN` in textured areas, less in the dark.

    Texture is the standard deviation over 5 x 5 pixels at half size. The flattest window around a pixel
    counts, so that a flat area stays flat up to its border.

    Args:
        luma: Luma of a frame in [0, 255].
    """
    half = _downsample(luma)
    mean, square = (_reduce_5x5(values, np.add) / 25 for values in (half, half * half))
    spread = _reduce_5x5(np.sqrt(np.maximum(square - mean * mean, 0)), np.minimum)
    gain = np.clip(1 + (spread - 1) / 2.5, 1, MAX_GAIN) * np.clip(mean / 48, 0.4, 1)
    return gain.repeat(2, 0).repeat(2, 1)[: luma.shape[0], : luma.shape[1]]


def _reduce_5x5(values: np.ndarray, two: np.ufunc) -> np.ndarray:
    """Return sums or minima over 5 x 5 pixels, edges repeated; several times as fast as SciPy's filters."""
    for _ in range(2):  # along columns, then transposed along rows
        padded = np.pad(values, ((2, 2), (0, 0)), mode="edge")
        pairs = two(padded[:-1], padded[1:])
        values = np.ascontiguousarray(two(two(pairs[:-3], pairs[2:-1]), padded[4:]).T)
    return values


def _luma(frame: np.ndarray) -> np.ndarray:
    """Return float32 luma in [0, 255], (h, w), of a frame (3, h, w) uint8."""
    return np.tensordot(_TO_LUMA, frame.astype(np.float32), 1)


def _check(video: np.ndarray) -> None:
    if video.ndim != 4 or video.shape[1] != 3 or video.dtype != np.uint8 or 0 in video.shape:
        raise UserError("video", f"{video.dtype} {video.shape}", "give sRGB frames, uint8 (f, 3, h, w)")


def detect(video: np.ndarray) -> WatermarkDetection:
    """Look for the mark in the frames of one video, or in one image (f = 1).

    Args:
        video: (f, 3, h, w) uint8 sRGB; may be compressed, cropped, mirrored, or scaled at constant aspect
            ratio.

    Raises:
        UserError: If the frames are not uint8 (f, 3, h, w), or have a side below `MIN_SIDE`.
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
    """Return the scales to search, which include 1.

    Neighboring scales differ by 4 pixels of the marked frame over its length, so that at the nearest one
    corners are off by at most 1 pixel, a ninth of the shortest period.

    Args:
        longest: Longer side of the examined frames in pixels.
    """
    # equal steps of 1 / scale, to which the length of the marked frame is proportional
    first, last = (int(np.floor((1 / scale - 1) * longest / 4)) for scale in reversed(_SCALES))
    return tuple(float(longest / (longest + 4 * step)) for step in range(first, last + 1))


def false_alarm_probability(score: float, scales: int) -> float:
    """Return an upper bound of the probability that an image without the mark reaches a score.

    Over the shifts the correlation is a smooth Gaussian field of variance 1. The expected Euler
    characteristic of the set where it exceeds a high z is, for area A and gradient covariance L,
    A sqrt(det L) z exp(-z^2 / 2) / (2 pi)^(3/2) (R. J. Adler, The Geometry of Random Fields, 1981), which
    bounds the probability. Each scale, plain and mirrored, is counted as independent, which overestimates it.

    Args:
        score: Largest correlation in standard deviations.
        scales: Number of scales that were searched.
    """
    used = np.abs(tile_spectrum())
    down, right = _cycles()
    slopes = [
        (2 * np.pi * used * cycles) ** 2 for cycles in (down, right)
    ]  # gradient covariance per tile; the area A is one tile
    area = np.sqrt(np.prod([slope.sum() / used.sum() for slope in slopes]))
    z = max(score, 1.0)
    expected = 2 * scales * area * z * np.exp(-z * z / 2) / (2 * np.pi) ** 1.5
    return float(-np.expm1(-expected))


def residual(video: UInt8[np.ndarray, "f 3 h w"]) -> Float[np.ndarray, "planes rows columns"]:
    """Return luma and chroma without the image's shapes and contrasts, averaged over the frames.

    Low frequencies are subtracted and the rest is divided by its local variance, the weight of a matched
    filter. It fades out at the edges; of frames larger than 512 pixels only the middle is used.

    Args:
        video: sRGB frames.
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
    """Return the largest of the `correlations` at one scale, and whether it is with the mirrored tiles.

    Args:
        rest: The `residual` of the frames.
        scale: Size of the frames relative to when they were marked.
    """
    scores = correlations(rest, scale).max((1, 2))
    return float(scores.max()), bool(scores[1] > scores[0])


def correlations(
    rest: Float[np.ndarray, "planes rows columns"], scale: float
) -> Float[np.ndarray, "2 size size"]:
    """Return the correlations with the tiles, plain and mirrored, at all shifts, in standard deviations.

    Args:
        rest: The `residual` of the frames.
        scale: Size of the frames relative to when they were marked.
    """
    spectrum, key = harmonic_sums(rest, scale), tile_spectrum()
    size = np.abs(spectrum)
    # tiny coefficients have no reliable phase: weight those below the typical size of their plane less
    typical = np.array([np.median(s[k != 0]) for s, k in zip(size, key, strict=True)])[:, None, None]
    phases = spectrum / np.maximum(size + typical.astype(np.float32), _TINY)
    # correlation at all shifts is the inverse transform of the cross spectrum
    products = np.stack([phases * np.conj(key), phases * np.conj(key[..., ::-1])])
    variance = np.square(np.abs(products)).sum((1, 2, 3)) / 2  # of a sum of cosines with random phases
    return _sum_harmonics(products.sum(1)) / np.sqrt(np.maximum(variance, _TINY))[:, None, None]


def harmonic_sums(
    planes: Float[np.ndarray, "planes h w"], scale: float
) -> Complex[np.ndarray, "planes rows columns"]:
    """Return Fourier sums at the harmonics of a tile of period `TILE * scale`, laid out as `tile_spectrum`.

    Args:
        planes: Luma and chroma.
        scale: Size of the frames relative to when they were marked.
    """
    rows, columns = (_waves(n, scale) for n in planes.shape[1:])
    rows = rows[_MAX_HARMONIC:]
    parts = (
        np.concatenate([rows.real, rows.imag]) @ planes
    )  # real and imaginary parts separately: half the work
    return (parts[:, : _MAX_HARMONIC + 1] + 1j * parts[:, _MAX_HARMONIC + 1 :]) @ columns.T


@lru_cache(maxsize=1024)
def _waves(length: int, scale: float) -> np.ndarray:
    """Return complex64 waves, (2 K + 1, length), of -K to K cycles per scaled tile along `length` pixels."""
    cycles = np.arange(-_MAX_HARMONIC, _MAX_HARMONIC + 1) / (TILE * scale)
    return np.exp(-2j * np.pi * np.outer(cycles, np.arange(length) - length / 2)).astype(np.complex64)
