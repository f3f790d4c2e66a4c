"""Draws posed persons: through OpenGL where it is there, in numpy elsewhere, with the same images."""

from __future__ import annotations

from typing import Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32

from idol.body import draw_numpy
from idol.body.gl_context import has_gl
from idol.body.pinhole import PinholeCamera
from idol.body.textured_mesh import AvatarMesh, DrawnFrame

Backend = Literal["auto", "gl", "numpy"]


@runtime_checkable
class Painter(Protocol):
    """Draws one mesh, frame after frame."""

    def draw_into(
        self,
        frame: DrawnFrame,
        vertices: Float32[np.ndarray, "n 3"],
        normals: Float32[np.ndarray, "n 3"],
        camera: PinholeCamera,
    ) -> None:
        """Draw the mesh into an empty frame.

        Args:
            frame: The frame, of the camera's size; it is changed in place.
            vertices: Vertices of the mesh in meters, in the axes of the camera.
            normals: Unit normals of the vertices.
            camera: The camera.
        """


class NumpyPainter:
    """Draws one mesh in numpy.

    Args:
        mesh: What is drawn.
    """

    def __init__(self, mesh: AvatarMesh) -> None:
        self._mesh = mesh

    def draw_into(
        self,
        frame: DrawnFrame,
        vertices: Float32[np.ndarray, "n 3"],
        normals: Float32[np.ndarray, "n 3"],
        camera: PinholeCamera,
    ) -> None:
        """Draw the mesh into an empty frame.

        Args:
            frame: The frame, of the camera's size; it is changed in place.
            vertices: Vertices of the mesh in meters, in the axes of the camera.
            normals: Unit normals of the vertices.
            camera: The camera.
        """
        draw_numpy.draw_into(frame, self._mesh, vertices, normals, camera)


def make_painter(mesh: AvatarMesh, backend: Backend = "auto") -> Painter:
    """Return what draws a mesh.

    Args:
        mesh: What is drawn.
        backend: "gl" needs moderngl and EGL; "auto" takes it where it is there, else "numpy".

    Raises:
        ImportError: If "gl" is asked for without moderngl.
        RuntimeError: If "gl" is asked for without EGL.
    """
    if backend == "gl" or (backend == "auto" and has_gl()):
        from idol.body.draw_gl import GlPainter

        return GlPainter(mesh)
    return NumpyPainter(mesh)
