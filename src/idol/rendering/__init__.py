"""VIDEO + DEPTH -> VIEWS: novel camera paths, stereo, point clouds, meshes, EXR."""

from idol.rendering.render import RenderResult, render

__all__ = ["RenderResult", "render"]
