"""LPIPS against the published heads, the formula written out, and what any distance must obey."""

import pickle

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from idol.evaluation.networks.lpips import LPIPS, load_arrays

pytestmark = pytest.mark.assets

# Sum, sum of squares and position of the largest weight of each head in lpips==0.1.4, weights/v0.1.
HEADS = {
    "vgg": [
        (6.925992, 2.796457, 20), (8.858334, 1.202299, 1), (17.515006, 1.612504, 120),
        (51.521323, 7.912702, 215), (47.034854, 5.616562, 119),
    ],
    "alex": [
        (2.349532, 0.636459, 60), (16.143027, 8.83444, 166), (39.268439, 18.545543, 233),
        (27.197178, 8.929994, 81), (20.317177, 3.537529, 62),
    ],
}  # fmt: skip
# First corner of the first filter of torchvision's VGG16 and AlexNet.
FIRST = {"vgg": (-0.55373, 0.14270, 0.52896), "alex": (0.11864, 0.09407, 0.09544)}


@pytest.fixture(scope="module", params=["alex", "vgg"])
def metric(request):
    return LPIPS(request.param), request.param


@pytest.fixture(scope="module")
def image():
    """A smooth image with edges, (1, 3, 64, 64) in [-1, 1]."""
    y, x = torch.meshgrid(torch.linspace(0, 1, 64), torch.linspace(0, 1, 64), indexing="ij")
    disc = ((x - 0.5) ** 2 + (y - 0.5) ** 2 < 0.1).float() * 2 - 1
    return torch.stack([(8 * x).sin(), (9 * y).cos(), disc])[None]


def test_heads_are_the_published_ones(metric):
    network, name = metric
    for head, (total, squares, largest) in zip(network.heads, HEADS[name], strict=True):
        assert head.double().sum().item() == pytest.approx(total, abs=2e-6)
        assert head.double().square().sum().item() == pytest.approx(squares, abs=2e-6)
        assert head.flatten().argmax().item() == largest
        assert head.min() >= 0


def test_backbone_is_the_published_one(metric):
    network, name = metric
    assert network.stages[0][0].weight[0, 0, 0, :3].tolist() == pytest.approx(FIRST[name], abs=6e-6)


def test_equals_the_formula_written_out(image):
    """Arrays of the file, plain convolutions, and a loop over positions and channels."""
    from idol.assets import asset_path

    weights = load_arrays(asset_path("lpips-alex"))
    other = image.flip(-1) * 0.8

    def features(x):
        shift, scale = torch.tensor([[-0.030, -0.088, -0.188], [0.458, 0.448, 0.450]])[:, :, None, None]
        x = (x - shift) / scale
        found = []
        for i, (stride, padding) in enumerate([(4, 2), (1, 2), (1, 1), (1, 1), (1, 1)]):
            if i in (1, 2):
                x = F.max_pool2d(x, 3, 2)
            arrays = weights["AlexNet_0"][f"Conv_{i}"]
            kernel = torch.tensor(np.transpose(np.asarray(arrays["kernel"]), (3, 2, 0, 1)))
            x = F.relu(F.conv2d(x, kernel, torch.tensor(np.asarray(arrays["bias"])), stride, padding))
            found.append(x[0])
        return found

    expected = 0.0
    for i, (a, b) in enumerate(zip(features(image), features(other), strict=True)):
        head = np.asarray(weights[f"NetLinLayer_{i}"]["Conv_0"]["kernel"]).reshape(-1)
        _, height, width = a.shape
        for y in range(height):
            for x in range(width):
                p, q = a[:, y, x].double().numpy(), b[:, y, x].double().numpy()
                p, q = p / (np.sqrt((p**2).sum()) + 1e-10), q / (np.sqrt((q**2).sum()) + 1e-10)
                expected += (head * (p - q) ** 2).sum() / (height * width)
    assert LPIPS("alex")(image, other).item() == pytest.approx(expected, rel=1e-5)


def test_a_distance(metric, image):
    network, _ = metric
    other = image.roll(5, -1)
    assert network(image, image).item() == 0
    assert network(image, other).item() == pytest.approx(network(other, image).item(), rel=1e-6)
    assert network(image, other).item() > 0.05


def test_grows_with_noise_and_with_blur(metric, image):
    network, _ = metric
    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(0))
    noisy = [network(image, (image + s * noise).clamp(-1, 1)).item() for s in (0.05, 0.1, 0.2, 0.4)]
    blurred = [network(image, F.avg_pool2d(image, k, 1, k // 2)).item() for k in (3, 7, 15)]
    assert noisy == sorted(noisy) and noisy[0] > 0
    assert blurred == sorted(blurred) and blurred[0] > 0


def test_gradient_follows_the_images_and_only_them(image):
    network, image = LPIPS("alex").train().double(), image.double()
    x = (image.roll(3, -1) * 0.9).requires_grad_()
    network(x, image).sum().backward()
    step = 1e-5 * torch.randn(x.shape, generator=torch.Generator().manual_seed(1), dtype=x.dtype)
    with torch.no_grad():
        slope = (network(x + step, image) - network(x - step, image)) / 2
    assert (x.grad * step).sum().item() == pytest.approx(slope.item(), rel=1e-3)
    assert not any(p.requires_grad for p in network.parameters()) and not network.training
    black = torch.full_like(image, -1).requires_grad_()
    network(black, image).sum().backward()
    assert black.grad.isfinite().all()


def test_loading_leaves_the_random_generator_alone():
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    LPIPS("alex")
    assert torch.equal(torch.rand(3), expected)


def test_pickles_that_name_anything_but_arrays_are_refused(tmp_path):
    class Hostile:
        def __reduce__(self):
            return (open, (str(tmp_path / "made"), "w"))

    (tmp_path / "good").write_bytes(pickle.dumps({"a": np.arange(3.0)}))
    (tmp_path / "bad").write_bytes(pickle.dumps({"a": Hostile()}))
    assert load_arrays(tmp_path / "good")["a"].tolist() == [0, 1, 2]
    with pytest.raises(pickle.UnpicklingError, match="not an array"):
        load_arrays(tmp_path / "bad")
    assert not (tmp_path / "made").exists()
