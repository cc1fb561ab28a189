from itertools import pairwise

import pytest

from rlvr_world_hf.runs.yaml_text import parse_yaml, read_yaml


LAUGHS = "a: &a [x, x]\n" + "".join(
    f"{after}: &{after} [{', '.join([f'*{before}'] * 8)}]\n" for before, after in pairwise("abcdefghijkl")
)
"""Eight of eight of eight of them, and so on: some 10^10."""


def test_a_value_may_be_named_more_than_once():
    assert parse_yaml("a: &a [1, {b: 2}]\nc: [*a, *a]", where="mine.yaml")["c"] == [[1, {"b": 2}]] * 2


def test_a_file_is_read(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("task: schließen\n", encoding="utf-8")
    assert read_yaml(file) == {"task": "schließen"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("grpo: [1, 2", "line 1, column 12"),
        ("grpo:\n\tbeta: 1", "line 2, column 1"),
        ("when: 2026-13-01", "month"),
        ("a: !!python/name:os.system", "python/name"),
        ("a: \x00", "special characters"),
        ("a: &a {b: [*a]}", "anchors stand for more than 100000 values"),
        (LAUGHS, "anchors stand for more than 100000 values"),
        ("[" * 10_000, "nested too deeply"),
    ],
)
def test_what_is_not_yaml_is_said_in_one_line_with_its_place(text, expected):
    with pytest.raises(ValueError, match="^mine.yaml: expected YAML") as raised:
        parse_yaml(text, where="mine.yaml")
    assert expected in str(raised.value) and "\n" not in str(raised.value)


def test_a_file_that_is_not_utf_8_is_named_with_the_byte(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_bytes("task: schließen".encode("latin-1"))
    with pytest.raises(ValueError, match=r"mine\.yaml: expected text in UTF-8, got the byte 0xdf at position 12"):
        read_yaml(file)
