"""A person of one photo as a body in three dimensions that can be posed, turned and drawn."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import scipy.sparse as sparse
from jaxtyping import Bool, Float, Float32, UInt8

from idol.body.bones_from_points import PointRig
from idol.body.draw import Backend, Painter, make_painter
from idol.body.fit import FitConfig, fit_offsets
from idol.body.pinhole import PinholeCamera
from idol.body.rig import BonePoses
from idol.body.skin_mesh import PARTS, SkinMesh, average_adult, parts_of_bones, skin, vertex_normals
from idol.body.soft_layers import SoftLayer, cut_layers, layer_parts, uncovered_share
from idol.body.texture import Texture, find_strange, find_texture, photo_atlas
from idol.body.textured_mesh import CUT_OUT, SLIVER, SOURCES, AvatarMesh, Drawn, as_triangles
from idol.body.zbuffer import find_hits
from idol.clip import Pose

_OUTSIDE = 0.5  # share of a part's vertices outside the photo from which on it is called cut off


@dataclass(frozen=True)
class Avatar:
    """A person at rest, ready to be posed.

    Attributes:
        mesh: The body's skin before it was fitted.
        at_rest: (n, 3) body and layers at rest, meters.
        normals: (n, 3) at rest.
        weights: (n, b) bone weights.
        textured: Triangles and colors.
        photo_poses: The bones in the photo, one frame.
        photo_camera: The photo's camera.
        cut_off: Parts of the body that lie outside the photo; their colors are guessed.
        uncovered: Share of the photo's person that only layers cover: a third for a long dress.
        backend: What draws.
    """

    mesh: SkinMesh
    at_rest: Float32[np.ndarray, "n 3"]
    normals: Float32[np.ndarray, "n 3"]
    weights: sparse.csr_matrix
    textured: AvatarMesh
    photo_poses: BonePoses
    photo_camera: PinholeCamera
    cut_off: tuple[str, ...] = ()
    uncovered: float = 0.0
    backend: Backend = field(default="auto")

    @classmethod
    def from_photo(
        cls,
        image: UInt8[np.ndarray, "3 h w"],
        mask: Bool[np.ndarray, "h w"],
        pose: Pose,
        *,
        points: Float[np.ndarray, "22 3"] | None = None,
        camera: PinholeCamera | None = None,
        mesh: SkinMesh | None = None,
        config: FitConfig | None = None,
        backend: Backend = "auto",
    ) -> Avatar:
        """Return the person of a photo.

        Args:
            image: The photo, sRGB, about as large as the frames to be drawn: colors are not filtered down.
            mask: The person in it.
            pose: The person's joints in the photo, one frame.
            points: The person's 22 points in meters before the camera, where they are known (see
                `idol.body.bones_from_points`); else the pose is lifted.
            camera: The photo's; by default the one that photos are assumed to come from.
            mesh: The body to begin with; by default the average adult.
            config: How to fit it.
            backend: What draws; see `idol.body.draw.make_painter`.

        Raises:
            ValueError: If the mask is empty or not of the photo's size, or the pose not of this photo.
        """
        if pose.frames != 1 or (pose.height, pose.width) != mask.shape:
            found = f"{pose.frames} frames of {pose.height} x {pose.width}"
            raise ValueError(f"pose: found {found}, expected 1 of {mask.shape[0]} x {mask.shape[1]}")
        if mask.shape != image.shape[1:] or not mask.any():
            raise ValueError(f"mask: found {mask.shape} with {int(mask.sum())} pixels, expected a person")
        camera, mesh = camera or PinholeCamera.assumed(*mask.shape), mesh or average_adult()
        if points is None:
            from idol.body.lift import lift

            points = lift(pose, camera=camera, body=mesh.body).in_meters()[0]
        poses = PointRig(mesh.body).pose(points[None])
        offsets = fit_offsets(mesh, poses, camera, mask, config)
        vertices, maps = mesh.skinned(poses, 0, offsets)
        seen = camera.project(vertices.astype(np.float64))
        hits = find_hits(seen, mesh.triangles, *mask.shape)
        at_rest = mesh.vertices + offsets
        normals = vertex_normals(at_rest, mesh.triangles)
        texture = find_texture(mesh, vertices, _turned(maps, normals), camera, image, mask)
        strange = find_strange(texture, mesh, hits, image) & mask
        layers = cut_layers(mesh, poses, hits, camera, mask, strange)
        return cls(
            mesh=mesh,
            at_rest=np.concatenate([at_rest, *(layer.at_rest for layer in layers)]),
            normals=np.concatenate([normals, *(layer.normals for layer in layers)]),
            weights=sparse.vstack([mesh.weights, *(layer.weights for layer in layers)]).tocsr(),
            textured=_textured(mesh, texture, layers, photo_atlas(image, mask)),
            photo_poses=poses,
            photo_camera=camera,
            cut_off=_cut_off(mesh, seen, *mask.shape),
            uncovered=uncovered_share(hits, mask),
            backend=backend,
        )

    @property
    def painter(self) -> Painter:
        """What draws this person in this thread, with everything uploaded that stays."""
        if not hasattr(self._of_thread, "painter"):
            self._of_thread.painter = make_painter(self.textured, self.backend)
        return self._of_thread.painter

    @cached_property
    def _of_thread(self) -> threading.local:
        return threading.local()

    @cached_property
    def point_rig(self) -> PointRig:
        """The body made ready to be posed by points."""
        return PointRig(self.mesh.body)

    def posed(
        self, poses: BonePoses, frame: int
    ) -> tuple[Float32[np.ndarray, "n 3"], Float32[np.ndarray, "n 3"]]:
        """Return vertices in meters and unit normals at one frame.

        Args:
            poses: Of the bones, before the camera.
            frame: Which of them.
        """
        vertices, maps = skin(self.weights, self.at_rest, poses, frame)
        return vertices, _turned(maps, self.normals)

    def draw(
        self,
        poses: BonePoses,
        camera: PinholeCamera | None = None,
        height: int | None = None,
        width: int | None = None,
    ) -> Drawn:
        """Return images of the person, one per frame of the poses.

        Args:
            poses: Of the bones, in meters before the camera.
            camera: What sees them; by default the photo's.
            height: Rows of the images; by default the camera's.
            width: Columns of the images; by default the camera's.
        """
        camera = camera or self.photo_camera
        camera = camera.resized(height or camera.height, width or camera.width)
        drawn = Drawn.empty(len(poses.rotation), camera.height, camera.width)
        for k in range(len(poses.rotation)):
            self.painter.draw_into(drawn.frame(k), *self.posed(poses, k), camera)
        return drawn

    def depth_range(self, poses: BonePoses, camera: PinholeCamera | None = None) -> tuple[float, float]:
        """Return how near and far a person comes over a whole clip, in meters, without drawing it.

        Long clips are drawn in parts, whose depth must share one range: see `idol.clip.depth`.

        Args:
            poses: Of the bones, all frames.
            camera: What sees them; by default the photo's.

        Raises:
            ValueError: If the person is in no frame's image.
        """
        camera = camera or self.photo_camera
        near, far = np.inf, 0.0
        for k in range(len(poses.rotation)):
            vertices, normals = self.posed(poses, k)
            x, y, distance = camera.project(vertices.astype(float)).T
            facing = (normals * vertices).sum(1) < 0
            shown = facing & (abs(x - camera.width / 2) < camera.width / 2) & (distance > 0)
            shown &= abs(y - camera.height / 2) < camera.height / 2
            if shown.any():
                near, far = min(near, distance[shown].min()), max(far, distance[shown].max())
        if not near < far:
            raise ValueError("poses: found nobody in the image, expected a person in at least one frame")
        return float(near), float(far)


def _turned(
    maps: Float32[np.ndarray, "n 3 3"], normals: Float32[np.ndarray, "n 3"]
) -> Float32[np.ndarray, "n 3"]:
    """Transform unit normals by linear maps that are almost rotations."""
    turned = np.einsum("nij,nj->ni", maps, normals)
    turned /= np.sqrt(np.einsum("ni,ni->n", turned, turned))[:, None] + 1e-9
    return turned


def _textured(mesh: SkinMesh, texture: Texture, layers: list[SoftLayer], photo: np.ndarray) -> AvatarMesh:
    """Body and layers as one mesh with colors from the photo."""
    counts = [len(texture.own), *(len(layer.own) for layer in layers)]
    starts = np.cumsum([0, *counts])
    pieces = [mesh.triangles, *(layer.triangles for layer in layers)]
    below = np.array([0, len(photo) // 2], np.float32)  # where the layers' colors are
    n, own = starts[-1], np.concatenate([texture.own, *(layer.own + below for layer in layers)])
    body = np.arange(n) < counts[0]
    other, guess, share = own.copy(), np.zeros((n, 3), np.float32), np.zeros((n, 3), np.float32)
    other[body], guess[body], share[body], share[~body, 0] = texture.other, texture.guess, texture.share, 1
    facing, spare = np.ones((n, 2), np.float32), np.zeros(n, np.float32)  # layers keep their colors
    facing[body], spare[body] = texture.facing, texture.spare
    bones = parts_of_bones(mesh.body.rig)
    back = [np.where(layer.is_back, SOURCES.index("through"), 0) for layer in layers]
    kinds = [np.full(len(layer.own), SLIVER if layer.is_sliver else CUT_OUT) for layer in layers]
    return AvatarMesh(
        triangles=as_triangles(np.concatenate([t + s for t, s in zip(pieces, starts, strict=False)])),
        own=own,
        other=other,
        guess=guess,
        share=share,
        facing=facing,
        spare=spare,
        part=np.concatenate([mesh.part, *(layer_parts(layer, bones) for layer in layers)]).astype(np.uint8),
        source=np.concatenate([texture.source, *back]).astype(np.uint8),
        soft=np.concatenate([np.zeros(counts[0]), *kinds]).astype(np.float32),
        photo=photo,
    )


def _cut_off(mesh: SkinMesh, seen: np.ndarray, height: int, width: int) -> tuple[str, ...]:
    x, y = seen[:, 0], seen[:, 1]
    inside = (x > -0.5) & (x < width - 0.5) & (y > -0.5) & (y < height - 0.5)
    return tuple(name for i, name in enumerate(PARTS) if (~inside[mesh.part == i]).mean() > _OUTSIDE)
