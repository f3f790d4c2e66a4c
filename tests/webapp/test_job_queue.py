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
from idol.webapp.job_queue import Cancelled, DurationEstimate, Job, JobProgress, JobQueue
from idol.webapp.messages import error_sentence, note_sentence, preview_html, progress_html
from idol.webapp.motion_previews import motion_previews
from idol.webapp.orbit import flatten_rim, orbit_iframe, orbit_page, side_by_side
from idol.webapp.requests import JobRequest, JobResult, check_request
from idol.webapp.upload_limits import Limits, check_image, check_number, check_video
from support.cli_runs import save_tiny_pipeline
from support.drawn import drawn_clip

LIMITS = Limits()
REQUEST = JobRequest(
    frames=3, fps=10.0, num_inference_steps=2, seed=0, detail="none", person="man-standing", motion="walk"
)


def _with(**changes):
    return JobRequest(**{**vars(REQUEST), **changes})


@pytest.fixture(scope="module")
def queue(tmp_path_factory):
    from idol.generation.environment import load_pipeline

    folder = tmp_path_factory.mktemp("queue")
    pipe = load_pipeline(str(save_tiny_pipeline(folder / "weights")), "cpu")
    queue = JobQueue(pipe, "tiny", folder / "jobs", Limits(waiting=1), Provenance())
    yield queue
    queue.close()
    assert not (folder / "jobs").exists()


def _folders(queue):
    return list(queue._folder.iterdir())


def test_a_job_is_made_and_forgotten(queue):
    *progress, result = queue.serve(REQUEST, "someone")
    assert all(isinstance(news, JobProgress) for news in progress) and isinstance(result, JobResult)
    for path in (result.video, result.depth, result.skeleton):
        assert len(read_video(path).frames) == 3
    queue.forget("someone else")
    assert result.archive.is_file()
    queue.forget("someone")
    assert not _folders(queue)


def test_a_image_forms_while_it_denoises(queue, monkeypatch):
    monkeypatch.setattr("idol.webapp.job_queue.TICK", 0.002)
    monkeypatch.setattr("idol.webapp.job_queue.IMAGE_EVERY", 0.0)
    *news, result = queue.serve(_with(frames=32, num_inference_steps=3), "someone")
    size, seen = queue.pipe.defaults.height, [progress.image for progress in news]
    images = [image for image in seen if image is not None]
    assert isinstance(result, JobResult) and seen[0] is None and images
    assert all(p.shape == (3, size, 2 * size) and p.dtype == np.uint8 for p in images)
    assert len({p.tobytes() for p in images}) in (1, 2)  # after the first two steps; a look may miss one
    assert all(job.progress(0).image is None for _, job in queue._jobs)  # the result is in its place
    queue.forget("someone")


def test_images_are_decoded_once_in_a_while(tmp_path):
    job, shades = Job(REQUEST, tmp_path, DurationEstimate()), iter(range(5))
    for _ in range(4):
        job.preview(lambda: np.full((3, 4, 8), next(shades), np.uint8))
    assert next(shades) == 1 and (job.progress(0).image == 0).all()


def test_a_job_ends_at_the_next_step(queue):
    request, seen = _with(num_inference_steps=LIMITS.num_inference_steps, frames=64), []
    with pytest.raises(Cancelled):
        for news in queue.serve(request, "someone"):
            seen.append(news.done)
            if news.done:
                queue.cancel("someone")
    assert 0 < seen[-1] < LIMITS.num_inference_steps
    assert not _folders(queue)


def test_closing_the_iterator_calls_the_job_off(queue):
    news = queue.serve(_with(num_inference_steps=LIMITS.num_inference_steps, frames=64), "someone")
    next(news)
    news.close()
    assert not _folders(queue)
    assert isinstance(list(queue.serve(REQUEST, "someone"))[-1], JobResult)  # the worker is free again
    queue.forget("someone")


def test_others_wait_and_too_many_are_turned_away(queue):
    long = _with(num_inference_steps=LIMITS.num_inference_steps, frames=64)
    first, second, third = (queue.serve(long, name) for name in "abc")
    assert next(first).ahead == 0 and next(second).ahead == 1
    with pytest.raises(UserError, match="too many jobs are waiting"):
        next(third)
    queue.cancel("b")  # before it has begun
    with pytest.raises(Cancelled):
        list(second)
    first.close()
    assert not _folders(queue)


def test_a_photo_without_a_person_is_told_in_a_sentence(queue):
    with pytest.raises(UserError) as refused:
        list(queue.serve(_with(person="", photo=media.path("palace.jpg")), "someone"))
    told = error_sentence(refused.value)
    assert told == "The photo: no person found. Please give a photo in which a person is clearly visible."
    assert not _folders(queue)


def test_results_are_removed_after_their_time(queue):
    assert isinstance(list(queue.serve(REQUEST, "someone"))[-1], JobResult)
    (old,) = _folders(queue)
    queue._jobs[0][1].started = time.monotonic() - 60 * queue.limits.keep_minutes - 1
    news = queue.serve(REQUEST, "someone else")
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
            check_request(_with(**change), LIMITS)


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
    [
        {"frames": 1},
        {"frames": 65},
        {"fps": 0.0},
        {"fps": float("nan")},
        {"num_inference_steps": 0},
        {"num_inference_steps": 101},
    ]
    + [{"seed": -1}, {"seed": 2**32}, {"detail": "best"}],
)
def test_numbers_have_their_range(change):
    with pytest.raises(UserError):
        check_request(_with(**change), LIMITS)
    check_request(REQUEST, LIMITS)


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
        check_video(playlist, "motion", LIMITS)
    with pytest.raises(UserError, match="10 seconds long"):
        check_video(long, "motion", Limits(video_seconds=9.0))
    check_video(media.path("walk.mp4"), "motion", LIMITS)
    for bad in (float("nan"), float("inf"), 0.5):
        with pytest.raises(UserError):
            check_number("frames", bad, 1.0, 2.0)


def test_the_film_of_the_orbit_holds_color_and_depth(tmp_path):
    clip = drawn_clip(3)
    film = side_by_side(clip)
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
    mended = flatten_rim(depth)
    np.testing.assert_array_equal(mended > 0, depth > 0)
    np.testing.assert_allclose(mended[depth > 0], 0.8)
    thin = np.zeros((16, 16), np.float32)
    thin[8] = 0.5
    np.testing.assert_array_equal(flatten_rim(thin), thin)


def test_the_page_of_the_orbit_needs_nothing_else():
    page = orbit_page(drawn_clip(1))
    assert (
        "__" not in page.replace("__proto__", "")[:2000] and "http://" not in page and "https://" not in page
    )
    assert "src=" not in page.replace("film.src=", "") and "import " not in page.split("<script>")[1]
    frame = orbit_iframe(page)
    assert 'sandbox="allow-scripts"' in frame and frame.count('"') == 8  # all of the page is escaped


def test_every_motion_moves(tmp_path):
    made = motion_previews(tmp_path)
    assert list(made) == list(options.motions())
    for path in made.values():
        with Image.open(path) as preview:
            assert preview.n_frames >= 4 and preview.info["loop"] == 0


def test_the_time_left_is_learned():
    estimate, request = DurationEstimate(), _with(frames=10, num_inference_steps=4)
    assert estimate.left(request, 0, 1.0) is None
    for phase, seconds in enumerate((8.0, 40.0, 2.0, 1.0)):
        estimate.learn(request, phase, seconds)
    assert estimate.left(request, 0, 3.0) == pytest.approx(5 + 40 + 2 + 1)
    assert estimate.left(request, 1, 30.0, 0.5) == pytest.approx(
        30 + 2 + 1
    )  # what is seen goes before what was learned
    assert estimate.left(_with(frames=20, num_inference_steps=2), 1, 0.0) == pytest.approx(40 + 4 + 2)
    assert estimate.left(_with(frames=10, motion="walk-video"), 0, 0.0) is None  # a film is another matter


def test_words_are_for_the_page():
    error = UserError("motion", "/tmp/idol-app-x/job-1/motion: cannot be decoded", "convert it to MP4")
    assert error_sentence(error) == "The motion: cannot be decoded. Please convert it to MP4."
    assert (
        error_sentence(UserError("motion", "cannot be fitted", "try `retarget=False`"))
        == "The motion: cannot be fitted."
    )
    note = "3 people in the photo: the largest is taken (`person_index` chooses another)"
    assert note_sentence(note) == "3 people in the photo: the largest is taken."
    image = np.zeros((3, 16, 32), np.uint8)
    image[:, :, :16] = 255
    (data,) = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', preview_html(image))
    back = np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))).transpose(2, 0, 1)
    np.testing.assert_allclose(back.astype(float), image, atol=4)
    shown = progress_html(JobProgress("a <b>", 0, 1, 4, 5.0, 15.0, ("<i>",)))
    assert "about 9 min left" in progress_html(JobProgress("a", 0, 0, 0, 5.0, 519.0, ()))
    assert (
        "about 15 s left" in shown
        and "A &lt;b&gt;: 25 %" in shown
        and 'value="0.250"' in shown
        and "&lt;i&gt;" in shown
    )
