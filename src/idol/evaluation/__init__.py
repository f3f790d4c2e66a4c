"""Metrics of clips on disk against reference clips; independent of the model that made them."""
