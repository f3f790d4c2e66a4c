"""Clips that other methods' code wrote, read as ours."""
