"""Training data of the lifter: joints in space as random cameras see them and pose estimators report them.

All functions work on batches of windows, and all randomness comes from one generator.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from idol.body.lifter import MIRRORED, SEEN

_HIPS, _SHOULDERS, _NECK = [8, 11], [2, 5], 1
_FACE, _EARS = [0, 14, 15, 16, 17], [16, 17]
_ARMS, _LEGS = [3, 4, 6, 7], [9, 10, 12, 13]
_IMAGE = 256.0  # pixels; only ratios matter
# Groups of joints that estimators lose together.
_LOST = (_LEGS, [10, 13], [4], [7], [3, 4], [6, 7], [12, 13], [9, 10], _FACE)
# A joint, its parent (-1: the middle of the hips), and the index of the length that both sides share.
_TREE = (
    (8, -1, 0), (11, -1, 0), (1, -1, 1), (2, 1, 2), (5, 1, 2), (3, 2, 3), (6, 5, 3), (4, 3, 4), (7, 6, 4),
    (21, 4, 5), (20, 7, 5), (9, 8, 6), (12, 11, 6), (10, 9, 7), (13, 12, 7), (19, 10, 8), (18, 13, 8),
    (0, 1, 9), (14, 0, 10), (15, 0, 10), (16, 0, 10), (17, 0, 10),
)  # fmt: skip
_LENGTHS = 11
# Groups of joints whose sides estimators swap.
_CONFUSED = (_LEGS, [10, 13], _ARMS, [4, 7], list(range(2, 14)))


@dataclass(frozen=True)
class Views:
    """A batch of windows seen by cameras.

    Attributes:
        joints: (n, f, 18, 2) detected joints in pixels, y down; 0 where not detected.
        confidence: (n, f, 18) in [0, 1], 0 where not detected.
        reference: (n, f, 22, 3) pixels: x, y of every point, z toward the viewer from the middle of the hips.
        scale: (n, f) pixels per meter at the distance of the hips.
    """

    joints: Float[Tensor, "n f 18 2"]
    confidence: Float[Tensor, "n f 18"]
    reference: Float[Tensor, "n f 22 3"]
    scale: Float[Tensor, "n f"]

    def cut(self, frames: int) -> Views:
        """Cut the windows into shorter ones of `frames` frames, a divisor of their length."""
        fields = (self.joints, self.confidence, self.reference, self.scale)
        return Views(*(x.reshape(-1, frames, *x.shape[2:]) for x in fields))


@dataclass(frozen=True)
class _Draw:
    """Random numbers for n windows."""

    rng: torch.Generator
    n: int

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(shape or (self.n,), generator=self.rng)

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.rng)

    def chance(self, share: float, *shape: int) -> Tensor:
        return torch.rand(shape or (self.n,), generator=self.rng) < share

    def span(self, frames: int) -> Tensor:
        """Return (n, f), True in a random range of frames."""
        length = 1 + (self.uniform(0.0, 1.0) ** 2 * frames).floor()
        start = (self.uniform(0.0, 1.0) * (frames + length)).floor() - length
        at = torch.arange(frames)
        return (at >= start[:, None]) & (at < (start + length)[:, None])


def random_views(points: Float[Tensor, "n f 22 3"], rng: torch.Generator, worsen: bool = True) -> Views:
    """See windows of points through random cameras and an imperfect estimator.

    Args:
        points: Points in meters, Y up; bone lengths are varied slightly.
        rng: Random generator.
        worsen: Whether joints also jitter, swap sides and go missing. Occluded joints are hidden in any case.

    Returns:
        One view of each window; half of the windows are mirrored.
    """
    draw = _Draw(rng, len(points))
    turned = _turned(_mirrored(_with_other_lengths(points, draw), draw), draw)
    image, depth, focal = _projected(turned, draw)
    hips = depth[:, :, _HIPS].mean(-1, keepdim=True)
    scale = focal[:, None] / hips[..., 0]
    nearness = (hips - depth) * scale[..., None]
    reference = torch.cat([image, nearness[..., None]], -1)
    seen = _seen(turned[:, :, :SEEN], image[:, :, :SEEN], draw)
    joints, confidence = image[:, :, :SEEN], seen.float()
    if worsen:
        joints, confidence = _worsened(joints, confidence, draw)
    return Views(joints * (confidence > 0)[..., None], confidence, reference, scale)


def _with_other_lengths(points: Tensor, draw: _Draw) -> Tensor:
    """Scale the bones of each window by a few percent.

    Proportions of people vary more than those of the shape model, and estimators place joints differently.
    """
    shared = 0.06 * draw.normal(draw.n, _LENGTHS)
    own = 0.01 * draw.normal(draw.n, points.shape[2])
    hips = points[:, :, _HIPS].mean(2)
    made = points.clone()
    for joint, parent, length in _TREE:
        start, at = (hips, hips) if parent < 0 else (points[:, :, parent], made[:, :, parent])
        factor = torch.exp(shared[:, length] + own[:, joint])[:, None, None]
        made[:, :, joint] = at + factor * (points[:, :, joint] - start)
    return made


def _mirrored(points: Tensor, draw: _Draw) -> Tensor:
    flipped = points[:, :, list(MIRRORED)] * torch.tensor([-1.0, 1.0, 1.0])
    return torch.where(draw.chance(0.5)[:, None, None, None], flipped, points)


def _turned(points: Tensor, draw: _Draw) -> Tensor:
    """Return points relative to the mean of the hips, in the axes of the camera, which looks along -z."""
    n = draw.n
    across = points[:, :, _SHOULDERS[1]] - points[:, :, _SHOULDERS[0]]
    facing = torch.atan2(across[..., 2].sum(1), across[..., 0].sum(1))
    frontal = draw.chance(0.6)
    yaw = torch.where(frontal, facing + draw.uniform(-1.3, 1.3), draw.uniform(-math.pi, math.pi))
    # A tilted camera looks like a leaning person: the prior on the pitch has to resolve this.
    pitch = torch.where(draw.chance(0.75), draw.uniform(-0.09, 0.25), draw.uniform(-0.2, 0.45))
    roll = 0.04 * draw.normal(n)
    turn = _about(2, roll) @ _about(0, pitch) @ _about(1, yaw)
    centered = points - points[:, :, _HIPS].mean((1, 2), keepdim=True)
    return torch.einsum("nij,nfkj->nfki", turn, centered)


def _about(axis: int, angle: Tensor) -> Tensor:
    """Return (n, 3, 3) rotations about one of the axes."""
    c, s = torch.cos(angle), torch.sin(angle)
    turn = torch.eye(3).repeat(len(angle), 1, 1)
    i, j = [k for k in range(3) if k != axis]
    sign = -1.0 if axis == 1 else 1.0
    turn[:, i, i], turn[:, j, j], turn[:, i, j], turn[:, j, i] = c, c, -sign * s, sign * s
    return turn


def _projected(points: Tensor, draw: _Draw) -> tuple[Tensor, Tensor, Tensor]:
    """Return pixels (n, f, 22, 2) from the image center, y down, distances (n, f, 22) and focal lengths (n,).

    The camera is placed so that the person fills the image up to a margin; sometimes only from the hips up.
    """
    focal = _IMAGE / 2 / torch.tan(draw.uniform(0.18, 0.5))
    margin = torch.where(draw.chance(0.75), draw.uniform(0.02, 0.12), draw.uniform(-0.2, 0.3))
    bust = draw.chance(0.15)[:, None, None]
    framed = torch.ones(points.shape[:3], dtype=torch.bool)
    framed[:, :, [9, 10, 12, 13, 18, 19]] = ~bust
    distance = torch.full((draw.n,), 3.0)
    center = torch.zeros(draw.n, 2)
    for _ in range(4):  # perspective: the distance that fills the image has no closed form
        image, _ = _seen_from(points, distance, center, focal)
        high = torch.where(framed[..., None], image, -1e9).amax((1, 2))
        low = torch.where(framed[..., None], image, 1e9).amin((1, 2))
        center = center + (high + low) / 2 * (distance / focal)[:, None] * torch.tensor([1.0, -1.0])
        distance = distance * (high - low).amax(-1) / (_IMAGE * (1 - 2 * margin))
        distance = torch.maximum(distance, points[..., 2].amax((1, 2)) + 0.5)
    shift = draw.uniform(-1.0, 1.0, draw.n, 2) * margin.abs()[:, None] * _IMAGE
    center = center + shift * (distance / focal)[:, None]
    return *_seen_from(points, distance, center, focal), focal


def _seen_from(points: Tensor, distance: Tensor, center: Tensor, focal: Tensor) -> tuple[Tensor, Tensor]:
    depth = distance[:, None, None] - points[..., 2]
    local = (points[..., :2] - center[:, None, None]) * torch.tensor([1.0, -1.0])
    return local * (focal[:, None, None] / depth)[..., None], depth


def _seen(points: Tensor, image: Tensor, draw: _Draw) -> Tensor:
    """Return (n, f, 18) whether a joint is detected; some estimators also infer all occluded joints."""
    n, f = points.shape[:2]
    seen = torch.ones(points.shape[:3], dtype=torch.bool)
    honest = draw.chance(0.8)[:, None, None]  # does not infer occluded joints
    head = points[:, :, _EARS, 2].mean(2)
    behind = (points[:, :, _FACE, 2] - head[:, :, None]) < draw.uniform(-0.06, 0.0)[:, None, None]
    seen[:, :, _FACE] = ~(behind & honest)
    seen[:, :, _ARMS] &= ~(_behind_trunk(points, draw) & honest)
    outside = (image.abs() > _IMAGE / 2).any(-1)
    return seen & ~(outside & draw.chance(0.9)[:, None, None])


def _behind_trunk(points: Tensor, draw: _Draw) -> Tensor:
    """Return (n, f, 4) whether elbows and wrists are behind the trunk, between hips and neck."""
    hips, neck = points[:, :, _HIPS].mean(2), points[:, :, _NECK]
    arms = points[:, :, _ARMS]
    height = (neck - hips)[:, :, None, 1].abs().clamp_min(0.1)
    up = ((arms[..., 1] - hips[:, :, None, 1]) / height).clamp(0, 1)
    spine = hips[:, :, None] + up[..., None] * (neck - hips)[:, :, None]
    away = arms - spine
    return (away[..., 0].abs() < 0.14) & (away[..., 2] < -draw.uniform(0.15, 0.45)[:, None, None])


def _worsened(joints: Tensor, confidence: Tensor, draw: _Draw) -> tuple[Tensor, Tensor]:
    """Add the errors of estimators: jitter, outliers, swapped sides, joints lost briefly or throughout."""
    n, f = confidence.shape[:2]
    joints = _confused(joints, draw)
    # Jitter has a part per frame and a part that is constant over the window.
    strength = (draw.uniform(0.0, 1.0) ** 2 * 4.0)[:, None, None, None]
    joints = joints + draw.normal(*joints.shape) * strength * 0.7
    joints = joints + draw.normal(n, 1, SEEN, 2) * strength * 0.6
    far = draw.chance(0.01, n, f, SEEN) & draw.chance(0.3)[:, None, None]
    joints = joints + far[..., None] * draw.normal(n, f, SEEN, 2) * 25.0
    lost = draw.chance(0.03, n, f, SEEN) & draw.chance(0.6)[:, None, None]
    for group in _LOST:
        lost[:, :, group] |= _for_a_while(draw, 0.06, f) | draw.chance(0.03)[:, None, None]
    lost |= _for_a_while(draw, 0.02, f)
    graded = draw.chance(0.4)[:, None, None]
    sure = torch.where(graded, draw.uniform(0.3, 1.0, n, f, SEEN), torch.ones(1))
    sure = torch.where(far & graded, sure * 0.6, sure)
    return joints, confidence * sure * ~lost


def _for_a_while(draw: _Draw, share: float, frames: int) -> Tensor:
    """Return (n, f, 1), True in a range of frames of the given share of the windows."""
    return (draw.span(frames) & draw.chance(share)[:, None])[..., None]


def _confused(joints: Tensor, draw: _Draw) -> Tensor:
    """Swap left and right joints of some groups in ranges of frames."""
    order = list(MIRRORED[:SEEN])
    for group in _CONFUSED:
        now = _for_a_while(draw, 0.025, joints.shape[1])
        of_group = torch.zeros(SEEN, dtype=torch.bool)
        of_group[group] = True
        joints = torch.where((now & of_group)[..., None], joints[:, :, order], joints)
    return joints


def draw_length(lengths: Sequence[int], shares: Sequence[float], rng: torch.Generator) -> int:
    """Draw the length in frames that the windows of a step are cut to.

    Args:
        lengths: Possible lengths.
        shares: Relative frequency of each.
        rng: Random generator.
    """
    return lengths[int(torch.multinomial(torch.tensor(shares), 1, generator=rng))]
