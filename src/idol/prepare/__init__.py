"""Preparation of real input: a photo, a background and a motion become the pipeline's arguments."""

from idol.prepare.background import load_background
from idol.prepare.motion import DrivingMotion, load_motion
from idol.prepare.person import Person, load_person

__all__ = ["DrivingMotion", "Person", "load_background", "load_motion", "load_person"]
