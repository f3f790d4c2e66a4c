"""The 133 joints of COCO-WholeBody on a body, from the base mesh and its bones.

Joints of body and feet are weighted means of vertices, defined by the body model. Joints of the hands are the
starts of the finger bones. Fingertips and the 68 points of the face are vertices, chosen on the mean adult:

- Fingertips: the vertex farthest along the last bone of the finger.
- Eyes: the opening of the lids seen from the front; its ends, and both lids at a third and two thirds of it.
- Brows: the median height of the twelve brows of the wardrobe, at five equal steps.
- Nose: on the middle line the tip (farthest to the front), two points between it and the height of the eyes,
  and the base of the septum; then the lower rims of nostril and wing.
- Lips: the border of the red, and the line where the lips meet; bow, corners and equal steps between.
- Jaw: the outline of the face seen from the front, without the neck, from the chin to the height of the
  eyes in front of the ear, in eight equal steps.

Each point was moved to the nearest vertex that is visible from the front. The rules determine the left half
and the middle line; the right half is the mirror image, as the base mesh is symmetric.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import scipy.sparse as sparse

from idol.body.rig import Body, PointSet
from idol.pose.joints import WHOLEBODY_133
from idol.synthesis.human.body import keypoint_means, rig

FACE_VERTICES = (
    870, 868, 5097, 5242, 895, 893, 891, 914, 5225, 7616, 7593, 7595, 7597, 11851, 11712, 7573, 7575,
    255, 206, 176, 174, 166,
    6943, 6950, 6952, 6981, 7024,
    132, 131, 201, 5054,
    288, 285, 317, 7054, 7057,
    1062, 0, 54, 1077, 1070, 1068,
    7769, 6838, 6784, 7754, 7760, 7762,
    3736, 410, 456, 455, 7215, 7170, 10404, 7130, 7241, 492, 486, 370,
    3732, 518, 474, 7265, 10400, 7236, 523, 481,
)  # fmt: skip
"""Vertices of the face in the order of 300-W: jaw, brows, bridge, nostrils, eyes, lips outside and inside."""

FINGERTIPS = {"left": (9348, 8595, 8787, 8982, 9171), "right": (2680, 1927, 2119, 2314, 2503)}
"""Vertices at the ends of thumb, index, middle, ring and little finger."""

_FEET_END = WHOLEBODY_133.index("face_0")
_FINGERS = ("thumb", "index", "middle", "ring", "little")


def whole_body_points(body: Body) -> PointSet:
    """Return the 133 joints of a body as functions of its bones, in the order of `WHOLEBODY_133`.

    Args:
        body: Any body at rest.
    """
    points = PointSet.of(vertex_means(), rig().weights, body.vertices)
    rows, bones = knuckle_bones()
    points.share[rows, bones] = 1
    points.position[rows, bones] = body.heads[bones]
    return points


@lru_cache(1)
def vertex_means() -> sparse.csr_matrix:
    """Return the joints as (133, v) weights of vertices; rows of joints at the start of bones are empty."""
    named = keypoint_means(WHOLEBODY_133[:_FEET_END])
    vertex = dict(enumerate(FACE_VERTICES, start=_FEET_END))
    for side, tips in FINGERTIPS.items():
        vertex |= {
            WHOLEBODY_133.index(f"{side}_hand_{finger}_4"): tip
            for finger, tip in zip(_FINGERS, tips, strict=True)
        }
    shape = (len(WHOLEBODY_133), named.shape[1])
    single = sparse.csr_matrix((np.ones(len(vertex)), (list(vertex), list(vertex.values()))), shape)
    means = (sparse.vstack([named, single[_FEET_END:]])).tolil()
    for side in FINGERTIPS:
        means[WHOLEBODY_133.index(f"{side}_hand_root")] = named[WHOLEBODY_133.index(f"{side}_wrist")]
    return means.tocsr()


@lru_cache(1)
def knuckle_bones() -> tuple[np.ndarray, np.ndarray]:
    """Return the indices of the joints at the start of finger bones, and of these bones, (30,) each."""
    pairs = [
        (
            WHOLEBODY_133.index(f"{side}_hand_{finger}_{joint}"),
            rig().number(f"finger{number}-{joint}.{side[0].upper()}"),
        )
        for side in FINGERTIPS
        for number, finger in enumerate(_FINGERS, start=1)
        for joint in (1, 2, 3)
    ]
    rows, bones = np.array(pairs).T
    return rows, bones
