"""What is drawn, a mesh with colors from a photo, and what comes out: color, depth, normals, parts, alpha."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Int, Int32, UInt8

SOURCES = ("seen", "twin", "through", "guessed")
"""Where a color comes from: the photo shows the place; its twin on the body's other side; what lies before it
in the photo; colors spread from elsewhere over the body."""

BLOCK = 2
"""Samples along a side of a pixel."""

CUT_OUT, SLIVER = 1.0, 2.0
"""Kinds of surface that the photo's alpha cuts out; see `AvatarMesh.soft`."""

SLIVER_FACING = (0.8, 0.95)
"""Cosines between a sliver's normal and the view axis between which it goes."""

MAGNIFIED = (1.2, 2.0)
"""How much more frontally than in the photo a place is seen, as a ratio of cosines, where its color there
begins to go, and is gone: a surface that the photo passes at a grazing angle would come out as streaks."""

LEAST_FACING = 0.01
"""Cosines in the photo count as no less."""

SAME_SURFACE = 0.04
"""Meters: samples of a pixel that lie farther behind its nearest one do not count for its depth."""


@dataclass(frozen=True)
class AvatarMesh:
    """A mesh whose vertices know which places of a photo have their color.

    Attributes:
        triangles: (t, 3) vertices, counterclockwise seen from outside; seen from inside they are not drawn.
        own: (n, 2) column and row in the photo of each vertex itself, pixels.
        other: (n, 2) of its twin.
        guess: (n, 3) a color spread over the body, in [0, 255].
        share: (n, 3) weights of own, other and guess; they sum to 1.
        facing: (n, 2) cosines between the normal and the way to the camera in the photo, of each vertex and
            of its twin, without sign; what is seen more frontally loses its color, see `MAGNIFIED`.
        spare: (n,) share in [0, 1] of what own loses that goes to the twin; the guess gets the rest.
        part: (n,) part of the body, an index of `idol.body.skin_mesh.PARTS`; of a triangle's last vertex.
        source: (n,) an index of `SOURCES`, likewise.
        soft: (n,) 0 where a surface is solid, `CUT_OUT` where the photo's alpha cuts it out, `SLIVER` where
            it also goes as it turns away from the camera.
        photo: (h, w, 4) colors and alpha, of body and layers apart: see `idol.body.texture.photo_atlas`.
    """

    triangles: Int32[np.ndarray, "t 3"]
    own: Float32[np.ndarray, "n 2"]
    other: Float32[np.ndarray, "n 2"]
    guess: Float32[np.ndarray, "n 3"]
    share: Float32[np.ndarray, "n 3"]
    facing: Float32[np.ndarray, "n 2"]
    spare: Float32[np.ndarray, " n"]
    part: UInt8[np.ndarray, " n"]
    source: UInt8[np.ndarray, " n"]
    soft: Float32[np.ndarray, " n"]
    photo: UInt8[np.ndarray, "h w 4"]


class DrawnFrame(NamedTuple):
    """One frame; see `Drawn`."""

    color: UInt8[np.ndarray, "h w 3"]
    depth: Float32[np.ndarray, "h w"]
    normals: Float32[np.ndarray, "h w 3"]
    part: UInt8[np.ndarray, "h w"]
    source: UInt8[np.ndarray, "h w"]
    alpha: Float32[np.ndarray, "h w"]


@dataclass(frozen=True)
class Drawn:
    """Frames of a posed person before nothing.

    Attributes:
        color: sRGB of what covers a pixel, not multiplied by alpha; 0 where nothing does.
        depth: Distance along the view axis in meters; infinity where nothing is.
        normals: Unit vectors in the camera's axes (X right, Y up, Z toward it); 0 where nothing is.
        part: 0 where nothing is, else 1 + index of `idol.body.skin_mesh.PARTS`.
        source: 0 where nothing is, else 1 + index of `SOURCES`.
        alpha: Share of the pixel that is covered, in quarters.
    """

    color: UInt8[np.ndarray, "f 3 h w"]
    depth: Float32[np.ndarray, "f h w"]
    normals: Float32[np.ndarray, "f 3 h w"]
    part: UInt8[np.ndarray, "f h w"]
    source: UInt8[np.ndarray, "f h w"]
    alpha: Float32[np.ndarray, "f h w"]

    @classmethod
    def empty(cls, frames: int, height: int, width: int) -> Drawn:
        """Return empty frames to draw into.

        Args:
            frames: Number of frames.
            height: Height in pixels.
            width: Width in pixels.
        """
        shape = (frames, height, width)
        return cls(
            np.zeros((frames, 3, height, width), np.uint8),
            np.full(shape, np.inf, np.float32),
            np.zeros((frames, 3, height, width), np.float32),
            np.zeros(shape, np.uint8),
            np.zeros(shape, np.uint8),
            np.zeros(shape, np.float32),
        )

    def frame(self, number: int) -> DrawnFrame:
        """Return one frame, channels last; what is written into it is written here."""
        return DrawnFrame(
            self.color[number].transpose(1, 2, 0),
            self.depth[number],
            self.normals[number].transpose(1, 2, 0),
            self.part[number],
            self.source[number],
            self.alpha[number],
        )

    def over(self, background: UInt8[np.ndarray, "*g 3 #h #w"]) -> UInt8[np.ndarray, "f 3 h w"]:
        """Return the person before a background.

        Args:
            background: One image or color, or one per frame.
        """
        alpha = self.alpha[:, None]
        mixed = self.color * alpha + background * (1 - alpha)
        return np.rint(mixed).clip(0, 255).astype(np.uint8)


def image_box(seen: Float[np.ndarray, "n 3"], height: int, width: int) -> tuple[int, int, int, int] | None:
    """Return the window (x0, y0, x1, y1) that holds all projected points, or None if it lies outside.

    Args:
        seen: Column and row in pixels, distance in meters.
        height: Rows of the image.
        width: Columns of the image.
    """
    low, high = np.floor(seen[:, :2].min(0)) - 1, np.ceil(seen[:, :2].max(0)) + 2
    x0, y0 = max(int(low[0]), 0), max(int(low[1]), 0)
    x1, y1 = min(int(high[0]), width), min(int(high[1]), height)
    return (x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None


def as_triangles(triangles: Int[np.ndarray, "t 3"]) -> Int32[np.ndarray, "t 3"]:
    """Return triangles in the type that both ways of drawing take."""
    return np.ascontiguousarray(triangles, np.int32)
