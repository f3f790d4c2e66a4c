"""FID's Inception against the published TorchScript, which only the tests run."""

import pickle
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from idol.assets import asset_path
from idol.evaluation.networks.inception import ASSET, Inception, fold_batch_norm, read_tensors
from idol.media import path as media_path


@pytest.fixture(scope="module")
def network():
    return Inception()


@pytest.fixture(scope="module")
def published():
    return torch.jit.load(str(asset_path(ASSET))).eval()


def resized(frames: np.ndarray) -> torch.Tensor:
    """(n, 3, h, w) uint8 to 299 x 299 in [-1, 1]: bilinear, written out; pixel centers keep their place."""

    def weights(size: int) -> np.ndarray:
        matrix = np.zeros((299, size))
        for i in range(299):
            at = max((i + 0.5) * size / 299 - 0.5, 0)
            low = min(int(at), size - 1)
            matrix[i, low] += 1 - (at - low)
            matrix[i, min(low + 1, size - 1)] += at - low
        return matrix

    rows, columns = weights(frames.shape[2]), weights(frames.shape[3])
    return torch.from_numpy(rows @ (frames / 127.5 - 1) @ columns.T).float()


def photo(name: str, width: int, height: int) -> np.ndarray:
    with Image.open(media_path(name)) as image:
        return np.asarray(image.convert("RGB").resize((width, height))).transpose(2, 0, 1)


@pytest.mark.assets
@pytest.mark.parametrize("kind", ["noise", "photos"])
def test_features_are_those_of_the_published_network(network, published, kind):
    noise = np.random.default_rng(0).integers(0, 256, (2, 3, 64, 40), dtype=np.uint8)
    photos = np.stack([photo("park.jpg", 320, 320), photo("man-standing.jpg", 320, 320)])
    frames = noise if kind == "noise" else photos
    with torch.inference_mode():
        got, expected = network(torch.from_numpy(frames)), published(resized(frames))
    assert got.shape == (2, 2048)
    torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-4)
    assert (got - expected).norm() < 1e-5 * expected.norm()


@pytest.mark.assets
def test_tensors_are_read_without_the_archives_code(published):
    found = {}

    def collect(prefix: str, value: dict) -> None:
        for name, inner in value.items():
            if isinstance(inner, dict):
                collect(f"{prefix}{name}.", inner)
            else:
                found[prefix + name] = inner

    collect("", read_tensors(asset_path(ASSET)))
    expected = dict(published.named_parameters()) | dict(published.named_buffers())
    assert found.keys() == expected.keys() and len(found) == 94 * 4
    assert all(torch.equal(found[name], expected[name]) for name in found)


@pytest.mark.assets
def test_a_metric_is_never_trained(network):
    assert not network.train().training
    assert not any(parameter.requires_grad for parameter in network.parameters())
    # 94 convolutions without those of the classifier's side branch, each with a bias since they are folded.
    assert len(list(network.parameters())) == 2 * 94


def test_folded_convolution_is_convolution_and_normalization():
    generator = torch.Generator().manual_seed(0)
    x, kernel = (torch.randn(s, generator=generator) for s in ((2, 5, 8, 9), (7, 5, 3, 3)))
    beta, mean = torch.randn(2, 7, generator=generator)
    variance = torch.rand(7, generator=generator)
    expected = F.batch_norm(F.conv2d(x, kernel), mean, variance, None, beta, False, 0, 1e-3)
    torch.testing.assert_close(F.conv2d(x, *fold_batch_norm(kernel, beta, mean, variance)), expected)


def archive(path, content: bytes):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("made/data.pkl", content)
        file.writestr("made/data/0", np.arange(6, dtype="<f4").tobytes())
    return path


def test_archives_that_name_anything_but_tensors_are_refused(tmp_path):
    class Hostile:
        def __reduce__(self):
            return (open, (str(tmp_path / "made"), "w"))

    with pytest.raises(pickle.UnpicklingError, match="not part of a tensor"):
        read_tensors(archive(tmp_path / "bad", pickle.dumps(Hostile())))
    assert not (tmp_path / "made").exists()


def test_storages_of_another_size_are_refused(tmp_path):
    class Saved(pickle.Pickler):
        def persistent_id(self, obj):
            return ("storage", torch.FloatStorage, "0", "cpu", 7) if obj == "numbers" else None

    import io

    content = io.BytesIO()
    Saved(content, protocol=2).dump(["numbers"])
    with pytest.raises(pickle.UnpicklingError, match="6 numbers, expected 7"):
        read_tensors(archive(tmp_path / "short", content.getvalue()))
