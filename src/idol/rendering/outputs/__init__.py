"""What is written: videos, stereo, point clouds, meshes, EXR."""
