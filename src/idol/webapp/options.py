"""What can be picked instead of uploaded, by name; a name that is not on the list is refused."""

from __future__ import annotations

import re
from pathlib import Path

from PIL import ImageColor

from idol import media
from idol.errors import UserError

PHOTO = "photo"
"""The background that is the photo's own."""

_PAIRS = re.compile(r"#([0-9a-f]{3}|[0-9a-f]{6})", re.IGNORECASE)
_NUMBER = r"(\d+(?:\.\d*)?)"
_NUMBERS = re.compile(rf"rgba?\(\s*{_NUMBER}[\s,]+{_NUMBER}[\s,]+{_NUMBER}\s*(?:[,/]\s*[\d.]+%?\s*)?\)")


def people() -> dict[str, Path]:
    """The bundled photos by name."""
    return {Path(name).stem: media.path(name) for name in media.PEOPLE}


def backgrounds() -> dict[str, Path]:
    """The bundled backgrounds by name."""
    return {Path(name).stem: media.path(name) for name in media.BACKGROUNDS}


def motions() -> dict[str, str]:
    """The motions that come along: what `generate` takes as one, by name."""
    from idol.prepare import builtin_motions

    return {**filmed(), **{name: f"builtin:{name}" for name in builtin_motions.names()}}


def filmed() -> dict[str, str]:
    """Those of `motions` that are films of people."""
    return {f"{Path(name).stem}-film": str(media.path(name)) for name in media.MOTIONS}


def person_named(name: str | None) -> str:
    """The path of a bundled photo.

    Raises:
        UserError: If there is none of that name.
    """
    return str(_from(people(), "person", name or ""))


def background_named(name: str | None) -> str:
    """What `generate` takes as a background.

    Args:
        name: A bundled one, a color (a CSS name, #rgb, #rrggbb, rgb(r, g, b)), or "photo".

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
    """What `generate` takes as a motion; "builtin:NAME" is understood, too.

    Raises:
        UserError: If there is none of that name.
    """
    return str(_from(motions(), "motion", (name or "").removeprefix("builtin:")))


def _from(known: dict[str, Path] | dict[str, str], argument: str, name: str, also: str = "") -> Path | str:
    if name not in known:
        offered = ", ".join(filter(None, (also, *known)))
        raise UserError(argument, f"there is no {name!r:.60}", f"choose one of {offered}")
    return known[name]
