"""The bundled media: all there, small, credited."""

import re

import pytest

from idol import media
from idol.clip.images import read_image
from idol.clip.video import read_video
from idol.errors import UserError


def test_everything_is_there_small_and_credited():
    folder = media.path(media.PERSON).parent
    credits = (folder / "CREDITS.md").read_text()
    files = [f for f in folder.iterdir() if f.suffix in (".jpg", ".mp4", ".npz")]
    assert {*media.PEOPLE, *media.BACKGROUNDS, *media.MOTIONS} <= {f.name for f in files}
    assert sum(f.stat().st_size for f in files) < 4_000_000
    for file in files:
        assert re.search(rf"`{re.escape(file.name)}` \|.*\| .+ \|", credits), file.name


@pytest.mark.parametrize("name", [*media.PEOPLE, *media.BACKGROUNDS])
def test_images_open(name):
    assert min(read_image(media.path(name)).shape[1:]) >= 400


@pytest.mark.parametrize("name", media.MOTIONS)
def test_videos_open(name):
    video = read_video(media.path(name))
    assert len(video.frames) >= 50 and video.fps == pytest.approx(30)


def test_unknown_name():
    with pytest.raises(UserError, match="cat.jpg.*walk.mp4"):
        media.path("cat.jpg")
