"""I3D: its padding against loops, the network against its arrays written out, and what it makes of a clip."""

import itertools

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import correlate, maximum_filter
from torch.nn import functional as F

from idol.assets import asset_path
from idol.clip.video import read_video
from idol.evaluation.networks.i3d import ASSET, I3D, ConvBlock, SamePool, pad_same
from idol.evaluation.networks.lpips import load_arrays
from idol.media import path as media_path

SQUAT = 330  # of the 400 classes of Kinetics in alphabetical order; there is none for jumping jacks


def padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Of TensorFlow's "SAME", from its documentation."""
    total = max(kernel - stride, 0) if size % stride == 0 else max(kernel - size % stride, 0)
    return total // 2, total - total // 2


@pytest.mark.parametrize(("kernel", "stride"), [(7, 2), (3, 2), (3, 1), (2, 2), (1, 1), (1, 2)])
def test_padding_is_tensorflows(kernel, stride):
    for f, h, w in itertools.product((1, 2, 7, 8), (5, 6), (9, 14)):
        x = torch.arange(1.0, f * h * w + 1).view(1, 1, f, h, w)
        got = pad_same(x, (kernel,) * 3, (stride,) * 3)
        pads = [padding(size, kernel, stride) for size in (f, h, w)]
        torch.testing.assert_close(got[0, 0].numpy(), np.pad(x[0, 0].numpy(), pads), check_stride=False)
        windows = [
            (size + sum(pad) - kernel) // stride + 1 for size, pad in zip((f, h, w), pads, strict=True)
        ]
        assert windows == [-(-size // stride) for size in (f, h, w)]


@torch.no_grad()
def test_convolution_keeps_the_size_as_scipy_does():
    generator = torch.Generator().manual_seed(0)
    unit, x = ConvBlock(1, 1, 3), torch.randn(1, 1, 4, 5, 6, generator=generator)
    expected = correlate(x[0, 0].numpy(), unit.weight[0, 0].numpy(), mode="constant") + unit.bias.item()
    np.testing.assert_allclose(unit(x)[0, 0], expected.clip(0), atol=1e-5)


@torch.no_grad()
def test_strided_convolution_and_pooling_by_loops():
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(1, 1, 8, 7, 6, generator=generator)
    unit, pool = ConvBlock(1, 1, 7, stride=2), SamePool((3, 3, 3), (2, 2, 2))
    for layer, kernel in ((unit, 7), (pool, 3)):
        got = layer(x)[0, 0]
        assert got.shape == (4, 4, 3)
        before = [padding(size, kernel, 2)[0] for size in (8, 7, 6)]
        for out in np.ndindex(4, 4, 3):
            seen = {}
            for k in np.ndindex(kernel, kernel, kernel):
                at = tuple(2 * o + i - b for o, i, b in zip(out, k, before, strict=True))
                if all(0 <= i < size for i, size in zip(at, (8, 7, 6), strict=True)):
                    seen[k] = x[(0, 0, *at)].item()
            if layer is pool:
                assert got[out].item() == max(seen.values())
            else:
                total = sum(unit.weight[(0, 0, *k)].item() * value for k, value in seen.items())
                assert got[out].item() == pytest.approx(max(total + unit.bias.item(), 0), abs=1e-5)


def test_pooling_ignores_its_padding():
    x = -torch.rand(1, 1, 3, 4, 5, generator=torch.Generator().manual_seed(0)) - 1
    expected = maximum_filter(x[0, 0].numpy(), size=3, mode="constant", cval=-np.inf)
    np.testing.assert_array_equal(SamePool((3, 3, 3), (1, 1, 1))(x)[0, 0], expected)


class WrittenOut:
    """The network on the arrays of the file, layer by layer; remembers which arrays it has used."""

    def __init__(self, arrays: dict) -> None:
        self.arrays, self.used = arrays, set()

    def take(self, tree: str, *path: str) -> torch.Tensor:
        value = self.arrays[tree]
        for part in path:
            value = value[part]
        self.used.add((tree, *path))
        return torch.from_numpy(np.array(value))

    def unit(self, x, *path, stride=1):
        kernel = self.take("params", *path, "Conv_0", "kernel").permute(4, 3, 0, 1, 2)
        pads = [padding(size, kernel.shape[2], stride) for size in x.shape[2:]]
        x = F.conv3d(F.pad(x, [p for pad in pads[::-1] for p in pad]), kernel, None, stride)
        mean, var = (
            self.take("batch_stats", *path, "BatchNorm_0", part).flatten() for part in ("mean", "var")
        )
        beta = self.take("params", *path, "BatchNorm_0", "bias")
        return F.relu(F.batch_norm(x, mean, var, None, beta, False, 0, 1e-3))

    def pool(self, x, kernel, stride):
        pads = [padding(*sizes) for sizes in zip(x.shape[2:], kernel, stride, strict=True)]
        x = F.pad(x, [p for pad in pads[::-1] for p in pad], value=-torch.inf)
        return F.max_pool3d(x, kernel, stride)

    def mixed(self, x, name):
        second = self.unit(x, name, "Branch_1/Conv3d_0a_1x1")
        third = self.unit(x, name, "Branch_2/Conv3d_0a_1x1")
        branches = [
            self.unit(x, name, "Branch_0/Conv3d_0a_1x1"),
            self.unit(second, name, "Branch_1/Conv3d_0b_3x3"),
            self.unit(third, name, "Branch_2/Conv3d_0b_3x3"),
            self.unit(self.pool(x, (3, 3, 3), (1, 1, 1)), name, "Branch_3/Conv3d_0b_1x1"),
        ]
        return torch.cat(branches, 1)

    def logits(self, x):
        x = self.pool(self.unit(x, "Conv3d_1a_7x7", stride=2), (1, 3, 3), (1, 2, 2))
        x = self.unit(self.unit(x, "Conv3d_2b_1x1"), "Conv3d_2c_3x3")
        x = self.pool(x, (1, 3, 3), (1, 2, 2))
        for name in ("3b", "3c", "4b", "4c", "4d", "4e", "4f", "5b", "5c"):
            x = self.pool(x, (3, 3, 3), (2, 2, 2)) if name == "4b" else x
            x = self.pool(x, (2, 2, 2), (2, 2, 2)) if name == "5b" else x
            x = self.mixed(x, f"Mixed_{name}")
        x = F.avg_pool3d(x, (2, 7, 7), stride=1)
        kernel, bias = (
            self.take("params", "Logits/Conv3d_0c_1x1", "Conv_0", part) for part in ("kernel", "bias")
        )
        return F.conv3d(x, kernel.permute(4, 3, 0, 1, 2), bias).mean((2, 3, 4))


def paths(tree: dict, *above: str) -> set[tuple[str, ...]]:
    found = set()
    for name, value in tree.items():
        found |= paths(value, *above, name) if isinstance(value, dict) else {(*above, name)}
    return found


@pytest.fixture(scope="module")
def jumping():
    """Sixteen frames of a man who does jumping jacks, (1, 16, 3, 480, 480)."""
    return torch.from_numpy(read_video(media_path("jumping-jacks.mp4"), max_frames=16).frames)[None]


@pytest.fixture(scope="module")
def network():
    return I3D()


@pytest.mark.assets
@torch.inference_mode()
def test_network_uses_every_array_of_the_file_as_written_out(network, jumping):
    arrays = load_arrays(asset_path(ASSET))
    written = WrittenOut(arrays)
    frames = jumping[0, ::2]
    frames = torch.cat([frames, frames[:3]])  # 11: an odd number, and three steps in time would be 17
    small = F.interpolate(frames.float(), (224, 224), mode="bilinear", align_corners=False)
    expected = written.logits((small / 127.5 - 1).transpose(0, 1)[None])
    got = network(frames[None])
    assert got.shape == (1, 400) and (got - expected).norm() < 1e-4 * expected.norm()
    assert written.used == paths(arrays)
    trained = sum(value.size for value in _leaves(arrays["params"]))
    assert sum(parameter.numel() for parameter in network.parameters()) == trained


def _leaves(tree: dict) -> list[np.ndarray]:
    return [leaf for v in tree.values() for leaf in (_leaves(v) if isinstance(v, dict) else [v])]


@pytest.mark.assets
@torch.inference_mode()
def test_jumping_jacks_look_like_squats(network, jumping):
    features = network.features(jumping)
    assert features.shape == (1, 1024) and features.min() >= 0
    chances = network.head(features).softmax(1)[0]
    torch.testing.assert_close(chances, network(jumping).softmax(1)[0])
    assert chances.argmax() == SQUAT and chances[SQUAT] > 0.1


@pytest.mark.assets
@torch.inference_mode()
def test_eight_frames_need_the_variant(network, jumping):
    with pytest.raises(ValueError, match="found 8 frames, expected at least 9"):
        network(jumping[:, :8])
    variant = I3D(temporal_pool=1, resize="bicubic")
    # Frames that PIL has resized as floats must not change when they are resized again to the same size.
    frames = jumping[0, :8].numpy()
    small = [
        [Image.fromarray(np.float32(c)).resize((224, 224), Image.Resampling.BICUBIC) for c in f]
        for f in frames
    ]
    x = torch.from_numpy(np.array([[np.asarray(c) for c in f] for f in small]))
    last = variant.layers((x.transpose(0, 1) / 127.5 - 1)[None])
    assert last.shape == (1, 1024, 1, 7, 7)
    torch.testing.assert_close(variant.features(jumping[:, :8]), last.mean((2, 3, 4)), rtol=1e-3, atol=1e-4)


@pytest.mark.assets
def test_a_metric_is_never_trained(network):
    assert not network.train().training
    assert not any(parameter.requires_grad for parameter in network.parameters())
