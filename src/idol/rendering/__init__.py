"""VIDEO + DEPTH -> VIEWS: parallax, stereo, point clouds, meshes."""

from idol.rendering.render import RenderResult, render

__all__ = ["RenderResult", "render"]
