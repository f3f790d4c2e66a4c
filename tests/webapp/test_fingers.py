"""The page on a phone: a photo by its camera, and the view under fingers."""

import io
import itertools
import time

import numpy as np
from PIL import Image

from idol import media
from support.visiting import View, choose, finished, until, visitor


def test_a_photo_by_the_camera_and_a_view_under_fingers(browser, address):
    with visitor(browser, address, width=390, height=844, has_touch=True) as page:
        _take_a_photo(page)
        choose(page)
        page.click("#generate")
        assert "Done" in finished(page)
        _pinch_and_tap(page)


def _take_a_photo(page):
    """It is the way round that the camera saw it, and no thumbnail is picked any more."""
    page.wait_for_selector("#people .selected")
    page.click("#photo button[aria-label='Capture from camera']")
    page.click("#photo >> text=Click to Access Webcam")
    page.click("#photo button[aria-label='capture photo']")
    source = page.wait_for_selector("#photo img").get_attribute("src")
    taken = Image.open(io.BytesIO(page.request.get(source).body())).convert("L").resize((64, 64))
    seen = Image.open(media.path("man-standing.jpg")).convert("L").resize((64, 64))
    taken, seen = np.asarray(taken, float), np.asarray(seen, float)
    errors = [np.abs(taken - image).mean() for image in (seen, seen[:, ::-1])]
    assert errors[0] < 8 < 2 * 8 < errors[1], errors
    page.wait_for_selector("#people .selected", state="detached")


def _pinch_and_tap(page):
    """Two fingers apart come closer, one turns, a double tap goes back."""
    view = View(page)
    first = view.still()
    fingers = page.context.new_cdp_session(page)
    clock = itertools.count(time.time(), 0.05)  # a finger's own: two taps may not be slow on a busy machine

    def touch(kind, *points):
        at = [dict(zip("xy", view.at(*point), strict=True), id=i) for i, point in enumerate(points)]
        told = {"type": kind, "touchPoints": at, "timestamp": next(clock)}
        fingers.send("Input.dispatchTouchEvent", told)

    touch("touchStart", (0.45, 0.5))
    touch("touchStart", (0.45, 0.5), (0.55, 0.5))
    for step in (0.05, 0.1, 0.2):
        touch("touchMove", (0.45 - step, 0.5), (0.55 + step, 0.5))
    touch("touchEnd")
    closer = view.other_than(first)
    touch("touchStart", (0.3, 0.5))
    touch("touchMove", (0.5, 0.5))
    touch("touchMove", (0.7, 0.5))
    touch("touchEnd")
    assert view.other_than(closer) != first
    for _ in range(2):
        touch("touchStart", (0.5, 0.5))
        touch("touchEnd")
    assert until(page, lambda: view.drawn() == first)
