"""Pretrained networks whose features are compared."""
