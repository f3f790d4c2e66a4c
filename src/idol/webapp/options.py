"""The choices on the page: kinds of background and motion, bundled files by name. Other names are refused."""

from __future__ import annotations

import re
from pathlib import Path

from PIL import ImageColor

from idol import media
from idol.errors import UserError

PHOTO = "photo"
"""Background: the photo's own."""
OWN, IMAGE, COLOR = "The photo's own", "An image", "A color"
"""Kinds of background."""
LISTED, OWN_VIDEO = "From the list", "My video"
"""Kinds of motion."""
FRAMES, FPS = 24, 10
"""Defaults: 2.4 seconds."""

_PAIRS = re.compile(r"#([0-9a-f]{3}|[0-9a-f]{6})", re.IGNORECASE)
_NUMBER = r"(\d+(?:\.\d*)?)"
_NUMBERS = re.compile(rf"rgba?\(\s*{_NUMBER}[\s,]+{_NUMBER}[\s,]+{_NUMBER}\s*(?:[,/]\s*[\d.]+%?\s*)?\)")


def people() -> dict[str, Path]:
    """Return the bundled photos by name."""
    return {Path(name).stem: media.path(name) for name in media.PEOPLE}


def backgrounds() -> dict[str, Path]:
    """Return the bundled backgrounds by name."""
    return {Path(name).stem: media.path(name) for name in media.BACKGROUNDS}


def motions() -> dict[str, str]:
    """Return the bundled and built-in motions by name, as `idol.generate` takes them."""
    from idol.prepare import builtin_motions

    return {**video_motions(), **{name: f"builtin:{name}" for name in builtin_motions.names()}}


def video_motions() -> dict[str, str]:
    """Return those of `motions` that are videos of persons."""
    return {f"{Path(name).stem}-video": str(media.path(name)) for name in media.MOTIONS}


def person_named(name: str | None) -> str:
    """Return the path of a bundled photo.

    Raises:
        UserError: If there is none of that name.
    """
    return str(_from(people(), "person", name or ""))


def background_named(name: str | None) -> str:
    """Return a background as `idol.generate` takes it.

    Args:
        name: Name of a bundled background, a color (a CSS name, #rgb, #rrggbb, rgb(r, g, b)), or "photo".

    Raises:
        UserError: If it is none of these.
    """
    name = name or ""
    if name == PHOTO or name.lower() in ImageColor.colormap or _PAIRS.fullmatch(name):
        return name
    if numbers := _NUMBERS.fullmatch(name):
        red, green, blue = (min(255, round(float(part))) for part in numbers.groups())
        return f"#{red:02x}{green:02x}{blue:02x}"
    return str(_from(backgrounds(), "background", name, "a color, photo"))


def motion_named(name: str | None) -> str:
    """Return a motion as `idol.generate` takes it, from a name of `motions` or "builtin:NAME".

    Raises:
        UserError: If there is none of that name.
    """
    return str(_from(motions(), "motion", (name or "").removeprefix("builtin:")))


def _from(known: dict[str, Path] | dict[str, str], argument: str, name: str, also: str = "") -> Path | str:
    if name not in known:
        offered = ", ".join(filter(None, (also, *known)))
        raise UserError(argument, f"there is no {name!r:.60}", f"choose one of {offered}")
    return known[name]
