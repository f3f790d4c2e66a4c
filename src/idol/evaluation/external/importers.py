"""`idol.import_clips`: videos of other methods as clips, to be scored like generated ones."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from idol.clip import Clip
from idol.errors import UserError
from idol.evaluation.clip_sets import open_clips
from idol.evaluation.external.layouts import IMAGES, VIDEOS, Layout, LayoutOptions, find_videos, is_lossy
from idol.evaluation.external.read_frames import fit_frames, read_frames
from idol.progress import SILENT, ProgressCallback

_log = logging.getLogger(__name__)


class ImportedClips(Mapping[str, Clip]):
    """Videos of another method as clips, by the names of the reference clips; loaded on access.

    Only the frames are the method's. Mask, pose, background, frame rate and subject are the reference clip's,
    and there is no depth (`depth_kind` none). Frames of another size are resized with Pillow's bicubic
    filter, which is antialiased; frames of the same size are unchanged.

    Args:
        paths: The file or folder of each video, by the name of its reference clip.
        reference: The reference clips; may hold more.
        options: How the files are read.
    """

    def __init__(
        self, paths: Mapping[str, Path], reference: Mapping[str, Clip], options: LayoutOptions
    ) -> None:
        self.paths, self.reference, self.options = paths, reference, options

    @property
    def lossy(self) -> bool:
        """Whether frames were compressed lossily, which changes LPIPS, flicker and Fréchet distances."""
        return any(is_lossy(path, self.options.layout) for path in self.paths.values())

    def __getitem__(self, name: str) -> Clip:
        path, reference_clip = self.paths[name], self.reference[name]
        frames = read_frames(path, self.options, (reference_clip.height, reference_clip.width))
        loss = ", compressed lossily" if is_lossy(path, self.options.layout) else ""
        return replace(
            reference_clip,
            video=fit_frames(frames, path, self.options, reference_clip.video.shape),
            depth=np.zeros_like(reference_clip.depth),
            depth_kind="none",
            depth_range=None,
            source=f"{self.options.layout} {path.name}{loss}",
        )

    def __contains__(self, name: object) -> bool:  # that of Mapping would read the clip
        return name in self.paths

    def __iter__(self) -> Iterator[str]:
        return iter(self.paths)

    def __len__(self) -> int:
        return len(self.paths)


def open_imported(
    folder: str | Path,
    reference: Mapping[str, Clip],
    layout: Layout,
    *,
    column: int | None = None,
    start: int | None = None,
    size: tuple[int, int] | None = None,
) -> ImportedClips:
    """Open the videos of another method as clips.

    A video belongs to the reference clip that has the name of its file or folder, if need be without the
    suffixes of images and videos; FOMM's `NAME-NAME` belongs to NAME.

    Args:
        folder: What the method wrote; see `layouts.find_videos`.
        reference: The reference clips by name; may hold more.
        layout: How the folder is laid out; see the module `layouts`.
        column: The column of `fomm-grid` to take, from 0 at the left or from -1 at the right.
        start: The number of frames to skip at the start of longer videos. None: videos must be as long as the
            clips.
        size: Height and width of a frame whose shape is not the reference clip's, to which it is then
            stretched. None: the shape must be the same. Required where the file does not tell; see
            `layouts.LayoutOptions`.

    Returns:
        The clips by the names of the reference clips. Loading one raises a `UserError` that names its file if
        it cannot be read, has another number of frames, or frames of another shape.

    Raises:
        UserError: If the folder holds nothing of that layout, a video has no reference clip or two videos
            have the same, or an option does not fit the layout.
    """
    options = LayoutOptions(layout, column, start, size)
    return ImportedClips(_matched(find_videos(Path(folder), layout), reference, layout), reference, options)


def import_clips(
    folder: str | Path,
    reference: str | Path,
    out: str | Path,
    layout: Layout,
    *,
    column: int | None = None,
    start: int | None = None,
    size: tuple[int, int] | None = None,
    progress: ProgressCallback = SILENT,
) -> int:
    """Write the videos of another method as folders of clips, for `idol.evaluate`.

    Logs a warning if they were compressed lossily.

    Args:
        folder: What the method wrote.
        reference: Folder or shards of the reference clips; may hold more.
        out: Receives one folder per clip.
        layout: How the folder is laid out; see the module `layouts`.
        column: The column of `fomm-grid`; see `open_imported`.
        start: The number of frames to skip; see `open_imported`.
        size: Height and width of a frame in pixels; see `open_imported`.
        progress: Receives one step per clip.

    Returns:
        The number of clips.

    Raises:
        UserError: As `open_clips`, `open_imported` and `write_clips`, and if a clip cannot be imported.
    """
    clips = open_imported(folder, open_clips(reference), layout, column=column, start=start, size=size)
    if clips.lossy:
        _log.warning("%s: compressed lossily, which changes LPIPS, flicker and Fréchet distances", folder)
    return write_clips(clips, out, progress)


def write_clips(clips: Mapping[str, Clip], out: str | Path, progress: ProgressCallback = SILENT) -> int:
    """Write clips as folders with lossless frames; clips of the same names are replaced.

    Args:
        clips: The clips by name.
        out: Receives one folder per clip.
        progress: Receives one step per clip.

    Returns:
        The number of clips.

    Raises:
        UserError: If `out` holds clips of other names, which would be scored with these, or if a clip cannot
            be written.
    """
    out, names = Path(out), list(clips)
    others = {path.parent.name for path in out.glob("*/clip.json")} - set(names)
    if others:
        found = f"{out} holds {len(others)} other clips, {min(others)!r} first"
        raise UserError("out", found, "give another folder")
    for done, name in enumerate(names, 1):
        clips[name].save(out / name)
        progress.step(done, len(names))
    return len(names)


def _matched(found: Iterable[Path], reference: Iterable[str], layout: Layout) -> dict[str, Path]:
    """Return the paths by the names of their reference clips."""
    names, paths = set(reference), dict[str, Path]()
    for path in found:
        name = next((name for name in _possible_names(path.name, layout) if name in names), None)
        if name is None:
            raise UserError(str(path), "no reference clip has that name", "rename or remove it")
        if name in paths:
            raise UserError(str(path), f"{paths[name].name} is a video of {name!r} too", "remove one of them")
        paths[name] = path
    return paths


def _possible_names(name: str, layout: Layout) -> Iterator[str]:
    """Yield the clip names that fit a file: its name with fewer and fewer suffixes; NAME of NAME-NAME."""
    yield name
    suffix = Path(name).suffix
    if suffix.lower() in (*IMAGES, *VIDEOS):
        yield from _possible_names(name.removesuffix(suffix), layout)
    half = name[: len(name) // 2]
    if layout.startswith("fomm") and half and name == f"{half}-{half}":
        yield from _possible_names(half, layout)
