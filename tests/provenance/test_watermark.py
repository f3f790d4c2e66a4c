"""The watermark: found where it is, not found where it is not, not seen, the same every time."""

import io

import numpy as np
import pytest
from PIL import Image
from scipy import fft, ndimage

from idol import media
from idol.clip.images import read_image
from idol.clip.video import read_video, write_video
from idol.errors import UserError
from idol.provenance import Provenance, detect, embed
from idol.provenance import watermark as mark

REACH = mark.BANDS[0][1]  # the highest harmonic


@pytest.fixture(scope="module")
def clip():
    """(4, 3, 192, 224): a window that moves over a photo."""
    photo = Image.fromarray(read_image(media.path("park.jpg")).transpose(1, 2, 0)).resize((400, 300))
    pixels = np.asarray(photo).transpose(2, 0, 1)
    return np.stack([pixels[:, 50:242, 60 + 3 * f : 284 + 3 * f] for f in range(4)])


@pytest.fixture(scope="module")
def marked(clip):
    return embed(clip)


def images(video, change):
    changed = [change(Image.fromarray(frame.transpose(1, 2, 0))) for frame in video]
    return np.stack([np.asarray(image).transpose(2, 0, 1) for image in changed])


def jpeg(video, quality):
    def change(image):
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=quality)
        return Image.open(buffer)

    return images(video, change)


def test_the_mark_is_found_and_only_there(clip, marked):
    found, clean = detect(marked), detect(clip)
    assert found.found and found.scale == 1 and not found.mirrored and found.frames == 4
    assert found.false_alarm < 1e-12 and found.score > 2 * clean.score
    assert not clean.found and clean.false_alarm > mark.MAX_FALSE_ALARM


def test_one_frame_is_enough(clip, marked):
    assert detect(marked[2:3]).found
    assert not detect(clip[2:3]).found


def test_marking_is_deterministic_and_leaves_its_input_alone(clip, marked):
    before = clip.copy()
    np.testing.assert_array_equal(embed(clip), marked)
    np.testing.assert_array_equal(clip, before)


def test_the_mark_of_no_strength_is_none(clip):
    np.testing.assert_array_equal(embed(clip, strength=0.0), clip)


def psnr(video, other):
    return 10 * np.log10(255**2 / np.mean((video.astype(float) - other) ** 2))


def test_the_mark_stays_below_its_limits(clip, marked):
    assert psnr(marked, clip) > 38
    noise = np.random.default_rng(5).integers(60, 200, (1, 3, 128, 128)).astype(np.uint8)
    assert 37.5 < psnr(embed(noise), noise) < 38.1  # as busy as can be, nothing is clipped
    flat = np.full((1, 3, 128, 128), 128, np.uint8)
    change = embed(flat).astype(float) - 128
    luma = np.tensordot([0.299, 0.587, 0.114], change[0], 1)
    assert np.sqrt(np.mean(luma**2)) < 1.05 * np.hypot(mark.LUMA_RMS, 0.3)  # 0.3: rounding to gray levels
    assert abs(change.mean()) < 0.05


def test_parts_of_a_video_bear_the_mark_of_the_whole(clip, marked):
    marker = mark.Marker.fit(clip)
    parts = np.concatenate([marker.mark(clip[:1]), marker.mark(clip[1:])])
    np.testing.assert_array_equal(parts, marked)
    mine = Provenance(credentials=False).marker(clip)
    np.testing.assert_array_equal(np.concatenate([mine(clip[:3]), mine(clip[3:])]), marked)
    unmarked = Provenance(watermark=False, credentials=False)
    np.testing.assert_array_equal(unmarked.marker(clip)(clip), unmarked.mark(clip))
    np.testing.assert_array_equal(unmarked.mark(clip), clip)


def test_the_tile_is_laid_where_the_video_resembles_it():
    """An image that is the tile, rolled, gets it rolled alike; then all of the mark is on its side."""
    down, right = 37, 90
    gray = np.tile(np.roll(mark.tiles()[0], (down, right), (0, 1)), (2, 2)) * 8 + 128
    video = np.broadcast_to(np.rint(gray), (2, 3, 256, 256)).astype(np.uint8)
    assert np.allclose((np.array(mark.best_alignment(video)) - (down, right) + 64) % 128, 64, atol=1)


def test_laid_where_the_video_resembles_it_the_mark_scores_higher(clip):
    """Than the same mark at five other places."""
    fitted, others = detect(embed(clip)).score, []
    amplitude = mark.Marker.fit(clip)
    for down, right in np.random.default_rng(6).integers(20, 108, (5, 2)):
        luma, tint = (np.roll(tile, (down, right), (-2, -1)) for tile in (amplitude.luma, amplitude.tint))
        others.append(detect(mark.Marker(luma, tint).mark(clip)).score)
    assert fitted > max(others)


def test_hiding_against_the_filters_of_scipy():
    values = np.random.default_rng(7).uniform(0, 255, (9, 14)).astype(np.float32)
    minima = ndimage.minimum_filter(values, 5, mode="nearest")
    np.testing.assert_array_equal(mark._reduce_5x5(values, np.minimum), minima)
    means = ndimage.uniform_filter(values, 5, mode="nearest")
    np.testing.assert_allclose(mark._reduce_5x5(values, np.add) / 25, means, rtol=1e-5)


def test_a_flat_area_is_flat_up_to_its_edge():
    luma = np.full((40, 80), 100, np.float32)
    luma[:, 40:] = np.random.default_rng(0).uniform(0, 255, (40, 40))
    gain = mark.masking_gain(luma)
    assert (gain[:, :40] == 1).all() and (gain[:, 50:] > 2).all()


def test_the_tile_is_the_sum_of_its_waves():
    y, x = np.mgrid[:128, :128] / 128
    half = mark.tile_spectrum()[1]
    waves = sum(
        np.real(half[ky, kx + REACH] * np.exp(2j * np.pi * (ky * y + kx * x)))
        for ky in range(REACH + 1)
        for kx in range(-REACH, REACH + 1)
        if half[ky, kx + REACH] != 0
    )
    np.testing.assert_allclose(mark.tiles()[1], waves / waves.std(), atol=1e-4)


def test_spectra_are_the_literal_sums():
    planes = np.random.default_rng(1).normal(size=(2, 20, 30)).astype(np.float32)
    seen = mark.harmonic_sums(planes, 0.7)
    y, x = np.arange(20)[:, None] - 10, np.arange(30)[None] - 15
    for ky, kx in ((0, 5), (7, -REACH), (REACH, 3)):
        wave = np.exp(-2j * np.pi * (ky * y + kx * x) / (128 * 0.7))
        np.testing.assert_allclose(seen[:, ky, kx + REACH], (planes * wave).sum((1, 2)), rtol=1e-4, atol=1e-4)


def test_a_shift_of_the_tile_changes_no_score():
    rng = np.random.default_rng(2)
    noisy = mark.tiles() + 3 * rng.normal(size=(2, 128, 128)).astype(np.float32)
    scores = [
        mark.best_correlation(np.roll(noisy, (down, right), (1, 2)).astype(np.float32), 1.0)
        for down, right in ((0, 0), (17, 0), (64, 127), (3, 90))
    ]
    for score, mirrored in scores:
        assert score == pytest.approx(scores[0][0], rel=1e-3) and not mirrored
    score, mirrored = mark.best_correlation(np.ascontiguousarray(noisy[..., ::-1]), 1.0)
    assert mirrored and score == pytest.approx(scores[0][0], rel=0.1)


def test_the_score_against_a_literal_correlation():
    """With all weights alike the score is the greatest normalized circular correlation of the phases."""
    rest = (mark.tiles() + rng_noise(3)).astype(np.float32)
    seen, key = mark.harmonic_sums(rest, 1.0), mark.tile_spectrum()
    size = np.abs(seen)
    typical = np.array([np.median(s[k != 0]) for s, k in zip(size, key, strict=True)])[:, None, None]
    products = seen / (size + typical) * np.conj(key)
    score = 0.0
    down, right = np.nonzero((key != 0).any(0))
    for y in range(128):
        turn = np.exp(2j * np.pi * (down[:, None] * y + (right[:, None] - REACH) * np.arange(128)) / 128)
        score = max(score, np.real(products.sum(0)[down, right] @ turn).max())
    expected = score / np.sqrt((np.abs(products) ** 2).sum() / 2)
    assert mark.best_correlation(rest, 1.0)[0] == pytest.approx(expected, rel=1e-3)


def rng_noise(seed):
    return 4 * np.random.default_rng(seed).normal(size=(2, 128, 128))


def test_crops_half_size_and_mirror_are_survived(marked):
    crop = marked[:, :, 11:184, 7:209]
    assert detect(crop).found
    half = detect(images(marked, lambda p: p.resize((112, 96), Image.Resampling.BICUBIC)))
    assert half.found and half.scale == pytest.approx(0.5, rel=0.03)
    flipped = detect(np.ascontiguousarray(marked[..., ::-1]))
    assert flipped.found and flipped.mirrored


def test_h264_is_survived(clip, marked, tmp_path):
    for frames, expected in ((marked, True), (clip, False)):
        write_video(tmp_path / "clip.mp4", frames, 10.0, crf=28)
        assert detect(read_video(tmp_path / "clip.mp4").frames).found == expected


def test_more_damage_means_a_lower_score(marked):
    scores = [detect(marked[:1]).score] + [detect(jpeg(marked[:1], quality)).score for quality in (70, 30, 8)]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] > 1.3 * scores[3]


def test_false_alarms_are_not_more_than_stated():
    """Of 40 images of pure noise the stated probabilities are at least as large as uniform numbers."""
    rng = np.random.default_rng(4)
    noise = rng.integers(0, 256, (40, 1, 3, 64, 64)).astype(np.uint8)
    stated = np.sort([detect(image).false_alarm for image in noise])
    assert (stated >= (np.arange(40) + 1) / 40 - 0.24).all()  # Kolmogorov: 0.24 is passed once in 50


def test_false_alarm_falls_with_the_score_and_rises_with_the_scales():
    chances = [mark.false_alarm_probability(score, 100) for score in (0.0, 4.0, 5.0, 6.0, 8.0, 20.0)]
    assert chances[0] == pytest.approx(1) and chances[-1] < 1e-60 and chances == sorted(chances, reverse=True)
    assert mark.false_alarm_probability(6.0, 200) == pytest.approx(
        2 * mark.false_alarm_probability(6.0, 100), rel=0.01
    )


def test_scales_are_even_and_hold_1():
    for longest in (64, 256, 512):
        scales = np.array(mark.search_scales(longest))
        assert 1.0 in scales
        for end, wanted in ((scales.min(), 0.45), (scales.max(), 2.05)):
            assert abs(longest / end - longest / wanted) < 4
        np.testing.assert_allclose(np.diff(longest / scales), 4, rtol=1e-6)


def test_depth_like_images_without_a_mark_are_not_taken_for_marked():
    y, x = np.mgrid[:128, :128]
    disc = ((y - 60) ** 2 + (x - 64) ** 2 < 40**2) * np.uint8(200)
    assert not detect(np.broadcast_to(disc, (1, 3, 128, 128)).astype(np.uint8)).found
    assert not detect(np.zeros((1, 3, 128, 128), np.uint8)).found


def test_sizes_that_are_no_multiple_of_the_tile(clip):
    for h, w in ((129, 224), (192, 97)):
        marked = embed(clip[:, :, :h, :w])
        assert marked.shape == (4, 3, h, w) and detect(marked).found


@pytest.mark.parametrize(
    "frames",
    [
        np.zeros((2, 3, 64, 64), np.uint16),
        np.zeros((2, 64, 64), np.uint8),
        np.zeros((2, 1, 64, 64), np.uint8),
        np.zeros((0, 3, 64, 64), np.uint8),
        np.zeros((2, 3, 64, 64), np.float32),
    ],
)
def test_what_is_no_color_video_is_refused(frames):
    for call in (embed, detect):
        with pytest.raises(UserError, match="uint8"):
            call(frames)


def test_too_small_and_senseless_is_refused(clip):
    with pytest.raises(UserError, match="40 x 64 pixels"):
        detect(clip[:, :, :64, :40])
    for strength in (-1.0, np.nan):
        with pytest.raises(UserError, match="strength"):
            embed(clip, strength=float(strength))


def test_the_spectrum_of_the_tile_is_flat_in_its_band():
    for plane, (low, high) in zip(mark.tiles(), mark.BANDS, strict=True):
        power = np.abs(fft.fft2(plane.astype(np.float64)))
        cycles = fft.fftfreq(128, 1 / 128)
        radius = np.hypot(cycles[:, None], cycles)
        inside = (radius >= low) & (radius < high)
        np.testing.assert_allclose(power[inside], power[inside].mean(), rtol=1e-3)
        assert power[~inside].max() < 1e-3 * power[inside].mean()
