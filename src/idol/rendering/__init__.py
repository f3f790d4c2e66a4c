"""VIDEO + DEPTH -> VIEWS: parallax, stereo, point clouds, meshes."""

from idol.rendering.render import Rendered, render

__all__ = ["Rendered", "render"]
