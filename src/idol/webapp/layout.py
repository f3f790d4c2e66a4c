"""The page itself: what is asked for, and where what is made is shown."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from idol.errors import UserError
from idol.provenance import Provenance
from idol.webapp import options
from idol.webapp.upload_limits import Limits

if TYPE_CHECKING:
    import gradio as gr

    from idol.webapp.job_queue import Desk

FRAMES, FPS = 24, 10
"""What is made unless told otherwise: 2.4 seconds."""
OWN, IMAGE, COLOR = "The photo's own", "An image", "A color"
LISTED, FILMED = "From the list", "My video"

_TITLE = "IDOL: a photo in motion, with depth"
_MASTHEAD = """<header class="masthead"><h1>One photo, a moving person</h1>
<p>Give a photo of a person, a background and a motion: IDOL makes a video of that person moving so,
and its depth with it, so that you can look round them.</p>
<p class="consent"><b>Only people who agreed:</b> take photos of yourself, or of people who said yes to this.
What you give stays on this server, and is removed after you leave.</p></header>"""
EMPTY = '<div class="empty">to be dragged, once it is here</div>'
IDLE = "All is filled in: press Generate, or choose your own photo, background and motion first."
_DETAILS = {
    "composite": "The background exactly as given",
    "restore": "As generated, with the detail put back",
    "none": "As generated",
}


@dataclass(frozen=True)
class Page:
    """The page and what is behind it.

    Attributes:
        blocks: What gradio launches.
        desk: Works on the visitors' jobs.
        folder: All that visitors send and get.
    """

    blocks: gr.Blocks
    desk: Desk
    folder: Path

    def close(self) -> None:
        """Call off all jobs, serve no longer, and leave nothing on the disk; twice does no harm."""
        self.desk.close()  # first: visitors are told, and gradio waits for no answer
        self.blocks.close(verbose=False)
        shutil.rmtree(self.folder, ignore_errors=True)


def build(weights: str = "mini", *, device: str | None = None, limits: Limits | None = None) -> gr.Blocks:
    """The page's blocks, ready for `launch(**look())`; arguments and errors are those of `open_page`."""
    return open_page(weights, device=device, limits=limits).blocks


def open_page(
    weights: str = "mini",
    *,
    device: str | None = None,
    limits: Limits | None = None,
    provenance: Provenance | None = None,
) -> Page:
    """The page with its weights loaded.

    All that visitors send and get lies in one temporary folder, which is removed when the process ends.
    Gradio is told of it by the environment variable GRADIO_TEMP_DIR, which stays set.

    Args:
        weights: "mini", a folder, or a hub id.
        device: Where to compute; a GPU if there is one by default.
        limits: How much a visitor may ask for.
        provenance: Who signs what is made; this machine by default.

    Raises:
        UserError: If gradio is not installed, or the weights cannot be used.
    """
    if find_spec("gradio") is None:
        hint = "pip install 'idol-diffusion[app]'"
        raise UserError("idol app", "needs gradio, which is not installed", hint)
    from idol.generation.environment import load_pipeline
    from idol.webapp.job_queue import Desk

    limits = limits or Limits()
    pipe = load_pipeline(weights, device)
    folder = Path(tempfile.mkdtemp(prefix="idol-app-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ["GRADIO_TEMP_DIR"] = str(folder / "cache")  # gradio reads this when it is imported, too
    desk = Desk(pipe, weights, folder / "jobs", limits, provenance or Provenance())
    page = Page(_blocks(desk, folder), desk, folder)
    atexit.register(page.close)
    return page


def _blocks(desk: Desk, folder: Path) -> gr.Blocks:
    import gradio as gr

    from idol.webapp.callbacks import connect, offer_to_programs

    age = round(60 * desk.limits.keep_minutes)
    with gr.Blocks(title=_TITLE, analytics_enabled=False, delete_cache=(min(600, age), age)) as blocks:
        gr.HTML(_MASTHEAD)
        with gr.Row():
            with gr.Column(scale=5, min_width=320):
                asked = _ask(desk, folder)
            with gr.Column(scale=6, min_width=320, elem_classes="results"):
                shown = _show()
        connect(desk, asked, shown)
        offer_to_programs(desk)
        blocks.unload(_forgetting(desk))
    return blocks


def look() -> dict[str, Any]:
    """How the page looks: arguments of `gr.Blocks.launch`. Fonts are the system's, none is fetched."""
    import gradio as gr

    from idol.webapp.orbit import static

    theme = gr.themes.Soft(
        primary_hue="teal",
        secondary_hue="teal",
        neutral_hue="stone",
        font=["system-ui", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
    ).set(
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover_dark="*primary_800",
        checkbox_label_background_fill_selected="*primary_700",
        checkbox_label_background_fill_selected_dark="*primary_700",
    )
    return {"theme": theme, "css": static("page.css")}


def _forgetting(desk: Desk) -> Any:
    import gradio as gr

    def forget(request: Any) -> None:
        desk.forget(request.session_hash)

    forget.__annotations__["request"] = gr.Request  # by this gradio knows what to hand over
    return forget


def _ask(desk: Desk, folder: Path) -> dict[str, Any]:
    """The components that make up an order, by the name they have in `events`."""
    from idol.webapp.motion_previews import motion_previews

    asked = _ask_for_person(_copied(options.people(), folder / "people"))
    asked |= _ask_for_background(_copied(options.backgrounds(), folder / "backgrounds"))
    asked |= _ask_for_motion(motion_previews(folder / "motions"))
    return asked | _ask_for_settings(desk)


def _copied(images: dict[str, Path], folder: Path) -> list[str]:
    """Copies to pick from: gradio hands no file on that lies where the package is installed."""
    folder.mkdir()
    return [str(shutil.copyfile(path, folder / path.name)) for path in images.values()]


def _ask_for_person(known: list[str]) -> dict[str, Any]:
    import gradio as gr

    from idol.webapp.callbacks import as_sent, on_own, on_pick

    with gr.Column(elem_classes="card"):
        gr.HTML("<h2><span>1</span>Person</h2>")
        photo = gr.Image(
            known[0],
            sources=["upload", "webcam"],
            type="filepath",
            height=230,
            label="Photo",
            show_label=False,
            buttons=["fullscreen"],
            webcam_options=gr.WebcamOptions(mirror=False),  # else the image taken is a mirror image
            elem_id="photo",
        )
        strip = _strip([(path, None) for path in known], "people")
        on_pick(strip, known, photo)
        on_own(photo, strip)
    return {"photo": as_sent(photo)}


def _ask_for_background(known: list[str]) -> dict[str, Any]:
    import gradio as gr

    from idol.webapp.callbacks import as_sent, on_own, on_pick, show_if

    with gr.Column(elem_classes="card"):
        gr.HTML("<h2><span>2</span>Background</h2>")
        kind = gr.Radio([IMAGE, OWN, COLOR], value=IMAGE, show_label=False, container=False, elem_id="kind")
        with gr.Column() as image_part:
            image = gr.Image(
                known[0],
                sources=["upload"],
                type="filepath",
                height=150,
                label="Background",
                show_label=False,
                buttons=[],
                elem_id="background",
            )
            strip = _strip([(path, None) for path in known], "backgrounds")
            on_pick(strip, known, image)
            on_own(image, strip)
        color = gr.ColorPicker("#8fa3b0", label="Color", visible=False)
        show_if(kind, {IMAGE: image_part, COLOR: color})
    return {"background_kind": kind, "background_file": as_sent(image), "color": color}


def _ask_for_motion(previews: dict[str, Path]) -> dict[str, Any]:
    import gradio as gr

    from idol.webapp.callbacks import as_sent, on_pick, show_if

    with gr.Column(elem_classes="card"):
        gr.HTML("<h2><span>3</span>Motion</h2>")
        kind = gr.Radio(
            [LISTED, FILMED], value=LISTED, show_label=False, container=False, elem_id="motion-kind"
        )
        names = list(previews)
        motion = gr.State(names[0])
        with gr.Column() as list_part:
            labeled = [
                (str(path), name.removesuffix("-film").replace("-", " ")) for name, path in previews.items()
            ]
            on_pick(_strip(labeled, "motions"), names, motion)
        film = gr.Video(
            label="A video of one person, whole body in view",
            sources=["upload", "webcam"],
            visible=False,
            height=260,
        )
        show_if(kind, {LISTED: list_part, FILMED: film})
    return {"motion_kind": kind, "motion": motion, "motion_file": as_sent(film)}


def _strip(images: Sequence[tuple[str, str | None]], name: str) -> Any:
    """Thumbnails to pick from, the first one picked."""
    import gradio as gr

    return gr.Gallery(
        images,
        show_label=False,
        container=False,
        allow_preview=False,
        interactive=False,
        object_fit="cover",
        selected_index=0,
        buttons=[],
        elem_id=name,
        elem_classes="strip",
    )


def _ask_for_settings(desk: Desk) -> dict[str, Any]:
    import gradio as gr

    from idol.pipeline.compositing import Detail

    limits, defaults = desk.limits, desk.pipe.defaults
    with gr.Accordion("Settings", open=False, elem_classes="card"):
        with gr.Row():
            frames = gr.Slider(4, limits.frames, FRAMES, step=1, label="Frames", elem_id="frames")
            fps = gr.Slider(4, 30, FPS, step=1, label="Frames per second")
        with gr.Row():
            steps = gr.Slider(
                1,
                limits.steps,
                defaults.num_inference_steps,
                step=1,
                label="Denoising steps",
                elem_id="steps",
            )
            seed = gr.Number(0, precision=0, minimum=0, maximum=2**32 - 1, label="Seed")
        ways = [(_DETAILS[way], way) for way in get_args(Detail)]
        detail = gr.Dropdown(ways, value=defaults.detail, label="Background in the result")
    return {"frames": frames, "fps": fps, "steps": steps, "seed": seed, "detail": detail}


def _show() -> dict[str, Any]:
    """The buttons, and the components that results go to, by the name they have in `events`."""
    import gradio as gr

    from idol.webapp.messages import told_html

    with gr.Row(equal_height=True):
        go = gr.Button("Generate", variant="primary", size="lg", scale=3, elem_id="generate")
        stop = gr.Button("Cancel", size="lg", interactive=False, min_width=100, elem_id="cancel")
    status = gr.HTML(told_html(IDLE, "idle"), elem_id="status")
    forming = gr.HTML(elem_id="forming")
    with gr.Column(elem_classes="plates"):
        video = _plate("Video", "video")
        with gr.Column(min_width=120):
            gr.HTML("<h2>From the side</h2>")
            orbit = gr.HTML(EMPTY, elem_id="orbit")
        depth = _plate("Depth", "depth")
        skeleton = _plate("Skeleton", "skeleton")
    archive = gr.DownloadButton("Download everything (zip)", interactive=False, elem_id="download")
    return {
        "go": go,
        "stop": stop,
        "status": status,
        "forming": forming,
        "video": video,
        "depth": depth,
        "skeleton": skeleton,
        "orbit": orbit,
        "archive": archive,
    }


def _plate(title: str, name: str) -> Any:
    import gradio as gr

    with gr.Column(min_width=120):
        gr.HTML(f"<h2>{title}</h2>")
        return gr.Video(
            label=title,
            show_label=False,
            container=False,
            interactive=False,
            autoplay=True,
            loop=True,
            buttons=["download"],
            elem_id=name,
        )
