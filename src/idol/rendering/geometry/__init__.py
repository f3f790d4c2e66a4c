"""Cameras, rays and coordinates of 2.5-D rendering."""
