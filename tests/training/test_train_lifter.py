"""Training of the lifter: views project the reference points, resuming is exact, settings are checked."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from idol.body.lifter import SEEN, Lifter, LifterConfig, load_lifter
from idol.config import load_config
from idol.errors import UserError
from idol.training.optimizer import OptimizerConfig
from idol.training.random_views import random_views
from idol.training.train_lifter import LifterTrainConfig, fit_lifter, lifting_errors
from idol.training.window_pool import WindowPool, WindowsConfig, chunk_path

ROOT = Path(__file__).resolve().parents[2]
WINDOWS = WindowsConfig(chunk=12, chunks=3, at_start=1, steps_per_chunk=2)
TINY = LifterTrainConfig(
    out=Path(),
    model=LifterConfig(channels=24, layers=1, heads=2),
    windows=WINDOWS,
    optimizer=OptimizerConfig(lr=1e-3, warmup_steps=2),
    steps=6,
    batch_size=4,
    validation=4,
    validate_every=3,
    log_every=1,
    save_every=2,
)


def people(count: int, seed: int = 0) -> np.ndarray:
    """Return (n, 16, 22, 3) float16 meters: 22 moving points, roughly arranged as a person."""
    rng = np.random.default_rng(seed)
    rest = rng.normal(0, 0.3, (22, 3)) * [1, 2, 1]
    rest[[8, 11]] = [[-0.1, 0, 0], [0.1, 0, 0]]
    rest[[2, 5]] = [[-0.2, 0.5, 0], [0.2, 0.5, 0]]
    drift = rng.normal(0, 0.02, (count, 16, 22, 3)).cumsum(1)
    return (rest + drift).astype(np.float16)


@pytest.fixture
def tiny(tmp_path) -> LifterTrainConfig:
    """Return a run whose windows are already on disk."""
    config = replace(TINY, out=tmp_path / "run")
    fill(config.out / "windows")
    return config


def fill(folder: Path) -> None:
    folder.mkdir(parents=True)
    for number in range(WINDOWS.chunks):
        np.save(chunk_path(folder, number), people(WINDOWS.chunk, number))
    np.save(folder / "val.npy", people(4, 99))


def test_views_are_projections_of_the_reference_points():
    points = torch.from_numpy(people(32)).float()
    views = random_views(points, torch.Generator().manual_seed(0), worsen=False)
    seen = views.confidence > 0
    assert 0.5 < seen.float().mean() < 1
    torch.testing.assert_close(views.joints[seen], views.reference[:, :, :SEEN, :2][seen])
    assert views.joints[~seen].abs().max() == 0
    # Depth is of the same unit as the image: undoing the perspective gives lengths back.
    hips = views.reference[:, :, [8, 11]].mean(2)
    assert hips[..., 2].abs().max() < 1e-3
    width = (points[:, :, 8] - points[:, :, 11]).norm(dim=-1)
    ends = views.reference[:, :, [8, 11]]
    found = (ends[:, :, 0] - ends[:, :, 1]).norm(dim=-1) / views.scale
    assert ((found / width - 1).abs() < 0.25).float().mean() > 0.95
    assert abs((found / width).median() - 1) < 0.05


def test_views_repeat_and_are_worse_when_asked():
    points = torch.from_numpy(people(64)).float()
    first, second = (random_views(points, torch.Generator().manual_seed(7)) for _ in range(2))
    torch.testing.assert_close(first.joints, second.joints)
    seen = first.confidence > 0
    away = (first.joints - first.reference[:, :, :SEEN, :2])[seen].norm(dim=-1)
    assert 0.2 < away.median() < 4 and away.max() > 20
    assert (first.confidence[seen] < 1).any()
    cut = first.cut(1)
    assert cut.joints.shape == (64 * 16, 1, SEEN, 2)
    torch.testing.assert_close(cut.reference[16 * 5 + 3, 0], first.reference[5, 3])


def test_pool_grows_with_the_steps(tmp_path):
    fill(tmp_path / "windows")
    assert [WINDOWS.chunks_at(step) for step in (0, 1, 2, 4, 100)] == [1, 1, 2, 3, 3]
    with WindowPool(tmp_path / "windows", WINDOWS) as pool:
        late = pool.draw(100, 200, torch.Generator().manual_seed(0))
        early = pool.draw(0, 200, torch.Generator().manual_seed(0))
    chunks = [torch.from_numpy(people(WINDOWS.chunk, number)).float() for number in range(3)]

    def from_chunk(windows: torch.Tensor, chunk: torch.Tensor) -> float:
        same = (windows[:, None] == chunk[None]).flatten(2).all(-1).any(1)
        return float(same.float().mean())

    assert from_chunk(early, chunks[0]) == 1
    assert all(from_chunk(late, chunk) > 0.2 for chunk in chunks)
    with pytest.raises(UserError, match="other settings"):
        WindowPool(tmp_path / "windows", replace(WINDOWS, wander=0.5))


@pytest.mark.slow
def test_resumed_run_is_the_uninterrupted_one(tiny, tmp_path):
    whole = fit_lifter(tiny)
    fill(tmp_path / "parts" / "windows")
    parts = replace(tiny, out=tmp_path / "parts")
    fit_lifter(replace(parts, max_minutes=0.0))
    with pytest.raises(UserError, match="resume"):
        fit_lifter(parts)
    resumed = fit_lifter(parts, resume=True)
    state = [load_file(path.with_name("state.safetensors")) for path in (whole, resumed)]
    assert state[0].keys() == state[1].keys()
    for name, value in state[0].items():
        torch.testing.assert_close(value, state[1][name], rtol=0, atol=0)
    log = (whole.parent / "log.jsonl").read_text()
    assert log.count('"loss"') == 6 and log.count('"depth_cm"') == 2


def test_errors_are_in_centimeters():
    """A depth error of 5 cm everywhere is reported as such, and does not change the direction of limbs."""
    views = random_views(torch.from_numpy(people(8)).float(), torch.Generator().manual_seed(0), worsen=False)

    def off(joints: torch.Tensor, confidence: torch.Tensor) -> torch.Tensor:
        asked = views.cut(joints.shape[1])
        depth = asked.reference[..., 2:] + 0.05 * asked.scale[..., None, None]
        return torch.cat([asked.reference[..., :2], depth], -1)

    errors = lifting_errors(off, views)
    assert errors["depth_cm"] == pytest.approx(5, rel=1e-4) and errors["plane_cm"] == 0
    assert errors["depth_cm_1"] == pytest.approx(5, rel=1e-4) and errors["bent_right"] == 1


def test_settings_are_checked():
    with pytest.raises(ValueError, match="divisors"):
        replace(TINY, lengths=(16, 5, 1))
    with pytest.raises(ValueError, match="divisor"):
        LifterConfig(channels=10, heads=4)
    config = load_config(LifterTrainConfig, ROOT / "configs" / "lifter.yaml")
    assert sum(p.numel() for p in Lifter(config.model).parameters()) < 2e6


def test_shipped_weights_are_read():
    from idol.body.lift import WEIGHTS_FILE

    if not WEIGHTS_FILE.exists():
        pytest.skip("no weights in the package yet")
    assert WEIGHTS_FILE.stat().st_size < 4 * 2**20
    assert load_lifter(WEIGHTS_FILE).config.window == 16
