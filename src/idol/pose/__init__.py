"""Poses: joint layouts, skeleton images, retargeting, and limb warps of a person's image."""
