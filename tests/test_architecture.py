"""The shape of the package: what may import what, what may be missing, what the papers round it promise."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "idol"

# Top to bottom. A module may import what stands on a lower line and what is in its own package; a package
# (`model`) stands for everything in it.
LEVELS = [
    ["__main__"],
    ["cli"],
    ["webapp", "experiments"],
    ["console"],
    ["generation", "training"],
    ["pipeline", "rendering", "synthesis"],
    ["evaluation", "model"],
    ["prepare", "data", "diffusion", "provenance"],
    ["body"],
    ["pose"],
    ["clip"],
    ["assets", "config", "media"],
    ["atomic_io"],
    ["errors", "progress"],
]
LEVEL = {name: len(LEVELS) - i for i, names in enumerate(LEVELS) for name in names}

# Import names of everything that is not a core dependency. torchvision is in no list: nothing may need it.
EXTRAS = (
    "onnxruntime moderngl glcontext anny OpenEXR trimesh roma warp ai_edge_litert mediapipe cv2 skimage "
    "lpips pytest beartype mypy ruff torchvision torchaudio gradio gradio_client playwright viser rerun ray"
).split()


def _modules():
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        yield path, parts[:-1] if parts[-1] == "__init__" else parts


def _imports(path, parts):
    """Dotted names below `idol` that a file imports, wherever in the file."""
    package = parts if path.name == "__init__.py" else parts[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(("idol", *package[: len(package) - node.level + 1])) if node.level else ""
            stem = ".".join(filter(None, (base, node.module)))
            # `from idol import skeleton` imports a module, not a name of the package
            names = [f"{stem}.{alias.name}" if stem == "idol" else stem for alias in node.names]
        else:
            continue
        for name in names:
            if name.startswith("idol."):
                yield name.split(".")[1], node.lineno


def test_every_module_has_its_place():
    names = {parts[0] for _, parts in _modules() if parts}
    assert names <= set(LEVEL), f"give {sorted(names - set(LEVEL))} a line in LEVELS"


def test_imports_point_down():
    upward = []
    for path, parts in _modules():
        if not parts:
            continue  # idol/__init__.py: lazy names from everywhere
        for name, line in _imports(path, parts):
            fine = name == parts[0] or name == "__version__" or LEVEL.get(name, 0) < LEVEL[parts[0]]
            if not fine:
                upward.append(f"{path.relative_to(ROOT)}:{line}: {parts[0]} imports {name}")
    assert not upward, "\n".join(upward)


def _run(code: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **environment}
    )


@pytest.mark.slow
def test_every_module_imports_without_the_extras():
    names = sorted(".".join(("idol", *parts)) for _, parts in _modules() if parts != ("__main__",))
    code = (
        "import sys, importlib\n"
        f"sys.modules.update(dict.fromkeys({EXTRAS!r}))\n"  # None in sys.modules: the import fails
        f"[importlib.import_module(name) for name in {names!r}]\n"
        "print(len([m for m in sys.modules if m.split('.')[0] == 'idol']))"
    )
    done = _run(code)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= len(names)


@pytest.mark.parametrize("arguments", [["--help"], ["generate", "--help"], ["generate"], ["--version"]])
def test_command_line_answers_without_loading_the_heavy_libraries(arguments):
    code = (
        "import sys\nfrom idol.cli import main\n"
        f"main({arguments!r})\n"
        "heavy = {'torch', 'diffusers', 'transformers', 'av', 'scipy', 'numpy'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = _run(code)
    assert done.returncode == 0, done.stderr


def test_no_name_that_says_nothing():
    empty = {"utils", "util", "misc", "helpers", "helper", "common", "core"}
    assert not [path for path, parts in _modules() if set(parts) & empty]


def test_no_two_public_classes_share_a_name():
    homes = {}
    for path, _ in _modules():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes.setdefault(node.name, []).append(str(path.relative_to(SOURCE)))
    assert not {name: paths for name, paths in homes.items() if len(paths) > 1}


def test_files_and_functions_stay_short():
    long = []
    for path, _ in _modules():
        text = path.read_text()
        if text.count("\n") > 400:
            long.append(f"{path.relative_to(ROOT)}: {text.count(chr(10))} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                length = node.end_lineno - node.lineno + 1 - len((ast.get_docstring(node) or "").splitlines())
                if length > 80:
                    long.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}: {length} lines")
    assert not long, "\n".join(long)


def _commands():
    """(file, command line) of each `idol ...` in the shell blocks of the README and docs."""
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for block in re.findall(r"```(?:bash|sh|console)\n(.*?)```", path.read_text(), flags=re.S):
            for line in block.replace("\\\n", " ").splitlines():
                if line.lstrip("$ ").startswith("idol "):
                    yield path.name, line.lstrip("$ ").strip()


def test_readme_shows_commands():
    assert any(file == "README.md" for file, _ in _commands())


@pytest.mark.parametrize(("file", "line"), list(_commands()))
def test_commands_in_the_papers_exist(file, line):
    import shlex

    from typer.main import get_command

    from idol.cli import program

    words = shlex.split(line, comments=True)[1:]
    verbs = get_command(program).commands
    if words[0].startswith("-"):
        assert words[0] in ("--help", "--version")
        return
    assert words[0] in verbs, f"{file}: idol {words[0]} does not exist"
    known = {
        name for parameter in verbs[words[0]].params for name in (*parameter.opts, *parameter.secondary_opts)
    }
    used = {word.split("=")[0] for word in words[1:] if word.startswith("-")}
    assert used <= known | {"--help"}, f"{file}: {line}"


def test_make_targets_in_the_readme_exist():
    makefile = (ROOT / "Makefile").read_text()
    targets = set(
        re.findall(
            r"\bmake (\w+)", "\n".join(re.findall(r"```.*?```", (ROOT / "README.md").read_text(), re.S))
        )
    )
    assert {"demo", "test"} <= targets
    assert not [t for t in targets if not re.search(rf"^{t}:", makefile, re.M)]


def test_every_yaml_is_read():
    files = sorted((ROOT / "configs").rglob("*.yaml"))
    assert files
    for path in files:
        assert isinstance(yaml.safe_load(path.read_text()), dict), path
