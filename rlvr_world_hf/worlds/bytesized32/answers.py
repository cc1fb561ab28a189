"""Reads the following object state from the answer of a model, in JSON or in short lines."""

from __future__ import annotations

from typing import Any

from ...states.answer import UnreadableAnswerError, find_answer
from ...states.repaired_json import read_repaired_json
from .compact import apply_compact_answer, is_compact
from .state import ObjectState, apply_difference, is_number, state_of


FENCE = "```"
LANGUAGES = ("json", "JSON")
"""What may stand behind a fence that opens."""


def read_following_state(completion: str, state: ObjectState) -> ObjectState:
    """
    The state that a completion predicts.

    Args:
        completion (`str`):
            What the model wrote, reasoning and special tokens included. Its answer is a difference in JSON (`modified`
            and `removed`, lists, and `score`), a whole state in JSON (`game_state`), or one of the two in the lines of
            [`~rlvr_world_hf.worlds.bytesized32.compact.write_compact_state`]. JSON may stand between code fences and
            is repaired.
        state (`ObjectState`):
            The state before.

    Returns:
        `ObjectState`: the predicted state.

    Raises:
        UnreadableAnswerError: if the answer is none of those, or says two things about one object or property.

    Example:

    ```python
    >>> lamp = {"uuid": 2, "properties": {"isOn": False}, "contains": []}
    >>> answer = "It goes out. The final answer is: {'modified': [], 'removed': [2], 'score': {}}"
    >>> read_following_state(answer, ObjectState(objects={2: lamp}, score={"score": 0}))
    ObjectState(objects={}, score={'score': 0})

    ```
    """
    answer = find_answer(completion)
    # As in the authors' code, the last fenced block counts. Fences open and close by turns; a last open one is none.
    fenced = answer.split(FENCE)[1:-1:2]
    if fenced:
        language = next((name for name in LANGUAGES if fenced[-1].startswith(name)), "")
        answer = fenced[-1].removeprefix(language).strip()
    if is_compact(answer):
        return apply_compact_answer(state, answer)
    parsed = read_repaired_json(answer, refuses_contradictions=True)
    if isinstance(parsed, list) and len(parsed) == 1:
        parsed = parsed[0]
    if isinstance(parsed, dict) and _are_lists(parsed, "modified", "removed"):
        _refuse_two(parsed["modified"], removed=parsed["removed"])
        return apply_difference(state, parsed)
    if isinstance(parsed, dict) and _are_lists(parsed, "game_state"):
        items = [item for item in parsed["game_state"] if isinstance(item, dict)]
        _refuse_two(items, removed=[])
        # An entry without a `uuid` is the score, which is kept.
        return state_of([item for item in items if is_number(item.get("uuid", 0))])
    raise UnreadableAnswerError(f"Expected the lists `modified` and `removed`, or `game_state`, got {answer:.80}")


def _refuse_two(items: list[Any], *, removed: list[Any]) -> None:
    """Refuse an object that is given twice in two ways, or given and removed."""
    seen: dict[Any, Any] = {}
    for item in items:
        uuid = item.get("uuid") if isinstance(item, dict) else None
        if not is_number(uuid):
            continue
        if uuid in removed or item != seen.setdefault(uuid, item):
            raise UnreadableAnswerError(f"Expected one answer about each object, got two about object {uuid}.")


def _are_lists(parsed: dict[str, Any], *keys: str) -> bool:
    return all(isinstance(parsed.get(key), list) for key in keys)
