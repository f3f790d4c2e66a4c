"""The page as visitors have it: in a real browser, with the weights that ship."""

import re
import zipfile

from idol import media
from support.visiting import View, choose, fill, finished, until, visitor


def test_from_a_photo_to_a_download(browser, address, tmp_path):
    with visitor(browser, address) as page:
        _can_be_read(page)
        page.set_input_files("#photo input[type=file]", str(media.path("man-standing.jpg")))
        page.wait_for_selector("#photo img[src*=man-standing]")
        choose(page)
        page.click("#generate")
        page.wait_for_selector(".status.running progress")
        assert "Done" in finished(page)

        for name in ("video", "depth", "skeleton"):
            page.wait_for_function(f"document.querySelector('#{name} video').readyState >= 2")
        assert page.evaluate("document.querySelector('#video video').loop")
        page.wait_for_function("document.querySelector('#video video').played.length > 0")
        _orbit(page)

        with page.expect_download() as waiting:
            page.click("#download")
        waiting.value.save_as(tmp_path / "idol.zip")
    with zipfile.ZipFile(tmp_path / "idol.zip") as archive:
        assert archive.testzip() is None
        names = {name.removeprefix("idol/") for name in archive.namelist()}
        record = archive.read("idol/run.json").decode()
    assert {"video.mp4", "depth.mp4", "preview.png", "run.json", "clip.json", "orbit.html"} <= names
    for kind in ("frames", "depth", "mask"):
        assert {n for n in names if n.startswith(kind + "/")} == {f"{kind}/0000{i}.png" for i in range(4)}
    assert "/tmp" not in record and "idol-app" not in record  # nothing of the server's disk goes home


def _orbit(page):
    """Dragging turns the view, a double click turns it back to what the video shows."""
    view = View(page)
    first = view.still()
    view.canvas.hover()
    page.mouse.down()
    page.mouse.move(*view.at(0.7, 0.55), steps=4)
    page.mouse.up()
    turned = view.other_than(first)
    page.mouse.wheel(0, -200)
    assert view.other_than(turned) != first
    view.canvas.dblclick()
    assert until(page, lambda: view.drawn() == first)


def test_a_file_that_is_no_image_gets_a_sentence(browser, address, tmp_path):
    wrong = tmp_path / "person.png"
    wrong.write_text("This is a text.\n")
    with visitor(browser, address, "dark", 390, 844) as page:
        _can_be_read(page)
        page.set_input_files("#photo input[type=file]", str(wrong))
        page.wait_for_selector("#photo img[src*=person]", state="attached")
        page.click("#generate")
        told = finished(page)
        assert told.strip() == "The photo: this file is not an image. Please give a PNG, JPEG or WebP."
        assert page.is_enabled("#generate")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390  # nothing sticks out of a phone


def test_two_visitors_get_each_their_own_and_may_stop(browser, address):
    with visitor(browser, address) as one, visitor(browser, address) as two:
        choose(one, Seed=11, Steps=24)  # still at work when the other comes
        choose(two, Seed=22)
        one.click("#generate")
        two.click("#generate")
        two.wait_for_selector("text=/Waiting: 1 job before yours/")
        assert re.search(r"seed 11\b", finished(one)) and re.search(r"seed 22\b", finished(two))
        sources = [page.get_attribute("#video video", "src") for page in (one, two)]
        assert all(sources) and sources[0] != sources[1]
        _watch_and_stop(two)


def _watch_and_stop(page):
    """While a job takes steps an image forms where the results will be; Cancel ends both."""
    fill(page, Steps=60)
    page.click("#generate")
    forming = page.wait_for_selector("#forming img")
    assert not page.is_visible(".plates")
    page.wait_for_function("document.querySelector('#forming img').naturalWidth")
    assert forming.evaluate("i => [i.naturalWidth, i.naturalHeight]") == [512, 256]
    page.click("#cancel")
    page.wait_for_selector("text=Cancelled.")
    page.wait_for_selector("#forming img", state="detached")
    assert page.is_enabled("#generate") and page.is_disabled("#cancel")


def _can_be_read(page):
    """WCAG's contrast of 4.5, of the main texts against what is behind them."""
    for selector in (".masthead h1", ".masthead p", ".results h2", ".status p", "#generate"):
        page.wait_for_selector(selector, state="attached")  # a phone shows results once there are some
        assert page.evaluate(_CONTRAST, selector) >= 4.5, selector


_CONTRAST = """selector => {
  const channels = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
    .map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  let element = document.querySelector(selector), behind = element;
  const text = light(channels(getComputedStyle(element).color));
  const clear = (e) => channels(getComputedStyle(e).backgroundColor)[3] === 0;
  while (behind.parentElement && clear(behind)) behind = behind.parentElement;
  const back = light(channels(getComputedStyle(behind).backgroundColor));
  return (Math.max(text, back) + 0.05) / (Math.min(text, back) + 0.05);
}"""
