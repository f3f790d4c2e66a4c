"""What happens on the page, and the same job for programs.

Here annotations are objects, not strings: by them gradio knows what to hand to a function.
"""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from idol.console import user_mistake
from idol.errors import UserError
from idol.webapp import options
from idol.webapp.job_queue import Cancelled, Desk, Progress
from idol.webapp.layout import COLOR, EMPTY, FPS, FRAMES, IMAGE, OWN
from idol.webapp.layout import FILMED as FILM
from idol.webapp.messages import done_html, forming_html, progress_html, said, sentence, told_html
from idol.webapp.orbit import framed
from idol.webapp.requests import Order, Result

_log = logging.getLogger(__name__)

_CANCELLED = "Cancelled."
_OURS = "Something went wrong on our side; the server's log says what."
_QUIET: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}


def as_sent(component: Any) -> Any:
    """Lets a component hand an upload on as the file it is.

    Gradio would decode an image before anything is checked, and fetch what is an address instead of a file.
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
    """Put the value of the picked thumbnail into `target`."""
    import gradio as gr

    def pick(event: gr.SelectData) -> str:
        return values[event.index]

    gallery.select(pick, None, target, **_QUIET)


def on_own(image: Any, gallery: Any) -> None:
    """Once a visitor gives an image of their own, no thumbnail is picked any more."""
    import gradio as gr

    image.input(lambda: gr.update(selected_index=-1), None, gallery, **_QUIET)


def show_if(kind: Any, parts: dict[str, Any]) -> None:
    """Show the part that belongs to the chosen kind."""
    import gradio as gr

    def show(chosen: str) -> list[Any]:
        return [gr.update(visible=chosen == name) for name in parts]

    kind.change(show, kind, list(parts.values()), **_QUIET)


def connect(desk: Desk, asked: dict[str, Any], shown: dict[str, Any]) -> None:
    """Let Generate and Cancel work."""
    import gradio as gr

    names = list(asked)

    def press(request: gr.Request, *values: Any) -> Iterator[dict[Any, Any]]:
        yield from _told(desk, dict(zip(names, values, strict=True)), str(request.session_hash), shown)

    def cancel(request: gr.Request) -> None:
        desk.cancel(str(request.session_hash))

    shown["go"].click(
        press,
        list(asked.values()),
        list(shown.values()),
        show_progress="hidden",
        concurrency_limit=None,
        api_visibility="private",
    )
    shown["stop"].click(cancel, None, None, queue=False, api_name="cancel")


def _told(desk: Desk, given: dict[str, Any], session: str, shown: dict[str, Any]) -> Iterator[dict[Any, Any]]:
    """What changes on the page from the press of Generate to the end."""
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
        status: told_html("Looking at what you gave", "idle"),
        shown["orbit"]: EMPTY,
        shown["archive"]: gr.update(value=None, interactive=False),
    }
    try:
        for news in desk.serve(_order(given), session):
            if isinstance(news, Progress):
                yield {status: progress_html(news), shown["forming"]: _forming(news)}
            else:
                yield {**_results(news, shown), **ready, status: done_html(news)}
    except Cancelled:
        yield {**ready, status: told_html(_CANCELLED, "idle")}
    except Exception as error:
        yield {**ready, status: told_html(_sentence(error))}


def _forming(news: Progress) -> str:
    return "" if news.image is None else forming_html(news.image)


def _results(result: Result, shown: dict[str, Any]) -> dict[Any, Any]:
    import gradio as gr

    return {
        shown["video"]: str(result.video),
        shown["depth"]: str(result.depth),
        shown["skeleton"]: str(result.skeleton),
        shown["orbit"]: framed(result.page),
        shown["archive"]: gr.update(value=str(result.archive), interactive=True),
    }


def _order(given: dict[str, Any]) -> Order:
    """The order that the page's components make up; what is hidden does not count."""
    kind, film = given["background_kind"], given["motion_kind"] == FILM
    if kind == IMAGE and given["background_file"] is None:
        raise UserError("background", "there is none", "give an image, or choose another kind")
    if film and given["motion_file"] is None:
        raise UserError("motion", "there is none", "give a video, or pick one from the list")
    return Order(
        **_numbers(given),
        detail=given["detail"],
        photo=given["photo"],
        background={OWN: options.PHOTO, COLOR: given["color"]}.get(kind, ""),
        background_file=given["background_file"] if kind == IMAGE else None,
        motion=given["motion"],
        motion_file=given["motion_file"] if film else None,
    )


def _numbers(given: dict[str, Any]) -> dict[str, Any]:
    """The order's numbers; an empty field is told."""
    kinds = {"frames": int, "fps": float, "steps": int, "seed": int}
    for name in kinds:
        if given[name] is None:
            raise UserError(name, "there is none", "give a number")
    return {name: kind(given[name]) for name, kind in kinds.items()}


def _sentence(error: Exception) -> str:
    """What a visitor is told; the log gets the rest, if it is ours to mend."""
    if isinstance(error, UserError):
        return sentence(error)
    mistake = user_mistake(error)
    _log.error("a job failed", exc_info=error)
    return mistake if mistake and "/" not in mistake else _OURS


def offer_to_programs(desk: Desk) -> None:
    """The endpoint `/generate` of Gradio's API."""
    import gradio as gr

    defaults = desk.pipe.defaults
    inputs = [
        as_sent(gr.File(label="photo", visible=False)),
        gr.Textbox("", label="person", visible=False),
        gr.Textbox(options.PHOTO, label="background", visible=False),
        as_sent(gr.File(label="background_file", visible=False)),
        gr.Textbox(next(iter(options.motions())), label="motion", visible=False),
        as_sent(gr.File(label="motion_file", visible=False)),
        gr.Number(FRAMES, precision=0, label="frames", visible=False),
        gr.Number(FPS, label="fps", visible=False),
        gr.Number(defaults.num_inference_steps, precision=0, label="steps", visible=False),
        gr.Number(0, precision=0, label="seed", visible=False),
        gr.Textbox(defaults.detail, label="detail", visible=False),
    ]
    files = [gr.File(label=name, visible=False) for name in ("video", "depth", "archive")]
    outputs = [*files, gr.Textbox(label="message", visible=False)]
    hidden = gr.Button(visible=False)
    hidden.click(_for_programs(desk), inputs, outputs, api_name="generate", concurrency_limit=None)


def _for_programs(desk: Desk) -> Callable[..., Iterator[Any]]:
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
        steps: Any = 1,
        seed: Any = 0,
        detail: Any = "none",
    ) -> Iterator[Any]:
        """Animate the person of a photo: the same job as the page's.

        A file goes before a name. While the job runs only `message` is given: what is being done.
        """
        numbers = {"frames": frames, "fps": fps, "steps": steps, "seed": seed}
        files = {"photo": photo, "background_file": background_file, "motion_file": motion_file}
        try:
            order = Order(
                **_numbers(numbers),
                **files,
                detail=detail,
                person=person,
                background=background,
                motion=motion,
            )
            for news in desk.serve(order, str(request.session_hash)):
                if isinstance(news, Progress):
                    yield None, None, None, news.stage
                else:
                    notes = " ".join(said(note) for note in news.notes)
                    yield str(news.video), str(news.depth), str(news.archive), notes
        except Cancelled:
            raise gr.Error(_CANCELLED, print_exception=False) from None
        except Exception as error:
            raise gr.Error(_sentence(error), print_exception=False) from None

    return generate
