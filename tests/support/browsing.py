"""Headless Chromium and a local file server, for tests that check results in a real browser."""

import base64
import contextlib
import functools
import http.server
import io
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

_FLAGS = [
    "--no-sandbox",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


@contextlib.contextmanager
def browser_page(width=640, height=480):
    """Yield a page of Chromium and the list of errors on its console."""
    sync_api = pytest.importorskip("playwright.sync_api")
    executable = next(filter(None, map(shutil.which, _NAMES)), None)
    if executable is None:
        pytest.skip(f"no Chromium: none of {', '.join(_NAMES)} is on the path")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=_FLAGS)
        page = browser.new_page(viewport={"width": width, "height": height})
        complaints = []
        page.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        try:
            yield page, complaints
        finally:
            browser.close()


class _Handler(http.server.SimpleHTTPRequestHandler):
    """Serves the files of several folders, each under its own prefix."""

    def __init__(self, *args, folders, **kwargs):
        self._folders = folders
        super().__init__(*args, **kwargs)

    def translate_path(self, path):
        name = path.split("?")[0].lstrip("/")
        for prefix, folder in self._folders.items():
            if name.startswith(prefix):
                return str(Path(folder) / name.removeprefix(prefix))
        return "/nonexistent"

    def log_message(self, *args):
        pass


@contextlib.contextmanager
def served(**folders):
    """Yield the address of a server on a free port; with `served(page=A)`, A's files are under /page/."""
    handler = functools.partial(_Handler, folders={f"{name}/": folder for name, folder in folders.items()})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def image_of(data):
    """Return (h, w, 3) uint8 from PNG bytes or a PNG data URL."""
    raw = base64.b64decode(data.split(",", 1)[1]) if isinstance(data, str) else data
    return np.asarray(Image.open(io.BytesIO(raw)).convert("RGB"))
