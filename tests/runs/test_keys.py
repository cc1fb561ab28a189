from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from rlvr_world_hf.runs.keys import convert, fill, key, keys_of


@dataclass(frozen=True, kw_only=True)
class Settings:
    steps: int = key(help="Updates.")
    learning_rate: float = key(1e-3, "Size of a step.")
    workers: int = key(1, affects_result=False)
    rewards: list[dict[str, Any]] = key([])
    arguments: dict[str, Any] = field(default_factory=dict)


def trainer(model: object, *, beta: float = 0.0, name: str | None = None) -> None:
    """A part that takes the rest."""


def test_values_are_converted_to_the_type_of_their_key():
    settings = fill(Settings, {"steps": "20", "learning_rate": "2e-4"}, where="grpo")
    assert (settings.steps, settings.learning_rate, settings.workers) == (20, 2e-4, 1)


def test_keys_of_another_part_are_passed_on():
    settings = fill(Settings, {"steps": 1, "beta": 1, "name": None}, where="grpo", forwards_to=trainer)
    assert settings.arguments == {"beta": 1.0, "name": None}


def test_an_unknown_key_fails_naming_the_nearest():
    with pytest.raises(ValueError, match="grpo: unknown key 'learnin_rate'.*'learning_rate'"):
        fill(Settings, {"steps": 1, "learnin_rate": 1}, where="grpo")
    with pytest.raises(ValueError, match="'beta'"):
        fill(Settings, {"steps": 1, "betta": 1}, where="grpo", forwards_to=trainer)


def test_a_missing_key_fails():
    with pytest.raises(ValueError, match="'steps' is missing"):
        fill(Settings, {}, where="grpo")


@pytest.mark.parametrize(
    ("value", "hint", "expected"),
    [
        (3, float, 3.0),
        ("1e-4", float | None, 1e-4),
        (None, float | None, None),
        ("a", int | str, "a"),
        (True, bool, True),
        ([1, 2], tuple[int, ...], (1, 2)),
        ("x", Path, Path("x")),
        ("all", Literal["all", "moving"], "all"),
        ({"a": 1}, dict[str, int], {"a": 1}),
    ],
)
def test_conversions(value, hint, expected):
    assert convert(value, hint, where="k") == expected


@pytest.mark.parametrize(
    ("value", "hint"),
    [(1.5, int), (True, int), ("yes", bool), (1, str), ("a", float | None), (1, list[int]), ("x", Literal["all"])],
)
def test_a_value_of_another_type_fails_naming_the_key(value, hint):
    with pytest.raises(TypeError, match="grpo.steps: expected"):
        convert(value, hint, where="grpo.steps")


def test_keys_know_their_help_and_defaults():
    keys = keys_of(Settings)
    assert keys["learning_rate"].default == 1e-3
    assert keys["steps"].help == "Updates."
    assert not keys["workers"].affects_result
    assert "arguments" not in keys
