"""The process's one OpenGL context, off-screen through EGL (a GPU or llvmpipe)."""

from __future__ import annotations

from functools import lru_cache
from typing import Any


@lru_cache(1)
def gl_context() -> Any:
    """Return the context, made at first use; of several only the latest would be drawn into.

    Raises:
        ImportError: If moderngl is not installed.
        RuntimeError: If there is no EGL.
    """
    import moderngl

    try:
        return moderngl.create_context(standalone=True, backend="egl")  # type: ignore[arg-type]
    except Exception as error:
        raise RuntimeError(f"no OpenGL context through EGL ({error})") from error


@lru_cache(1)
def has_gl() -> bool:
    """Return whether this machine can draw through OpenGL."""
    try:
        gl_context()
    except (ImportError, RuntimeError):
        return False
    return True
