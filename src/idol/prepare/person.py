"""The person of a photo: selection, mask and pose."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from idol.clip import Pose
from idol.clip.images import read_image
from idol.errors import UserError
from idol.prepare.estimators.crop_transform import Float
from idol.prepare.estimators.detection import MIN_CONFIDENCE, PersonDetection, sort_by_area
from idol.prepare.estimators.registry import mask_estimator, pose_estimator

MIN_JOINTS = 5  # detections with fewer confident joints are not people


@dataclass(frozen=True)
class Person:
    """The person to be animated.

    Attributes:
        image: (3, h, w) uint8 sRGB, the whole photo.
        mask: (h, w) bool, the person's pixels.
        pose: One frame, 18 or 133 joints in pixels of the photo; joints not found have confidence 0.
        notes: Remarks for the user, one sentence each.
    """

    image: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    pose: Pose
    notes: tuple[str, ...] = ()


def load_person(
    path: str | Path, index: int | None = None, *, estimator: str = "rtmpose", masker: str = "mediapipe"
) -> Person:
    """Find the person of a photo.

    Args:
        path: Path of the photo.
        index: Which person to take, in descending order of size from 0; None takes the largest, with a note
            if there are several.
        estimator: Name of the pose estimator, as in `pose_estimator`.
        masker: Name of the mask estimator, as in `mask_estimator`.

    Raises:
        UserError: If the photo cannot be read, shows no person, or has no person of that index.
    """
    try:
        image = read_image(path)
    except UserError as wrong:
        raise UserError("person", f"{path}: {wrong.found}", wrong.remedy) from wrong
    people = confident_people(pose_estimator(estimator).estimate(image[None])[0])
    person, notes = _choose(people, index, path)
    mask = person_mask(image, person, masker)
    if not mask.any():
        raise UserError(
            "person", f"{path}: a person without a clear outline", "give a sharper or larger photo of them"
        )
    return Person(image, mask, to_pose([person], *image.shape[1:]), notes)


def confident_people(found: list[PersonDetection]) -> list[PersonDetection]:
    """Return the detections of a frame that have enough confident joints, largest first."""
    return sort_by_area([person for person in found if person.num_confident_joints >= MIN_JOINTS])


def to_pose(people: list[PersonDetection], height: int, width: int) -> Pose:
    """Convert detections to a pose; joints of low confidence become missing.

    Args:
        people: The person in each frame.
        height: Height of the frames in pixels.
        width: Width of the frames in pixels.
    """
    keypoints = np.stack([person.keypoints for person in people])
    keypoints[keypoints[..., 2] < MIN_CONFIDENCE] = 0
    return Pose(keypoints, height, width)


def _choose(
    people: list[PersonDetection], index: int | None, path: str | Path
) -> tuple[PersonDetection, tuple[str, ...]]:
    if not people:
        hint = "give a photo in which a person is clearly visible"
        raise UserError("person", f"{path}: no person found", hint)
    if index is not None and not 0 <= index < len(people):
        found = f"{index}, but the photo shows {len(people)} (largest first, counted from 0)"
        raise UserError("person_index", found, f"give a number from 0 to {len(people) - 1}")
    note = f"{len(people)} people in the photo: the largest is taken (`person_index` chooses another)"
    return people[index or 0], (note,) if index is None and len(people) > 1 else ()


def person_mask(
    image: NDArray[np.uint8], person: PersonDetection, masker: str = "mediapipe"
) -> NDArray[np.bool_]:
    """Segment one person, without neighbors: inside the box, connected to the joints, sharp at image edges.

    Args:
        image: (3, h, w) uint8 sRGB.
        person: The person's detection.
        masker: Name of the mask estimator, as in `mask_estimator`.

    Returns:
        (h, w) bool.
    """
    soft = mask_estimator(masker).estimate(image[None], [person])[0]
    x0, y0, x1, y1 = _extended(person.box, *image.shape[1:])
    window = np.s_[y0:y1, x0:x1]
    # The network's mask is coarse: the guided filter moves its edge to the image's edge.
    radius = max(2, round(max(y1 - y0, x1 - x0) / 150))
    sharp = guided_filter(image[:, y0:y1, x0:x1].astype(np.float32).mean(0) / 255, soft[window], radius)
    mask = np.zeros(soft.shape, bool)
    mask[window] = sharp > 0.5
    return _keep_components(mask, person)


def _extended(box: Float, height: int, width: int) -> tuple[int, int, int, int]:
    """Extend a box by a twelfth of its longer side in each direction, in whole pixels inside the image."""
    margin = (box[2:] - box[:2]).max() / 12
    low, high = np.floor(box[:2] - margin), np.ceil(box[2:] + margin)
    return max(0, int(low[0])), max(0, int(low[1])), min(width, int(high[0])), min(height, int(high[1]))


def _keep_components(mask: NDArray[np.bool_], person: PersonDetection) -> NDArray[np.bool_]:
    """Keep the connected components of a mask that contain joints, and fill pinholes."""
    parts, count = ndimage.label(mask)
    joints = person.keypoints[person.keypoints[:, 2] >= MIN_CONFIDENCE, :2].round().astype(int)
    joints = joints[(joints >= 0).all(1) & (joints < mask.shape[::-1]).all(1)]
    touched = np.bincount(parts[joints[:, 1], joints[:, 0]], minlength=count + 1) > 0
    touched[0] = False
    kept = touched[parts]
    holes, count = ndimage.label(~kept)
    small = np.bincount(holes.ravel(), minlength=count + 1) < kept.sum() / 2000
    return kept | small[holes]


def guided_filter(guide: Float, values: Float, radius: int, epsilon: float = 1e-4) -> Float:
    """Smooth `values` while keeping the edges of `guide` (guided filter, He et al., ECCV 2010).

    Args:
        guide: (h, w) float32 in [0, 1].
        values: (h, w) float32 in [0, 1].
        radius: Half side of the averaging windows in pixels.
        epsilon: Variance of the guide below which a window is treated as flat.

    Returns:
        (h, w) float32.
    """

    def mean(a: Float) -> Float:
        return ndimage.uniform_filter(a, 2 * radius + 1, mode="nearest")

    middle, level = mean(guide), mean(values)
    # Local linear model of the values in the guide (Eqs. 5 and 6), averaged over all windows (Eq. 8).
    slope = (mean(guide * values) - middle * level) / (mean(guide * guide) - middle**2 + epsilon)
    return (mean(slope) * guide + mean(level - slope * middle)).astype(np.float32)
