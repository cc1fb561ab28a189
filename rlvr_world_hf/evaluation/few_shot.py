"""A language model that was not trained on a world: it is shown some of the world's transitions in the prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedModel

from .answers import predict_answers


END = "\n###\n"
"""What stands after each answer in the prompt; an answer is what a model writes before it writes this."""

NO_CONVERSATIONS = "evaluate.few_shot: expected prompts that are texts, got conversations; leave it out."
"""What is said where prompts are conversations, into which examples are not written."""


def write_examples(transitions: Any, *, count: int) -> str:
    r"""
    Solved transitions as the beginning of a prompt: by turns such that change something and such that do not.

    Args:
        transitions (`datasets.Dataset`):
            Rows to choose from, see [`~rlvr_world_hf.data.transition.transition_row`]: they are spread evenly.
        count (`int`):
            How many.

    Returns:
        `str`: prompts with their answers.

    Raises:
        ValueError: If prompts are conversations, there are too few rows, or a text has the mark of an end.

    Example:

    ```python
    >>> from datasets import Dataset
    >>> rows = [{"prompt": f"{n}\n> open\n", "completion": "+ open", "is_changed": n > 1} for n in range(4)]
    >>> write_examples(Dataset.from_list(rows), count=2)
    '2\n> open\n+ open\n###\n0\n> open\n+ open\n###\n'

    ```
    """
    if not isinstance(transitions[0]["prompt"], str):
        raise ValueError(NO_CONVERSATIONS)
    changed = [index for index, is_changed in enumerate(transitions["is_changed"]) if is_changed]
    unchanged = sorted({*range(len(transitions))} - {*changed})
    wanted = [(changed, (count + 1) // 2), (unchanged, count // 2)]
    if any(len(there) < number for there, number in wanted):
        raise ValueError(
            f"evaluate.few_shot: expected at most {2 * min(len(changed), len(unchanged))} examples, as half of them "
            f"change nothing, got {count}; lower it."
        )
    chosen = [[there[place * len(there) // number] for place in range(number)] for there, number in wanted]
    order = [of_kind[place] for place in range(len(chosen[0])) for of_kind in chosen if place < len(of_kind)]
    texts = [transitions[index]["prompt"] + transitions[index]["completion"] for index in order]
    if any(END.strip() in text for text in texts):
        raise ValueError(
            f"evaluate.few_shot: expected examples without {END.strip()!r}, which ends them; leave it out."
        )
    return "".join(text + END for text in texts)


def answer_few_shot(
    model: PreTrainedModel, processor: Any, rows: Any, transitions: Any, *, count: int, **limits: Any
) -> list[str]:
    """
    The likeliest answers of a model that sees some examples before each prompt.

    Args:
        model (`PreTrainedModel`):
            A language model as it was installed.
        processor (`LanguageWorldModelProcessor`):
            A processor of its tokenizer.
        rows (`datasets.Dataset`):
            Rows with `prompt`.
        transitions (`datasets.Dataset`):
            Where examples are from: rows of the training split.
        count (`int`):
            Number of examples.
        limits (`dict[str, Any]`):
            Further arguments of [`~rlvr_world_hf.evaluation.answers.predict_answers`].

    Returns:
        `list[str]`: one answer a row, up to the mark that ends the examples.
    """
    examples = write_examples(transitions, count=count)
    prompts: Sequence[str] = [examples + prompt for prompt in rows["prompt"]]
    answers = predict_answers(model, processor, {"prompt": prompts}, label="few_shot", **limits)
    return [of_row[0].partition(END.rstrip())[0].strip() for of_row in answers]
