from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Literal

import pytest

from rlvr_world_hf.runs.keys import SettingTypeError, Words, convert, fill, key, keys_of, settled


class Strategy(Enum):
    NO = "no"


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
    [
        (1.5, int),
        (True, int),
        ("yes", bool),
        (1, str),
        ("a", float | None),
        (1, list[int]),
        ("x", Literal["all"]),
        ("x", dict[str, Any]),
    ],
)
def test_a_value_of_another_type_fails_naming_the_key(value, hint):
    with pytest.raises(TypeError, match="grpo.steps: expected"):
        convert(value, hint, where="grpo.steps")


@pytest.mark.parametrize(
    ("text", "hint", "expected"),
    [
        ("line 1\nline 2", str, "line 1\nline 2"),
        ('{"lamp": "on"}', str, '{"lamp": "on"}'),
        ("no", str, "no"),
        ("a #b", str, "a #b"),
        ("a: b: c", str, "a: b: c"),
        ("", str, ""),
        ("12", str | None, "12"),
        ("[a", str | None, "[a"),
        ("null", str | None, None),
        ("runs/#1", Path, Path("runs/#1")),
        ("no", Strategy | str, "no"),
        ("no", bool, False),
        ("auto", bool | Literal["auto"], "auto"),
        ("1e-4", float | None, 1e-4),
        ("7", int, 7),
        ("[0, 1]", tuple[int, ...], (0, 1)),
        ("{a: 1}", dict[str, Any], {"a": 1}),
        ("[a]", Any, ["a"]),
    ],
)
def test_the_type_of_a_key_says_how_words_are_read(text, hint, expected):
    value = convert(Words(text), hint, where="k")
    assert value == expected
    assert type(value) is type(expected), "words do not stay what they were"


@pytest.mark.parametrize(
    ("text", "hint", "expected"),
    [
        ("[1, 2", list[int], "expected YAML"),
        ("[1, 2", float | None, "expected YAML"),
        ("many", int | None, "got 'many' .str."),
        ("", Path, "expected Path, got None"),
    ],
)
def test_words_of_another_type_fail_naming_the_key(text, hint, expected):
    with pytest.raises((SettingTypeError, ValueError), match=f"^grpo.k: .*{expected}"):
        convert(Words(text), hint, where="grpo.k")


@pytest.mark.parametrize("value", [float("nan"), "nan", Words(".nan")])
def test_what_is_not_a_number_is_no_value(value):
    with pytest.raises(ValueError, match="grpo.beta: expected a finite number"):
        convert(value, float | None, where="grpo.beta")


@pytest.mark.parametrize(
    ("given", "hint"), [("a\0b", Path), (Words("a\0b"), Path), (Path("a\0b"), Path), ("a\0b", Path | None)]
)
def test_a_path_that_no_system_takes_is_refused(given, hint):
    with pytest.raises(ValueError, match=r"output_dir: expected a path, got 'a\\x00b' with a zero byte"):
        convert(given, hint, where="output_dir")


def test_settled_values_are_as_yaml_has_them():
    given = {"steps": Words("3"), "rewards": Words("[{path: a}]"), "name": Words("no"), "learning_rate": 0.5}
    settings = fill(Settings, given, where="grpo", forwards_to=trainer)
    assert settled(given, settings) == {"steps": 3, "rewards": [{"path": "a"}], "name": "no", "learning_rate": 0.5}


def test_settings_that_refuse_a_value_are_named():
    @dataclass(frozen=True, kw_only=True)
    class Refusing:
        steps: int = key(1)

        def __post_init__(self) -> None:
            raise ValueError("Expected more steps.")

    with pytest.raises(ValueError, match=r"^grpo: Expected more steps\.$"):
        fill(Refusing, {}, where="grpo")


def test_keys_know_their_help_and_defaults():
    keys = keys_of(Settings)
    assert keys["learning_rate"].default == 1e-3
    assert keys["steps"].help == "Updates."
    assert not keys["workers"].affects_result
    assert "arguments" not in keys


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (float("inf"), float),
        (Words("-.inf"), float),
        ([{"path": "a.B", "weight": float("nan")}], list[dict[str, Any]]),
        ({"sizes": [1.0, [float("inf")]]}, dict[str, Any]),
        (float("inf"), Any),
        ([1.0, float("nan")], list[float]),
    ],
)
def test_no_number_is_infinite_or_none_however_deep_it_is(value, hint):
    with pytest.raises(ValueError, match=r"grpo\.beta.*: expected a finite number, got (nan|-?inf); give one"):
        convert(value, hint, where="grpo.beta")
