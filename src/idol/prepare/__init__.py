"""Real input in: a photo, a background and a motion become what the pipeline takes."""

from idol.prepare.background import background_from
from idol.prepare.motion import Motion, motion_from
from idol.prepare.person import Person, person_from_photo

__all__ = ["Motion", "Person", "background_from", "motion_from", "person_from_photo"]
