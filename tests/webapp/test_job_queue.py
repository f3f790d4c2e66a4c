"""Jobs without a page: what is taken and what is refused, how they wait, end and leave nothing behind."""

import base64
import io
import re
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from idol import media
from idol.clip.video import read_video, write_video
from idol.errors import UserError
from idol.provenance import Provenance
from idol.webapp import options
from idol.webapp.job_queue import Cancelled, Desk, Job, Pace, Progress
from idol.webapp.messages import forming_html, progress_html, said, sentence
from idol.webapp.motion_previews import motion_previews
from idol.webapp.orbit import framed, orbit_page, packed, without_rim
from idol.webapp.requests import Order, Result, check_order
from idol.webapp.upload_limits import Limits, check_film, check_image, check_number
from support.cli_runs import save_tiny_pipeline
from support.drawn import drawn_clip

LIMITS = Limits()
ORDER = Order(frames=3, fps=10.0, steps=2, seed=0, detail="none", person="man-standing", motion="walk")


def _with(**changes):
    return Order(**{**vars(ORDER), **changes})


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    from idol.generation.environment import load_pipeline

    folder = tmp_path_factory.mktemp("desk")
    pipe = load_pipeline(str(save_tiny_pipeline(folder / "weights")), "cpu")
    desk = Desk(pipe, "tiny", folder / "jobs", Limits(waiting=1), Provenance())
    yield desk
    desk.close()
    assert not (folder / "jobs").exists()


def _folders(desk):
    return list(desk._folder.iterdir())


def test_a_job_is_made_and_forgotten(desk):
    *progress, result = desk.serve(ORDER, "someone")
    assert all(isinstance(news, Progress) for news in progress) and isinstance(result, Result)
    for path in (result.video, result.depth, result.skeleton):
        assert len(read_video(path).frames) == 3
    desk.forget("someone else")
    assert result.archive.is_file()
    desk.forget("someone")
    assert not _folders(desk)


def test_a_image_forms_while_it_denoises(desk, monkeypatch):
    monkeypatch.setattr("idol.webapp.job_queue.TICK", 0.002)
    monkeypatch.setattr("idol.webapp.job_queue.IMAGE_EVERY", 0.0)
    *news, result = desk.serve(_with(frames=32, steps=3), "someone")
    size, seen = desk.pipe.defaults.height, [progress.image for progress in news]
    images = [image for image in seen if image is not None]
    assert isinstance(result, Result) and seen[0] is None and images
    assert all(p.shape == (3, size, 2 * size) and p.dtype == np.uint8 for p in images)
    assert len({p.tobytes() for p in images}) in (1, 2)  # after the first two steps; a look may miss one
    assert all(job.progress(0).image is None for _, job in desk._jobs)  # the result is in its place
    desk.forget("someone")


def test_images_are_decoded_once_in_a_while(tmp_path):
    job, shades = Job(ORDER, tmp_path, Pace()), iter(range(5))
    for _ in range(4):
        job.preview(lambda: np.full((3, 4, 8), next(shades), np.uint8))
    assert next(shades) == 1 and (job.progress(0).image == 0).all()


def test_a_job_ends_at_the_next_step(desk):
    order, seen = _with(steps=LIMITS.steps, frames=64), []
    with pytest.raises(Cancelled):
        for news in desk.serve(order, "someone"):
            seen.append(news.done)
            if news.done:
                desk.cancel("someone")
    assert 0 < seen[-1] < LIMITS.steps
    assert not _folders(desk)


def test_closing_the_iterator_calls_the_job_off(desk):
    news = desk.serve(_with(steps=LIMITS.steps, frames=64), "someone")
    next(news)
    news.close()
    assert not _folders(desk)
    assert isinstance(list(desk.serve(ORDER, "someone"))[-1], Result)  # the worker is free again
    desk.forget("someone")


def test_others_wait_and_too_many_are_turned_away(desk):
    long = _with(steps=LIMITS.steps, frames=64)
    first, second, third = (desk.serve(long, name) for name in "abc")
    assert next(first).ahead == 0 and next(second).ahead == 1
    with pytest.raises(UserError, match="too many jobs are waiting"):
        next(third)
    desk.cancel("b")  # before it has begun
    with pytest.raises(Cancelled):
        list(second)
    first.close()
    assert not _folders(desk)


def test_a_photo_without_a_person_is_told_in_a_sentence(desk):
    with pytest.raises(UserError) as refused:
        list(desk.serve(_with(person="", photo=media.path("palace.jpg")), "someone"))
    told = sentence(refused.value)
    assert told == "The photo: no person found. Please give a photo in which a person is clearly visible."
    assert not _folders(desk)


def test_results_are_removed_after_their_time(desk):
    assert isinstance(list(desk.serve(ORDER, "someone"))[-1], Result)
    (old,) = _folders(desk)
    desk._jobs[0][1].started = time.monotonic() - 60 * desk.limits.keep_minutes - 1
    news = desk.serve(ORDER, "someone else")
    next(news)
    assert not old.exists()
    news.close()


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd",
        "/etc/passwd",
        "photo/../x",
        "builtin:../walk",
        "nobody",
        "",
        None,
        "rgb(1.2.3, 0, 0)",
    ],
)
def test_a_text_is_a_name_on_the_list_or_refused(name):
    for change in ({"person": name}, {"background": name}, {"motion": name}):
        with pytest.raises(UserError):
            check_order(_with(**change), LIMITS)


def test_names_on_the_list_are_taken():
    for person in options.people():
        assert Path(options.person_named(person)).is_file()
    for background in options.backgrounds():
        assert Path(options.background_named(background)).is_file()
    assert options.motion_named("builtin:walk") == options.motion_named("walk") == "builtin:walk"
    assert [options.background_named(c) for c in ("gray", "#8af", "photo")] == ["gray", "#8af", "photo"]
    assert options.background_named("rgba(16.4, 32, 255, 1)") == "#1020ff"


@pytest.mark.parametrize(
    "change",
    [{"frames": 1}, {"frames": 65}, {"fps": 0.0}, {"fps": float("nan")}, {"steps": 0}, {"steps": 101}]
    + [{"seed": -1}, {"seed": 2**32}, {"detail": "best"}],
)
def test_numbers_have_their_range(change):
    with pytest.raises(UserError):
        check_order(_with(**change), LIMITS)
    check_order(ORDER, LIMITS)


def test_images_are_checked_by_what_they_are(tmp_path):
    small, large, text = (tmp_path / name for name in ("small.png", "large.png", "text.png"))
    Image.new("RGB", (63, 200)).save(small)
    Image.new("1", (8000, 6000)).save(large)
    text.write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    for path, found in ((small, "63 x 200"), (large, "48 megapixels"), (text, "not an image")):
        with pytest.raises(UserError, match=found):
            check_image(path, "person", LIMITS)
    check_image(media.path("palace.jpg"), "person", LIMITS)
    with pytest.raises(UserError, match="megabytes"):
        check_image(media.path("palace.jpg"), "person", Limits(photo_megabytes=0.01))


def test_films_are_checked_before_they_are_decoded(tmp_path):
    playlist, long = tmp_path / "list.mp4", tmp_path / "long.mp4"
    playlist.write_text("#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n")
    write_video(long, np.zeros((20, 3, 64, 64), np.uint8), 2.0)
    with pytest.raises(UserError, match="not a video"):  # a list of other files must not be opened
        check_film(playlist, "motion", LIMITS)
    with pytest.raises(UserError, match="10 seconds long"):
        check_film(long, "motion", Limits(video_seconds=9.0))
    check_film(media.path("walk.mp4"), "motion", LIMITS)
    for bad in (float("nan"), float("inf"), 0.5):
        with pytest.raises(UserError):
            check_number("frames", bad, 1.0, 2.0)


def test_the_film_of_the_orbit_holds_color_and_depth(tmp_path):
    clip = drawn_clip(3)
    film = packed(clip)
    w, right = clip.width, film[..., clip.width :]
    np.testing.assert_array_equal(film[..., :w], clip.video)
    assert (right == right[:, :1]).all()
    np.testing.assert_allclose(right[:, 0] / 255, clip.depth, atol=0.5 / 255 + 1e-6)
    write_video(tmp_path / "film.mp4", film, 8.0, crf=12)
    back = read_video(tmp_path / "film.mp4").frames[:, 0, :, w:].astype(float)
    error = np.abs(back - right[:, 0])
    assert error.mean() < 1.5 and np.percentile(error, 99) < 13  # outlines ring
    clear = np.abs(clip.depth - 0.1) > 0.05
    assert ((back / 255 > 0.1) == clip.mask)[clear].mean() > 0.995  # where the viewer cuts


def test_the_rim_is_as_deep_as_the_inside():
    y, x = np.mgrid[:48, :48]
    away = 16 - np.hypot(y - 24, x - 24)
    depth = np.where(away > 0, np.where(away > 2, 0.8, 0.2 + 0.2 * away), 0).astype(np.float32)
    mended = without_rim(depth)
    np.testing.assert_array_equal(mended > 0, depth > 0)
    np.testing.assert_allclose(mended[depth > 0], 0.8)
    thin = np.zeros((16, 16), np.float32)
    thin[8] = 0.5
    np.testing.assert_array_equal(without_rim(thin), thin)


def test_the_page_of_the_orbit_needs_nothing_else():
    page = orbit_page(drawn_clip(1))
    assert (
        "__" not in page.replace("__proto__", "")[:2000] and "http://" not in page and "https://" not in page
    )
    assert "src=" not in page.replace("film.src=", "") and "import " not in page.split("<script>")[1]
    frame = framed(page)
    assert 'sandbox="allow-scripts"' in frame and frame.count('"') == 8  # all of the page is escaped


def test_every_motion_moves(tmp_path):
    made = motion_previews(tmp_path)
    assert list(made) == list(options.motions())
    for path in made.values():
        with Image.open(path) as preview:
            assert preview.n_frames >= 4 and preview.info["loop"] == 0


def test_the_time_left_is_learned():
    pace, order = Pace(), _with(frames=10, steps=4)
    assert pace.left(order, 0, 1.0) is None
    for phase, seconds in enumerate((8.0, 40.0, 2.0, 1.0)):
        pace.learn(order, phase, seconds)
    assert pace.left(order, 0, 3.0) == pytest.approx(5 + 40 + 2 + 1)
    assert pace.left(order, 1, 30.0, 0.5) == pytest.approx(
        30 + 2 + 1
    )  # what is seen goes before what was learned
    assert pace.left(_with(frames=20, steps=2), 1, 0.0) == pytest.approx(40 + 4 + 2)
    assert pace.left(_with(frames=10, motion="walk-film"), 0, 0.0) is None  # a film is another matter


def test_words_are_for_the_page():
    error = UserError("--motion /tmp/idol-app-x/job-1/motion", "cannot be decoded", "convert it to MP4")
    assert sentence(error) == "The motion: cannot be decoded. Please convert it to MP4."
    assert (
        sentence(UserError("motion", "cannot be fitted", "try --no-retarget"))
        == "The motion: cannot be fitted."
    )
    note = "3 people in the photo: the largest is taken (--person-index chooses another)"
    assert said(note) == "3 people in the photo: the largest is taken."
    image = np.zeros((3, 16, 32), np.uint8)
    image[:, :, :16] = 255
    (data,) = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', forming_html(image))
    back = np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))).transpose(2, 0, 1)
    np.testing.assert_allclose(back.astype(float), image, atol=4)
    shown = progress_html(Progress("a <b>", 0, 1, 4, 5.0, 15.0, ("<i>",)))
    assert "about 9 min left" in progress_html(Progress("a", 0, 0, 0, 5.0, 519.0, ()))
    assert (
        "about 15 s left" in shown
        and "A &lt;b&gt;: 25 %" in shown
        and 'value="0.250"' in shown
        and "&lt;i&gt;" in shown
    )
