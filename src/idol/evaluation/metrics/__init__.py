"""Metrics of one clip against its reference, and distances between sets of features."""
