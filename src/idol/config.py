"""Conversion of strict YAML files to frozen dataclasses and back, with `a.b=value` overrides."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, Union

import yaml

from idol.errors import UserError

T = TypeVar("T")


def load_config(cls: type[T], path: str | Path, overrides: Sequence[str] = ()) -> T:
    """Read a YAML file into the dataclass `cls`.

    A file may extend another with `base: other.yaml` (relative to itself); its own keys take precedence, and
    mappings are merged.

    Args:
        cls: Dataclass whose fields are dataclasses, Literals, tuples, unions, paths or plain values.
        path: YAML file.
        overrides: `a.b=value` strings, applied after the file; values are parsed as YAML.

    Raises:
        UserError: If the file cannot be read, a key is unknown or missing, or a value has the wrong type.
    """
    values = read_config(Path(path))
    for override in overrides:
        _override(values, override)
    return from_dict(cls, values, str(path))


def from_dict(cls: type[T], values: Mapping[str, Any], source: str = "config") -> T:
    """Build a dataclass from plain values.

    Args:
        cls: Dataclass, as in `load_config`.
        values: Values by field name; dataclass fields are mappings.
        source: Origin of the values, such as a file's path, for error messages.

    Raises:
        UserError: If a key is unknown or missing, or a value has the wrong type.
    """
    return _build(cls, values, source, "")


def to_dict(config: Any) -> dict[str, Any]:
    """Convert a config dataclass to plain values: tuples become lists, paths strings."""
    return _plain(dataclasses.asdict(config))


def dump(config: Any) -> str:
    """Convert a config dataclass to YAML; `load_config` reads it back to an equal object."""
    return yaml.safe_dump(to_dict(config), sort_keys=False)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return str(value) if isinstance(value, Path) else value


def read_config(path: Path, seen: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Read the values of a YAML file, merged over those of its `base`.

    Args:
        path: YAML file.
        seen: Files that extend this one, to detect cycles.

    Raises:
        UserError: If a file cannot be read, is not a mapping, or extends itself.
    """
    if path.resolve() in seen:
        raise UserError(str(path), "its base key leads back to the file itself", "remove the cycle")
    try:
        values = yaml.safe_load(path.read_text())
    except OSError as error:
        raise UserError(
            str(path), f"cannot be read ({error.strerror})", "give an existing YAML file"
        ) from error
    except yaml.YAMLError as error:
        raise UserError(str(path), f"is not YAML ({error})", "correct the file") from error
    values = {} if values is None else values
    if not isinstance(values, dict):
        raise UserError(str(path), f"holds a {type(values).__name__}", "write a mapping of keys")
    base = values.pop("base", None)
    return (
        values if base is None else _merge(read_config(path.parent / base, (*seen, path.resolve())), values)
    )


def _merge(low: dict[str, Any], high: Mapping[str, Any]) -> dict[str, Any]:
    for key, value in high.items():
        both = isinstance(value, Mapping) and isinstance(low.get(key), dict)
        low[key] = _merge(low[key], value) if both else value
    return low


def _override(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise UserError(override, "is not an override", "write it as key=value or a.b=value")
    *parents, last = key.strip().split(".")
    for parent in parents:
        if not isinstance(values.get(parent), dict):
            values[parent] = {}
        values = values[parent]
    try:
        values[last] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(override, f"its value is not YAML ({error})", "quote it") from error


def _build(cls: type[T], values: Any, source: str, prefix: str) -> T:
    if not isinstance(values, Mapping):
        raise UserError(
            source, f"{prefix or 'the file'} is {values!r}", f"give a mapping of {cls.__name__} keys"
        )
    hints = typing.get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for key in values:
        if key not in fields:
            raise UserError(source, f"unknown key {prefix}{key}", f"known keys: {', '.join(fields)}")
    converted = {key: _convert(hints[key], value, source, prefix + key) for key, value in values.items()}
    for name, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and name not in converted:
            raise UserError(source, f"key {prefix}{name} is missing", f"add {prefix}{name}")
    try:
        return cls(**converted)
    except UserError:
        raise
    except ValueError as error:
        raise UserError(
            source, f"{prefix.rstrip('.') or cls.__name__}: {error}", "correct the value"
        ) from error


def _convert(hint: Any, value: Any, source: str, key: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        return _convert_union(arguments, value, source, key)
    if dataclasses.is_dataclass(hint):
        return _build(hint, value, source, key + ".")  # type: ignore[arg-type]
    if origin is Literal:
        if value in arguments and type(value) in {type(a) for a in arguments}:
            return value
        raise UserError(source, f"{key} is {value!r}", f"choose one of {', '.join(map(repr, arguments))}")
    if origin is tuple:
        return _convert_tuple(arguments, value, source, key)
    if hint is Any:
        return value
    if hint is Path and isinstance(value, str):
        return Path(value)
    if hint is float and isinstance(value, (int, float, str)) and not isinstance(value, bool):
        try:  # YAML reads 1e-4 as a string
            return float(value)
        except ValueError:
            pass
    elif isinstance(hint, type) and type(value) is hint:
        return value
    raise UserError(source, f"{key} is {value!r}", f"give a value of type {getattr(hint, '__name__', hint)}")


def _convert_union(options: tuple[Any, ...], value: Any, source: str, key: str) -> Any:
    if value is None and type(None) in options:
        return None
    errors: list[tuple[int, UserError]] = []
    for option in options:
        if option is not type(None):
            try:
                return _convert(option, value, source, key)
            except UserError as wrong:
                errors.append((_keys_shared(option, value), wrong))
    # report the alternative that was most likely meant: the one with the most keys in common
    raise max(errors, key=lambda error: error[0])[1]


def _keys_shared(option: Any, value: Any) -> int:
    if not dataclasses.is_dataclass(option) or not isinstance(value, Mapping):
        return 0
    return len({field.name for field in dataclasses.fields(option)} & value.keys())


def _convert_tuple(arguments: tuple[Any, ...], value: Any, source: str, key: str) -> tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        raise UserError(source, f"{key} is {value!r}", "give a list")
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        arguments = (arguments[0],) * len(value)
    if len(arguments) != len(value):
        raise UserError(source, f"{key} has {len(value)} entries", f"give {len(arguments)}")
    return tuple(
        _convert(a, v, source, f"{key}[{i}]") for i, (a, v) in enumerate(zip(arguments, value, strict=True))
    )
