"""Warps of a person's image, limb by limb, onto other skeletons: the draft of a clip.

Every body part is cut out around its bones and moved by an affine map from the image's joints to a frame's:
along the bone by the ratio of the bone's lengths, across it by the scale of the whole body. The parts are
composited over one another, arms last. What the image hides, what is turned away or foreshortened comes out
wrong; colors, prints and the face are where they belong. The network is given the draft and corrects the
rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, UInt8
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from idol.clip import Pose
from idol.pose.joints import body_18

_SHOULDERS, _HIPS = (2, 5), (8, 11)
DRAFT_DEPTH = 0.6
"""Depth of the person in every draft: midway between the farthest, 0.2, and the nearest point, 1."""


class Draft(NamedTuple):
    """The warped person in front of the background, in both modalities."""

    video: UInt8[np.ndarray, "f 3 y x"]
    """sRGB, in front of the background."""
    depth: Float32[np.ndarray, "f y x"]
    """`DRAFT_DEPTH` on the person, 0 elsewhere."""


@dataclass(frozen=True)
class BodyPart:
    """A rigid part of the body.

    Attributes:
        joints: `OPENPOSE_18` joints that move it; for a bone, parent and child.
        radius: Half its width, as a share of the torso's length.
        beyond: Extent past the child joint (hands, feet), as a share of the bone's length.
    """

    joints: tuple[int, ...]
    radius: float
    beyond: float = 0.0

    @property
    def is_bone(self) -> bool:
        """Whether the part is a bone between two joints."""
        return len(self.joints) == 2


TORSO, HEAD = BodyPart((2, 5, 11, 8), 0.06), BodyPart((0, 14, 15, 16, 17, 1), 0.3)
BODY_PARTS = (
    TORSO,
    BodyPart((8, 9), 0.2), BodyPart((11, 12), 0.2),
    BodyPart((9, 10), 0.15, 0.3), BodyPart((12, 13), 0.15, 0.3),
    HEAD,
    BodyPart((2, 3), 0.13), BodyPart((5, 6), 0.13),
    BodyPart((3, 4), 0.11, 0.45), BodyPart((6, 7), 0.11, 0.45),
)  # fmt: skip
"""In compositing order, bottom first."""


@dataclass(frozen=True)
class PartImage:
    """A part cut out of the image.

    Attributes:
        pixels: (4, h, w) colors in [0, 255], premultiplied by the coverage in [0, 1] of the last channel.
        left: Column of its left edge in the image.
        top: Row of its top edge.
    """

    pixels: Tensor
    left: int
    top: int


@dataclass(frozen=True)
class LimbWarp:
    """A person cut into parts, which can be warped onto any number of skeletons.

    Attributes:
        joints: (18, 3) x, y in pixels of the image, and confidence.
        pieces: The parts whose joints are visible, bottom first.
    """

    joints: np.ndarray
    pieces: dict[BodyPart, PartImage]

    @classmethod
    def from_image(
        cls, image: UInt8[np.ndarray, "3 h w"], mask: Bool[np.ndarray, "h w"], pose: Pose
    ) -> LimbWarp:
        """Cut the person of an image into parts.

        Args:
            image: (3, h, w) uint8 sRGB.
            mask: (h, w) bool: the person.
            pose: The person's joints in pixels of the image, one frame.

        Raises:
            ValueError: If the pose is not one frame of the image's size.
        """
        if pose.frames != 1 or (pose.height, pose.width) != mask.shape:
            found = f"{pose.frames} frames of {pose.height} x {pose.width}"
            raise ValueError(f"pose: found {found}, expected 1 of {mask.shape[0]} x {mask.shape[1]}")
        joints = body_18(pose).keypoints[0]
        return cls(joints, _cut(image, mask, joints))

    def warp(self, target: Pose) -> tuple[Float[np.ndarray, "f 3 y x"], Float[np.ndarray, "f y x"]]:
        """Warp the parts onto the skeletons of a clip.

        Args:
            target: Joints of f frames of height y and width x.

        Returns:
            Colors (f, 3, y, x) in [0, 255], and coverage (f, y, x) in [0, 1]. A part is left out where its
            joints are not visible, in the image or in the frame.
        """
        joints = body_18(target).keypoints
        layers = torch.zeros(len(joints), 4, target.height, target.width)
        scales = [body_scale(self.joints, frame) for frame in joints]
        for part, piece in self.pieces.items():
            for layer, frame, scale in zip(layers, joints, scales, strict=True):
                back = _part_map(part, self.joints, frame, scale)
                if back is not None:
                    _composite(layer, piece, back)
        colors, covered = layers[:, :3], layers[:, 3:]
        return (colors / covered.clamp_min(1e-4)).clamp(0, 255).numpy(), covered[:, 0].numpy()

    def draft(self, target: Pose, background: UInt8[np.ndarray, "*g 3 y x"]) -> Draft:
        """Warp the person and composite it in front of a background.

        Args:
            target: Joints of f frames of height y and width x.
            background: (3, y, x) or (f, 3, y, x) uint8 sRGB.
        """
        colors, covered = self.warp(target)
        alpha = covered[:, None]
        video = np.rint(colors * alpha + background * (1 - alpha)).clip(0, 255).astype(np.uint8)
        return Draft(video, np.where(covered > 0.5, np.float32(DRAFT_DEPTH), np.float32(0)))


_SEAM = 0.08  # overlap of the parts, as a share of the torso's length: without it joints gape
# Limits of a bone's stretch relative to the whole body: a limb foreshortened in the image has no texture.
_STRETCH_LIMITS = (0.15, 2.0)
# Limits of the torso's widening: seen from the side, a body still has some width.
_WIDTH_LIMITS = (0.5, 1.5)


def body_scale(source: Float[np.ndarray, "18 3"], target: Float[np.ndarray, "18 3"]) -> float:
    """Return the scale of the target's body: the length-weighted median ratio of the bones visible in both.

    The median is robust to bones that point at the camera in one of the two.

    Args:
        source: (18, 3) x, y in pixels and confidence.
        target: (18, 3), likewise.

    Returns:
        Target size / source size; 1 if no bone is visible in both.
    """
    ratios, lengths = [], []
    for a, b in (*(part.joints for part in BODY_PARTS if part.is_bone), _SHOULDERS, _HIPS, (1, 8), (1, 11)):
        if min(source[[a, b], 2].min(), target[[a, b], 2].min()) > 0:
            before, after = (float(np.linalg.norm(x[a, :2] - x[b, :2])) for x in (source, target))
            ratios.append(after / max(before, 1e-3))
            lengths.append(max(before, 1e-3))
    if not ratios:
        return 1.0
    order = np.argsort(ratios)
    # Weighted median: the first ratio at which half of the total length is reached.
    weights = np.asarray(lengths)[order].cumsum()
    return float(np.asarray(ratios)[order][np.searchsorted(weights, 0.5 * weights[-1])])


def _cut(image: np.ndarray, mask: np.ndarray, joints: np.ndarray) -> dict[BodyPart, PartImage]:
    """Cut out the parts whose joints are visible, bottom first."""
    known = [part for part in BODY_PARTS if _seen(part, joints).sum() >= 2]
    if not known:
        return {}
    length = _torso_length(joints)
    rows, columns = np.mgrid[: mask.shape[0], : mask.shape[1]]
    points = np.stack([columns, rows], -1).astype(np.float32)
    distances = np.stack([_distance(part, joints, points) - part.radius * length for part in known])
    nearest, seam = distances.min(0), _SEAM * length
    # Every pixel belongs to the nearest parts; shares fade out over the seam, so that joints have no gap.
    shares = np.clip((nearest + seam - distances) / (0.5 * seam), 0, 1) * mask
    found = {part: _crop_part(image, share) for part, share in zip(known, shares, strict=True)}
    return {part: piece for part, piece in found.items() if piece is not None}


def _crop_part(image: np.ndarray, share: np.ndarray) -> PartImage | None:
    rows, columns = np.flatnonzero(share.any(1)), np.flatnonzero(share.any(0))
    if not rows.size:
        return None
    cut = (Ellipsis, slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    weight = share[cut].astype(np.float32)[None]
    return PartImage(
        torch.from_numpy(np.concatenate([image[cut] * weight, weight])), int(columns[0]), int(rows[0])
    )


def _seen(part: BodyPart, joints: np.ndarray) -> np.ndarray:
    return joints[list(part.joints), 2] > 0


def _torso_length(joints: np.ndarray) -> float:
    """Estimate the distance from neck to hips in pixels; also from the shoulders' width and the bones."""
    seen = joints[:, 2] > 0
    # The largest of several estimates: foreshortening only makes distances shorter.
    lengths = [1.0]
    if seen[1] and seen[list(_HIPS)].any():
        hips = joints[[h for h in _HIPS if seen[h]], :2].mean(0)
        lengths.append(float(np.linalg.norm(joints[1, :2] - hips)))
    if seen[list(_SHOULDERS)].all():
        lengths.append(1.3 * float(np.linalg.norm(joints[2, :2] - joints[5, :2])))
    bones = [part.joints for part in BODY_PARTS if part.is_bone]
    lengths += [
        1.1 * float(np.linalg.norm(joints[a, :2] - joints[b, :2])) for a, b in bones if seen[[a, b]].all()
    ]
    return max(lengths)


def _distance(part: BodyPart, joints: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Measure pixels from each point (h, w, 2) to the part's bone, the torso's quadrilateral, or the head."""
    seen = _seen(part, joints)
    corners = joints[list(part.joints), :2][seen].astype(np.float32)
    # The neck only turns the head; its distance counts from the face, where that is visible.
    if part is HEAD:
        face = corners[:-1] if seen[-1] and len(corners) > 1 else corners
        return np.linalg.norm(points - face.mean(0), axis=-1)
    if part is TORSO and len(corners) == 4:
        inside = _inside(corners, points)
        edges = np.min([_segment_distance(points, a, b) for a, b in _sides(corners)], axis=0)
        return np.where(inside, -edges, edges)
    end = corners[1] + part.beyond * (corners[1] - corners[0])
    return _segment_distance(points, corners[0], end)


def _segment_distance(points: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    along = b - a
    share = np.clip(((points - a) @ along) / max(float(along @ along), 1e-6), 0, 1)
    return np.linalg.norm(points - (a + share[..., None] * along), axis=-1)


def _inside(corners: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Test whether points lie in a polygon (even-odd rule)."""
    inside = np.zeros(points.shape[:-1], bool)
    x, y = points[..., 0], points[..., 1]
    for (x0, y0), (x1, y1) in _sides(corners):
        crosses = (y0 > y) != (y1 > y)
        inside ^= crosses & (x < (x1 - x0) * (y - y0) / (y1 - y0 + 1e-9) + x0)
    return inside


def _sides(corners: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pair up the ends of each side of a polygon."""
    return zip(corners, np.roll(corners, -1, 0), strict=True)


def _part_map(part: BodyPart, source: np.ndarray, target: np.ndarray, scale: float) -> np.ndarray | None:
    """Return the (2, 3) affine map from the frame's pixels to the image's, or None if joints are missing."""
    both = _seen(part, source) & _seen(part, target)
    before, after = (x[list(part.joints), :2][both].astype(np.float64) for x in (source, target))
    if len(before) < 2:
        return None
    if part is TORSO and len(before) == 4:
        return _torso_map(before, after, scale)
    if part.is_bone or part is TORSO:
        return _bone_map(before[0], before[-1], after[0], after[-1], scale)
    return _head_map(before, after, scale)


def _bone_map(a: np.ndarray, b: np.ndarray, to_a: np.ndarray, to_b: np.ndarray, scale: float) -> np.ndarray:
    """Map a bone: along it by its own stretch, across it by the scale of the body."""
    before, after = b - a, to_b - to_a
    stretch = _stretch(before, after, scale)
    old, new = _basis(before), _basis(after)
    # Into the frame's bone basis, unscaled along and across the bone, out of the image's bone basis.
    back = old @ np.diag([1 / stretch, 1 / scale]) @ new.T
    return np.column_stack([back, (a + b) / 2 - back @ ((to_a + to_b) / 2)])


def _stretch(before: np.ndarray, after: np.ndarray, scale: float) -> float:
    """Return the stretch of a bone, limited to what its texture can bear."""
    ratio = float(np.linalg.norm(after)) / max(float(np.linalg.norm(before)), 1e-3)
    return float(np.clip(ratio, _STRETCH_LIMITS[0] * scale, _STRETCH_LIMITS[1] * scale))


def _basis(direction: np.ndarray) -> np.ndarray:
    """Return a (2, 2) basis: columns along and across a direction."""
    length = float(np.linalg.norm(direction))
    along = direction / length if length > 1e-3 else np.array([0.0, 1.0])
    return np.stack([along, [-along[1], along[0]]], 1)


def _torso_map(before: np.ndarray, after: np.ndarray, scale: float) -> np.ndarray:
    """Map the torso: a bone from neck to hips, widened (or mirrored) as shoulders and hips are."""
    old_spine, spine = (x[2:].mean(0) - x[:2].mean(0) for x in (before, after))
    old, new = _basis(old_spine), _basis(spine)
    old_width, width = ((x[0] + x[3] - x[1] - x[2]) / 2 @ f[:, 1] for x, f in ((before, old), (after, new)))
    wider = abs(width) / max(abs(old_width), 1e-3)
    wider = float(np.clip(wider, _WIDTH_LIMITS[0] * scale, _WIDTH_LIMITS[1] * scale)) * (
        -1 if width * old_width < 0 else 1
    )
    back = old @ np.diag([1 / _stretch(old_spine, spine, scale), 1 / wider]) @ new.T
    return np.column_stack([back, before.mean(0) - back @ after.mean(0)])


def _head_map(before: np.ndarray, after: np.ndarray, scale: float) -> np.ndarray:
    """Map the head: the rotation that best fits its joints, at the body's scale."""
    old, new = before - before.mean(0), after - after.mean(0)
    # Closed-form 2-D Procrustes: the angle of the sum of cross and dot products.
    turn = np.arctan2((old[:, 0] * new[:, 1] - old[:, 1] * new[:, 0]).sum(), (old * new).sum())
    back = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]) / scale
    return np.column_stack([back, before.mean(0) - back @ after.mean(0)])


def _composite(layer: Tensor, piece: PartImage, back: np.ndarray) -> None:
    """Composite a part over a frame (4, y, x), in place; `back` maps frame pixels to image pixels."""
    x0, y0, x1, y1 = _covered_box(piece, back, (layer.shape[-2], layer.shape[-1]))
    if x0 >= x1 or y0 >= y1:
        return
    h, w = piece.pixels.shape[-2:]
    # `affine_grid` works in coordinates in which -1 and 1 are the outer edges: convert on both sides.
    to_unit = np.array([[2 / w, 0, 1 / w - 1], [0, 2 / h, 1 / h - 1], [0, 0, 1]])
    from_image = np.array([[1, 0, -piece.left], [0, 1, -piece.top], [0, 0, 1]])
    to_pixels = np.array(
        [[(x1 - x0) / 2, 0, (x0 + x1 - 1) / 2], [0, (y1 - y0) / 2, (y0 + y1 - 1) / 2], [0, 0, 1]]
    )
    theta = to_unit @ from_image @ np.vstack([back, [0, 0, 1]]) @ to_pixels
    grid = affine_grid(
        torch.from_numpy(theta[None, :2]).float(), [1, 4, y1 - y0, x1 - x0], align_corners=False
    )
    moved = grid_sample(piece.pixels[None], grid, align_corners=False)[0]
    below = layer[:, y0:y1, x0:x1]
    below.mul_(1 - moved[3:]).add_(moved)  # premultiplied "over"


def _covered_box(piece: PartImage, back: np.ndarray, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return the box x0, y0, x1, y1 of the frame's pixels that the part can cover."""
    h, w = piece.pixels.shape[-2:]
    corners = np.array([[x, y] for x in (-1, w) for y in (-1, h)]) + (piece.left, piece.top)
    positions = (corners - back[:, 2]) @ np.linalg.inv(back[:, :2]).T
    low, high = np.floor(positions.min(0)).clip(0), np.ceil(positions.max(0)) + 1
    return int(low[0]), int(low[1]), int(min(high[0], size[1])), int(min(high[1], size[0]))
