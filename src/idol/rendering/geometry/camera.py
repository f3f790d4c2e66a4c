"""The space that a clip is shown in: its camera, the person and what is behind, in meters.

Everything in `idol.rendering` shares these axes, OpenCV's: x to the right, y *down*, z forward. The origin is
the clip's own camera, which looks along z. Pixel coordinates are those of `idol.clip.Pose`: (0, 0) is the
center of the top-left pixel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, UInt8


@dataclass(frozen=True)
class Camera:
    """A pinhole camera with square pixels whose axis goes through the middle of the image.

    Attributes:
        fov: Vertical field of view in degrees.
        height: Of the image in pixels.
        width: Of the image in pixels.

    Raises:
        ValueError: If the field of view is not between 0 and 180, or the image is empty.
    """

    fov: float
    height: int
    width: int

    def __post_init__(self) -> None:
        if not 0 < self.fov < 180:
            raise ValueError(f"fov: found {self.fov}, expected degrees between 0 and 180")
        if self.height < 1 or self.width < 1:
            raise ValueError(f"size: found {self.height} x {self.width}, expected at least 1 x 1")

    @property
    def focal(self) -> float:
        """Focal length in pixels."""
        return float(self.height / 2 / np.tan(np.radians(self.fov) / 2))

    @property
    def center(self) -> tuple[float, float]:
        """(x, y) of the principal point in pixels."""
        return (self.width - 1) / 2, (self.height - 1) / 2

    @property
    def intrinsics(self) -> Float[np.ndarray, "3 3"]:
        """The matrix that takes points in meters to homogeneous pixels."""
        (x, y), f = self.center, self.focal
        return np.array([[f, 0, x], [0, f, y], [0, 0, 1]])

    def resized(self, height: int, width: int) -> Camera:
        """The camera of the same vertical field of view with other pixels."""
        return Camera(self.fov, height, width)

    def zoomed(self, zoom: float) -> Camera:
        """The camera with a focal length `zoom` times as long."""
        half = np.arctan(np.tan(np.radians(self.fov) / 2) / zoom)
        return Camera(float(2 * np.degrees(half)), self.height, self.width)

    def rays(self) -> Float32[np.ndarray, "h w 3"]:
        """The directions of all pixels, scaled to z = 1."""
        (cx, cy), f = self.center, self.focal
        rays = np.ones((self.height, self.width, 3), np.float32)
        rays[..., 0] = (np.arange(self.width) - cx) / f
        rays[..., 1] = ((np.arange(self.height) - cy) / f)[:, None]
        return rays

    def unproject(self, z: Float[np.ndarray, "*b h w"]) -> Float32[np.ndarray, "*b h w 3"]:
        """The points in meters that all pixels show.

        Args:
            z: Distances along the axis in meters, one per pixel.
        """
        return self.rays() * z[..., None].astype(np.float32)

    def project(self, points: Float[np.ndarray, "*b 3"]) -> Float[np.ndarray, "*b 2"]:
        """The pixels, x and y, at which points are seen.

        Args:
            points: In meters, with z > 0.
        """
        cx, cy = self.center
        return points[..., :2] / points[..., 2:] * self.focal + np.array([cx, cy], points.dtype)


@dataclass(frozen=True, eq=False)
class View:
    """Where another camera stands and looks; equal to itself alone.

    Attributes:
        position: (3,) meters, in the axes of the clip's own camera.
        rotation: (3, 3): its rows are the camera's right, down and forward.
        shift: By how much the image is moved to the right on the sensor, in focal lengths: the off-axis
            camera of a stereo pair.
    """

    position: Float[np.ndarray, " 3"]
    rotation: Float[np.ndarray, "3 3"]
    shift: float = 0.0

    @classmethod
    def still(cls) -> View:
        """The clip's own camera."""
        return cls(np.zeros(3), np.eye(3))

    @classmethod
    def towards(cls, position: Float[np.ndarray, " 3"], target: Float[np.ndarray, " 3"]) -> View:
        """The upright camera at `position` that looks at `target`; both in meters.

        Raises:
            ValueError: If the target is where the camera is, or straight above or below it.
        """
        forward = np.asarray(target, float) - position
        right = np.cross([0.0, 1.0, 0.0], forward)
        if np.linalg.norm(right) < 1e-9:
            raise ValueError(f"target: found {target} seen from {position}, expected it beside the vertical")
        right /= np.linalg.norm(right)
        forward /= np.linalg.norm(forward)
        return cls(np.asarray(position, float), np.stack([right, np.cross(forward, right), forward]))

    def seen(self, points: Float[np.ndarray, "*b 3"]) -> Float[np.ndarray, "*b 3"]:
        """World points in this camera's own axes."""
        return (points - self.position) @ self.rotation.T


@dataclass(frozen=True)
class Plane:
    """The points X with normal · X = offset; meters.

    Attributes:
        normal: (3,) of length 1.
        offset: Its distance from the clip's camera.
    """

    normal: Float[np.ndarray, " 3"]
    offset: float

    def z(self, camera: Camera) -> Float32[np.ndarray, "h w"]:
        """Its distance along the axis at every pixel in meters; infinity where it is not ahead."""
        facing = camera.rays() @ self.normal.astype(np.float32)
        with np.errstate(divide="ignore"):
            z = np.float32(self.offset) / facing
        return np.where(z > 0, z, np.float32(np.inf))


@dataclass(frozen=True)
class Layers:
    """A clip taken apart into the person and what is behind, both with color and metric depth.

    Attributes:
        camera: The clip's own; its pixels are those of every array here.
        color: (f, 3, h, w) uint8 sRGB: the person's colors, free of the background's near the edge. Like
            `z` it is continued beyond the silhouette, so that interpolating at the edge meets no background.
        alpha: (f, h, w) float32 in [0, 1]: how much of each pixel the person covers.
        z: (f, h, w) float32 meters: the person's distance along the axis; positive and finite everywhere.
        plate: (1 or f, 3, h, w) uint8 sRGB: the scene without the person; 1 if it never changes.
        plate_z: (1 or f, h, w) float32 meters: its distance along the axis; positive and finite.
        stage: The planes that `plate_z` is made of: the nearest counts. Empty if it is no stage.
        fps: Frames per second.
        metric: Whether meters were given with the clip; if not, they follow from an assumed field of view
            and the person's height.

    Raises:
        ValueError: If shapes disagree with the above.
    """

    camera: Camera
    color: UInt8[np.ndarray, "f 3 h w"]
    alpha: Float32[np.ndarray, "f h w"]
    z: Float32[np.ndarray, "f h w"]
    plate: UInt8[np.ndarray, "p 3 h w"]
    plate_z: Float32[np.ndarray, "q h w"]
    stage: tuple[Plane, ...]
    fps: float
    metric: bool

    def __post_init__(self) -> None:
        f, h, w = len(self.color), self.camera.height, self.camera.width
        found = (
            self.color.shape,
            self.alpha.shape,
            self.z.shape,
            self.plate.shape[1:],
            self.plate_z.shape[1:],
        )
        if found != ((f, 3, h, w), (f, h, w), (f, h, w), (3, h, w), (h, w)):
            raise ValueError(f"layers: found shapes {found} for {f} frames of {h} x {w}")
        if len(self.plate) not in (1, f) or len(self.plate_z) not in (1, f):
            raise ValueError(
                f"plate: found {len(self.plate)} and {len(self.plate_z)} frames, expected 1 or {f}"
            )

    @property
    def frames(self) -> int:
        """Number of frames."""
        return len(self.color)

    @property
    def still(self) -> bool:
        """Whether what is behind the person never changes."""
        return len(self.plate) == len(self.plate_z) == 1

    def plate_at(self, frame: int) -> UInt8[np.ndarray, "3 h w"]:
        """The scene without the person in one frame."""
        return self.plate[min(frame, len(self.plate) - 1)]

    def plate_z_at(self, frame: int) -> Float32[np.ndarray, "h w"]:
        """Its distance in one frame."""
        return self.plate_z[min(frame, len(self.plate_z) - 1)]
