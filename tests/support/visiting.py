"""What visitors do on the page."""

import time
from contextlib import contextmanager
from urllib.parse import urlsplit

PATIENCE = 60_000  # milliseconds: jobs are short, but machines may be busy


@contextmanager
def visitor(browser, address, scheme="light", width=1280, height=900, **more):
    """A page of a visitor of their own; at its end nothing may have been asked of anyone but the server."""
    size = {"width": width, "height": height}
    context = browser.new_context(viewport=size, color_scheme=scheme, **more)
    context.set_default_timeout(PATIENCE)
    page, asked, broken = context.new_page(), [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: broken.append(str(error)))
    page.goto(address)
    page.wait_for_selector("#photo img")
    yield page
    elsewhere = [url for url in asked if urlsplit(url).hostname not in ("127.0.0.1", None)]
    assert asked and not elsewhere, elsewhere
    assert not broken, broken
    context.close()


def choose(page, **numbers):
    """A short job: a motion that needs no estimator, and few frames."""
    page.get_by_text("Settings", exact=True).click()
    walk = page.get_by_text("walk", exact=True)
    page.locator("#motions button", has=walk).last.click()  # the film is first
    page.wait_for_timeout(300)  # fields that are not quite there yet forget what is typed
    fill(page, **{"Frames": 4, **numbers})


def fill(page, **numbers):
    labels = {"Frames": "number input for Frames", "Steps": "number input for Denoising steps"}
    for name, value in numbers.items():
        box = page.get_by_label(labels.get(name, name), exact=True)
        box.fill(str(value))
        box.press("Tab")
    page.wait_for_timeout(100)


def finished(page):
    page.wait_for_selector(".status.done, .status.failed")
    return page.inner_text("#status")


def until(page, wanted, seconds=PATIENCE / 1000):
    """Ask again and again, but not for ever."""
    end = time.monotonic() + seconds
    while not (answer := wanted()):
        assert time.monotonic() < end, "it did not happen"
        page.wait_for_timeout(30)
    return answer


class View:
    """The person in 2.5D, in the page's frame."""

    def __init__(self, page):
        self.page = page
        self.canvas = page.frame_locator("iframe.orbit").locator("#view")
        page.locator("iframe.orbit").scroll_into_view_if_needed()  # elsewhere nothing is drawn
        until(page, lambda: self.canvas.get_attribute("data-frames"))

    def drawn(self):
        """The image of the next frame, caught before the browser clears it."""
        return self.canvas.evaluate("c => new Promise(r => requestAnimationFrame(() => r(c.toDataURL())))")

    def still(self):
        """The image once it neither sways nor plays, as the video shows it."""
        self.canvas.focus()
        self.page.keyboard.press("Home")  # no swaying
        self.page.keyboard.press(" ")  # no playing
        return until(self.page, lambda: (now := self.drawn()) == self.drawn() and now)

    def other_than(self, image):
        """The image once it has changed."""
        return until(self.page, lambda: (now := self.drawn()) != image and now)

    def at(self, x, y):
        """A point of the page, from shares of the view's width and height."""
        box = self.canvas.bounding_box()
        return box["x"] + x * box["width"], box["y"] + y * box["height"]
