"""Camera paths: built-in moves, and keyframes from a file."""

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
DEFAULT_AMOUNTS: dict[str, float] = {"sway": 0.07, "dolly": 0.15, "orbit": 0.10, "still": 0.0}
"""Default extent of each move in distances of the person; 0.07 corresponds to an angle of four degrees."""
_PERIOD = 4.0  # seconds of one sway, approximately


@dataclass(frozen=True)
class Keyframe:
    """The camera at one time; without a direction it turns so that the person stays in place in the image.

    Attributes:
        time: Seconds from the start, at least 0.
        position: Meters to the right, down and forward of the clip's own camera.
        look_at: Point in the same axes that is shown in the middle of the image.
        yaw: Degrees to the right of the clip's own direction; excludes `look_at`.
        pitch: Degrees upward; excludes `look_at`.

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
            raise ValueError("look_at: found it together with yaw or pitch, expected only one of them")
        if self.look_at == self.position:
            raise ValueError(f"look_at: found {self.position}, the camera's position, expected another point")


@dataclass(frozen=True)
class Keyframes:
    """A file of keyframes, YAML or JSON.

    Attributes:
        keyframes: At least one, in order of time.

    Raises:
        ValueError: If there is none, or their times are not increasing.
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
    """Return one view per frame; equal positions share one `View` object, so that the renderer can cache it.

    Args:
        path: `sway` (side to side, ends where it starts), `dolly` (towards the person), `orbit` (around the
            person, left to right), `still`, or a file of keyframes.
        amount: Extent of a built-in move, in [-0.6, 0.6] of the person's distance; None selects its default.
            Not allowed with a file.
        times: (f,) time of each frame in seconds from 0.
        person: (3,) position of the person in meters. Built-in moves turn the camera so that it keeps its
            position in the image.

    Raises:
        UserError: If the path is neither a move nor a file, the file is invalid, or the amount is out of
            range.
    """
    if path in get_args(Move):
        share = DEFAULT_AMOUNTS[path] if amount is None else amount
        if not -0.6 <= share <= 0.6:
            raise UserError("amount", f"{share}", "give a fraction of the person's distance, -0.6 to 0.6")
        return _views([(*position, 0.0, 0.0) for position in _move(path, share, times, person)], person)
    if amount is not None:
        raise UserError("amount", "has no meaning for a file of keyframes", "omit it")
    if not Path(path).is_file():
        known = ", ".join(get_args(Move))
        raise UserError(
            "path", f"{path!r} is neither a move nor a file", f"give one of {known}, or a file of keyframes"
        )
    return _through(load_config(Keyframes, path).keyframes, times, person)


def _move(
    path: str, share: float, times: Float[np.ndarray, " f"], person: Float[np.ndarray, " 3"]
) -> Float[np.ndarray, "f 3"]:
    """Return the camera positions of a built-in move, which starts and ends gently."""
    distance = float(np.linalg.norm(person))
    # a sway is periodic over the clip's duration, which is one frame longer than its last time
    length = float(times[-1] + (times[1] - times[0] if len(times) > 1 else 1))
    run = times / max(float(times[-1]), 1e-9)  # 0 to 1
    ease = (1 - np.cos(np.pi * run)) / 2  # 0 to 1 with zero speed at both ends
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
    """Return positions on the circle around the vertical through the person, for angles to the right."""
    x, _, z = person
    c, s = np.cos(angles), np.sin(angles)
    return np.stack([x - c * x + s * z, 0 * angles, z - c * z - s * x], 1)


def _through(
    keyframes: tuple[Keyframe, ...], times: Float[np.ndarray, " f"], person: Float[np.ndarray, " 3"]
) -> list[View]:
    """Interpolate keyframes by monotone cubic splines, which do not overshoot."""
    # angles are interpolated relative to keeping the person in place, so that unturned keyframes keep it
    rows = np.array([[*each.position, *_turned(each, person)] for each in keyframes])
    if len(keyframes) == 1:
        values = np.broadcast_to(rows[0], (len(times), 5))
    else:
        start, end = keyframes[0].time, keyframes[-1].time
        values = PchipInterpolator([each.time for each in keyframes], rows)(np.clip(times, start, end))
    return _views([tuple(row) for row in values], person)


def _views(rows: Sequence[tuple[float, ...]], person: Float[np.ndarray, " 3"]) -> list[View]:
    """Return views for rows (x, y, z, yaw, pitch); equal rows share one `View`, so it is drawn only once."""
    views = {row: _aimed(np.array(row[:3]), person, *map(float, row[3:])) for row in dict.fromkeys(rows)}
    return [views[row] for row in rows]


def _turned(keyframe: Keyframe, person: Float[np.ndarray, " 3"]) -> tuple[float, float]:
    """Return yaw and pitch in radians by which a keyframe turns away from keeping the person in place."""
    position = np.array(keyframe.position)
    if keyframe.look_at is None and keyframe.yaw is None and keyframe.pitch is None:
        return 0.0, 0.0
    yaw, pitch = np.radians(keyframe.yaw or 0.0), np.radians(keyframe.pitch or 0.0)
    if keyframe.look_at is not None:
        yaw, pitch = _angles(np.array(keyframe.look_at) - position)
    default = _angles(person - position) - _angles(person)
    return float(yaw - default[0]), float(pitch - default[1])


def _angles(direction: Float[np.ndarray, " 3"]) -> Float[np.ndarray, " 2"]:
    """Return yaw to the right and pitch upward of a direction, in radians."""
    x, y, z = direction
    return np.array([np.arctan2(x, z), np.arctan2(-y, np.hypot(x, z))])  # y points down


def _aimed(
    position: Float[np.ndarray, " 3"], person: Float[np.ndarray, " 3"], yaw: float = 0.0, pitch: float = 0.0
) -> View:
    """Return the upright view that keeps the person in place in the image, turned by two angles (radians)."""
    psi, theta = _angles(person - position) - _angles(person) + np.array([yaw, pitch])
    forward = np.array([np.sin(psi) * np.cos(theta), -np.sin(theta), np.cos(psi) * np.cos(theta)])
    return View.look_at(position, position + forward)
