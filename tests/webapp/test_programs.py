"""The same job for programs: the example of docs/app.md runs, and nothing but a file or a name is taken."""

import json
import re
import shutil
import signal
import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from PIL import Image

from idol import media
from idol.clip.video import read_video
from support.serving import served

ROOT = Path(__file__).resolve().parents[2]


def test_the_example_of_the_docs_runs(address, tmp_path, monkeypatch):
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "app.md").read_text(), re.S)
    shutil.copy(media.path("man-arms-wide.jpg"), tmp_path / "person.jpg")
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(code.replace("http://127.0.0.1:7860", address), names)
    assert (
        read_video(names["video"]).frames.shape == read_video(names["depth"]).frames.shape == (4, 3, 256, 256)
    )
    assert Path(names["archive"]).suffix == ".zip"


@pytest.fixture(scope="module")
def client(address):
    from gradio_client import Client

    return Client(address, verbose=False)


@pytest.mark.parametrize("name", ["person", "background", "motion"])
@pytest.mark.parametrize("text", ["../../etc/passwd", "/etc/passwd"])
def test_paths_are_no_names(client, name, text):
    from gradio_client.exceptions import AppError

    given = {"person": "man-standing", "background": "park", "motion": "walk", name: text}
    with pytest.raises(AppError, match="there is no") as refused:
        client.predict(**given, frames=4, api_name="/generate")
    assert "Traceback" not in str(refused.value)


@pytest.mark.parametrize("place", [0, 3, 5])
@pytest.mark.parametrize("path", ["/etc/passwd", "../../etc/passwd", str(ROOT / "README.md")])
def test_only_uploads_are_files(address, place, path):
    told = _order(address, place, {"path": path})
    assert "event: error" in told and "event: generating" not in told, told
    assert "root:" not in told and "Traceback" not in told


@pytest.fixture
def elsewhere():
    """A server that would answer with an image: its address, and who has asked it."""
    asked = []

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Type", "image/png")
            self.end_headers()
            Image.new("RGB", (128, 128)).save(self.wfile, "PNG")

        do_HEAD = do_GET

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        with urllib.request.urlopen(f"{url}/try.png") as answer, Image.open(answer) as image:
            assert image.size == (128, 128) and asked == ["/try.png"]
        asked.clear()
        yield url, asked
        server.shutdown()


@pytest.mark.parametrize("place", [0, 3, 5])
def test_addresses_are_not_fetched(address, elsewhere, place):
    url, asked = elsewhere
    for file in ({"path": f"{url}/a.png"}, {"path": f"{url}/b.png", "url": f"{url}/b.png"}):
        told = _order(address, place, file)
        assert "event: error" in told and "Give a file, not an address." in told, told
    told = _order(address, place, {"path": "c.png", "url": f"{url}/c.png"})
    assert "event: error" in told and "Traceback" not in told
    assert not asked


def _order(address, place, file):
    """The server's answer to an order with this file, sent without gradio's client: that would upload it."""
    order: list = [None, "man-standing", "park", None, "walk", None, 4, 10, 1, 0, "none"]
    order[place] = {**file, "meta": {"_type": "gradio.FileData"}, "orig_name": "x.png"}
    call = f"{address}/gradio_api/call/generate"
    body = json.dumps({"data": order}).encode()
    request = urllib.request.Request(call, body, {"Content-Type": "application/json"})
    event = json.load(urllib.request.urlopen(request))["event_id"]
    return urllib.request.urlopen(f"{call}/{event}").read().decode()


@pytest.mark.parametrize("path", ["/etc/passwd", "../../../../etc/passwd", str(ROOT / "pyproject.toml")])
def test_files_of_the_server_are_not_served(address, path):
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{address}/gradio_api/file={path}")
    assert refused.value.code in (403, 404)


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_the_server_ends_in_the_middle_of_a_job(tmp_path, ending):
    """Soon, without an error, and with all that it wrote gone."""
    with served(tmp_path) as (server, address):
        order: list = [None, "man-standing", "park", None, "walk", None, 24, 10, 100, 0, "none"]
        request = {
            "data": json.dumps({"data": order}).encode(),
            "headers": {"Content-Type": "application/json"},
        }
        call = f"{address}/gradio_api/call/generate"
        event = json.load(urllib.request.urlopen(urllib.request.Request(call, **request)))["event_id"]
        with urllib.request.urlopen(f"{call}/{event}") as told:
            assert any(b"event: generating" in line for line in told)  # it is at work
            assert list(tmp_path.glob("idol-app-*/jobs/*"))
            server.send_signal(ending)
            assert server.wait(timeout=30) == 0
    assert not list(tmp_path.glob("idol-app-*"))


def test_the_page_reports_to_nobody(address):
    config = json.load(urllib.request.urlopen(f"{address}/config"))
    assert config["analytics_enabled"] is False
    assert not config.get("share")
    offered = {d["api_name"] for d in config["dependencies"] if d.get("api_visibility") == "public"}
    assert offered == {"generate", "cancel"}
