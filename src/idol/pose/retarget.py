"""Retargeting: fitting one person's motion to another person's body, in the image plane."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from idol.clip import Pose
from idol.pose.joints import COCO_OF_OPENPOSE, body_18

# Parent of every joint in the tree rooted at the neck (OpenPose-18 indices), parents first.
_PARENT = {
    0: 1, 2: 1, 5: 1, 8: 1, 11: 1, 3: 2, 4: 3, 6: 5, 7: 6, 9: 8, 10: 9, 12: 11, 13: 12, 14: 0, 15: 0, 16: 14,
    17: 15,
}  # fmt: skip
_MIRROR = {2: 5, 3: 6, 4: 7, 8: 11, 9: 12, 10: 13, 14: 15, 16: 17}
_MIRROR |= {right: left for left, right in _MIRROR.items()}
_TRUNK_AND_LEGS = (8, 11, 9, 12, 10, 13)
_ACROSS = (
    2,
    5,
    14,
    15,
    16,
    17,
)  # shoulders and face: their length depends more on the view than on the person
_ANKLES, _KNEES, _HIPS, _SHOULDERS = (10, 13), (9, 12), (8, 11), (2, 5)
# Joints that fix the horizontal and the vertical position, by preference: the first group that is visible.
_CENTERS = (_HIPS, (1,), _SHOULDERS, range(18))
_GROUNDS = (_ANKLES, _KNEES, _HIPS, (1,), _SHOULDERS, range(18))
# Of the whole body: first and last joint, the body joint they hang on, the joint whose bone gives their
# ratio.
_DETAILS = ((17, 19, 13, 13), (20, 22, 10, 10), (23, 90, 0, 14), (91, 111, 7, 7), (112, 132, 4, 4))

SAME_POSTURE = 0.01
"""Below this root-mean-square distance, in person heights, two postures count as the same."""


def person_height(pose: Pose) -> float:
    """Estimate the standing height of the person in pixels, whatever the posture.

    Takes the median over the frames of the path from the neck over hip and knee to the ankle, which is 78 %
    of a standing adult's height. Without visible legs the distance from neck to hip (30 %) is used, without
    hips the width of the shoulders (22 %).

    Args:
        pose: Pose of one person, any number of frames.

    Returns:
        Height in pixels.

    Raises:
        ValueError: If no frame shows enough joints.
    """
    body = body_18(pose).keypoints
    length = {child: _lengths(body, child) for child in (2, 5, *_TRUNK_AND_LEGS)}
    legs = np.stack([length[a] + length[b] + length[c] for a, b, c in ((8, 9, 10), (11, 12, 13))])
    trunk = np.stack([length[8], length[11]])
    for chain, share in ((legs, 0.78), (trunk, 0.30), (length[2] + length[5], 0.22)):
        if np.isfinite(chain).any():
            return float(np.nanmedian(chain)) / share
    raise ValueError("pose: found neither legs, trunk nor shoulders, expected a visible person")


def _lengths(body: np.ndarray, child: int) -> np.ndarray:
    """Return the length (f,) of the bone that ends in a joint, NaN where one of its ends is missing."""
    ends = body[:, [child, _PARENT[child]]].astype(np.float64)
    length = np.hypot(*(ends[:, 0, :2] - ends[:, 1, :2]).T)
    return np.where((ends[..., 2] > 0).all(axis=1), length, np.nan)


def retarget(
    driving: Pose, reference: Pose, *, frame_height: int, frame_width: int, anchor: int | None = None
) -> Pose:
    """Fit the driving motion to the body and position of the reference person.

    Every limb keeps its direction and is scaled by the ratio of the reference's limb to the driving person's.
    The position of the body follows the driving motion, scaled by the ratio of the heights, such that in the
    anchor frame feet and hips are where the reference's are. A motion that would leave the frame is shifted
    sideways as a whole.

    The ratio of a limb is rejected if the limb is not visible or its ratio is far from the ratio of the
    heights (a limb pointing at the camera, shoulders seen from the side). The opposite limb's ratio then
    replaces it, or else the ratio of the heights. A reference in the same posture as the anchor frame, such
    as a frame of the driving video itself, is fitted by one similarity transform.

    Args:
        driving: The motion, f frames.
        reference: The person, one frame. If its size differs from the output's, it is first fitted into that,
            centered, with its aspect ratio kept.
        frame_height: Height of the output frames in pixels.
        frame_width: Width of the output frames in pixels.
        anchor: Index of the driving frame to align with the reference; None takes the first frame whose
            posture is nearly as similar to the reference's as any.

    Returns:
        The fitted motion, f frames; joints may lie outside the frame. Missing joints stay missing.

    Raises:
        ValueError: If the reference is not one frame, or has too few joints in common with the motion.
    """
    if reference.frames != 1:
        raise ValueError(f"reference: found {reference.frames} frames, expected 1")
    target = _fit_into_frame(reference, frame_height, frame_width)
    body = body_18(driving).keypoints.astype(np.float64)
    person = body_18(target).keypoints[0].astype(np.float64)
    distances, scales = _posture_distances(body, person)
    anchor = _anchor_frame(distances) if anchor is None else anchor
    if not np.isfinite(distances[anchor]):
        raise ValueError("driving, reference: found fewer than 3 joints in common, expected whole persons")
    same = distances[anchor] < SAME_POSTURE
    scale, ratios = scales[anchor], dict.fromkeys(_PARENT, scales[anchor])
    if not same:
        scale, ratios = _limb_ratios(body, person, scale)
    moved = _rebuild(body, ratios, scale)
    shift = _placement(body, moved, person, anchor, scale)
    moved[..., :2] += shift[:, None]
    if not same:
        # A reference in the same posture already fixes the position exactly.
        inward = _shift_inside(moved, person, frame_width)
        moved[..., 0] += inward
        shift[:, 0] += inward
    return Pose(_add_details(driving, moved, shift, ratios, scale), frame_height, frame_width)


def _fit_into_frame(reference: Pose, height: int, width: int) -> Pose:
    """Fit the reference into a frame, centered, with its aspect ratio kept."""
    ratio = min(height / reference.height, width / reference.width)
    inner = reference.resized(round(reference.height * ratio), round(reference.width * ratio))
    top, left = (height - inner.height) // 2, (width - inner.width) // 2
    return inner.cropped(-left, -top, width - left, height - top)


def _posture_distances(body: np.ndarray, person: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Measure how far each frame's posture is from the person's, up to translation and scale.

    Returns:
        (f,) root-mean-square distance in person heights, with a penalty for missing joints, infinite if fewer
        than 3 are shared; (f,) least-squares scale.
    """
    both = (body[..., 2] > 0) & (person[:, 2] > 0)
    count = np.maximum(both.sum(axis=1), 1)[:, None]
    weight = both[..., None]
    x, y = body[..., :2], np.broadcast_to(person[:, :2], body[..., :2].shape)
    # Least-squares scale of the centered joints, without rotation: an upright person stays upright.
    x = (x - (x * weight).sum(axis=1, keepdims=True) / count[..., None]) * weight
    y = (y - (y * weight).sum(axis=1, keepdims=True) / count[..., None]) * weight
    scale = (x * y).sum(axis=(1, 2)) / np.maximum((x * x).sum(axis=(1, 2)), 1e-12)
    residual = np.sqrt(((scale[:, None, None] * x - y) ** 2).sum(axis=(1, 2)) / count[:, 0])
    seen = person[person[:, 2] > 0]
    size = np.ptp(seen[:, :2], axis=0).max() if len(seen) else 0.0
    missing = 1 - both.sum(axis=1) / max(len(seen), 1)
    distance = residual / max(size, 1e-6) + 0.1 * missing
    usable = (both.sum(axis=1) >= 3) & (scale > 1e-6)
    return np.where(usable, distance, np.inf), scale


def _anchor_frame(distances: np.ndarray) -> int:
    """Return the first frame nearly as similar to the reference as the best: motions start as the photo."""
    best = int(np.argmin(distances))
    if distances[best] < SAME_POSTURE or not np.isfinite(distances[best]):
        return best
    return int(np.argmax(distances <= 1.5 * distances[best]))


def _limb_ratios(body: np.ndarray, person: np.ndarray, fallback: float) -> tuple[float, dict[int, float]]:
    """Return the ratio of the heights, and the ratio of the bone that ends in each joint."""
    pairs = {child: _bone_lengths(body, person, child) for child in _PARENT}
    trunk = [pairs[c] for c in _TRUNK_AND_LEGS if np.isfinite(pairs[c]).all()]
    scale = sum(p[1] for p in trunk) / sum(p[0] for p in trunk) if trunk else fallback
    plausible = {child: _plausible_ratio(pair, scale, child) for child, pair in pairs.items()}
    return scale, {child: _choose_ratio(plausible, child, scale) for child in _PARENT}


def _bone_lengths(body: np.ndarray, person: np.ndarray, child: int) -> tuple[float, float]:
    """Return the length of a bone of the driving person and of the reference, NaN if not visible.

    The driving length is the median over the frames in which the bone points as in the reference, within 30
    degrees, as foreshortening is similar there. Without 3 such frames the upper quartile is used.
    """
    lengths, own = _lengths(body, child), _lengths(person[None], child)[0]
    if not np.isfinite(lengths).any() or not own > 0:
        return np.nan, np.nan
    bones = body[:, child, :2] - body[:, _PARENT[child], :2]
    wanted = (person[child] - person[_PARENT[child]])[:2] / own
    alike = (bones @ wanted > np.cos(np.pi / 6) * lengths) & np.isfinite(lengths)
    typical = np.median(lengths[alike]) if alike.sum() >= 3 else np.nanpercentile(lengths, 75)
    return (float(typical), float(own)) if typical > 0 else (np.nan, np.nan)


def _plausible_ratio(pair: tuple[float, float], scale: float, child: int) -> float:
    """Return the ratio of a bone, or NaN if it is not visible or implausibly far from the heights' ratio."""
    ratio = pair[1] / pair[0]
    limit = 1.4 if child in _ACROSS else 2.0
    return ratio if 1 / limit <= ratio / scale <= limit else np.nan


def _choose_ratio(plausible: dict[int, float], child: int, scale: float) -> float:
    """Choose a bone's own ratio, the opposite bone's, or the heights'."""
    own, other = plausible[child], plausible[_MIRROR.get(child, child)]
    if child in _HIPS:  # one ratio for both, or a leaning reference would tilt the hips in every frame
        return float(np.nanmean([own, other])) if np.isfinite([own, other]).any() else scale
    if np.isnan(own) or own < 0.75 * other:  # much shorter than its pair: foreshortened in the reference
        own = other
    return scale if np.isnan(own) else own


def _rebuild(body: np.ndarray, ratios: dict[int, float], scale: float) -> np.ndarray:
    """Scale each bone along the tree; a joint without a visible ancestor is scaled about the origin."""
    moved = body.copy()
    moved[..., :2] *= scale
    for child in _PARENT:
        # Per frame the nearest visible ancestor counts; missing joints in between are skipped.
        placed = np.zeros(len(body), bool)
        ancestor = child
        while ancestor in _PARENT:
            ancestor = _PARENT[ancestor]
            now = ~placed & (body[:, ancestor, 2] > 0) & (body[:, child, 2] > 0)
            offset = body[now, child, :2] - body[now, ancestor, :2]
            moved[now, child, :2] = moved[now, ancestor, :2] + ratios[child] * offset
            placed |= now
    return moved


def _placement(
    body: np.ndarray, moved: np.ndarray, person: np.ndarray, anchor: int, scale: float
) -> Float[np.ndarray, "f 2"]:
    """Compute the shift of each rebuilt frame: hips fix x, the lowest joints fix y."""
    shared = (body[anchor, :, 2] > 0) & (person[:, 2] > 0)
    shift = np.empty((len(body), 2))
    for axis, parts, measure in ((0, _CENTERS, np.mean), (1, _GROUNDS, np.max)):
        joints = next(present for rows in parts if (present := [j for j in rows if shared[j]]))
        start, goal = measure(body[anchor, joints, axis]), measure(person[joints, axis])
        # The joint that touches the ground is the lowest of its frame, be it a foot or a hand.
        followed = list(range(18)) if parts is _GROUNDS and joints[0] in _ANKLES else joints
        shift[:, axis] = _shift_along(body, moved, axis, followed, measure, scale, goal - scale * start)
    return shift


def _shift_along(
    body: np.ndarray,
    moved: np.ndarray,
    axis: int,
    joints: list[int],
    measure: Callable[[np.ndarray], float],
    scale: float,
    offset: float,
) -> Float[np.ndarray, " f"]:
    """Compute the shift along one axis that gives each frame the measure the driving motion has.

    The measure is taken over the frame's visible joints and mapped to the output by scale and offset. Frames
    in which none of the joints is visible are interpolated.
    """
    visible = body[:, joints, 2] > 0
    known = np.flatnonzero(visible.any(axis=1))
    shifts = [
        scale * measure(body[i, joints, axis][visible[i]])
        + offset
        - measure(moved[i, joints, axis][visible[i]])
        for i in known
    ]
    return np.interp(np.arange(len(body)), known, shifts)


def _shift_inside(moved: np.ndarray, person: np.ndarray, width: int) -> float:
    """Compute the horizontal shift in pixels that keeps a motion in the frame, or centers one too wide.

    The median joint of every frame must stay inside, no closer to an edge than the reference's median joint
    or 0.15 of the reference's height, whichever is closer.
    """
    seen = moved[..., 2] > 0
    across = [np.median(frame[there, 0]) for frame, there in zip(moved, seen, strict=True) if there.any()]
    own = person[person[:, 2] > 0]
    middle, margin = float(np.median(own[:, 0])), 0.15 * float(np.ptp(own[:, 1]))
    low, high = min(margin, middle), max(width - 1 - margin, middle)
    if max(across) - min(across) > high - low:
        return (low + high - max(across) - min(across)) / 2
    return max(low - min(across), 0.0) + min(high - max(across), 0.0)


def _add_details(
    driving: Pose, moved: np.ndarray, shift: np.ndarray, ratios: dict[int, float], scale: float
) -> Float[np.ndarray, "f k 3"]:
    """Add face, hands and feet of a whole-body pose, moved and scaled with the limbs they hang on."""
    if driving.keypoints.shape[1] == 18:
        return np.where(driving.visible[..., None], moved, driving.keypoints).astype(np.float32)
    whole = driving.keypoints.astype(np.float64)
    fitted = whole.copy()
    for openpose, coco in enumerate(COCO_OF_OPENPOSE):
        if coco >= 0:
            fitted[:, coco] = moved[:, openpose]
    for first, last, openpose, bone in _DETAILS:
        coco, rows = COCO_OF_OPENPOSE[openpose], slice(first, last + 1)
        beside = scale * whole[:, rows, :2] + shift[:, None]
        hung = fitted[:, [coco], :2] + ratios[bone] * (whole[:, rows, :2] - whole[:, [coco], :2])
        fitted[:, rows, :2] = np.where(whole[:, [coco], 2:] > 0, hung, beside)
    return np.where(driving.visible[..., None], fitted, driving.keypoints).astype(np.float32)
