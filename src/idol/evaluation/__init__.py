"""Folders to numbers: clips, made by whatever means, against the true ones. Never sees a model."""
