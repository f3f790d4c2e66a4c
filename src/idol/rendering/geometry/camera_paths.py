"""Where the camera goes: built-in moves, and keyframes from a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float
from scipy.interpolate import PchipInterpolator

from idol.config import load_config
from idol.errors import UserError
from idol.rendering.geometry.camera import View

Move = Literal["sway", "dolly", "orbit", "still"]
AMOUNTS: dict[str, float] = {"sway": 0.07, "dolly": 0.15, "orbit": 0.10, "still": 0.0}
"""How far each move goes by default, in distances of the person: 0.07 is a look from four degrees aside."""
_PERIOD = 4.0  # seconds of one sway, about


@dataclass(frozen=True)
class Keyframe:
    """Where the camera is at one time.

    Attributes:
        time: Seconds from the start.
        position: Meters to the right, down and forward of the clip's own camera.
        look_at: A point in the same axes that comes to the middle of the image.
        yaw: Degrees to the right of the clip's own direction; not together with `look_at`.
        pitch: Degrees upward.

    Without a direction the camera turns so that the person stays where it is in the image.

    Raises:
        ValueError: If the time is negative, or two directions are given.
    """

    time: float
    position: tuple[float, float, float] = (0.0, 0.0, 0.0)
    look_at: tuple[float, float, float] | None = None
    yaw: float | None = None
    pitch: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.time < np.inf:
            raise ValueError(f"time: found {self.time}, expected seconds from 0")
        if self.look_at is not None and (self.yaw is not None or self.pitch is not None):
            raise ValueError("found look_at and an angle, expected one of them")
        if self.look_at == self.position:
            raise ValueError(f"look_at: found the camera's own position {self.position}")


@dataclass(frozen=True)
class Keyframes:
    """A file of keyframes, YAML or JSON.

    Raises:
        ValueError: If there is none, or their times do not grow.
    """

    keyframes: tuple[Keyframe, ...]

    def __post_init__(self) -> None:
        times = [each.time for each in self.keyframes]
        if not times or any(b <= a for a, b in zip(times, times[1:], strict=False)):
            raise ValueError(
                f"keyframes: found times {times}, expected at least one, each later than the last"
            )


def camera_path(
    path: str, amount: float | None, times: Float[np.ndarray, " f"], person: Float[np.ndarray, " 3"]
) -> list[View]:
    """One view per frame; the same one again where the camera stands still.

    Args:
        path: `sway` (from side to side, ends where it began), `dolly` (towards the person), `orbit` (round
            the person, from left to right), `still`, or a file of keyframes.
        amount: How far a move goes, in distances of the person; None is its default. No use with a file.
        times: Of the frames, seconds from 0.
        person: Meters; where the person is: moves turn the camera so that its place in the image stays.

    Raises:
        UserError: If the path is neither, its file is wrong, or the amount is out of range.
    """
    if path in get_args(Move):
        share = AMOUNTS[path] if amount is None else amount
        if not -0.6 <= share <= 0.6:
            raise UserError("--amount", f"{share}", "give a share of the person's distance from -0.6 to 0.6")
        return _views([(*place, 0.0, 0.0) for place in _move(path, share, times, person)], person)
    if amount is not None:
        raise UserError("--amount", "means nothing to a file of keyframes", "leave it away")
    if not Path(path).is_file():
        known = ", ".join(get_args(Move))
        raise UserError(
            "--path", f"{path!r} is no move and no file", f"give one of {known}, or a file of keyframes"
        )
    return _through(load_config(Keyframes, path).keyframes, times, person)


def _move(
    path: str, share: float, times: Float[np.ndarray, " f"], person: Float[np.ndarray, " 3"]
) -> Float[np.ndarray, "f 3"]:
    """Positions of a built-in move; a gentle start and end is part of each."""
    distance = float(np.linalg.norm(person))
    length = float(times[-1] + (times[1] - times[0] if len(times) > 1 else 1))
    run = times / max(float(times[-1]), 1e-9)  # 0 to 1
    ease = (1 - np.cos(np.pi * run)) / 2
    zero = np.zeros_like(times)
    match path:
        case "sway":
            swings = max(1, round(length / _PERIOD))
            side = share * distance * np.sin(2 * np.pi * swings * times / length)
            return np.stack([side, zero, zero], 1)
        case "dolly":
            return (share * ease)[:, None] * person
        case "orbit":
            return _arc(np.arctan(share) * (2 * ease - 1), person)
    return np.stack([zero, zero, zero], 1)


def _arc(angles: Float[np.ndarray, " f"], person: Float[np.ndarray, " 3"]) -> Float[np.ndarray, "f 3"]:
    """Positions on the circle round the upright line through the person; a positive angle is to the right."""
    x, _, z = person
    c, s = np.cos(angles), np.sin(angles)
    return np.stack([x - c * x + s * z, 0 * angles, z - c * z - s * x], 1)


def _through(
    keyframes: tuple[Keyframe, ...], times: Float[np.ndarray, " f"], person: Float[np.ndarray, " 3"]
) -> list[View]:
    """Views between keyframes, smooth and never beyond them (monotone cubic interpolation)."""
    rows = np.array([[*each.position, *_turned(each, person)] for each in keyframes])
    if len(keyframes) == 1:
        values = np.broadcast_to(rows[0], (len(times), 5))
    else:
        start, end = keyframes[0].time, keyframes[-1].time
        values = PchipInterpolator([each.time for each in keyframes], rows)(np.clip(times, start, end))
    return _views([tuple(row) for row in values], person)


def _views(rows: Sequence[tuple[float, ...]], person: Float[np.ndarray, " 3"]) -> list[View]:
    """Views from x, y, z and two angles; the same one where these are the same, so it is drawn only once."""
    views = {row: _aimed(np.array(row[:3]), person, *map(float, row[3:])) for row in dict.fromkeys(rows)}
    return [views[row] for row in rows]


def _turned(keyframe: Keyframe, person: Float[np.ndarray, " 3"]) -> tuple[float, float]:
    """Yaw and pitch, radians, by which a keyframe looks aside from where it would see the person unmoved."""
    place = np.array(keyframe.position)
    if keyframe.look_at is None and keyframe.yaw is None and keyframe.pitch is None:
        return 0.0, 0.0
    yaw, pitch = np.radians(keyframe.yaw or 0.0), np.radians(keyframe.pitch or 0.0)
    if keyframe.look_at is not None:
        yaw, pitch = _angles(np.array(keyframe.look_at) - place)
    usual = _angles(person - place) - _angles(person)
    return float(yaw - usual[0]), float(pitch - usual[1])


def _angles(direction: Float[np.ndarray, " 3"]) -> Float[np.ndarray, " 2"]:
    """Yaw to the right and pitch upward of a direction, radians."""
    x, y, z = direction
    return np.array([np.arctan2(x, z), np.arctan2(-y, np.hypot(x, z))])


def _aimed(
    place: Float[np.ndarray, " 3"], person: Float[np.ndarray, " 3"], yaw: float = 0.0, pitch: float = 0.0
) -> View:
    """The upright view from a place that shows the person where the clip does, turned by two angles."""
    psi, theta = _angles(person - place) - _angles(person) + np.array([yaw, pitch])
    forward = np.array([np.sin(psi) * np.cos(theta), -np.sin(theta), np.cos(psi) * np.cos(theta)])
    return View.towards(place, place + forward)
