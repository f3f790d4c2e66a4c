"""Imports of the packages that the extra `eval` installs."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from idol.errors import UserError

_PACKAGES = {"cv2": "opencv-python-headless", "skimage": "scikit-image"}


def require(name: str) -> Any:
    """Import a module of OpenCV or scikit-image, such as `cv2` or `skimage.metrics`.

    Raises:
        UserError: If it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = _PACKAGES[name.partition(".")[0]]
        raise UserError(package, "not installed", "pip install 'idol-diffusion[eval]'") from error


@contextmanager
def single_threaded_opencv() -> Iterator[Any]:
    """Yield `cv2` limited to one thread, because its optical flow depends on the number of threads."""
    cv2 = require("cv2")
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield cv2
    finally:
        cv2.setNumThreads(before)
