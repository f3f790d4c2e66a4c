"""What every test runs under: one thread per process, and array shapes checked at every call."""

import os
from pathlib import Path

# Before anything imports torch or numpy. One thread: tests are tiny, and so their sums repeat.
for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "LP_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test may depend on a model hub

import pytest  # noqa: E402
from jaxtyping import install_import_hook  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]


def _modules_with_shapes() -> list[str]:
    """The modules that write shapes down; subpackages of a listed package are checked with it."""
    sources = (ROOT / "src").rglob("*.py")
    shaped = [p.relative_to(ROOT / "src") for p in sources if "from jaxtyping import" in p.read_text()]
    return sorted(".".join(p.with_suffix("").parts).removesuffix(".__init__") for p in shaped)


install_import_hook(_modules_with_shapes(), "beartype.beartype")

_KINDS = {
    "webapp": "browser",
    "benchmarks": "training",
    "experiments": "training",
    "training": "training",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests by their folder with what they need; `make test-fast` leaves those out."""
    for item in items:
        kind = _KINDS.get(item.path.relative_to(ROOT / "tests").parts[0])
        if kind is not None:
            item.add_marker(kind)
