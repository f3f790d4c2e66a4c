"""Strict configs: what is wrong is named."""

from dataclasses import dataclass, field
from typing import Literal

import pytest

from idol.config import dump, load_config
from idol.errors import UserError


@dataclass(frozen=True)
class Inner:
    channels: tuple[int, ...] = (1, 2)
    kind: Literal["a", "b"] = "a"


@dataclass(frozen=True)
class Outer:
    steps: int
    lr: float = 1e-3
    inner: Inner = field(default_factory=Inner)
    init: str | None = None

    def __post_init__(self):
        if self.steps < 0:
            raise ValueError("steps is negative")


def write(folder, text, name="c.yaml"):
    path = folder / name
    path.write_text(text)
    return path


def test_values_and_overrides_reach_their_fields(tmp_path):
    path = write(tmp_path, "steps: 3\nlr: 1e-4\ninner: {channels: [4, 5, 6]}\n")
    config = load_config(Outer, path, ["inner.kind=b", "init=here", "steps=7"])
    assert config == Outer(7, 1e-4, Inner((4, 5, 6), "b"), "here")


@dataclass(frozen=True)
class Named:
    name: str
    weight: float = 1.0


@dataclass(frozen=True)
class Choice:
    either: Inner | Named


@pytest.mark.parametrize(
    ("either", "told"),
    [("{name: x, weigth: 2}", "either.weigth"), ("{kind: b, chanels: [1]}", "either.chanels")],
)
def test_of_alternatives_the_one_that_was_meant_is_complained_about(tmp_path, either, told):
    with pytest.raises(UserError, match=told) as complaint:
        load_config(Choice, write(tmp_path, f"either: {either}"))
    known = "name, weight" if "name" in either else "channels, kind"
    assert known in str(complaint.value)


def test_dump_reads_back_equal(tmp_path):
    config = Outer(7, 1e-4, Inner((4, 5, 6), "b"), None)
    assert load_config(Outer, write(tmp_path, dump(config))) == config


def test_base_merges_below(tmp_path):
    write(tmp_path, "steps: 1\ninner: {kind: b}\n", "base.yaml")
    config = load_config(Outer, write(tmp_path, "base: base.yaml\ninner: {channels: [9]}\n"))
    assert config == Outer(1, inner=Inner((9,), "b"))


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("steps: 1\nstep: 2", "unknown key step"),
        ("steps: 1\ninner: {chanels: [1]}", "inner.chanels"),
        ("lr: 1.0", "steps is missing"),
        ("steps: x", "steps is 'x'"),
        ("steps: true", "steps is True"),
        ("steps: 1\ninner: {kind: c}", "choose one of 'a', 'b'"),
        ("steps: 1\nlr: soon", "lr is 'soon'"),
        ("steps: -1", "negative"),
        ("[1, 2]", "mapping"),
        ("steps: [", "YAML"),
    ],
)
def test_mistakes_are_named_in_one_line(tmp_path, text, named):
    with pytest.raises(UserError, match=named.replace("[", r"\[")) as caught:
        load_config(Outer, write(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_a_base_that_names_itself_is_refused(tmp_path):
    with pytest.raises(UserError, match="cycle"):
        load_config(Outer, write(tmp_path, "base: c.yaml\nsteps: 1"))
