"""The networks that look at generated frames, chosen by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

import numpy as np
import torch

from idol.clip import Pose
from idol.errors import UserError
from idol.evaluation.metrics.identity import Embedding
from idol.evaluation.networks.inception import Inception
from idol.evaluation.networks.lpips import LPIPS, Backbone
from idol.pose.joints import body_18

if TYPE_CHECKING:
    from idol.prepare.estimators.detection import PersonDetection

_BATCH = 16  # images that Inception sees at once


@dataclass(frozen=True)
class Evaluator:
    """Networks that look at generated frames. The metrics of one that is None are left out (NaN).

    Attributes:
        detect_joints: Frames (f, 3, h, w) uint8 -> re-detected joints of the largest person.
        segment_person: Frames (f, 3, h, w) uint8 -> mask (f, h, w) bool of the largest person.
        lpips: LPIPS network.
        embed_person: Images of persons (n, 3, h, w) uint8 -> vectors (n, d); see `identity.Embedding`.
    """

    detect_joints: Callable[[np.ndarray], Pose] | None = None
    segment_person: Callable[[np.ndarray], np.ndarray] | None = None
    lpips: LPIPS | None = None
    embed_person: Embedding | None = None


def build_evaluator(
    pose: str = "rtmpose",
    mask: str = "mediapipe",
    lpips: str = "vgg",
    identity: str = "inception",
    device: str = "cpu",
) -> Evaluator:
    """Load the networks of the given names; "none" leaves one out.

    Args:
        pose: Pose estimator; see `idol.prepare.estimators.registry`.
        mask: Mask estimator; see there.
        lpips: Backbone of LPIPS: "vgg" or "alex".
        identity: Embedding of persons: "inception".
        device: Where LPIPS and Inception run.

    Raises:
        UserError: If a name is unknown, or weights cannot be downloaded.
    """
    for argument, name, known in (
        ("lpips", lpips, (*get_args(Backbone), "none")),
        ("identity", identity, ("inception", "none")),
    ):
        if name not in known:
            raise UserError(argument, f"{name!r}", f"choose one of {', '.join(known)}")
    return Evaluator(
        detect_joints=None if pose == "none" else joint_detector(pose),
        segment_person=None if mask == "none" else person_segmenter(mask),
        lpips=None if lpips == "none" else LPIPS(lpips).to(device),  # type: ignore[arg-type]
        embed_person=None if identity == "none" else person_embedder(device),
    )


def joint_detector(name: str) -> Callable[[np.ndarray], Pose]:
    """Return a function from frames (f, 3, h, w) uint8 to the 18 body joints of the largest person in each.

    Where there is no person, all joints have confidence 0.
    """
    from idol.prepare.estimators.registry import pose_estimator

    estimator = pose_estimator(name)

    def detect(frames: np.ndarray) -> Pose:
        people = estimator.estimate(frames)
        found = [_joints(detections[0]) if detections else None for detections in people]
        count = next((len(joints) for joints in found if joints is not None), 18)
        blank = np.zeros((count, 3), np.float32)
        joints = np.stack([blank if j is None else j for j in found])
        return body_18(Pose(joints, *frames.shape[2:]))

    return detect


def person_segmenter(name: str, threshold: float = 0.5) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function from frames (f, 3, h, w) uint8 to the mask (f, h, w) bool of the largest person.

    Args:
        name: Mask estimator; see `idol.prepare.estimators.registry`.
        threshold: Probability above which a pixel belongs to the person, in [0, 1].
    """
    from idol.prepare.estimators.registry import mask_estimator

    estimator = mask_estimator(name)
    return lambda frames: estimator.estimate(frames) > threshold


def person_embedder(device: str = "cpu") -> Embedding:
    """Return a function from images of persons (n, 3, h, w) uint8 to Inception's features (n, 2048)."""
    network = Inception().to(device)

    @torch.inference_mode()
    def embed(images: np.ndarray) -> np.ndarray:
        parts = [torch.from_numpy(images[i : i + _BATCH]) for i in range(0, len(images), _BATCH)]
        return np.concatenate([network(part.to(device)).cpu().numpy() for part in parts])

    return embed


def _joints(person: PersonDetection) -> np.ndarray:
    joints = person.keypoints.astype(np.float32)
    joints[..., 2] = joints[..., 2].clip(0, 1)  # some estimators report scores above 1
    return joints
