"""MediaPipe's BlazePose (people, landmarks and segmentation) on a plain TFLite runtime.

Follows MediaPipe's pose graph: an SSD detects people by the center of their hips and a circle around the
whole body; a second network receives the upright square around that circle.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from idol.assets import asset_path
from idol.errors import UserError
from idol.pose.joints import from_coco17
from idol.prepare.estimators.crop_transform import CropTransform, Float, crop_around, non_max_suppression
from idol.prepare.estimators.detection import PersonDetection, sort_by_area

_SIDE_FOUND, _SIDE_LANDMARKS = 224, 256  # sides of the two networks' inputs in pixels
_COCO = (
    0,
    2,
    5,
    7,
    8,
    11,
    12,
    13,
    14,
    15,
    16,
    23,
    24,
    25,
    26,
    27,
    28,
)  # indices of COCO's joints in BlazePose's 33 landmarks


@dataclass(frozen=True)
class BlazePose:
    """Estimates poses of 18 joints.

    Attributes:
        threshold: Smallest score of a person, in [0, 1].
    """

    threshold: float = 0.5

    def estimate(self, frames: NDArray[np.uint8]) -> list[list[PersonDetection]]:
        """Detect the people of each frame, largest first.

        Args:
            frames: (f, 3, h, w) uint8 sRGB.
        """
        return [
            sort_by_area([person for person, _ in self._detect(frame, _whole(frame))]) for frame in frames
        ]

    def _detect(self, frame: NDArray[np.uint8], view: CropTransform) -> list[tuple[PersonDetection, Float]]:
        """Detect the people in a crop of the frame, each with a mask (h, w) in [0, 1]."""
        crops, scores = detect_bodies(view.cut(frame), view, self.threshold)
        landmarks = [_landmarks(frame, window) for window in crops]
        return [
            (PersonDetection(_box_of(joints, frame.shape), float(score), joints), mask)
            for (joints, mask, present), score in zip(landmarks, scores, strict=True)
            if present > 0.5
        ]


@dataclass(frozen=True)
class BlazeMask:
    """Estimates masks with BlazePose's segmentation output.

    Attributes:
        threshold: Smallest score of a person, in [0, 1].
    """

    threshold: float = 0.3

    def estimate(
        self, frames: NDArray[np.uint8], people: list[PersonDetection | None] | None = None
    ) -> NDArray[np.float32]:
        """Segment one person per frame.

        Args:
            frames: (f, 3, h, w) uint8 sRGB.
            people: The person to segment in each frame; None, for a frame or for all, takes the largest.

        Returns:
            (f, h, w) float32 in [0, 1]; all 0 in frames without a person.
        """
        wanted = people if people is not None else [None] * len(frames)
        return np.stack([self._one(frame, person) for frame, person in zip(frames, wanted, strict=True)])

    def _one(self, frame: NDArray[np.uint8], person: PersonDetection | None) -> Float:
        if person is None:
            seen = BlazePose(self.threshold)._detect(frame, _whole(frame))
            empty = np.zeros(frame.shape[1:], np.float32)
            return max(seen, key=lambda found: found[0].area)[1] if seen else empty
        seen = BlazePose(self.threshold)._detect(
            frame, crop_around(person.box, _SIDE_FOUND, _SIDE_FOUND, 1.4)
        )
        far, mask = min(
            ((_distance(found, person), mask) for found, mask in seen),
            key=lambda pair: pair[0],
            default=(np.inf, None),
        )
        if mask is not None and far < 0.2 * max(person.box[2:] - person.box[:2]):
            return mask
        return _landmarks(frame, crop_of_person(person))[1]  # not detected, but its position is known


def crop_of_person(person: PersonDetection) -> CropTransform:
    """Return the crop that BlazePose's detector would choose, from the joints of another estimator."""
    joints = person.keypoints[:18]
    seen = joints[:, 2] > 0.3
    middle, half = (person.box[:2] + person.box[2:]) / 2, (person.box[2:] - person.box[:2]).max() / 2
    if not seen[[1, 8, 11]].all():  # neck and hips
        return body_crop(middle, middle - np.array([0, half], np.float32))
    hips = joints[[8, 11], :2].mean(0)
    reach = 1.15 * np.linalg.norm(joints[seen, :2] - hips, axis=-1).max()
    upward = joints[1, :2] - hips
    return body_crop(hips, hips + upward / max(float(np.linalg.norm(upward)), 1e-6) * reach)


def _distance(a: PersonDetection, b: PersonDetection) -> float:
    """Return the median distance in pixels of the joints that both have detected."""
    both = (a.keypoints[:18, 2] > 0.3) & (b.keypoints[:18, 2] > 0.3)
    apart = np.linalg.norm(a.keypoints[:18, :2] - b.keypoints[:18, :2], axis=-1)
    return float(np.median(apart[both])) if both.any() else np.inf


def _whole(frame: NDArray[np.uint8]) -> CropTransform:
    _, height, width = frame.shape
    return crop_around(np.array([0, 0, width, height], np.float32), _SIDE_FOUND, _SIDE_FOUND, 1.0)


def anchors() -> Float:
    """Return the (2254, 2) anchors in [0, 1]: cells of strides 8, 16, 32 with 2, 2, 6 predictions each."""
    levels = []
    for stride, repeats in ((8, 2), (16, 2), (32, 6)):
        n = _SIDE_FOUND // stride
        y, x = np.divmod(np.arange(n * n), n)
        levels.append(np.repeat(np.stack([x + 0.5, y + 0.5], -1) / n, repeats, axis=0))
    return np.concatenate(levels).astype(np.float32)


def detect_bodies(
    small: NDArray[np.uint8], view: CropTransform, threshold: float
) -> tuple[list[CropTransform], Float]:
    """Detect people in a crop.

    Args:
        small: (224, 224, 3) uint8, the crop.
        view: Transform of the crop, as part of the whole image.
        threshold: Smallest score of a person, in [0, 1].

    Returns:
        Upright crops around the people in the whole image, and their scores.
    """
    raw, logits = _run("blazepose-detection", small.astype(np.float32) / 127.5 - 1)
    scores = expit(logits[0, :, 0])
    sure = scores > threshold
    # Offsets and sizes are in pixels of the network's input: normalize to [0, 1].
    raw, scores, cells = raw[0][sure] / _SIDE_FOUND, scores[sure], anchors()[sure]
    boxes = np.concatenate([cells + raw[:, :2] - raw[:, 2:4] / 2, cells + raw[:, :2] + raw[:, 2:4] / 2], -1)
    kept = non_max_suppression(boxes, scores, limit=0.3)
    # Of the detector's four keypoints the first two: center of the hips, point on the circle.
    points = (cells[:, None] + raw[:, 4:8].reshape(-1, 2, 2))[kept] * _SIDE_FOUND
    return [body_crop(*view.to_image(pair - 0.5)) for pair in points], scores[kept]


def body_crop(hips: NDArray, rim: NDArray) -> CropTransform:
    """Return the upright square around a body.

    Args:
        hips: (2,) x, y of the center of the hips in pixels.
        rim: (2,) x, y of the point above the head on the circle around the whole body.
    """
    x, y = (float(v) for v in rim - hips)
    side = 2.5 * max(float(np.hypot(x, y)), 1.0)  # the circle's diameter plus a quarter, as in MediaPipe
    angle = np.pi / 2 - np.arctan2(-y, x)
    return CropTransform(
        (float(hips[0]) + 0.5, float(hips[1]) + 0.5), (side, side), _SIDE_LANDMARKS, _SIDE_LANDMARKS, angle
    )


def _landmarks(frame: NDArray[np.uint8], window: CropTransform) -> tuple[Float, Float, float]:
    """Return joints (18, 3), mask (h, w) and the probability that the crop shows a person."""
    points, present, mask = _run("blazepose-landmarks", window.cut(frame).astype(np.float32) / 255)[:3]
    found = points.reshape(39, 5)[:33]
    confidence = expit(found[:, 3:4])
    joints = np.concatenate([window.to_image(found[:, :2] - 0.5), confidence], -1).astype(np.float32)
    joints[..., 2] *= _inside(joints, frame.shape)
    whole = window.paste(expit(mask[0, :, :, 0]), *frame.shape[1:])
    body = from_coco17(joints[None, list(_COCO)], *frame.shape[1:]).keypoints[0]
    return body, whole, float(present.ravel()[0])


def _inside(joints: Float, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    _, height, width = shape
    x, y = joints[:, 0], joints[:, 1]
    return (x >= 0) & (y >= 0) & (x <= width - 1) & (y <= height - 1)


def _box_of(joints: Float, shape: tuple[int, ...]) -> Float:
    """Return the box (4,) around the joints, extended because head and hands reach beyond them."""
    _, height, width = shape
    seen = joints[joints[:, 2] > 0.3, :2] if (joints[:, 2] > 0.3).any() else joints[:, :2]
    low, high = seen.min(0), seen.max(0)
    margin = 0.1 * (high - low).max()
    return np.clip([*(low - margin), *(high + margin)], 0, [width, height] * 2).astype(np.float32)


def _run(asset: str, image: NDArray) -> list[NDArray]:
    """Run a network on one image (side, side, 3); outputs are in the order of its output list."""
    net = _interpreter(asset)
    net.set_tensor(net.get_input_details()[0]["index"], image[None])
    net.invoke()
    return [net.get_tensor(output["index"]) for output in net.get_output_details()]


@lru_cache(maxsize=2)
def _interpreter(asset: str) -> Any:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise UserError(
            "mask", "ai-edge-litert is not installed", "pip install 'idol-diffusion[prepare]'"
        ) from error
    import torch

    net = Interpreter(str(asset_path(asset)), num_threads=torch.get_num_threads())
    net.allocate_tensors()
    return net
