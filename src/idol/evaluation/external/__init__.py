"""Readers of the videos that other methods' own code writes."""
