"""Commands and functions: each command is a function of `idol` with the same arguments and defaults."""

import importlib
import inspect
import pkgutil
import subprocess
import sys

import pytest

import idol
from idol.cli.option_names import in_options
from idol.errors import UserError
from support.cli_runs import COMMANDS, call, refused

FUNCTIONS = {"import_clips" if name == "import" else name: command for name, command in COMMANDS.items()}
# Python has more than the command line: who hears of progress, objects that no option can hold.
ONLY_PYTHON = {
    "app": {"limits", "block", "ready"},
    "synth": {"samples_per_shard"},
    "view": {"ready"},
}


def test_every_command_is_a_function_and_every_function_a_command():
    assert set(FUNCTIONS) | {"train_autoencoder"} == set(idol._COMMANDS)
    assert all(inspect.isfunction(getattr(idol, name)) for name in idol._COMMANDS)
    assert set(idol._COMMANDS) < set(idol.__all__) and set(idol._COMMANDS) < set(dir(idol))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_has_the_arguments_of_its_command(name):
    options = {param.name: param for param in FUNCTIONS[name].params if param.name not in ("as_json", "help")}
    arguments = dict(inspect.signature(getattr(idol, name)).parameters)
    assert set(options) == set(arguments) - {"progress"} - ONLY_PYTHON.get(name, set())
    for argument, option in options.items():
        default = arguments[argument].default
        assert option.required == (default is inspect.Parameter.empty), argument
        if not option.required and option.default not in (None, []):
            assert str(option.default) == str(default), argument
        elif not option.required:  # None is left to the function's own default
            assert default is None or default is False or isinstance(default, tuple), argument


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_what_every_option_is_and_its_default(name):
    for param in COMMANDS[name].params:
        assert getattr(param, "help", None), f"{name} {param.name}"
    assert call(name, "--help").code == 0


def test_no_module_of_idol_hides_a_function():
    modules = {module.name for module in pkgutil.iter_modules(idol.__path__)}
    assert not modules & set(idol._COMMANDS)


def test_functions_stay_functions_whatever_is_imported():
    names = sorted(idol._COMMANDS)
    program = (
        "import importlib, inspect, idol\n"
        f"modules = {sorted({f'idol.{module}' for module in idol._COMMANDS.values()})}\n"
        "[importlib.import_module(name) for name in modules]\n"
        f"assert all(inspect.isfunction(getattr(idol, name)) for name in {names})\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_importing_idol_imports_nothing_heavy():
    program = "import sys, idol; assert not {'torch', 'numpy', 'typer'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_errors_name_the_options_of_the_command():
    told = in_options(UserError("mesh_step", "no `kind` has cells", "add `kind=mesh`"), COMMANDS["render"])
    assert str(told) == "--mesh-step: no --kind has cells; add --kind mesh"
    told = in_options(UserError("viewer", "'x'", "give `viewer=rerun`"), COMMANDS["view"])
    assert str(told) == "--with: 'x'; give --with rerun"
    told = in_options(UserError("run", "x is missing", "try `overwrite=True`"), COMMANDS["repeat"])
    assert str(told) == "RUN: x is missing; try --overwrite"
    told = in_options(UserError("motion", "x", "try `retarget=False` or `nothing`"), COMMANDS["generate"])
    assert str(told) == "--motion: x; try --no-retarget or nothing"
    told = in_options(UserError("model.init", "x", "y"), COMMANDS["train"])
    assert str(told) == "model.init: x; y"


def test_the_library_names_its_arguments(tmp_path):
    with pytest.raises(ValueError, match=r"^seed: -1; ") as wrong:
        idol.generate("a", "b", "c", tmp_path / "out", seed=-1)
    assert (wrong.value.argument, wrong.value.found) == ("seed", "-1")
    with pytest.raises(UserError, match=r"^out: .*pass `overwrite=True`"):
        (tmp_path / "run.json").touch()
        idol.repeat(tmp_path / "nowhere", tmp_path)
    assert refused("repeat", tmp_path / "nowhere", "-o", tmp_path).endswith("or pass --overwrite")


def test_library_code_speaks_no_options():
    root = importlib.import_module("idol").__path__[0]
    listed = subprocess.run(
        ["grep", "-rnE", r"""UserError\([^)]*["' ]--[a-z]""", root], capture_output=True, text=True
    ).stdout.splitlines()
    assert not [line for line in listed if "/cli/" not in line and "--use_fsdp" not in line]  # accelerate's
