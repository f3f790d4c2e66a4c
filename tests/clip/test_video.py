"""Video files and their sound, against files that the tests make by hand."""

import struct

import av
import numpy as np
import pytest

from idol.clip.video import read_video, write_video
from idol.errors import UserError


def moving_image(frames=10, height=48, width=64):
    """A smooth color field that brightens steadily: H.264 keeps it well, every frame has its own mean."""
    y, x = np.mgrid[0:height, 0:width]
    planes = [x / width, y / height, (x + y) / (height + width)]
    image = np.stack(planes) * 150
    return np.stack([image + 8 * i for i in range(frames)]).astype(np.uint8)


def write_with_tone(path, seconds=2.0, rate=44100, pitch=440.0, fps=10):
    """A video with a tone as its sound, muxed here by hand."""
    with av.open(str(path), "w") as out:
        video = out.add_stream("libx264", rate=fps)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        audio = out.add_stream("aac", rate=rate)
        audio.layout = "stereo"
        for image in moving_image(int(seconds * fps)):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image.transpose(1, 2, 0)), format="rgb24")
            out.mux(video.encode(frame))
        out.mux(video.encode())
        tone = 0.5 * np.sin(2 * np.pi * pitch * np.arange(int(seconds * rate)) / rate)
        frame = av.AudioFrame.from_ndarray(np.stack([tone, tone]).astype(np.float32), "fltp", "stereo")
        frame.sample_rate = rate
        out.mux(audio.encode(frame))
        out.mux(audio.encode())


def sound_of(path):
    with av.open(str(path)) as container:
        if not container.streams.audio:
            return np.zeros(0), 0
        rate = container.streams.audio[0].rate
        parts = [frame.to_ndarray()[0] for frame in container.decode(audio=0)]
    return np.concatenate(parts), rate


def pitch_of(samples, rate):
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return np.argmax(spectrum) * rate / len(samples)


def test_a_video_comes_back(tmp_path):
    frames = moving_image()
    write_video(tmp_path / "v.mp4", frames, 12.5)
    video = read_video(tmp_path / "v.mp4")
    assert video.frames.dtype == np.uint8 and video.frames.shape == frames.shape
    assert video.fps == 12.5 and video.audio is None
    assert np.abs(video.frames.astype(int) - frames).mean() < 2
    with av.open(str(tmp_path / "v.mp4")) as container:
        context = container.streams.video[0].codec_context
        assert (context.name, context.pix_fmt, context.colorspace) == ("h264", "yuv420p", 1)
    assert [p.name for p in tmp_path.iterdir()] == ["v.mp4"]


def test_colors_survive(tmp_path):
    """Big patches of saturated colors, where a mix-up of color matrices or ranges would show."""
    patches = np.zeros((4, 3, 64, 64), np.uint8)
    colors = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (200, 150, 30)]
    for i, color in enumerate(colors):
        patches[:, :, (i // 3) * 32 : (i // 3) * 32 + 32, (i % 3) * 21 : (i % 3) * 21 + 21] = np.reshape(
            color, (3, 1, 1)
        )
    write_video(tmp_path / "v.mp4", patches, 10.0)
    back = read_video(tmp_path / "v.mp4").frames
    for i, color in enumerate(colors):
        middle = back[2, :, (i // 3) * 32 + 10 : (i // 3) * 32 + 22, (i % 3) * 21 + 6 : (i % 3) * 21 + 15]
        np.testing.assert_allclose(middle.mean(axis=(1, 2)), color, atol=6)


@pytest.mark.parametrize("fps", [1.0, 23.976, 29.97, 60.0])
def test_rates_survive(tmp_path, fps):
    write_video(tmp_path / "v.mp4", moving_image(4), fps)
    assert read_video(tmp_path / "v.mp4").fps == pytest.approx(fps, rel=1e-4)


@pytest.mark.parametrize(("height", "width"), [(47, 63), (48, 63), (1, 1)])
def test_odd_sizes_repeat_their_last_row_and_column(tmp_path, height, width):
    frames = moving_image(3, height, width)
    write_video(tmp_path / "v.mp4", frames, 10.0)
    back = read_video(tmp_path / "v.mp4").frames
    assert back.shape == (3, 3, height + height % 2, width + width % 2)
    assert np.abs(back[:, :, :height, :width].astype(int) - frames).mean() < 3


def test_sound_is_kept_and_cut_to_the_video(tmp_path):
    write_with_tone(tmp_path / "in.mp4", seconds=2.0, pitch=440.0)
    source = read_video(tmp_path / "in.mp4")
    assert source.audio == tmp_path / "in.mp4" and len(source.frames) == 20
    write_video(tmp_path / "out.mp4", source.frames[:10], source.fps, audio_from=source.audio)
    samples, rate = sound_of(tmp_path / "out.mp4")
    assert rate == 44100 and abs(len(samples) / rate - 1.0) < 0.06
    assert pitch_of(samples[2000:-2000], rate) == pytest.approx(440, abs=3)
    assert np.abs(samples[2000:-2000]).max() == pytest.approx(0.5, abs=0.05)
    assert len(read_video(tmp_path / "out.mp4").frames) == 10


def test_sound_shorter_than_the_video_and_no_sound_at_all(tmp_path):
    write_with_tone(tmp_path / "in.mp4", seconds=0.5)
    write_video(tmp_path / "out.mp4", moving_image(20), 10.0, audio_from=tmp_path / "in.mp4")
    assert len(read_video(tmp_path / "out.mp4").frames) == 20
    samples, rate = sound_of(tmp_path / "out.mp4")
    assert 0.4 < len(samples) / rate < 0.7
    write_video(tmp_path / "silent.mp4", moving_image(5), 10.0)
    write_video(tmp_path / "out.mp4", moving_image(5), 10.0, audio_from=tmp_path / "silent.mp4")
    assert read_video(tmp_path / "out.mp4").audio is None


def test_rotation_in_the_file_is_honored(tmp_path):
    """The display matrix of a quarter turn is written into the track header, as phones do."""
    frames = moving_image(3)
    write_video(tmp_path / "v.mp4", frames, 10.0)
    plain = read_video(tmp_path / "v.mp4").frames
    data = (tmp_path / "v.mp4").read_bytes()
    one, unit = 1 << 16, 1 << 30
    upright = struct.pack(">9i", one, 0, 0, 0, one, 0, 0, 0, unit)
    start = data.index(upright, data.index(b"tkhd"))
    for matrix, turns in (
        ((0, one, 0, -one, 0, 0, 0, 0, unit), -1),
        ((-one, 0, 0, 0, -one, 0, 0, 0, unit), 2),
    ):
        (tmp_path / "r.mp4").write_bytes(data[:start] + struct.pack(">9i", *matrix) + data[start + 36 :])
        turned = read_video(tmp_path / "r.mp4").frames
        np.testing.assert_array_equal(turned, np.rot90(plain, turns, axes=(2, 3)))


def test_another_rate_keeps_the_speed(tmp_path):
    write_video(tmp_path / "v.mp4", moving_image(20), 20.0)
    every = read_video(tmp_path / "v.mp4").frames.mean(axis=(1, 2, 3))
    half = read_video(tmp_path / "v.mp4", fps=10.0)
    assert half.fps == 10 and len(half.frames) == 10
    np.testing.assert_allclose(half.frames.mean(axis=(1, 2, 3)), every[::2])
    double = read_video(tmp_path / "v.mp4", fps=40.0).frames.mean(axis=(1, 2, 3))
    assert abs(len(double) - 40) <= 1
    assert np.abs(double[:38] - np.repeat(every, 2)[:38]).max() <= 8.5  # at most a frame beside


def test_limits(tmp_path):
    write_video(tmp_path / "v.mp4", moving_image(20), 20.0)
    assert len(read_video(tmp_path / "v.mp4", max_frames=7).frames) == 7
    small = read_video(tmp_path / "v.mp4", max_side=32).frames
    assert small.shape == (20, 3, 24, 32)
    assert read_video(tmp_path / "v.mp4", max_side=100).frames.shape[2:] == (48, 64)


def test_bad_videos_are_told_in_one_line(tmp_path):
    cases = {}
    cases["no such file"] = tmp_path / "none.mp4"
    cases["cannot be decoded"] = tmp_path / "text.mp4"
    cases["cannot be decoded"].write_text("not a video")
    cases["no video stream"] = tmp_path / "sound.wav"
    with av.open(str(cases["no video stream"]), "w") as out:
        audio = out.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), "s16", "mono")
        frame.sample_rate = 8000
        out.mux(audio.encode(frame))
    for message, path in cases.items():
        with pytest.raises(UserError, match=message) as wrong:
            read_video(path)
        assert "\n" not in str(wrong.value)
    empty = tmp_path / "empty.mp4"
    empty.touch()
    with pytest.raises(UserError):
        read_video(empty)


def test_a_video_without_frames(tmp_path):
    with av.open(str(tmp_path / "v.mp4"), "w") as out:
        stream = out.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        out.start_encoding()
    with pytest.raises(UserError, match="without frames|no video stream|cannot be decoded"):
        read_video(tmp_path / "v.mp4")


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_video_that_breaks_off_is_refused(tmp_path, suffix):
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (40, 3, 64, 64)).astype(np.uint8)
    path, cut = tmp_path / f"v{suffix}", tmp_path / f"cut{suffix}"
    with av.open(str(path), "w", options={"movflags": "faststart"} if suffix == ".mp4" else {}) as out:
        stream = out.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for image in noise:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image.transpose(1, 2, 0)), format="rgb24")
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    data = path.read_bytes()
    assert len(read_video(path).frames) == 40
    cut.write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError, match="breaks off|cannot be decoded"):
        read_video(cut)
    assert len(read_video(cut, max_frames=5).frames) == 5  # what is asked for is there


def test_writing_is_all_or_nothing(tmp_path):
    frames = moving_image(3)
    write_video(tmp_path / "v.mp4", frames, 10.0)
    before = (tmp_path / "v.mp4").read_bytes()
    (tmp_path / "bad.mp4").write_text("no sound here")
    with pytest.raises(UserError, match="sound cannot be decoded"):
        write_video(tmp_path / "v.mp4", frames, 10.0, audio_from=tmp_path / "bad.mp4")
    with pytest.raises(UserError, match=r"\.mp4, \.mov"):
        write_video(tmp_path / "v.unknown", frames, 10.0)
    assert (tmp_path / "v.mp4").read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bad.mp4", "v.mp4"]


@pytest.mark.parametrize(
    ("frames", "fps"),
    [
        (np.zeros((0, 3, 8, 8), np.uint8), 10.0),
        (np.zeros((2, 8, 8, 3), np.uint8), 10.0),
        (np.zeros((2, 3, 8, 8), np.float32), 10.0),
        (np.zeros((2, 3, 8, 8), np.uint8), 0.0),
        (np.zeros((2, 3, 8, 8), np.uint8), float("nan")),
    ],
)
def test_wrong_frames_are_refused(tmp_path, frames, fps):
    with pytest.raises(ValueError, match="expected"):
        write_video(tmp_path / "v.mp4", frames, fps)
