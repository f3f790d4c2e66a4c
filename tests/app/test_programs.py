"""The same job for programs: the example of docs/app.md runs, and nothing but a file or a name is taken."""

import json
import re
import shutil
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from idol import media
from idol.video import read_video

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
@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../../etc/passwd", str(ROOT / "README.md"), "http://127.0.0.1:1/x"]
)
def test_only_uploads_are_files(address, place, path):
    """Sent without gradio's client, which would upload the file."""
    order: list = [None, "man-standing", "park", None, "walk", None, 4, 10, 1, 0, "none"]
    order[place] = {"path": path, "meta": {"_type": "gradio.FileData"}, "orig_name": "x.png"}
    call = f"{address}/gradio_api/call/generate"
    body = json.dumps({"data": order}).encode()
    request = urllib.request.Request(call, body, {"Content-Type": "application/json"})
    event = json.load(urllib.request.urlopen(request))["event_id"]
    told = urllib.request.urlopen(f"{call}/{event}").read().decode()
    assert "event: error" in told and "event: generating" not in told, told
    assert "root:" not in told and "Traceback" not in told


@pytest.mark.parametrize("path", ["/etc/passwd", "../../../../etc/passwd", str(ROOT / "pyproject.toml")])
def test_files_of_the_server_are_not_served(address, path):
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{address}/gradio_api/file={path}")
    assert refused.value.code in (403, 404)


def test_the_page_reports_to_nobody(address):
    config = json.load(urllib.request.urlopen(f"{address}/config"))
    assert config["analytics_enabled"] is False
    assert not config.get("share")
    offered = {d["api_name"] for d in config["dependencies"] if d.get("api_visibility") == "public"}
    assert offered == {"generate", "cancel"}
