"""Camera, framing and OpenGL rasterizer of synthetic scenes."""
