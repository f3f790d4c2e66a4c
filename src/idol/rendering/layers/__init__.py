"""Separation of a clip into person and background: edges, metric scale, ground plane."""
