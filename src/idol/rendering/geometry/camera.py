"""Cameras, camera poses, planes, and the layered representation of a clip, in meters.

All of `idol.rendering` uses OpenCV's axes: x to the right, y *down*, z forward. The origin is the clip's own
camera, which looks along +z. Pixel coordinates are those of `idol.clip.Pose`: (0, 0) is the center of the
top-left pixel, so the image extends from -0.5 to w - 0.5.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, UInt8


@dataclass(frozen=True)
class Camera:
    """Intrinsics of a pinhole camera with square pixels and the principal point in the middle of the image.

    Attributes:
        fov: Vertical field of view in degrees, in (0, 180).
        height: Image height in pixels.
        width: Image width in pixels.

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
        """Principal point (x, y) in pixels."""
        return (self.width - 1) / 2, (self.height - 1) / 2

    @property
    def intrinsics(self) -> Float[np.ndarray, "3 3"]:
        """Matrix K that maps points in meters to homogeneous pixel coordinates."""
        (x, y), f = self.center, self.focal
        return np.array([[f, 0, x], [0, f, y], [0, 0, 1]])

    def zoomed(self, zoom: float) -> Camera:
        """Return the camera with its focal length multiplied by `zoom` and the same number of pixels."""
        # focal length is 1 / tan(fov / 2) in units of half the image height
        half = np.arctan(np.tan(np.radians(self.fov) / 2) / zoom)
        return Camera(float(2 * np.degrees(half)), self.height, self.width)

    def rays(self) -> Float32[np.ndarray, "h w 3"]:
        """Return the viewing direction of every pixel, scaled to z = 1."""
        (cx, cy), f = self.center, self.focal
        # (h, w, 3): x varies along columns, y (down) along rows, z is 1
        rays = np.ones((self.height, self.width, 3), np.float32)
        rays[..., 0] = (np.arange(self.width) - cx) / f
        rays[..., 1] = ((np.arange(self.height) - cy) / f)[:, None]
        return rays

    def unproject(self, z: Float[np.ndarray, "*b h w"]) -> Float32[np.ndarray, "*b h w 3"]:
        """Return the 3-D point of every pixel, in meters.

        Args:
            z: Distances along the optical axis in meters, one per pixel.
        """
        return self.rays() * z[..., None].astype(np.float32)

    def project(self, points: Float[np.ndarray, "*b 3"]) -> Float[np.ndarray, "*b 2"]:
        """Return the pixel coordinates (x, y) of 3-D points.

        Args:
            points: Points in meters with z > 0, in this camera's axes.
        """
        cx, cy = self.center
        return points[..., :2] / points[..., 2:] * self.focal + np.array([cx, cy], points.dtype)


@dataclass(frozen=True, eq=False)
class View:
    """Extrinsics of a camera: its position, orientation and lens shift. Instances are compared by identity.

    Attributes:
        position: (3,) camera center in meters, in the axes of the clip's own camera.
        rotation: (3, 3) world-to-camera rotation; its rows are the camera's right, down and forward
            directions.
        shift: Off-axis shift of the image to the right, in focal lengths; used for stereo pairs.
    """

    position: Float[np.ndarray, " 3"]
    rotation: Float[np.ndarray, "3 3"]
    shift: float = 0.0

    @classmethod
    def identity(cls) -> View:
        """Return the view of the clip's own camera."""
        return cls(np.zeros(3), np.eye(3))

    @classmethod
    def look_at(cls, position: Float[np.ndarray, " 3"], target: Float[np.ndarray, " 3"]) -> View:
        """Return an upright camera at `position` that looks at `target`.

        Args:
            position: (3,) camera center in meters.
            target: (3,) point in meters that is seen in the middle of the image.

        Raises:
            ValueError: If the target equals the position, or lies vertically above or below it.
        """
        forward = np.asarray(target, float) - position
        # y points down, so that right is (0, 1, 0) x forward, and down completes the right-handed frame
        right = np.cross([0.0, 1.0, 0.0], forward)
        if np.linalg.norm(right) < 1e-9:
            raise ValueError(f"target: found {target} seen from {position}, expected it beside the vertical")
        right /= np.linalg.norm(right)
        forward /= np.linalg.norm(forward)
        return cls(np.asarray(position, float), np.stack([right, np.cross(forward, right), forward]))

    def to_camera(self, points: Float[np.ndarray, "*b 3"]) -> Float[np.ndarray, "*b 3"]:
        """Transform points from the axes of the clip's camera to this camera's axes.

        Args:
            points: Points in meters.
        """
        return (points - self.position) @ self.rotation.T


@dataclass(frozen=True)
class Plane:
    """The plane of points X with normal · X = offset.

    Attributes:
        normal: (3,) unit vector.
        offset: Signed distance from the clip's camera, in meters.
    """

    normal: Float[np.ndarray, " 3"]
    offset: float

    def depth(self, camera: Camera) -> Float32[np.ndarray, "h w"]:
        """Return the plane's depth along the optical axis at every pixel; infinite where it is not in front.

        Args:
            camera: Camera at the origin, in whose axes the plane is given.

        Returns:
            Depth in meters.
        """
        # the ray z r of a pixel, r_z = 1, meets the plane at z = offset / (normal · r)
        facing = camera.rays() @ self.normal.astype(np.float32)
        with np.errstate(divide="ignore"):
            z = np.float32(self.offset) / facing
        return np.where(z > 0, z, np.float32(np.inf))


@dataclass(frozen=True)
class Layers:
    """A clip separated into the person and the background, each with color and metric depth.

    Attributes:
        camera: The clip's own camera; all arrays below have its height and width.
        color: (f, 3, h, w) uint8 sRGB foreground color without any background contribution. Like `z` it is
            extrapolated beyond the silhouette, so that interpolation at the edge never reads background.
        alpha: (f, h, w) float32 in [0, 1]: the fraction of each pixel that the person covers.
        z: (f, h, w) float32 meters: the person's depth along the optical axis; positive and finite
            everywhere.
        background: (1 or f, 3, h, w) uint8 sRGB: the scene without the person; one frame if it never changes.
        background_z: (1 or f, h, w) float32 meters: its depth along the optical axis; positive and finite.
        planes: The planes that `background_z` consists of (the nearest one counts at each pixel). Empty if
            the background has free-form depth.
        fps: Frames per second.
        metric: Whether the clip came with metric depth; if not, the scale follows from an assumed field of
            view and the person's height.

    Raises:
        ValueError: If shapes disagree with the above.
    """

    camera: Camera
    color: UInt8[np.ndarray, "f 3 h w"]
    alpha: Float32[np.ndarray, "f h w"]
    z: Float32[np.ndarray, "f h w"]
    background: UInt8[np.ndarray, "p 3 h w"]
    background_z: Float32[np.ndarray, "q h w"]
    planes: tuple[Plane, ...]
    fps: float
    metric: bool

    def __post_init__(self) -> None:
        f, h, w = len(self.color), self.camera.height, self.camera.width
        found = (
            self.color.shape,
            self.alpha.shape,
            self.z.shape,
            self.background.shape[1:],
            self.background_z.shape[1:],
        )
        if found != ((f, 3, h, w), (f, h, w), (f, h, w), (3, h, w), (h, w)):
            raise ValueError(f"layers: found shapes {found} for {f} frames of {h} x {w}")
        if len(self.background) not in (1, f) or len(self.background_z) not in (1, f):
            raise ValueError(
                f"background: found {len(self.background)} and {len(self.background_z)} frames, "
                f"expected 1 or {f}"
            )

    @property
    def frames(self) -> int:
        """Number of frames."""
        return len(self.color)

    @property
    def static(self) -> bool:
        """Whether the background is the same in all frames."""
        return len(self.background) == len(self.background_z) == 1

    def background_at(self, frame: int) -> UInt8[np.ndarray, "3 h w"]:
        """Return the scene without the person in one frame.

        Args:
            frame: Index of the frame.
        """
        return self.background[min(frame, len(self.background) - 1)]

    def background_z_at(self, frame: int) -> Float32[np.ndarray, "h w"]:
        """Return the depth of the background in one frame, in meters.

        Args:
            frame: Index of the frame.
        """
        return self.background_z[min(frame, len(self.background_z) - 1)]
