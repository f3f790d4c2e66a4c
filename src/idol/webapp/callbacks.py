"""The callbacks of the page, and the same job as an API for programs.

Annotations are objects here, not strings: gradio passes arguments by them.
"""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from idol.console import user_mistake
from idol.errors import UserError
from idol.webapp import options
from idol.webapp.job_queue import Cancelled, JobProgress, JobQueue
from idol.webapp.messages import (
    EMPTY,
    done_html,
    error_sentence,
    message_html,
    note_sentence,
    preview_html,
    progress_html,
)
from idol.webapp.options import COLOR, FPS, FRAMES, IMAGE, OWN, OWN_VIDEO
from idol.webapp.orbit import orbit_iframe
from idol.webapp.requests import JobRequest, JobResult

_log = logging.getLogger(__name__)

_CANCELLED = "Cancelled."
_OURS = "Something went wrong on the server; its log has the details."
_QUIET: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}


def keep_upload_as_file(component: Any) -> Any:
    """Let a component pass an upload on as a file.

    Gradio would decode an image before anything is checked, and fetch an address given in place of a file.
    """
    import gradio as gr

    keep = component.async_move_resource_to_block_cache

    def preprocess(payload: Any) -> Path | None:
        return None if payload is None else Path(payload.path)

    async def fetch(path: Any) -> Any:
        if not Path(path).is_file():
            raise gr.Error("Give a file, not an address.", print_exception=False)
        return await keep(path)

    component.preprocess, component.async_move_resource_to_block_cache = preprocess, fetch
    return component


def on_pick(gallery: Any, values: list[str], target: Any) -> None:
    """Set a component to the value of the picked thumbnail.

    Args:
        gallery: The thumbnails.
        values: Their values, in the same order.
        target: The component to set.
    """
    import gradio as gr

    def pick(event: gr.SelectData) -> str:
        return values[event.index]

    gallery.select(pick, None, target, **_QUIET)


def unpick_on_upload(image: Any, gallery: Any) -> None:
    """Unpick the thumbnail once a visitor uploads an image.

    Args:
        image: The component of the upload.
        gallery: The thumbnails.
    """
    import gradio as gr

    image.input(lambda: gr.update(selected_index=-1), None, gallery, **_QUIET)


def show_if(kind: Any, parts: dict[str, Any]) -> None:
    """Show the part that belongs to the chosen kind.

    Args:
        kind: The radio buttons.
        parts: A part of the page for each of their values.
    """
    import gradio as gr

    def show(chosen: str) -> list[Any]:
        return [gr.update(visible=chosen == name) for name in parts]

    kind.change(show, kind, list(parts.values()), **_QUIET)


def connect(queue: JobQueue, asked: dict[str, Any], shown: dict[str, Any]) -> None:
    """Connect the buttons Generate and Cancel.

    Args:
        queue: The job queue.
        asked: Input components by name.
        shown: Output components by name.
    """
    import gradio as gr

    names = list(asked)

    def press(request: gr.Request, *values: Any) -> Iterator[dict[Any, Any]]:
        yield from _page_updates(
            queue, dict(zip(names, values, strict=True)), str(request.session_hash), shown
        )

    def cancel(request: gr.Request) -> None:
        queue.cancel(str(request.session_hash))

    shown["go"].click(
        press,
        list(asked.values()),
        list(shown.values()),
        show_progress="hidden",
        concurrency_limit=None,
        api_visibility="private",
    )
    shown["stop"].click(cancel, None, None, queue=False, api_name="cancel")


def _page_updates(
    queue: JobQueue, given: dict[str, Any], session: str, shown: dict[str, Any]
) -> Iterator[dict[Any, Any]]:
    """Yield the updates of the page from the press of Generate to the end."""
    import gradio as gr

    empty = dict.fromkeys([shown["video"], shown["depth"], shown["skeleton"]])
    waiting = {shown["go"]: gr.update(interactive=False), shown["stop"]: gr.update(interactive=True)}
    ready: dict[Any, Any] = {
        shown["go"]: gr.update(interactive=True),
        shown["stop"]: gr.update(interactive=False),
        shown["forming"]: "",
    }
    status = shown["status"]
    yield {
        **empty,
        **waiting,
        status: message_html("Checking your files", "idle"),
        shown["orbit"]: EMPTY,
        shown["archive"]: gr.update(value=None, interactive=False),
    }
    try:
        for news in queue.serve(_job_request(given), session):
            if isinstance(news, JobProgress):
                yield {status: progress_html(news), shown["forming"]: _preview_html(news)}
            else:
                yield {**_results(news, shown), **ready, status: done_html(news)}
    except Cancelled:
        yield {**ready, status: message_html(_CANCELLED, "idle")}
    except Exception as error:
        yield {**ready, status: message_html(_sentence(error))}


def _preview_html(news: JobProgress) -> str:
    return "" if news.image is None else preview_html(news.image)


def _results(result: JobResult, shown: dict[str, Any]) -> dict[Any, Any]:
    import gradio as gr

    return {
        shown["video"]: str(result.video),
        shown["depth"]: str(result.depth),
        shown["skeleton"]: str(result.skeleton),
        shown["orbit"]: orbit_iframe(result.page),
        shown["archive"]: gr.update(value=str(result.archive), interactive=True),
    }


def _job_request(given: dict[str, Any]) -> JobRequest:
    """Return the request that the input components make up; hidden ones are ignored."""
    kind, own_video = given["background_kind"], given["motion_kind"] == OWN_VIDEO
    if kind == IMAGE and given["background_file"] is None:
        raise UserError("background", "is missing", "give an image, or choose another kind of background")
    if own_video and given["motion_file"] is None:
        raise UserError("motion", "is missing", "give a video, or pick a motion from the list")
    return JobRequest(
        **_numbers(given),
        detail=given["detail"],
        photo=given["photo"],
        background={OWN: options.PHOTO, COLOR: given["color"]}.get(kind, ""),
        background_file=given["background_file"] if kind == IMAGE else None,
        motion=given["motion"],
        motion_file=given["motion_file"] if own_video else None,
    )


def _numbers(given: dict[str, Any]) -> dict[str, Any]:
    """Return the numbers of a request; an empty field is an error."""
    kinds = {"frames": int, "fps": float, "num_inference_steps": int, "seed": int}
    for name in kinds:
        if given[name] is None:
            raise UserError(name, "is missing", "give a number")
    return {name: kind(given[name]) for name, kind in kinds.items()}


def _sentence(error: Exception) -> str:
    """Return a sentence for the visitor; an error that is not theirs goes to the log."""
    if isinstance(error, UserError):
        return error_sentence(error)
    mistake = user_mistake(error)
    _log.error("a job failed", exc_info=error)
    return mistake if mistake and "/" not in mistake else _OURS


def add_api(queue: JobQueue) -> None:
    """Add the endpoint `/generate` to gradio's API."""
    import gradio as gr

    defaults = queue.pipe.defaults
    inputs = [
        keep_upload_as_file(gr.File(label="photo", visible=False)),
        gr.Textbox("", label="person", visible=False),
        gr.Textbox(options.PHOTO, label="background", visible=False),
        keep_upload_as_file(gr.File(label="background_file", visible=False)),
        gr.Textbox(next(iter(options.motions())), label="motion", visible=False),
        keep_upload_as_file(gr.File(label="motion_file", visible=False)),
        gr.Number(FRAMES, precision=0, label="frames", visible=False),
        gr.Number(FPS, label="fps", visible=False),
        gr.Number(defaults.num_inference_steps, precision=0, label="num_inference_steps", visible=False),
        gr.Number(0, precision=0, label="seed", visible=False),
        gr.Textbox(defaults.detail, label="detail", visible=False),
    ]
    files = [gr.File(label=name, visible=False) for name in ("video", "depth", "archive")]
    outputs = [*files, gr.Textbox(label="message", visible=False)]
    hidden = gr.Button(visible=False)
    hidden.click(_api_function(queue), inputs, outputs, api_name="generate", concurrency_limit=None)


def _api_function(queue: JobQueue) -> Callable[..., Iterator[Any]]:
    import gradio as gr

    def generate(
        request: gr.Request,
        photo: Any = None,
        person: Any = "",
        background: Any = options.PHOTO,
        background_file: Any = None,
        motion: Any = "",
        motion_file: Any = None,
        frames: Any = FRAMES,
        fps: Any = FPS,
        num_inference_steps: Any = 1,
        seed: Any = 0,
        detail: Any = "none",
    ) -> Iterator[Any]:
        """Animate the person of a photo, as the page does.

        A file takes precedence over a name. While the job runs, only `message` is given: its stage.
        """
        numbers = {"frames": frames, "fps": fps, "num_inference_steps": num_inference_steps, "seed": seed}
        files = {"photo": photo, "background_file": background_file, "motion_file": motion_file}
        try:
            job_request = JobRequest(
                **_numbers(numbers),
                **files,
                detail=detail,
                person=person,
                background=background,
                motion=motion,
            )
            for news in queue.serve(job_request, str(request.session_hash)):
                if isinstance(news, JobProgress):
                    yield None, None, None, news.stage
                else:
                    notes = " ".join(note_sentence(note) for note in news.notes)
                    yield str(news.video), str(news.depth), str(news.archive), notes
        except Cancelled:
            raise gr.Error(_CANCELLED, print_exception=False) from None
        except Exception as error:
            raise gr.Error(_sentence(error), print_exception=False) from None

    return generate
