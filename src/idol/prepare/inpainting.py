"""Exemplar-based inpainting: a hole is filled with patches of the rest of the image that fit together.

Coarse to fine. On each level the nearest known patch of every pixel of the hole is searched by PatchMatch
(Barnes et al. 2009: good matches are propagated to neighbors and improved by random search); each pixel then
becomes the weighted mean of what the patches that cover it propose (Wexler et al. 2007).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

Float = NDArray[np.float32]

_REACH = 3  # half side of a patch, in pixels
_OFFSETS = np.stack(np.meshgrid(*[np.arange(-_REACH, _REACH + 1)] * 2, indexing="ij"), -1).reshape(-1, 2)
_SPARSE = _OFFSETS[_OFFSETS.sum(1) % 2 == 0]
_DISTANCE_COST = 3000.0  # squared gray levels by which a patch one image length away must fit better
_FINEST = 224  # longest side in pixels at which patches are searched; finer detail is copied


def inpaint(image: NDArray[np.uint8], hole: NDArray[np.bool_], seed: int = 0) -> NDArray[np.uint8]:
    """Fill a hole in an image.

    Args:
        image: (3, h, w) uint8; its values inside the hole are ignored.
        hole: (h, w) bool.
        seed: Seed of the random search.

    Returns:
        (3, h, w) uint8, unchanged outside the hole; gray (128) if the hole is the whole image.
    """
    if not hole.any():
        return image.copy()
    if hole.all():
        return np.full_like(image, 128)
    y0, y1, x0, x1 = _surroundings(hole)
    part, gap = image[:, y0:y1, x0:x1], hole[y0:y1, x0:x1]
    filled = _fill(part.transpose(1, 2, 0).astype(np.float32), gap, np.random.default_rng(seed))
    result = image.copy()
    inside = result[:, y0:y1, x0:x1]
    inside[:, gap] = filled.clip(0, 255).round().astype(np.uint8).transpose(2, 0, 1)[:, gap]
    return result


def _surroundings(hole: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """Return y0, y1, x0, x1 of the hole's box, extended by its own size on every side."""
    rows, columns = np.flatnonzero(hole.any(1)), np.flatnonzero(hole.any(0))
    margin = max(int(np.ptp(rows)), int(np.ptp(columns)), 8 * _REACH) + 1
    low_y, low_x = max(0, rows[0] - margin), max(0, columns[0] - margin)
    return low_y, min(hole.shape[0], rows[-1] + margin), low_x, min(hole.shape[1], columns[-1] + margin)


def _fill(image: Float, hole: NDArray[np.bool_], rng: np.random.Generator) -> Float:
    """Fill the hole on all levels, coarse to fine, then copy detail beyond the finest level."""
    height, width = hole.shape
    finest = min(1.0, _FINEST / max(height, width))
    scales = [finest]
    while scales[0] * min(height, width) > 96:
        scales.insert(0, scales[0] / 2)
    match: NDArray[np.int64] | None = None
    guess = _nearest(image, hole)
    for number, scale in enumerate(scales):
        size = max(16, round(width * scale)), max(16, round(height * scale))
        small, gap = _resize(image, size), _resize(hole.astype(np.float32), size) > 0.02
        small[gap] = _resize(guess, size)[gap]
        rounds = 10 if number == 0 else 4
        level = _Level(small, gap, rng)
        match = level.improve(match, rounds)
        guess = _resize(level.image, (width, height))
    return _copy_detail(image, hole, guess, match, size) if match is not None else guess


def _resize(array: Float, size: tuple[int, int]) -> Float:
    """Resize (h, w) or (h, w, 3) to `size` (width, height), averaging when shrinking."""
    if array.ndim == 2:
        return np.asarray(Image.fromarray(array).resize(size, Image.Resampling.BILINEAR))
    return np.stack([_resize(np.ascontiguousarray(array[..., c]), size) for c in range(array.shape[-1])], -1)


def _nearest(image: Float, hole: NDArray[np.bool_]) -> Float:
    """Initialize each pixel of the hole with the nearest known color: real colors, not mixtures."""
    blurred = ndimage.median_filter(image, size=(5, 5, 1))
    known = ~ndimage.binary_dilation(
        hole, iterations=3
    )  # the median filter of closer pixels includes the hole
    y, x = ndimage.distance_transform_edt(~known if known.any() else hole, return_indices=True)[1]
    return np.where(hole[..., None], blurred[y, x], image)


class _Level:
    """One level of the image pyramid.

    Args:
        image: (h, w, 3) float32 in [0, 255], with an initial guess in the hole.
        hole: (h, w) bool.
        rng: Random numbers of the search.
    """

    def __init__(self, image: Float, hole: NDArray[np.bool_], rng: np.random.Generator) -> None:
        self.hole, self.rng, self.shape = hole, rng, np.array(hole.shape)
        around = ndimage.binary_dilation(hole, iterations=_REACH, structure=np.ones((3, 3)))
        border = np.pad(np.zeros(self.shape - 2 * _REACH, bool), _REACH, constant_values=True)
        self.sources = ~(around | border)  # centers of fully known patches
        self.points = np.argwhere(around)
        self.number = np.full(hole.shape, -1)
        self.number[tuple(self.points.T)] = np.arange(len(self.points))
        # Pixels near the rim of the hole are more reliable than those deep inside (Wexler et al. 2007).
        self.trust = 1.3 ** -ndimage.distance_transform_edt(hole)
        self.show(image)

    def show(self, image: Float) -> None:
        """Set the current image, flattened row by row with a border of `_REACH` pixels."""
        rim = ((_REACH, _REACH), (_REACH, _REACH))
        self.image = image
        self.flat = np.pad(image, (*rim, (0, 0)), mode="edge").reshape(-1, 3)
        self.flat_trust = np.pad(self.trust, rim).astype(np.float32).ravel()
        self.row = image.shape[1] + 2 * _REACH

    def improve(self, before: NDArray[np.int64] | None, rounds: int) -> NDArray[np.int64]:
        """Alternate search and voting.

        Args:
            before: (h, w, 2) matches of the coarser level, or None.
            rounds: Number of iterations.

        Returns:
            (h, w, 2) row and column of each pixel's best match.
        """
        match = np.moveaxis(np.indices(self.hole.shape), 0, -1).copy()
        if self.sources.any():
            found = self._initial_matches(before)
            for _ in range(rounds):
                found, cost = self._search(found)
                self._vote(found, cost)
            match[tuple(self.points.T)] = found
        return match

    def _initial_matches(self, before: NDArray[np.int64] | None) -> NDArray[np.int64]:
        """Initialize the matches: upsampled from the coarser level, or random."""
        allowed = np.argwhere(self.sources)
        anywhere = allowed[self.rng.integers(len(allowed), size=len(self.points))]
        if before is None:
            return anywhere
        ratio = self.shape / before.shape[:2]
        coarse = np.minimum((self.points / ratio).astype(int), np.array(before.shape[:2]) - 1)
        shift = before[tuple(coarse.T)] - coarse
        wanted = np.clip((self.points + shift * ratio).round().astype(int), 0, self.shape - 1)
        return np.where(self.sources[tuple(wanted.T)][:, None], wanted, anywhere)

    def _search(self, found: NDArray[np.int64]) -> tuple[NDArray[np.int64], Float]:
        """Propagate the matches of the four neighbors, then try random offsets of shrinking radius."""
        best = self._cost(np.arange(len(found)), found)
        for step in ((0, 1), (0, -1), (1, 0), (-1, 0)):
            there = np.clip(self.points - step, 0, self.shape - 1)
            neighbor = self.number[tuple(there.T)]
            found, best = self._better(
                found, best, np.where(neighbor[:, None] >= 0, found[neighbor] + step, 0)
            )
        radius = int(self.shape.max())
        while radius >= 1:
            found, best = self._better(
                found, best, found + self.rng.integers(-radius, radius + 1, found.shape)
            )
            radius //= 3
        return found, best

    def _better(
        self, found: NDArray[np.int64], best: Float, candidate: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], Float]:
        """Replace matches by candidates that are known patches and fit better."""
        candidate = np.clip(candidate, 0, self.shape - 1)
        tried = np.flatnonzero(self.sources[tuple(candidate.T)] & (candidate != found).any(1))
        cost = self._cost(tried, candidate[tried])
        won = cost < best[tried]
        found, best = found.copy(), best.copy()
        found[tried[won]], best[tried[won]] = candidate[tried[won]], cost[won]
        return found, best

    def _cost(self, which: NDArray[np.int64], found: NDArray[np.int64]) -> Float:
        """Compute the (n,) squared differences per pixel, weighted by trust, plus a cost of distance."""
        points = self.points[which]
        here, there = (points @ [self.row, 1], found @ [self.row, 1])
        total, sums = np.zeros(len(points), np.float32), np.full(len(points), 1e-6, np.float32)
        for dy, dx in _SPARSE + _REACH:
            step = int(dy) * self.row + int(dx)
            apart = self.flat.take(here + step, axis=0) - self.flat.take(there + step, axis=0)
            trust = self.flat_trust.take(here + step)
            total += np.einsum("nc,nc,n->n", apart, apart, trust)
            sums += trust
        far = ((points - found) / self.shape.max()) ** 2
        return (total / sums + _DISTANCE_COST * far.sum(-1)).astype(np.float32)

    def _vote(self, found: NDArray[np.int64], cost: Float) -> None:
        """Set each pixel of the hole to the mean of what the patches over it propose, weighted by fit."""
        spread = 2 * np.percentile(cost, 50) + 1e-6
        weight = (np.exp(-cost / spread) * self.trust[tuple(self.points.T)] + 1e-9).astype(np.float32)
        here, there = self.points @ [self.row, 1], found @ [self.row, 1]
        total, sums = np.zeros(len(self.flat), np.float32), np.zeros_like(self.flat)
        for dy, dx in _OFFSETS + _REACH:
            step = int(dy) * self.row + int(dx)
            # For one offset all targets are distinct, so plain indexed addition is safe.
            sums[here + step] += weight[:, None] * self.flat.take(there + step, axis=0)
            total[here + step] += weight
        mean = (sums / np.maximum(total, 1e-12)[:, None]).reshape(-1, self.row, 3)
        inner = mean[_REACH:-_REACH, _REACH:-_REACH]
        self.show(np.where(self.hole[..., None], inner, self.image))


def _copy_detail(
    image: Float, hole: NDArray[np.bool_], guess: Float, match: NDArray[np.int64], size: tuple[int, int]
) -> Float:
    """Add full-resolution detail, copied from each pixel's match."""
    height, width = hole.shape
    if (width, height) == size:
        return guess
    ratio = np.array([height / size[1], width / size[0]])
    points = np.argwhere(hole)
    coarse = np.minimum((points / ratio).astype(int), np.array(match.shape[:2]) - 1)
    shift = (match[coarse[:, 0], coarse[:, 1]] - coarse) * ratio
    source = np.clip((points + shift).round().astype(int), 0, [height - 1, width - 1])
    blurred = _resize(_resize(image, size), (width, height))
    detail = (image - blurred)[source[:, 0], source[:, 1]]
    detail[hole[source[:, 0], source[:, 1]]] = 0
    result = guess.copy()
    result[hole] += detail
    return result
