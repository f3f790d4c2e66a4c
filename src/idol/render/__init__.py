"""VIDEO + DEPTH -> VIEWS: parallax, stereo, point clouds, meshes."""

from idol.render.produce import Rendered, render

__all__ = ["Rendered", "render"]
