"""Writers of the outputs of rendering: videos, stereo, point clouds, meshes, EXR."""
