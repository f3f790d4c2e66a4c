"""PSNR and SSIM against closed forms, a literal loop and scikit-image."""

import sys

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from skimage import metrics as skimage_metrics

from idol.errors import UserError
from idol.evaluation.metrics.image import PSNR_CAP, gray, psnr, ssim


def texture(frames=2, size=48, seed=0):
    noise = np.random.default_rng(seed).normal(size=(frames, 3, size, size))
    smooth = gaussian_filter(noise, (0, 0, 2, 2))
    return (128 + 100 * smooth / np.abs(smooth).max()).round().astype(np.uint8)


def damaged(video, sigma=0.0, blur=0.0):
    noise = np.random.default_rng(1).normal(0, 1, video.shape)
    soft = gaussian_filter(video.astype(float), (0, 0, blur, blur)) if blur else video
    return (soft + sigma * noise).clip(0, 255).round().astype(np.uint8)


@pytest.mark.parametrize("levels", [1, 5, 40])
def test_psnr_of_a_constant_difference(levels):
    true = texture()
    assert psnr(true + np.uint8(levels), true) == pytest.approx(20 * np.log10(255 / levels))


def test_psnr_is_a_mean_over_frames_with_a_cap():
    true = texture()
    assert psnr(true, true) == PSNR_CAP
    half = true.copy()
    half[1] += 10
    assert psnr(half, true) == pytest.approx((PSNR_CAP + 20 * np.log10(25.5)) / 2)


def test_psnr_and_ssim_are_those_of_scikit_image():
    true = texture(3)
    bad = damaged(true, sigma=12, blur=1)
    expected = [skimage_metrics.peak_signal_noise_ratio(a, b) for a, b in zip(true, bad, strict=True)]
    assert psnr(bad, true) == pytest.approx(np.mean(expected))
    a, b = gray(bad), gray(true)
    double = [skimage_metrics.structural_similarity(x, y) for x, y in zip(a, b, strict=True)]
    assert ssim(a, b) == pytest.approx(np.mean(double), abs=1e-5)


def test_gray_is_luma():
    video = texture()
    expected = np.tensordot([0.299, 0.587, 0.114], video, (0, 1))
    assert np.abs(gray(video) - expected).max() <= 0.51


def test_ssim_is_the_mean_over_windows():
    a, b = gray(texture(1, 12)), gray(texture(1, 12, seed=5))
    similar = []
    for y in range(6):
        for x in range(6):
            p, q = (w[0, y : y + 7, x : x + 7].astype(float).ravel() for w in (a, b))
            covariance = np.cov(p, q)
            above = (2 * p.mean() * q.mean() + 2.55**2) * (2 * covariance[0, 1] + 7.65**2)
            below = (p.mean() ** 2 + q.mean() ** 2 + 2.55**2) * (np.trace(covariance) + 7.65**2)
            similar.append(above / below)
    assert ssim(a, b) == pytest.approx(np.mean(similar), abs=1e-5)


@pytest.mark.parametrize("damage", [{"sigma": s} for s in (1,)] + [{"blur": 1}])
def test_both_fall_with_damage(damage):
    true = texture()
    (kind, unit), *_ = damage.items()
    series = [damaged(true, **{kind: unit * k}) if k else true for k in (0, 1, 2, 4, 8)]
    for values in ([psnr(v, true) for v in series], [ssim(gray(v), gray(true)) for v in series]):
        assert values == sorted(values, reverse=True) and values[-1] < values[1] < values[0]
    assert ssim(gray(true), gray(true)) == 1


def test_a_missing_package_is_named(monkeypatch):
    frames = gray(texture())
    monkeypatch.setitem(sys.modules, "skimage.metrics", None)
    with pytest.raises(UserError, match=r"scikit-image.*idol-diffusion\[eval\]"):
        ssim(frames, frames)
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(UserError, match=r"opencv-python-headless.*idol-diffusion\[eval\]"):
        gray(texture())
