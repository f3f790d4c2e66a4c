"""IDOL."""
