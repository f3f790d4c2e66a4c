import shutil
import signal

import pytest

from idol import media
from support.serving import served

pytest.importorskip("gradio", reason="the extra `app` is not installed")

FLAGS = (
    "--no-sandbox --use-angle=swiftshader --enable-unsafe-swiftshader --disable-background-networking "
    "--disable-component-update --disable-sync --no-first-run --disable-gpu-sandbox "
    "--use-fake-ui-for-media-stream --use-fake-device-for-media-stream"
).split()


@pytest.fixture(scope="session")
def address(tmp_path_factory):
    """The page with the weights that ship; stopped, it leaves nothing behind."""
    temporary = tmp_path_factory.mktemp("served")
    with served(temporary) as (server, address):
        yield address
        server.send_signal(signal.SIGTERM)
        rest, _ = server.communicate(timeout=60)
    assert server.returncode == 0 and not rest
    assert not list(temporary.glob("idol-app-*"))


@pytest.fixture(scope="module")  # only one Playwright may be at work in a process
def browser(tmp_path_factory):
    """Chromium; its camera sees a person who comes with the package."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no chromium on this machine")
    seen = tmp_path_factory.mktemp("camera") / "person.mjpeg"  # JPEGs one after the other
    seen.write_bytes(media.path("man-standing.jpg").read_bytes() * 2)
    flags = [*FLAGS, f"--use-file-for-fake-video-capture={seen}"]
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=flags)
        yield browser
        browser.close()
