"""The 3-D ResNet-50 against its layers written out, from a file with random weights."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from idol.errors import UserError
from idol.evaluation.networks.resnet3d import ResNet3D
from support.random_weights import resnet3d_state, write_resnet3d


@pytest.fixture(scope="module")
def state():
    return resnet3d_state()


@pytest.fixture(scope="module")
def file(state, tmp_path_factory):
    return write_resnet3d(tmp_path_factory.mktemp("weights") / "resnet-50-kinetics.pth", state)


@pytest.fixture(scope="module")
def network(file):
    return ResNet3D(file)


def video(frames: int, seed: int = 0, height: int = 20, width: int = 150) -> torch.Tensor:
    return torch.from_numpy(
        np.random.default_rng(seed).integers(0, 256, (1, frames, 3, height, width), dtype=np.uint8)
    )


def prepared(frames: torch.Tensor) -> torch.Tensor:
    """(f, 3, h, w) uint8 -> (1, 3, f, 112, 112), each channel resized by PIL as floats."""
    resized = np.stack(
        [
            [
                np.asarray(Image.fromarray(np.float32(c)).resize((112, 112), Image.Resampling.BICUBIC))
                for c in f
            ]
            for f in frames.numpy()
        ],
        axis=1,
    )
    return torch.from_numpy(resized - np.float32([114.7748, 107.7354, 99.4750])[:, None, None, None])[None]


def written_out(state: dict, x: torch.Tensor) -> torch.Tensor:
    def norm(x, name):
        mean, var, weight, bias = (
            state[f"{name}.{part}"].view(-1, 1, 1, 1)
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / torch.sqrt(var + 1e-5) * weight + bias

    def conv(x, name, stride=1, padding=0):
        return F.conv3d(x, state[f"{name}.weight"], None, stride, padding)

    x = F.relu(norm(conv(x, "conv1", (1, 2, 2), 3), "bn1"))
    x = F.max_pool3d(x, 3, stride=2, padding=1)
    for layer, blocks in enumerate((3, 4, 6, 3), 1):
        for block in range(blocks):
            name, stride = f"layer{layer}.{block}", 2 if layer > 1 and block == 0 else 1
            y = F.relu(norm(conv(x, f"{name}.conv1"), f"{name}.bn1"))
            y = F.relu(norm(conv(y, f"{name}.conv2", stride, 1), f"{name}.bn2"))
            y = norm(conv(y, f"{name}.conv3"), f"{name}.bn3")
            if block == 0:
                x = norm(conv(x, f"{name}.downsample.0", stride), f"{name}.downsample.1")
            x = F.relu(x + y)
    return x


@pytest.mark.parametrize("frames", [8, 3])
def test_features_are_those_of_the_layers_written_out(network, state, frames):
    clip = video(frames, seed=frames)
    with torch.inference_mode():
        got, last = network(clip), written_out(state, prepared(clip[0]))
    assert got.shape == (1, 2048) and last.shape[2:] == (1, 4, 4)  # what the original's last pooling covers
    expected = last.mean((2, 3, 4))
    assert expected.std() > 0.01 * expected.mean()
    assert (got - expected).norm() < 1e-4 * expected.norm()


def test_videos_of_a_batch_do_not_mix(network):
    one, other = video(4, seed=1), video(4, seed=2)
    with torch.inference_mode():
        together = network(torch.cat([one, other]))
        torch.testing.assert_close(together, torch.cat([network(one), network(other)]), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(together[0], together[1], rtol=1e-2)


def test_a_metric_is_never_trained(network):
    assert not network.train().training
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_files_of_another_network_are_the_users_mistake(state, tmp_path):
    def refused(content: dict, match: str) -> None:
        with pytest.raises(UserError, match=match):
            ResNet3D(write_resnet3d(tmp_path / "other.pth", content))

    without = {name: value for name, value in state.items() if name != "layer3.5.bn2.bias"}
    refused(without, r"1 tensors are missing, such as layer3\.5\.bn2\.bias")
    refused(state | {"layer5.weight": torch.zeros(1)}, r"1 tensors belong to another network.*layer5\.weight")
    refused(
        state | {"conv1.weight": torch.zeros(64, 3, 3, 7, 7)}, r"have another shape, such as conv1\.weight"
    )


def test_files_that_are_no_weights_are_the_users_mistake(tmp_path):
    class Hostile:
        def __reduce__(self):
            return (open, (str(tmp_path / "made"), "w"))

    with pytest.raises(UserError, match="no such file"):
        ResNet3D(tmp_path / "missing.pth")
    (tmp_path / "text.pth").write_text("not weights")
    torch.save({"state_dict": Hostile()}, tmp_path / "hostile.pth")
    for name in ("text.pth", "hostile.pth"):
        with pytest.raises(UserError, match="cannot be read as weights"):
            ResNet3D(tmp_path / name)
    assert not (tmp_path / "made").exists()
    torch.save({"model": {}}, tmp_path / "bare.pth")
    with pytest.raises(UserError, match="holds no state_dict"):
        ResNet3D(tmp_path / "bare.pth")
