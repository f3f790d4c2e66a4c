"""Write a clip's folder a few frames at a time: a long clip need not fit into memory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from idol.atomic_io import write_bytes
from idol.clip import Clip
from idol.clip.clip import clip_to_files
from idol.errors import UserError

_RECORD = "clip.json"


class ClipWriter:
    """Writes the same folder as `Clip.save`, part by part.

    Args:
        folder: A new folder. It can be loaded as a clip only after `finish`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.frames = folder, 0
        self._record: dict[str, Any] = {}

    def add(self, part: Clip) -> None:
        """Append frames; all parts must agree in size, background, rate and kind of depth.

        Args:
            part: The next frames as a clip.

        Raises:
            ValueError: If this part disagrees with the first one.
            UserError: If its files cannot be written.
        """
        files = clip_to_files(part, image="png", first=self.frames)
        record = json.loads(files.pop(_RECORD))
        self._join(record)
        try:
            for name, data in files.items():
                path = self.folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                if not path.exists():  # a still background comes with every part
                    path.write_bytes(data)
        except OSError as wrong:
            raise UserError(
                str(self.folder), f"cannot be written ({wrong})", "check the space left"
            ) from wrong
        self.frames += part.frames

    def finish(self) -> None:
        """Write `clip.json` of the whole clip.

        Raises:
            ValueError: If no frames were added.
            UserError: If it cannot be written.
        """
        if not self.frames:
            raise ValueError("parts: found none, expected at least one")
        try:
            write_bytes(self.folder / _RECORD, json.dumps(self._record, separators=(",", ":")).encode())
        except OSError as wrong:
            raise UserError(
                str(self.folder), f"cannot be written ({wrong})", "check the space left"
            ) from wrong

    def _join(self, record: dict[str, Any]) -> None:
        if not self._record:
            self._record = record
            return
        growing = ("frames", "pose")
        before = {key: value for key, value in self._record.items() if key not in growing}
        now = {key: value for key, value in record.items() if key not in growing}
        if before != now:
            raise ValueError(f"part: found {now}, expected {before}, as the first part")
        for key in growing:
            self._record[key] += record[key]
