from time import process_time

import pytest

from rlvr_world_hf.states.answer import UnreadableAnswerError
from rlvr_world_hf.states.repaired_json import MAX_REPAIRED_CHARACTERS, read_repaired_json


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": [1, true]}', {"a": [1, True]}),
        ("{'a': None, 'b': (True, False)}", {"a": None, "b": [True, False]}),
        ('{"a": "True", "b": "None of it",}', {"a": "True", "b": "None of it"}),
        ('{"a": [1, 2', {"a": [1, 2]}),
        ('As follows: {"a": 1} as said', {"a": 1}),
        ('{"a": "' + "[" * 100 + '"}', {"a": "[" * 100}),
    ],
)
def test_what_was_meant_is_read(text, value):
    assert read_repaired_json(text) == value


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, '{"a":' * 20_000, "[{" * 50_000, "[" * 60 + "]" * 100_000, "(" * 16_000, '"' * 100_000,
     '"\\"' * 33_000, "9" * 100_000, "9" * 10_000, '{"a": ' + ")}{" * 5_000, '{null#"a"' * 1_500, "[]" * 50_000,
     '{"modified": [' + 'null"a"' * 2_000, '[1, ' * 60 + "x" * MAX_REPAIRED_CHARACTERS, "[" * 300_000],
)  # fmt: skip
def test_no_text_keeps_it_busy(text):
    start = process_time()
    try:
        read_repaired_json(text)
    except UnreadableAnswerError as error:
        assert len(str(error)) < 200
    assert process_time() - start < 2


@pytest.mark.parametrize("text", ["[" * 100_000, "[" * 65 + "]" * 65, "9" * 10_000, '{"a": ' + ")}{" * 5_000])
def test_what_is_not_read_is_unreadable(text):
    with pytest.raises(UnreadableAnswerError, match="Expected"):
        read_repaired_json(text)
