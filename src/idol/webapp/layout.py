"""The layout of the page: fields for the inputs, and where results are shown."""

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
from idol.webapp.callbacks import (
    add_api,
    connect,
    keep_upload_as_file,
    on_pick,
    show_if,
    unpick_on_upload,
)
from idol.webapp.job_queue import JobQueue
from idol.webapp.messages import EMPTY, message_html
from idol.webapp.motion_previews import motion_previews
from idol.webapp.options import COLOR, FPS, FRAMES, IMAGE, LISTED, OWN, OWN_VIDEO
from idol.webapp.orbit import static
from idol.webapp.upload_limits import Limits

if TYPE_CHECKING:
    import gradio as gr


_TITLE = "IDOL: a photo in motion, with depth"
_MASTHEAD = """<header class="masthead"><h1>One photo, a moving person</h1>
<p>Give a photo of a person, a background and a motion: IDOL makes a video of that person moving so,
and its depth with it, so that you can look at them from all sides.</p>
<p class="consent"><b>Only people who agreed:</b> take photos of yourself, or of people who agreed to it.
Your files stay on this server, and are removed after you leave.</p></header>"""
IDLE = "Everything is filled in: press Generate, or choose your own photo, background and motion first."
_DETAILS = {
    "composite": "The background exactly as given",
    "restore": "As generated, with its detail restored",
    "none": "As generated",
}


@dataclass(frozen=True)
class Page:
    """The page with its job queue.

    Attributes:
        blocks: The gradio page.
        queue: The jobs of all visitors.
        folder: Temporary folder of all uploads and results.
    """

    blocks: gr.Blocks
    queue: JobQueue
    folder: Path

    def close(self) -> None:
        """Cancel all jobs, stop serving, and remove all files; may be called twice."""
        self.queue.close()  # first, so that visitors see it and gradio waits for no answer
        self.blocks.close(verbose=False)
        shutil.rmtree(self.folder, ignore_errors=True)


def build(weights: str = "mini", *, device: str | None = None, limits: Limits | None = None) -> gr.Blocks:
    """Build the page, to be launched by `launch(**launch_options())`.

    Args:
        weights: "mini", a folder, or a hub id.
        device: "cpu", "cuda", ...; a GPU if there is one, if None.
        limits: Limits of uploads and requests; `Limits()` if None.

    Raises:
        UserError: If gradio is not installed, or the weights cannot be used.
    """
    return open_page(weights, device=device, limits=limits).blocks


def open_page(
    weights: str = "mini",
    *,
    device: str | None = None,
    limits: Limits | None = None,
    provenance: Provenance | None = None,
) -> Page:
    """Load the weights and build the page.

    All uploads and results lie in one temporary folder, which is removed when the process ends. Gradio learns
    of it from the environment variable GRADIO_TEMP_DIR, which stays set.

    Args:
        weights: "mini", a folder, or a hub id.
        device: "cpu", "cuda", ...; a GPU if there is one, if None.
        limits: Limits of uploads and requests; `Limits()` if None.
        provenance: Watermark and signer; this machine signs if None.

    Raises:
        UserError: If gradio is not installed, or the weights cannot be used.
    """
    if find_spec("gradio") is None:
        hint = "pip install 'idol-diffusion[app]'"
        raise UserError("gradio", "is not installed", hint)
    from idol.generation.environment import load_pipeline

    limits = limits or Limits()
    pipe = load_pipeline(weights, device)
    folder = Path(tempfile.mkdtemp(prefix="idol-app-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ["GRADIO_TEMP_DIR"] = str(folder / "cache")  # gradio reads this when it is imported, too
    queue = JobQueue(pipe, weights, folder / "jobs", limits, provenance or Provenance())
    page = Page(_blocks(queue, folder), queue, folder)
    atexit.register(page.close)
    return page


def _blocks(queue: JobQueue, folder: Path) -> gr.Blocks:
    import gradio as gr

    age = round(60 * queue.limits.keep_minutes)
    with gr.Blocks(title=_TITLE, analytics_enabled=False, delete_cache=(min(600, age), age)) as blocks:
        gr.HTML(_MASTHEAD)
        with gr.Row():
            with gr.Column(scale=5, min_width=320):
                asked = _ask(queue, folder)
            with gr.Column(scale=6, min_width=320, elem_classes="results"):
                shown = _show()
        connect(queue, asked, shown)
        add_api(queue)
        blocks.unload(_forget_on_unload(queue))
    return blocks


def launch_options() -> dict[str, Any]:
    """Return the theme and style sheet, arguments of `gr.Blocks.launch`. Fonts are the system's own."""
    import gradio as gr

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


def _forget_on_unload(queue: JobQueue) -> Any:
    import gradio as gr

    def forget(request: Any) -> None:
        queue.forget(request.session_hash)

    forget.__annotations__["request"] = gr.Request  # gradio passes arguments by their annotations
    return forget


def _ask(queue: JobQueue, folder: Path) -> dict[str, Any]:
    """Add the input fields; return their components by name."""
    asked = _ask_for_person(_copied(options.people(), folder / "people"))
    asked |= _ask_for_background(_copied(options.backgrounds(), folder / "backgrounds"))
    asked |= _ask_for_motion(motion_previews(folder / "motions"))
    return asked | _ask_for_settings(queue)


def _copied(images: dict[str, Path], folder: Path) -> list[str]:
    """Return copies to pick from: gradio serves no file from where the package is installed."""
    folder.mkdir()
    return [str(shutil.copyfile(path, folder / path.name)) for path in images.values()]


def _ask_for_person(known: list[str]) -> dict[str, Any]:
    import gradio as gr

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
        unpick_on_upload(photo, strip)
    return {"photo": keep_upload_as_file(photo)}


def _ask_for_background(known: list[str]) -> dict[str, Any]:
    import gradio as gr

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
            unpick_on_upload(image, strip)
        color = gr.ColorPicker("#8fa3b0", label="Color", visible=False)
        show_if(kind, {IMAGE: image_part, COLOR: color})
    return {"background_kind": kind, "background_file": keep_upload_as_file(image), "color": color}


def _ask_for_motion(previews: dict[str, Path]) -> dict[str, Any]:
    import gradio as gr

    with gr.Column(elem_classes="card"):
        gr.HTML("<h2><span>3</span>Motion</h2>")
        kind = gr.Radio(
            [LISTED, OWN_VIDEO], value=LISTED, show_label=False, container=False, elem_id="motion-kind"
        )
        names = list(previews)
        motion = gr.State(names[0])
        with gr.Column() as list_part:
            labeled = [
                (str(path), name.removesuffix("-video").replace("-", " ")) for name, path in previews.items()
            ]
            on_pick(_strip(labeled, "motions"), names, motion)
        video = gr.Video(
            label="A video of one person, whole body in view",
            sources=["upload", "webcam"],
            visible=False,
            height=260,
        )
        show_if(kind, {LISTED: list_part, OWN_VIDEO: video})
    return {"motion_kind": kind, "motion": motion, "motion_file": keep_upload_as_file(video)}


def _strip(images: Sequence[tuple[str, str | None]], name: str) -> Any:
    """Return a row of thumbnails, the first one picked."""
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


def _ask_for_settings(queue: JobQueue) -> dict[str, Any]:
    import gradio as gr

    from idol.pipeline.compositing import Detail

    limits, defaults = queue.limits, queue.pipe.defaults
    with gr.Accordion("Settings", open=False, elem_classes="card"):
        with gr.Row():
            frames = gr.Slider(4, limits.frames, FRAMES, step=1, label="Frames", elem_id="frames")
            fps = gr.Slider(4, 30, FPS, step=1, label="Frames per second")
        with gr.Row():
            num_inference_steps = gr.Slider(
                1,
                limits.num_inference_steps,
                defaults.num_inference_steps,
                step=1,
                label="Denoising steps",
                elem_id="steps",
            )
            seed = gr.Number(0, precision=0, minimum=0, maximum=2**32 - 1, label="Seed")
        ways = [(_DETAILS[way], way) for way in get_args(Detail)]
        detail = gr.Dropdown(ways, value=defaults.detail, label="Background in the result")
    return {
        "frames": frames,
        "fps": fps,
        "num_inference_steps": num_inference_steps,
        "seed": seed,
        "detail": detail,
    }


def _show() -> dict[str, Any]:
    """Add the buttons and the results; return their components by name."""
    import gradio as gr

    with gr.Row(equal_height=True):
        go = gr.Button("Generate", variant="primary", size="lg", scale=3, elem_id="generate")
        stop = gr.Button("Cancel", size="lg", interactive=False, min_width=100, elem_id="cancel")
    status = gr.HTML(message_html(IDLE, "idle"), elem_id="status")
    forming = gr.HTML(elem_id="forming")
    with gr.Column(elem_classes="plates"):
        video = _panel("Video", "video")
        with gr.Column(min_width=120):
            gr.HTML("<h2>In 3-D</h2>")
            orbit = gr.HTML(EMPTY, elem_id="orbit")
        depth = _panel("Depth", "depth")
        skeleton = _panel("Skeleton", "skeleton")
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


def _panel(title: str, name: str) -> Any:
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
