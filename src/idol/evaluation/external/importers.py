"""Other methods' videos as clips, so that they are judged by what judges ours."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from idol.clip import Clip
from idol.errors import UserError
from idol.evaluation.external.frames import fit_frames, read_frames
from idol.evaluation.external.layouts import IMAGES, VIDEOS, Layout, Reading, find_videos, is_lossy

_log = logging.getLogger(__name__)


class ImportedClips(Mapping[str, Clip]):
    """Another method's videos as clips, by the names of the true ones; read when asked for.

    Only the frames are the method's. Mask, pose, background, frame rate and subject are the true clip's;
    there is no depth (`depth_kind` none). Frames of another size are resized to the true clip's with Pillow's
    bicubic filter, which smooths before it shrinks; those of the same size are taken as they are.

    Args:
        paths: The file or folder of each video, by the name of its true clip.
        true: The true clips; may hold more.
        reading: How the files are read.
    """

    def __init__(self, paths: Mapping[str, Path], true: Mapping[str, Clip], reading: Reading) -> None:
        self.paths, self.true, self.reading = paths, true, reading

    @property
    def lossy(self) -> bool:
        """Whether frames were compressed with loss, which moves LPIPS, flicker and Fréchet distances."""
        return any(is_lossy(path, self.reading.layout) for path in self.paths.values())

    def __getitem__(self, name: str) -> Clip:
        path, truth = self.paths[name], self.true[name]
        frames = read_frames(path, self.reading, (truth.height, truth.width))
        loss = ", compressed with loss" if is_lossy(path, self.reading.layout) else ""
        return replace(
            truth,
            video=fit_frames(frames, path, self.reading, truth.video.shape),
            depth=np.zeros_like(truth.depth),
            depth_kind="none",
            depth_range=None,
            source=f"{self.reading.layout} {path.name}{loss}",
        )

    def __contains__(self, name: object) -> bool:  # that of Mapping would read the clip
        return name in self.paths

    def __iter__(self) -> Iterator[str]:
        return iter(self.paths)

    def __len__(self) -> int:
        return len(self.paths)


def import_clips(
    folder: str | Path,
    true: Mapping[str, Clip],
    layout: Layout,
    *,
    column: int | None = None,
    start: int | None = None,
    size: tuple[int, int] | None = None,
) -> ImportedClips:
    """The videos that another method wrote, as clips.

    Each belongs to the true clip of its name: that of its file or folder, if need be without the suffixes of
    images and videos; of FOMM's `NAME-NAME`, NAME.

    Args:
        folder: What the method wrote; see `layouts.find_videos`.
        true: The true clips by name; may hold more.
        layout: See the module `layouts`.
        column: Which column of `fomm-grid`, from 0 at the left or from -1 at the right.
        start: Of longer videos, how many frames are left out first; None: they must be as long as the clips.
        size: Height and width of a frame, if of another shape than the true clip's: they are stretched to it.
            None: they must have its shape. Needed where the file does not tell; see `layouts.Reading`.

    Returns:
        The clips by the names of the true ones. Asking for one raises a `UserError` that names its file if it
        cannot be read, has another number of frames or frames of another shape.

    Raises:
        UserError: If the folder holds nothing of that layout, a video has no true clip or two have the same,
            or an option does not fit the layout.
    """
    reading = Reading(layout, column, start, size)
    return ImportedClips(_matched(find_videos(Path(folder), layout), true, layout), true, reading)


def import_folder(
    folder: str | Path,
    true: Mapping[str, Clip],
    layout: Layout,
    out: str | Path,
    *,
    column: int | None = None,
    start: int | None = None,
    size: tuple[int, int] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Writes another method's videos as folders of clips, for `idol evaluate`.

    The log says so if they were compressed with loss.

    Args:
        folder: What the method wrote.
        true: The true clips by name; may hold more.
        layout: See the module `layouts`.
        out: Gets one folder per clip.
        column: See `import_clips`, as for the next two.
        start: Frames to leave out.
        size: Height and width.
        progress: Told (clips done, clips) after each.

    Returns:
        The number of clips.

    Raises:
        UserError: As `import_clips` and `write_clips`, and if a clip cannot be imported.
    """
    clips = import_clips(folder, true, layout, column=column, start=start, size=size)
    if clips.lossy:
        _log.warning("%s: compressed with loss, which moves LPIPS, flicker and Fréchet distances", folder)
    return write_clips(clips, out, progress)


def write_clips(
    clips: Mapping[str, Clip], out: str | Path, progress: Callable[[int, int], None] | None = None
) -> int:
    """Writes clips as folders, their frames without loss; clips of the same names are replaced.

    Args:
        clips: By name.
        out: Gets one folder per clip.
        progress: Told (clips done, clips) after each.

    Returns:
        The number of clips.

    Raises:
        UserError: If `out` holds clips of other names, which would be judged with these, or one cannot be
            written.
    """
    out, names = Path(out), list(clips)
    others = {path.parent.name for path in out.glob("*/clip.json")} - set(names)
    if others:
        found = f"{out} holds {len(others)} other clips, {min(others)!r} first"
        raise UserError("--out", found, "give another folder")
    for done, name in enumerate(names, 1):
        clips[name].save(out / name)
        if progress:
            progress(done, len(names))
    return len(names)


def _matched(found: Iterable[Path], true: Iterable[str], layout: Layout) -> dict[str, Path]:
    """The paths by the names of their true clips."""
    names, paths = set(true), dict[str, Path]()
    for path in found:
        name = next((name for name in _possible_names(path.name, layout) if name in names), None)
        if name is None:
            raise UserError(str(path), "no true clip of that name", "give it a true clip's, or take it away")
        if name in paths:
            raise UserError(str(path), f"{paths[name].name} is a video of {name!r}, too", "take one away")
        paths[name] = path
    return paths


def _possible_names(name: str, layout: Layout) -> Iterator[str]:
    """What clip a file may be of: its name, without one suffix, without two ...; of NAME-NAME also NAME."""
    yield name
    suffix = Path(name).suffix
    if suffix.lower() in (*IMAGES, *VIDEOS):
        yield from _possible_names(name.removesuffix(suffix), layout)
    half = name[: len(name) // 2]
    if layout.startswith("fomm") and half and name == f"{half}-{half}":
        yield from _possible_names(half, layout)
