"""Readers of motion capture files, and augmentation of motions."""
