"""Integration of a drawn person into a background: contact shadow, soft cast shadow and color of the light.

Shadows are the vertices of the body splatted on the ground, with a blur that grows with their height. They
cost a few milliseconds and need no geometry of the background except the ground plane under the feet.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8
from scipy.ndimage import gaussian_filter

from idol.body.pinhole import PinholeCamera
from idol.body.textured_mesh import Drawn

_LUMA = np.array([0.299, 0.587, 0.114])
_LOWEST = 40  # number of lowest vertices of a frame that count as feet
_SLOPE_PRIOR = 0.15  # standard deviation of the slope of the ground, in the axes of the camera
_FOOT_NOISE = 0.03  # meters
_STANDING = 0.35  # quantile of the heights of feet that is on the ground: some frames are jumps
# Upper limit of each band of heights above the ground, and the blur of its shadow, meters.
_BANDS = ((0.25, 0.02), (0.8, 0.045), (3.0, 0.09))
_CONTACT_HEIGHT, _CONTACT_BLUR = 0.09, 0.035
_CONTACT_STRENGTH = 0.55
_FILL = 3.0  # factor of the density of splats, which closes gaps between vertices
_LEAST_ELEVATION = 0.75  # least Y of the light's direction: long shadows would reach walls
_GAIN_LIMIT = 1.25


@dataclass(frozen=True)
class Ground:
    """The plane y = a x + b z + c that a person stands on, in the axes of the camera, meters.

    Attributes:
        coefficients: (3,) a, b, c.
    """

    coefficients: Float[np.ndarray, " 3"]

    @classmethod
    def under(cls, vertices: Float32[np.ndarray, "f n 3"]) -> Ground:
        """Return the ground under a body that stands on it in most frames.

        Args:
            vertices: Vertices of the body in meters, in the axes of the camera.
        """
        feet = np.stack([frame[np.argpartition(frame[:, 1], _LOWEST)[:_LOWEST]] for frame in vertices])
        feet = feet.mean(1).astype(float)
        middle = feet[:, [0, 2]].mean(0)
        sides = feet[:, [0, 2]] - middle
        height = feet[:, 1] - feet[:, 1].mean()
        weight = 1 / _FOOT_NOISE**2
        slopes = np.linalg.solve(
            weight * sides.T @ sides + np.eye(2) / _SLOPE_PRIOR**2, weight * sides.T @ height
        )
        above = feet[:, 1] - feet[:, [0, 2]] @ slopes
        return cls(np.array([*slopes, float(np.quantile(above, _STANDING))]))

    def height_of(self, points: Float[np.ndarray, "*b 3"]) -> Float[np.ndarray, "*b"]:
        """Return the height of points above the ground, along Y, meters."""
        a, b, c = self.coefficients
        return points[..., 1] - (a * points[..., 0] + b * points[..., 2] + c)


@dataclass(frozen=True)
class KeyLight:
    """The main light of a photo.

    Attributes:
        direction: (3,) unit vector toward the light, in the axes of the camera.
        strength: Darkness of its shadows, in [0, 1].
    """

    direction: Float[np.ndarray, " 3"]
    strength: float

    @classmethod
    def of_photo(cls, drawn: Drawn, background: UInt8[np.ndarray, "3 h w"]) -> KeyLight:
        """Estimate the light from the shading of a person.

        Shading is confounded with the colors of clothes, so the estimate is blended with light from above.

        Args:
            drawn: The person in the pose of the photo, one frame.
            background: The new background; low contrast indicates diffuse light and weakens the shadow.
        """
        on = drawn.alpha[0] == 1
        brightness = _LUMA @ drawn.color[0][:, on] / 255
        normals = drawn.normals[0][:, on].T.astype(float)
        # Lambertian shading: brightness is linear in the normal.
        design = np.column_stack([normals, np.ones(len(normals))])
        slope = np.linalg.lstsq(design, brightness, rcond=None)[0][:3] if len(design) > 8 else np.zeros(3)
        shading = slope / max(float(brightness.mean()), 0.05) if len(design) > 8 else slope
        direction = np.array([0.0, 1.0, 0.15]) + np.clip(shading, -0.6, 0.6)
        direction[1] = max(direction[1], 0.3)
        direction /= np.linalg.norm(direction)
        if direction[1] < _LEAST_ELEVATION:
            side = direction[[0, 2]] / np.linalg.norm(direction[[0, 2]])
            direction[[0, 2]] = side * np.sqrt(1 - _LEAST_ELEVATION**2)
            direction[1] = _LEAST_ELEVATION
        lower = _LUMA @ background[:, background.shape[1] // 2 :].reshape(3, -1) / 255
        contrast = float(lower.std() / max(lower.mean(), 0.05))
        side_light = float(np.hypot(*shading[[0, 2]]))
        return cls(direction, float(np.clip(0.2 + 0.35 * contrast + 0.25 * side_light, 0.2, 0.5)))


def shadow_of(
    vertices: Float32[np.ndarray, "n 3"],
    ground: Ground,
    light: KeyLight,
    camera: PinholeCamera,
) -> Float32[np.ndarray, "h w"]:
    """Return the opacity of a body's shadow in the image, in [0, 1].

    Args:
        vertices: Vertices of the body in meters, in the axes of the camera.
        ground: The ground.
        light: The light that casts the shadow.
        camera: The camera.
    """
    height = ground.height_of(vertices)
    a, b, _ = ground.coefficients
    drop = light.direction[1] - a * light.direction[0] - b * light.direction[2]
    # Project the vertices on the ground along the direction of the light.
    lying = vertices - (np.maximum(height, 0) / max(drop, 0.2))[:, None] * light.direction
    light_left, low = np.ones((camera.height, camera.width), np.float32), -np.inf
    for high, blur in _BANDS:
        band = (height > low) & (height <= high)
        light_left *= 1 - light.strength * _splat(lying[band], blur, camera)
        low = high
    near = height < _CONTACT_HEIGHT
    below = vertices[near] - np.maximum(height[near], 0)[:, None] * np.array([0, 1.0, 0])
    light_left *= 1 - _CONTACT_STRENGTH * _splat(below, _CONTACT_BLUR, camera)
    return 1 - light_left


def _splat(points: np.ndarray, blur: float, camera: PinholeCamera) -> np.ndarray:
    """Return the blurred coverage of the image by points on the ground, in [0, 1]; the blur is in meters."""
    empty = np.zeros((camera.height, camera.width), np.float32)
    points = points[points[:, 2] < -0.1]
    if not len(points):
        return empty
    seen = camera.project(points.astype(float))
    x, y = np.rint(seen[:, 0]).astype(int), np.rint(seen[:, 1]).astype(int)
    inside = (x >= 0) & (y >= 0) & (x < camera.width) & (y < camera.height)
    if not inside.any():
        return empty
    scale = camera.focal / float(np.median(seen[:, 2]))
    # The ground is seen at a grazing angle: a circle on it is a flat ellipse in the image.
    flat = float(np.clip(-np.median(points[:, 1]) / np.median(seen[:, 2]), 0.15, 1.0))
    x0, x1, y0, y1 = _window(x[inside], y[inside], 4 * blur * scale, camera)
    count = np.zeros((y1 - y0, x1 - x0), np.float32)
    np.add.at(count, (y[inside] - y0, x[inside] - x0), 1)
    density = gaussian_filter(count, (max(blur * scale * flat, 0.6), max(blur * scale, 0.6)))
    full = float(np.quantile(density[density > density.max() * 0.05], 0.6))
    empty[y0:y1, x0:x1] = 1 - np.exp(-_FILL * density / full)
    return empty


def _window(x: np.ndarray, y: np.ndarray, margin: float, camera: PinholeCamera) -> tuple[int, int, int, int]:
    by = int(np.ceil(margin)) + 3
    return (
        max(int(x.min()) - by, 0),
        min(int(x.max()) + by + 1, camera.width),
        max(int(y.min()) - by, 0),
        min(int(y.max()) + by + 1, camera.height),
    )


def darkened(
    background: UInt8[np.ndarray, "3 h w"], shadow: Float32[np.ndarray, "h w"]
) -> UInt8[np.ndarray, "3 h w"]:
    """Return a background with a shadow on it.

    Args:
        background: sRGB.
        shadow: Opacity as `shadow_of` returns it.
    """
    return np.rint(background * (1 - shadow)).clip(0, 255).astype(np.uint8)


def match_light(
    color: UInt8[np.ndarray, "*b 3 h w"],
    photo: UInt8[np.ndarray, "3 y x"],
    mask: Bool[np.ndarray, "y x"],
    background: UInt8[np.ndarray, "3 v u"],
    amount: float = 0.3,
) -> UInt8[np.ndarray, "*b 3 h w"]:
    """Adapt the colors of a person to the light of a background.

    The surroundings of the person in the photo are compared with the background, so that dark clothes stay
    dark. There is one gain per channel for the whole clip, which avoids flicker.

    Args:
        color: Colors of the person, sRGB.
        photo: The photo they come from.
        mask: The person in the photo.
        background: The new background.
        amount: Strength in [0, 1]; 0 leaves the colors unchanged.

    Raises:
        ValueError: If the amount is not in [0, 1].
    """
    if not 0 <= amount <= 1:
        raise ValueError(f"amount: found {amount}, expected a number in [0, 1]")
    around = photo[:, ~mask] if (~mask).any() else photo.reshape(3, -1)
    before, after = (_light_level(pixels) for pixels in (around, background.reshape(3, -1)))
    gain = np.clip((after / before) ** amount, 1 / _GAIN_LIMIT, _GAIN_LIMIT)
    level = np.arange(256) / 255
    # Brightening keeps white fixed, so that no channel clips.
    curves = [1 - (1 - level) ** g if g > 1 else level * g for g in gain]
    table = np.rint(np.stack(curves) * 255).astype(np.uint8)
    made = np.empty_like(color)
    for channel in range(3):
        made[..., channel, :, :] = table[channel][color[..., channel, :, :]]
    return made


def _light_level(pixels: UInt8[np.ndarray, "3 n"]) -> Float[np.ndarray, " 3"]:
    """Return the mean of each channel over pixels that are neither clipped nor black."""
    values = pixels.astype(float)
    fine = (values.max(0) < 250) & (values.max(0) > 8)
    return np.maximum(values[:, fine].mean(1) if fine.any() else values.mean(1), 8.0)
