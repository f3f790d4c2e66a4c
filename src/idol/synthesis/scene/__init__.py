"""Rooms, panoramas and light around the person."""
