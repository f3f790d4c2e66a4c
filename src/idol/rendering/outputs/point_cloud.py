"""Point clouds: each pixel of the person or the background as a colored point in meters."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, UInt8

from idol.rendering.geometry.camera import Layers
from idol.rendering.geometry.coordinates import y_up

_VERTEX = np.dtype([("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("red", "u1"), ("green", "u1"), ("blue", "u1")])
_TYPES = {"f": "float", "u": "uchar"}


@dataclass(frozen=True)
class PointCloud:
    """Colored points.

    Attributes:
        points: (n, 3) float32 meters; y up, the camera looks along -z.
        colors: (n, 3) uint8 sRGB.
    """

    points: Float32[np.ndarray, "n 3"]
    colors: UInt8[np.ndarray, "n 3"]


def person_cloud(layers: Layers, frame: int) -> PointCloud:
    """Return the person's points in one frame: the pixels of which the person covers at least half.

    Args:
        layers: The clip.
        frame: Index of the frame.
    """
    return _cloud(layers, layers.z[frame], layers.color[frame], layers.alpha[frame] >= 0.5)


def background_cloud(layers: Layers, frame: int) -> PointCloud:
    """Return the points of the complete background of one frame, including what the person hides.

    Args:
        layers: The clip.
        frame: Index of the frame.
    """
    z = layers.background_z_at(frame)
    return _cloud(layers, z, layers.background_at(frame), np.ones(z.shape, bool))


def _cloud(
    layers: Layers,
    z: Float32[np.ndarray, "h w"],
    color: UInt8[np.ndarray, "3 h w"],
    mask: Bool[np.ndarray, "h w"],
) -> PointCloud:
    return PointCloud(y_up(layers.camera.unproject(z)[mask]), color.transpose(1, 2, 0)[mask])  # c h w -> n c


def merge_clouds(clouds: list[PointCloud]) -> PointCloud:
    """Return several clouds as one."""
    return PointCloud(np.concatenate([c.points for c in clouds]), np.concatenate([c.colors for c in clouds]))


def to_ply(cloud: PointCloud) -> bytes:
    """Return the bytes of a binary little-endian PLY file: x y z as float, red green blue as uchar."""
    vertices = np.empty(len(cloud.points), _VERTEX)
    for i, name in enumerate(("x", "y", "z")):
        vertices[name] = cloud.points[:, i]
    for i, name in enumerate(("red", "green", "blue")):
        vertices[name] = cloud.colors[:, i]
    return _header(len(vertices)).encode("ascii") + vertices.tobytes()


def _header(count: int) -> str:
    lines = [
        "ply",
        "format binary_little_endian 1.0",
        "comment meters; right-handed, y up, the camera at the origin looks along -z",
        f"element vertex {count}",
        *(f"property {_TYPES[_VERTEX[name].kind]} {name}" for name in _VERTEX.names or ()),
        "end_header",
    ]
    return "\n".join(lines) + "\n"
