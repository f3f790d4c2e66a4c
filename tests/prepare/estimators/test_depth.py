"""A published depth estimator, as small as it can be, against transformers' own preprocessing and call."""

import json

import numpy as np
import pytest
import torch
from transformers import DPTConfig, DPTForDepthEstimation

from idol.clip.depth import normalize_disparity
from idol.errors import UserError
from idol.prepare.estimators.depth import DepthModel

MEAN, STD, SIZE = (0.4, 0.5, 0.6), (0.2, 0.3, 0.25), 32


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.manual_seed(0)
    config = DPTConfig(
        hidden_size=16,
        num_hidden_layers=4,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=SIZE,
        patch_size=8,
        backbone_out_indices=[0, 1, 2, 3],
        neck_hidden_sizes=[8, 8, 8, 8],
        fusion_hidden_size=8,
    )
    folder = tmp_path_factory.mktemp("dpt")
    DPTForDepthEstimation(config).save_pretrained(folder)
    said = {"image_mean": MEAN, "image_std": STD, "size": {"height": SIZE, "width": SIZE}}
    (folder / "preprocessor_config.json").write_text(json.dumps(said))
    return folder


def test_it_is_transformers_own_estimate(folder):
    """At the model's own size nothing is resampled on the way in."""
    frames = np.random.default_rng(0).integers(0, 256, (2, 3, SIZE, SIZE), dtype=np.uint8)
    mean, std = (torch.tensor(x)[None, :, None, None] for x in (MEAN, STD))
    model = DPTForDepthEstimation.from_pretrained(folder).eval()
    with torch.no_grad():
        expected = model((torch.from_numpy(frames).float() / 255 - mean) / std).predicted_depth
    made = DepthModel(str(folder)).estimate(frames)
    assert made.shape == (2, SIZE, SIZE)
    scaled = torch.nn.functional.interpolate(expected[:, None], (SIZE, SIZE), mode="bicubic")[:, 0]
    np.testing.assert_allclose(made, scaled.numpy(), rtol=1e-4, atol=1e-4)


def test_frames_of_any_size(folder):
    frames = np.random.default_rng(1).integers(0, 256, (1, 3, 48, 40), dtype=np.uint8)
    assert DepthModel(str(folder)).estimate(frames).shape == (1, 48, 40)


def test_what_is_no_estimator_is_told(tmp_path):
    (tmp_path / "preprocessor_config.json").write_text("{}")
    with pytest.raises(UserError, match="depth_estimator.model"):
        DepthModel(str(tmp_path))


def test_disparity_becomes_depth_of_either_kind():
    disparity = np.float32([[[3, 5, 9, 7]]])
    person = np.array([[[False, True, True, True]]])
    np.testing.assert_allclose(normalize_disparity(disparity), [[[0, 1 / 3, 1, 2 / 3]]], rtol=1e-6)
    np.testing.assert_allclose(normalize_disparity(disparity, person), [[[0, 0.2, 1, 0.6]]], rtol=1e-6)
    assert not normalize_disparity(disparity, np.zeros_like(person)).any()
