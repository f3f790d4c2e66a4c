import json
import os
import shutil
import signal
import subprocess
import sys

import pytest

pytest.importorskip("gradio", reason="the extra `app` is not installed")

FLAGS = (
    "--no-sandbox --use-angle=swiftshader --enable-unsafe-swiftshader --disable-background-networking "
    "--disable-component-update --disable-sync --no-first-run --disable-gpu-sandbox"
).split()


@pytest.fixture(scope="session")
def address(tmp_path_factory):
    """The page, served by `idol app --json` with the weights that ship; stopped, it leaves nothing behind."""
    temporary = tmp_path_factory.mktemp("served")
    command = [sys.executable, "-m", "idol", "app", "--port", "0", "--device", "cpu", "--json"]
    environment = {**os.environ, "TMPDIR": str(temporary)}
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        told = json.loads(server.stdout.readline())
        assert told.pop("ok") is True and list(told) == ["url"]
        yield told["url"].rstrip("/")
        server.send_signal(signal.SIGTERM)
        rest, _ = server.communicate(timeout=60)
    finally:
        server.kill()
    assert server.returncode == 0 and not rest
    assert not list(temporary.glob("idol-app-*"))


@pytest.fixture(scope="module")  # only one Playwright may be at work in a process
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no chromium on this machine")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        browser.close()
