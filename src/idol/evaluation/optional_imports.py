"""What the extra `eval` installs, imported where it is needed."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from idol.errors import UserError

_PACKAGES = {"cv2": "opencv-python-headless", "skimage.metrics": "scikit-image"}


def module(name: str) -> Any:
    """`cv2` or `skimage.metrics`.

    Raises:
        UserError: If it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(
            "evaluate", f"{_PACKAGES[name]} is not installed", "pip install 'idol-diffusion[eval]'"
        ) from error


@contextmanager
def one_thread() -> Iterator[Any]:
    """`cv2`, confined to one thread: its flow hangs on how many share the work."""
    cv2 = module("cv2")
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield cv2
    finally:
        cv2.setNumThreads(before)
