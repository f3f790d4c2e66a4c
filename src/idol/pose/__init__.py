"""Poses: joint layouts, key point files, skeleton images, smoothing and retargeting in the image."""
