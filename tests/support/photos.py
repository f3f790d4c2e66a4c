"""A bundled photo with what the estimators find in it, so that tests need no estimator."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from idol import media
from idol.clip import Pose
from idol.clip.images import read_image

_FOUND = Path(__file__).parents[1] / "fixtures" / "woman_walking.npz"


class Photo(NamedTuple):
    """A photo of one person: (3, h, w) uint8, the person (h, w) bool, and its joints."""

    image: np.ndarray
    mask: np.ndarray
    pose: Pose


def photo_of_a_woman():
    image = read_image(media.path("woman-walking.jpg"))
    with np.load(_FOUND) as file:
        mask = np.unpackbits(file["mask"], count=image[0].size).reshape(image.shape[1:]).astype(bool)
        return Photo(image, mask, Pose(file["keypoints"], *mask.shape))


def points_of_a_woman():
    """Return her 22 points (22, 3) in pixels, see `idol.body.lift.Lifted`."""
    with np.load(_FOUND) as file:
        return file["points"].astype(float)
