"""Images and videos of real people that ship with the package; `CREDITS.md` lists authors and licenses."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from idol.errors import UserError

PERSON, BACKGROUND, MOTION = "man-standing.jpg", "palace.jpg", "jumping-jacks.mp4"
"""Files of the demo."""

PEOPLE = ("woman-walking.jpg", "man-standing.jpg", "woman-by-a-wall.jpg", "man-arms-wide.jpg")
BACKGROUNDS = ("park.jpg", "palace.jpg")
MOTIONS = ("jumping-jacks.mp4", "walk.mp4")


def path(name: str) -> Path:
    """Return the path of a bundled file.

    Args:
        name: One of `PEOPLE`, `BACKGROUNDS`, `MOTIONS`, or `two-people.jpg`.

    Raises:
        UserError: If the name is unknown.
    """
    known = (*PEOPLE, "two-people.jpg", *BACKGROUNDS, *MOTIONS)
    if name not in known:
        raise UserError(name, "is not a bundled file", f"choose one of {', '.join(known)}")
    return Path(str(files("idol.media"))) / name
