"""The camera and the renderer of synthetic scenes."""
