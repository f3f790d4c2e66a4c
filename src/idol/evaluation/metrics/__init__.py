"""Measures of one clip, or of one set of features."""
