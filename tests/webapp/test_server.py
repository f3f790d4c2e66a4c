"""The page from Python: `idol.webapp.build` and `idol.app` as docs/app.md has them."""

import json
import urllib.request

import pytest

import idol
from idol import webapp
from support.cli_runs import save_tiny_pipeline

pytest.importorskip("gradio")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return str(save_tiny_pipeline(tmp_path_factory.mktemp("page") / "weights"))


def _title(address):
    return json.load(urllib.request.urlopen(f"{address}config"))["title"]


def test_a_built_page_is_launched_by_gradio(weights):
    page = webapp.build(weights, device="cpu")
    try:
        _, address, _ = page.launch(prevent_thread_lock=True, quiet=True, **webapp.launch_options())
        assert "IDOL" in _title(address)
    finally:
        page.close(verbose=False)


def test_the_page_is_served_from_python(weights):
    heard = []
    address = idol.app(weights, device="cpu", port=0, block=False, ready=heard.append)
    assert heard == [address] and "IDOL" in _title(address)


@pytest.mark.parametrize(("argument", "value"), [("port", -3), ("device", "abacus"), ("weights", "maxi")])
def test_wrong_arguments_are_named(weights, argument, value):
    with pytest.raises(idol.UserError, match=f"^{argument}: "):
        idol.app(**{"weights": weights, argument: value}, block=False)
