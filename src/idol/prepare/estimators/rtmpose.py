"""Top-down pose estimation: YOLOX detects people, a SimCC network (RTMPose, DWPose) their joints."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from idol.assets import asset_path
from idol.clip import Pose
from idol.errors import UserError
from idol.pose.joints import from_halpe26, from_wholebody, mirrored
from idol.prepare.estimators.crop_transform import Float, crop_around, letterbox, non_max_suppression
from idol.prepare.estimators.detection import PersonDetection, sort_by_area

_MEAN = np.array(
    [123.675, 116.28, 103.53], np.float32
)  # of ImageNet, RGB: what the pose networks were trained with
_STD = np.array([58.395, 57.12, 57.375], np.float32)


@dataclass(frozen=True)
class TopDownEstimator:
    """A pose estimator of two ONNX networks, named by their entries in `idol.assets`.

    Attributes:
        detector: Asset of the YOLOX network.
        pose: Asset of the SimCC network.
        joints: Joint layout of the SimCC network.
        threshold: Smallest score of a person, in [0, 1].
        max_people: Number of people per frame to process, largest first.
    """

    detector: str
    pose: str
    joints: Literal["halpe26", "wholebody133"]
    threshold: float = 0.4
    max_people: int = 8

    def estimate(self, frames: NDArray[np.uint8]) -> list[list[PersonDetection]]:
        """Detect the people of each frame, largest first.

        Args:
            frames: (f, 3, h, w) uint8 sRGB.
        """
        return [self._people(frame) for frame in frames]

    def _people(self, frame: NDArray[np.uint8]) -> list[PersonDetection]:
        boxes, scores = self._boxes(frame)
        order = np.argsort(-(boxes[:, 2:] - boxes[:, :2]).prod(-1))[: self.max_people]
        return sort_by_area(
            [PersonDetection(boxes[i], float(scores[i]), self._joints(frame, boxes[i])) for i in order]
        )

    def _boxes(self, frame: NDArray[np.uint8]) -> tuple[Float, Float]:
        net = session(self.detector)
        size = net.get_inputs()[0].shape[-1]
        square, scale = letterbox(frame, size, fill=114)
        blue_first = square[..., ::-1].transpose(2, 0, 1)[None].astype(np.float32)
        outputs = net.run(None, {net.get_inputs()[0].name: np.ascontiguousarray(blue_first)})
        boxes, scores = decode_detections(outputs, size, self.threshold)
        _, height, width = frame.shape
        limits = np.array([width, height, width, height], np.float32)
        return np.clip(boxes / scale, 0, limits).astype(np.float32), scores

    def _joints(self, frame: NDArray[np.uint8], box: Float) -> Float:
        net = session(self.pose)
        height, width = network_size(net)
        window = crop_around(box, width, height, margin=1.25)
        small = ((window.cut(frame).astype(np.float32) - _MEAN) / _STD).transpose(2, 0, 1)
        # Averaged with the mirrored image: networks are least certain about left and right.
        x, y = _run_both(net, np.stack([small, small[..., ::-1]]))
        order = mirror_order(self.joints)
        # Bins per pixel of the SimCC classification.
        split = x.shape[-1] / width
        unflipped = np.roll(x[1, order, ::-1], 1 - int(split), axis=-1)
        found = decode_simcc((x[0] + unflipped) / 2, (y[0] + y[1, order]) / 2, split)
        found[:, :2] = window.to_image(found[:, :2])
        match self.joints:
            case "halpe26":
                return from_halpe26(found[None], *frame.shape[1:]).keypoints[0]
            case "wholebody133":
                return from_wholebody(found[None], *frame.shape[1:]).keypoints[0]


RTMPOSE = TopDownEstimator("yolox-tiny", "rtmpose-s", "halpe26")
DWPOSE = TopDownEstimator("dwpose-detection", "dwpose", "wholebody133")


def _run_both(net: Any, images: Float) -> tuple[Float, Float]:
    """Compute the SimCC scores (2, k, bins) along x and y of two images, in one batch if possible."""
    entry = net.get_inputs()[0]
    batches = [images[:1], images[1:]] if entry.shape[0] == 1 else [images]
    outputs = [net.run(None, {entry.name: np.ascontiguousarray(batch)})[:2] for batch in batches]
    x, y = (np.concatenate(parts) for parts in zip(*outputs, strict=True))
    return x, y


def network_size(net: Any) -> tuple[int, int]:
    """Return height and width of the input image of an ONNX network."""
    height, width = net.get_inputs()[0].shape[-2:]
    return int(height), int(width)


_HALPE_MIRROR = (0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15, 17, 18, 19, 21, 20, 23, 22, 25, 24)


@lru_cache(maxsize=2)
def mirror_order(joints: Literal["halpe26", "wholebody133"]) -> NDArray[np.int64]:
    """Return for each joint the index of its mirror image."""
    match joints:
        case "halpe26":
            return np.array(_HALPE_MIRROR)
        case "wholebody133":  # mirror a pose whose y coordinates are the joint indices
            numbers = np.ones((1, 133, 3), np.float32)
            numbers[0, :, 1] = np.arange(133)
            return mirrored(Pose(numbers, 1, 1)).keypoints[0, :, 1].astype(np.int64)


def decode_simcc(x: Float, y: Float, split: float = 2.0) -> Float:
    """Decode the output of a SimCC network, which classifies x and y separately (Li et al., ECCV 2022).

    Args:
        x: (k, width * split) scores.
        y: (k, height * split) scores.
        split: Bins per pixel of the network's input.

    Returns:
        (k, 3): x, y in pixels of the network's input, and the smaller of the two best scores, in [0, 1].
    """
    position = np.stack([x.argmax(-1), y.argmax(-1)], -1) / split
    confidence = np.clip(np.minimum(x.max(-1), y.max(-1)), 0, 1)
    return np.column_stack([position, confidence]).astype(np.float32)


def decode_detections(outputs: list[NDArray], size: int, threshold: float) -> tuple[Float, Float]:
    """Decode the people from the output of either kind of YOLOX export.

    Args:
        outputs: (1, n, 5) boxes with scores and (1, n) labels, of a network with built-in non-maximum
            suppression; or (1, cells, 5 + classes) raw predictions. Class 0 is a person in both.
        size: Side of the network's square input in pixels.
        threshold: Smallest score of a person, in [0, 1].

    Returns:
        Boxes (n, 4) x0, y0, x1, y1 in pixels of the network's input, and scores (n,).
    """
    found = outputs[0][0]
    if found.shape[-1] == 5:
        keep = (found[:, 4] > threshold) & (outputs[1][0] == 0 if len(outputs) > 1 else True)
        return found[keep, :4].astype(np.float32), found[keep, 4].astype(np.float32)
    boxes, scores = decode_grid(found, size)
    sure = scores > threshold
    boxes, scores = boxes[sure], scores[sure]
    kept = non_max_suppression(boxes, scores, limit=0.45)
    return boxes[kept], scores[kept]


def decode_grid(raw: Float, size: int, strides: tuple[int, ...] = (8, 16, 32)) -> tuple[Float, Float]:
    """Convert raw YOLOX predictions to boxes: center = (p + cell) * stride, size = exp(p) * stride.

    Args:
        raw: (cells, 5 + classes): x, y, w, h, objectness, class scores.
        size: Side of the network's square input in pixels.
        strides: Pixels per grid cell of each level.

    Returns:
        (cells, 4) boxes x0, y0, x1, y1 in pixels, and (cells,) scores of being a person, in [0, 1].
    """
    cells, steps = [], []
    for stride in strides:
        n = size // stride
        y, x = np.divmod(np.arange(n * n), n)
        cells.append(np.stack([x, y], -1))
        steps.append(np.full((n * n, 1), stride))
    cell, step = np.concatenate(cells), np.concatenate(steps)
    center, half = (raw[:, :2] + cell) * step, np.exp(raw[:, 2:4]) * step / 2
    boxes = np.concatenate([center - half, center + half], -1).astype(np.float32)
    return boxes, (raw[:, 4] * raw[:, 5]).astype(np.float32)


@lru_cache(maxsize=8)
def session(asset: str) -> Any:
    """Open an asset in onnxruntime, once per process, on the fastest available device.

    Raises:
        UserError: If onnxruntime is not installed, or the file cannot be downloaded or read.
    """
    return _open(asset_path(asset))


def _open(path: Path) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise UserError(
            "estimator", "onnxruntime is not installed", "pip install 'idol-diffusion[prepare]'"
        ) from error
    import torch

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    wanted = ("CUDAExecutionProvider", "CoreMLExecutionProvider", "CPUExecutionProvider")
    providers = [p for p in wanted if p in onnxruntime.get_available_providers()]
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # onnxruntime raises its own, unrelated types
        raise UserError(
            str(path), "is not a readable ONNX network", "delete it to download it again"
        ) from error
