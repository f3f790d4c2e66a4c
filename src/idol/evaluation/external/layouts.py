"""Layouts of the videos that other methods' own code writes.

FOMM is AliaksandrSiarohin/first-order-model, MRAA snap-research/articulated-animation, TPS
yoyo-nb/Thin-Plate-Spline-Motion-Model, DreamPose johannakarras/DreamPose; file names are those of their code.

`fomm-png`: one image per video, all its frames side by side along the width, lossless. `run.py --mode
    reconstruction` of FOMM, MRAA and TPS (`reconstruction.py`) writes `reconstruction/png/NAME.png`. NAME is
    the data set's entry with its suffix: a video `a.mp4` becomes `a.mp4.png`. `--mode animate` of FOMM
    (`animate.py`) writes `animation/png/DRIVING-SOURCE.png`, which has a reference video where both are the
    same clip; MRAA writes no such images, and TPS has no such mode.

`fomm-grid`: one file per video, whose frames show several images side by side, compressed lossily. The same
    runs write it beside `png/`, as .mp4 or .gif (`logger.py`, `Visualizer.visualize`). Columns of a
    reconstruction, counted from 0: source and driving frame with key points, warped source, the *prediction*
    (3), then occlusion and other maps. In FOMM's `animate` column 3 is the prediction with key points drawn
    on it and column 4 the one without; in MRAA's column 3 is the one without. With `draw_border` in the
    config (set in those for `fashion`, `tiktok` and `taichi`) every column has a white line at its left and
    right.

`video`: one file per video that shows the result alone, compressed lossily. `demo.py --result_video` of FOMM,
    MRAA and TPS; each run writes one.

`frames`: one folder of images per video, in the natural order of their names (2 before 10).

`dreampose`: one folder per video with `pred_#N.png`, N the number of the pose; other files are ignored.
    `test.py --output_dir` of DreamPose; each run writes one. The frames are 640 high and 512 wide whatever
    the shape of the key frame, which `test.py` stretches to that.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from idol.errors import UserError

Layout = Literal["fomm-png", "fomm-grid", "video", "frames", "dreampose"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)

IMAGES = (".png", ".jpg", ".jpeg")
VIDEOS = (".mp4", ".gif", ".mov", ".mkv", ".avi", ".webm")
_PREDICTED = re.compile(r"pred_#(\d+)\.png")


@dataclass(frozen=True)
class LayoutOptions:
    """How the files of another method are read.

    Attributes:
        layout: The layout of its folder; see the module.
        column: The image to take of each frame of `fomm-grid`: from 0 at the left, or from -1 at the right.
        start: The number of frames to skip at the start of videos that are longer than the reference clips;
            frames that are too many at the end are dropped. None: videos must be exactly as long.
        size: Height and width of a frame; if its shape is not the reference clip's, it is stretched to that.
            None: the shape must be the same. Required for `fomm-grid`, and for `fomm-png` with `start`, where
            nothing in the file tells how wide a frame is.

    Raises:
        UserError: If the layout is unknown, or another value does not fit it.
    """

    layout: Layout
    column: int | None = None
    start: int | None = None
    size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.layout not in LAYOUTS:
            raise UserError("layout", f"{self.layout!r}", f"choose one of {', '.join(LAYOUTS)}")
        if self.layout == "fomm-grid" and self.column is None:
            remedy = "give that of the prediction, from 0: 3 in a reconstruction, 4 in FOMM's animation"
            raise UserError("column", "nothing", remedy)
        if self.layout != "fomm-grid" and self.column is not None:
            raise UserError("column", f"{self.column} for {self.layout}", "give it for fomm-grid only")
        if self.start is not None and self.start < 0:
            raise UserError("start", f"{self.start}", "give the number of frames to skip, at least 0")
        if self.size is not None and min(self.size) < 1:
            raise UserError("size", f"{self.size[0]} {self.size[1]}", "give height and width in pixels")
        size_unknown = self.layout == "fomm-grid" or (self.layout == "fomm-png" and self.start is not None)
        if size_unknown and self.size is None:
            remedy = "give height and width of a frame: the file does not tell (mostly 256 256)"
            raise UserError("size", "nothing", remedy)


def find_videos(folder: Path, layout: Layout) -> list[Path]:
    """Return the file or folder of each video in order of name, without hidden files and other kinds of file.

    Args:
        folder: What the method wrote. For the images of `fomm-png`, `png` or the folder that holds it.
        layout: See the module.

    Raises:
        UserError: If there is no such folder, or nothing of that layout in it.
    """
    if not folder.is_dir():
        raise UserError(str(folder), "no such folder", "give the folder that the method wrote")
    match layout:
        case "fomm-png":
            folder = folder / "png" if (folder / "png").is_dir() else folder
            found, kind = _with_suffix(folder, (".png",)), "PNG file"
        case "fomm-grid" | "video":
            found, kind = _with_suffix(folder, VIDEOS), "video"
        case "frames" | "dreampose":
            found, kind = [path for path in _visible(folder) if path.is_dir()], "folder"
    if not found:
        raise UserError(
            str(folder), f"no {kind}, as {layout} has", "give another folder, or another `layout`"
        )
    return found


def find_images(folder: Path, layout: Layout) -> list[Path]:
    """Return the images of a video's folder in order of frames.

    Args:
        folder: The folder of one video.
        layout: `frames` or `dreampose`.

    Raises:
        UserError: If there are none, or DreamPose's numbers have a gap.
    """
    if layout == "dreampose":
        found = _predicted(folder)
    else:
        found = sorted(_with_suffix(folder, IMAGES), key=_natural)
    if not found:
        raise UserError(str(folder), f"no frames, as {layout} has", "generate them, or remove the folder")
    return found


def is_lossy(path: Path, layout: Layout) -> bool:
    """Return whether the frames were compressed lossily: JPEG, videos, and GIF with its 256 colors.

    Args:
        path: The file or folder of one video.
        layout: Its layout.

    Raises:
        UserError: If it is a folder without frames.
    """
    files = find_images(path, layout) if path.is_dir() else [path]
    return any(file.suffix.lower() != ".png" for file in files)


def _visible(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _with_suffix(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    return [path for path in _visible(folder) if path.suffix.lower() in suffixes and path.is_file()]


def _natural(path: Path) -> list[int | str]:
    """Return a sort key that compares numbers in names as numbers; text and numbers alternate in it."""
    return [int(part) if i % 2 else part for i, part in enumerate(re.split(r"(\d+)", path.name))]


def _predicted(folder: Path) -> list[Path]:
    """Return DreamPose's frames; a gap would shift all later ones against the reference clip."""
    numbered = {int(m[1]): path for path in _visible(folder) if (m := _PREDICTED.fullmatch(path.name))}
    numbers = sorted(numbered)
    for before, number in zip(numbers, numbers[1:], strict=False):
        if number != before + 1:
            found = f"no pred_#{before + 1}.png between pred_#{before}.png and pred_#{number}.png"
            raise UserError(str(folder), found, "generate it from the pose of that number")
    return [numbered[number] for number in numbers]
