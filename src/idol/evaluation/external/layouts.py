"""How other methods' own code lays out the videos it writes.

FOMM is AliaksandrSiarohin/first-order-model, MRAA snap-research/articulated-animation, TPS
yoyo-nb/Thin-Plate-Spline-Motion-Model, DreamPose johannakarras/DreamPose; file names are those of their code.

`fomm-png`: one image per video, all its frames side by side along the width, without loss.
    `run.py --mode reconstruction` of FOMM, MRAA and TPS (`reconstruction.py`) leaves
    `reconstruction/png/NAME.png`. NAME is the data set's entry with its suffix: a video `a.mp4` becomes
    `a.mp4.png`. `--mode animate` of FOMM (`animate.py`) leaves `animation/png/DRIVING-SOURCE.png`, which has
    a true video where both are the same clip; MRAA's leaves no such images, and TPS has no such mode.

`fomm-grid`: one file per video, whose frames show several images side by side, compressed with loss.
    The same runs leave it beside `png/`, as .mp4 or .gif (`logger.py`, `Visualizer.visualize`). Columns of a
    reconstruction, counted from 0: source and driving frame with key points, warped source, the *prediction*
    (3), then occlusion and other maps. Of FOMM's `animate` column 3 is the prediction with key points on it
    and column 4 the one without; of MRAA's column 3 is it again. With `draw_border` in the config (it is in
    those for `fashion`, `tiktok` and `taichi`) every column has a white line at its left and right.

`video`: one file per video that shows the result alone, compressed with loss.
    `demo.py --result_video` of FOMM, MRAA and TPS; each run leaves one.

`frames`: one folder of images per video, in the natural order of their names (2 before 10).

`dreampose`: one folder per video with `pred_#N.png`, N the number of the pose; other files are ignored.
    `test.py --output_dir` of DreamPose; each run leaves one. The frames are 640 high and 512 wide, whatever
    the shape of the key frame: `test.py` stretches it to that.
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
class Reading:
    """How the files of another method are read.

    Attributes:
        layout: What its folder holds; see the module.
        column: Of `fomm-grid`, which image of each frame: from 0 at the left, or from -1 at the right.
        start: Its videos are longer than the true clips: so many frames are left out at their beginning, and
            what is too much at their end. None: they must be exactly as long.
        size: Height and width of one of its frames; if their shape is not the true clip's, they are stretched
            to it. None: the shape must be the same. `fomm-grid`, and `fomm-png` with `start`, need it:
            nothing in the file tells how wide a frame is.

    Raises:
        UserError: If the layout is unknown, or another value is none that it can have.
    """

    layout: Layout
    column: int | None = None
    start: int | None = None
    size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.layout not in LAYOUTS:
            raise UserError("--layout", f"{self.layout!r}", f"choose one of {', '.join(LAYOUTS)}")
        if self.layout == "fomm-grid" and self.column is None:
            hint = "counted from 0, the prediction is 3 in a reconstruction and 4 in an animation of FOMM's"
            raise UserError("--column", "nothing", hint)
        if self.layout != "fomm-grid" and self.column is not None:
            raise UserError("--column", f"{self.column} for {self.layout}", "only fomm-grid has columns")
        if self.start is not None and self.start < 0:
            raise UserError("--start", f"{self.start}", "give the number of frames to leave out")
        if self.size is not None and min(self.size) < 1:
            raise UserError("--size", f"{self.size[0]} {self.size[1]}", "give height and width in pixels")
        alone = self.layout == "fomm-grid" or (self.layout == "fomm-png" and self.start is not None)
        if alone and self.size is None:
            hint = "give height and width of a frame: the file does not tell (256 256 in most configs)"
            raise UserError("--size", "nothing", hint)


def find_videos(folder: Path, layout: Layout) -> list[Path]:
    """The file or folder of each video, by name; hidden ones and files of other kinds are none.

    Args:
        folder: What the method wrote. For the images of `fomm-png`, `png` or the folder it is in.
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
        raise UserError(str(folder), f"no {kind}, as {layout} has", "give another folder or --layout")
    return found


def find_images(folder: Path, layout: Layout) -> list[Path]:
    """The frames of a folder in their order.

    Args:
        folder: Of one video.
        layout: `frames` or `dreampose`.

    Raises:
        UserError: If there are none, or DreamPose's have a gap.
    """
    if layout == "dreampose":
        found = _predicted(folder)
    else:
        found = sorted(_with_suffix(folder, IMAGES), key=_natural)
    if not found:
        raise UserError(str(folder), f"no frames, as {layout} has", "make them, or take the folder away")
    return found


def is_lossy(path: Path, layout: Layout) -> bool:
    """Whether frames were compressed with loss: JPEG and videos are, and a GIF has 256 colors.

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
    """Numbers in names as numbers: text and numbers alternate, so that like is compared with like."""
    return [int(part) if i % 2 else part for i, part in enumerate(re.split(r"(\d+)", path.name))]


def _predicted(folder: Path) -> list[Path]:
    """DreamPose's frames; a gap would move all that follow against the true clip."""
    numbered = {int(m[1]): path for path in _visible(folder) if (m := _PREDICTED.fullmatch(path.name))}
    numbers = sorted(numbered)
    for before, number in zip(numbers, numbers[1:], strict=False):
        if number != before + 1:
            found = f"no pred_#{before + 1}.png between pred_#{before}.png and pred_#{number}.png"
            raise UserError(str(folder), found, "make it: it needs the pose of that number")
    return [numbered[number] for number in numbers]
