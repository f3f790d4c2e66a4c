"""What is kept frame by frame is the tensor that was written, however it is written and read."""

import itertools

import pytest
import torch

from idol.errors import UserError
from idol.pipeline import disk_tensor
from idol.pipeline.disk_tensor import FrameStore, of_frames, split_frames
from idol.pipeline.sampler import initial_noise


@pytest.fixture(params=["in memory", "on disk"])
def place(request, monkeypatch):
    if request.param == "on disk":
        monkeypatch.setattr(disk_tensor, "_IN_MEMORY", 1)
    return request.param


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64, torch.int64])
@pytest.mark.parametrize("dim", [0, 1, 2])
def test_every_slice_of_frames_is_that_of_the_tensor(place, dtype, dim):
    whole = torch.randn(3, 7, 7, 2).mul(100).to(dtype).movedim(1, dim)
    f = whole.shape[dim]
    store = FrameStore.of((whole[(slice(None),) * dim + (part,)] for part in split_frames(f, 2)), f, dim)
    for first, end in itertools.combinations(range(f + 1), 2):
        read = store[first:end]
        assert read.dtype == dtype and torch.equal(read, whole.narrow(dim, first, end - first))
    assert torch.equal(store[:], whole) and torch.equal(store[-2:], whole.narrow(dim, f - 2, 2))


def test_frames_are_replaced_and_others_stay(place):
    whole = torch.randn(2, 6, 3)
    store = FrameStore.of([whole], 6, 1)
    store[2:4] = torch.zeros(2, 2, 3)
    whole[:, 2:4] = 0
    assert torch.equal(store[:], whole)
    store[0:1][:] = 5  # what is read is a copy
    assert torch.equal(store[:], whole)


def test_levels_are_stores_of_their_own(place):
    fine, coarse = torch.randn(5, 4), torch.randn(5, 2)
    parts = list(split_frames(5, 2))
    assert parts == [slice(0, 2), slice(2, 4), slice(4, 5)]
    stores = FrameStore.levels_of(((fine[part], coarse[part]) for part in parts), 5, 0)
    assert torch.equal(stores[0][1:5], fine[1:]) and torch.equal(stores[1][3:], coarse[3:])


def test_tensors_serve_all_frames():
    still = torch.randn(2, 3)
    assert of_frames(still, slice(4, 9)) is still
    assert torch.equal(of_frames(FrameStore.of([still], 3, 1), slice(1, 2)), still[:, 1:2])


def test_what_does_not_fit_is_told(place):
    store = FrameStore(4, 0)
    with pytest.raises(ValueError, match="0 have been written"):
        store[:]
    store[0:2] = torch.zeros(2, 3)
    with pytest.raises(ValueError, match="2 have been written"):
        store[1:3]
    with pytest.raises(ValueError, match="expected 2 next"):
        store[3:4] = torch.zeros(1, 3)
    with pytest.raises(ValueError, match="expected \\(2, 3\\)"):
        store[2:4] = torch.zeros(1, 3)
    with pytest.raises(ValueError, match="consecutive"):
        store[::2]
    with pytest.raises(ValueError, match="consecutive"):
        store[3:1]
    for count in (1, 3):
        with pytest.raises(ValueError, match=f"found .*{count}.* expected .*2"):
            FrameStore.of([torch.zeros(count, 3)], 2, 0)


def test_a_full_disk_is_told(monkeypatch):
    store = FrameStore(2, 0)
    store[0:1] = torch.zeros(1, 3)
    monkeypatch.setattr(store, "_file", open("/dev/full", "wb", buffering=0))  # noqa: SIM115
    with pytest.raises(UserError, match="TMPDIR"):
        store[1:2] = torch.zeros(1, 3)


@pytest.mark.parametrize("size", [1, 3, 11])
def test_noise_is_that_of_one_draw_for_each_clip(size):
    """Drawing clips of any length part by part gives the numbers that one draw of all frames gives."""
    shape = (2, 2, 11, 4, 4, 4)
    seeds = [torch.Generator().manual_seed(s) for s in (1, 2)]
    made = initial_noise(shape, list(split_frames(11, size)), seeds, 2.0, torch.device("cpu"))
    whole = torch.stack(
        [torch.randn(shape[1:], generator=torch.Generator().manual_seed(s)) * 2 for s in (1, 2)]
    )
    assert torch.equal(made[:], whole)
    one = initial_noise(
        shape, list(split_frames(11, size)), torch.Generator().manual_seed(1), 2.0, whole.device
    )
    assert torch.equal(one[:][0], whole[0]) and not torch.equal(one[:][1], whole[1])


def test_there_is_a_generator_for_each_clip_or_one():
    with pytest.raises(UserError, match="give 1 or 3"):
        initial_noise((3, 1, 2, 1, 4, 4), [slice(0, 2)], [torch.Generator()] * 2, 1.0, torch.device("cpu"))
