"""Inference: from what a user gives through conditions, sampling and decoding to composited frames."""
