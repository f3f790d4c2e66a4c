"""Joints: their layouts, skeleton images, retargeting, and the person's image moved by them."""
