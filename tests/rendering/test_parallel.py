"""Frames that are worked on side by side: their order, how far ahead, and what goes wrong."""

import threading
import time

import pytest
import torch

from idol.rendering.parallel import imap_frames, map_frames


@pytest.fixture(autouse=True)
def _threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def slow_when_even(i):
    time.sleep(0.002 * (i % 2 == 0))
    return i


def test_results_come_in_order():
    assert map_frames(slow_when_even, 30) == list(range(30))
    assert map_frames(slow_when_even, 0) == []


def test_work_stays_a_few_frames_ahead():
    begun = []
    frames = imap_frames(begun.append, 1000)
    next(frames)
    time.sleep(0.05)
    assert 3 < len(begun) < 50
    frames.close()
    assert len(begun) < 50


def test_what_goes_wrong_is_told_and_ends_the_work():
    begun, alive = [], threading.active_count()

    def fail(i):
        begun.append(i)
        if i == 4:
            raise ValueError("frame 4")

    with pytest.raises(ValueError, match="frame 4"):
        map_frames(fail, 1000)
    assert len(begun) < 60 and threading.active_count() == alive
    assert torch.get_num_threads() == 3
