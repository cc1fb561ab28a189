from typing import Any

import datasets
import pytest

from rlvr_world_hf import LanguageWorldModelProcessor
from rlvr_world_hf.evaluation import few_shot
from rlvr_world_hf.evaluation.few_shot import END, answer_few_shot, write_examples
from tests.tiny import text_tokenizer, tiny_language_model


@pytest.fixture
def rows() -> datasets.Dataset:
    made = [
        {
            "prompt": f"shut({n})\n> open {n}\n",
            "completion": f"open({n})" if n % 2 else "no",
            "is_changed": bool(n % 2),
        }
        for n in range(10)
    ]
    return datasets.Dataset.from_list(made)


def test_examples_change_something_by_turns(rows: Any) -> None:
    shown = write_examples(rows, count=3).split(END)
    assert shown == ["shut(1)\n> open 1\nopen(1)", "shut(0)\n> open 0\nno", "shut(5)\n> open 5\nopen(5)", ""]


@pytest.mark.parametrize(
    ("change", "count", "told"),
    [
        ({}, 11, "at most 10 examples"),
        ({"prompt": [{"role": "user", "content": "p"}]}, 2, "got conversations"),
        ({"completion": "a ### b"}, 2, "examples without '###'"),
    ],
)
def test_what_cannot_be_shown_is_refused(rows: Any, change: dict[str, Any], count: int, told: str) -> None:
    changed = datasets.Dataset.from_list([row | change for row in rows.to_list()])
    with pytest.raises(ValueError, match=f"evaluate.few_shot: expected .*{told}"):
        write_examples(changed, count=count)


def test_an_answer_ends_where_the_examples_do(rows: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def predict(model: Any, processor: Any, rows: Any, **limits: Any) -> list[list[str]]:
        asked.extend(rows["prompt"])
        return [[f"open(7){END}shut(8)\n> open 8"], [" no\n#"]]

    monkeypatch.setattr(few_shot, "predict_answers", predict)
    answers = answer_few_shot(None, None, rows.select([7, 8]), rows, count=2, max_new_tokens=4)
    assert answers == ["open(7)", "no\n#"]
    assert asked == [write_examples(rows, count=2) + rows[place]["prompt"] for place in (7, 8)]


def test_a_model_answers_every_row(rows: Any) -> None:
    processor = LanguageWorldModelProcessor(text_tokenizer())
    model = tiny_language_model(processor.tokenizer)
    answers = answer_few_shot(model, processor, rows, rows, count=2, max_new_tokens=3, batch_size=4)
    assert len(answers) == len(rows) and all(isinstance(answer, str) for answer in answers)
