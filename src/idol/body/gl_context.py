"""The OpenGL context of a thread, off-screen through EGL (a GPU or llvmpipe)."""

from __future__ import annotations

import threading
from functools import lru_cache
from typing import Any

_OF_THREAD = threading.local()


def gl_context() -> Any:
    """Return the context of this thread, created at first use.

    There is one per thread, because of several contexts only the last created would be drawn into.

    Raises:
        ImportError: If moderngl is not installed.
        RuntimeError: If no context can be created through EGL.
    """
    if not hasattr(_OF_THREAD, "context"):
        import moderngl

        try:
            _OF_THREAD.context = moderngl.create_context(standalone=True, backend="egl")  # type: ignore[arg-type]
        except Exception as error:
            raise RuntimeError(f"cannot create an OpenGL context through EGL ({error})") from error
    return _OF_THREAD.context


@lru_cache(1)
def has_gl() -> bool:
    """Return whether this machine can draw through OpenGL."""
    try:
        gl_context()
    except (ImportError, RuntimeError):
        return False
    return True
