"""
The rewards on object states as the authors' code gives them, its faults included, to compare numbers with the paper.

They compute what the text game rewards of https://github.com/thuml/RLVR-World compute, without their code, and
`tests/parity/test_text_rewards.py` compares the two on recorded cases. Where that code raises, its reward is 0; here
the answer is unreadable. Not for training: [`ObjectStateReward`] lists what they reward wrongly.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ...states.answer import MARKERS, UnreadableAnswerError
from ...states.repaired_json import read_repaired_json
from .state import ObjectState, differing, state_entries


SHORTEST_FENCED = 10
"""Characters below which a fenced block is not the answer."""

FENCED = re.compile(r"```json(.*?)```", re.DOTALL)


def official_binary_reward(completion: str, current: ObjectState, following: ObjectState) -> float:
    """
    Whether the predicted state is right: 1 or 0.

    Args:
        completion (`str`):
            What the model wrote.
        current (`ObjectState`):
            The state before.
        following (`ObjectState`):
            The recorded state afterwards.

    Returns:
        `float`: 1.0 or 0.0.

    Raises:
        UnreadableAnswerError: where the authors' code raises, and gives 0.
    """
    objects, score = _predict(completion, current)
    return float(_share_of_entries(objects, following) == 1 and _share_of_score(score, following) == 1)


def official_task_specific_reward(completion: str, current: ObjectState, following: ObjectState) -> float:
    """
    0.09 share of right entries + 0.01 share of right score + 0.2 if all is right + share of right changed entries.

    Args:
        completion (`str`):
            What the model wrote.
        current (`ObjectState`):
            The state before.
        following (`ObjectState`):
            The recorded state afterwards.

    Returns:
        `float`: in [0, 1.3], of an unchanged state in [0, 0.3].

    Raises:
        UnreadableAnswerError: where the authors' code raises, and gives 0.
    """
    objects, score = _predict(completion, current)
    entries, scores = _share_of_entries(objects, following), _share_of_score(score, following)
    changes = _share_of_changes(objects, current, following)
    return 0.09 * entries + 0.01 * scores + 0.2 * (entries == 1 and scores == 1) + changes


def _predict(completion: str, current: ObjectState) -> tuple[dict[Any, dict[str, Any]], Any]:
    """Objects of the current state as the answer replaces and removes them, none added; and its score, if any."""
    # As there, also inside of texts.
    text = _answer(completion).replace("True", "true").replace("False", "false").replace("None", "null")
    answer = read_repaired_json(text)
    # There `in` decides, which also finds the two words in a list or a text.
    if not isinstance(answer, dict | list | str) or "modified" not in answer or "removed" not in answer:
        raise UnreadableAnswerError(f"Expected `modified` and `removed`, got {text:.80}")
    if not isinstance(answer, dict):
        return dict(current.objects), None
    modified, removed = answer["modified"], answer["removed"]
    entries = modified if isinstance(modified, list) else []
    replaced = {
        item["uuid"]: item
        # There an entry without a `uuid` that can be a key raises, and is skipped.
        for item in entries
        if isinstance(item, dict) and "uuid" in item and not isinstance(item["uuid"], dict | list)
    }
    gone = removed if isinstance(removed, list) else []
    objects = {uuid: replaced.get(uuid, item) for uuid, item in current.objects.items() if uuid not in gone}
    score = answer.get("score")
    # There `len` decides: what is empty or has no length leaves the score as it is.
    if "score" in answer and (not isinstance(score, dict | list | str) or not score):
        score = current.score
    # There the score is the entry without a `uuid`; with one it counts as an object.
    if isinstance(score, dict) and "uuid" in score:
        _require(not isinstance(score["uuid"], dict | list), "a `uuid` that can be looked up")
        return objects | {score["uuid"]: score}, None
    return objects, score


def _answer(completion: str) -> str:
    marker = next((known for known in MARKERS if known in completion), None)
    if marker is not None:
        return completion.rpartition(marker)[2].strip()
    fenced = [block.strip() for block in FENCED.findall(completion)]
    return fenced[-1] if fenced and len(fenced[-1]) >= SHORTEST_FENCED else completion


def _share_of_entries(objects: Mapping[Any, Mapping[str, Any]], following: ObjectState) -> float:
    right: list[bool] = []
    for uuid, target in following.objects.items():
        item = objects.get(uuid)
        if item is None:
            right.append(False)  # one error, however many properties the object has
            continue
        right += _right_properties(item, target["properties"])
        right.append("contains" in item and _sorted(item["contains"]) == sorted(target["contains"]))
    _require(bool(right), "a recorded state with objects")
    return sum(right) / len(right)


def _right_properties(item: Mapping[str, Any], target: Mapping[str, Any]) -> list[bool]:
    if "properties" not in item:
        return [False]
    properties = item["properties"]
    _require(isinstance(properties, dict | list | str), "properties that can be looked through")
    named = [name for name in target if name in properties]
    _require(isinstance(properties, dict) or not named, "properties with values")
    return [name in properties and properties[name] == value for name, value in target.items()]


def _sorted(contains: Any) -> list[Any]:
    try:
        return sorted(contains)
    except TypeError as error:
        raise UnreadableAnswerError(f"Expected contents that can be sorted, got {contains!r:.80}.") from error


def _share_of_score(score: Any, following: ObjectState) -> float:
    if score is None or "score" not in score:
        return 0.0
    _require(isinstance(score, dict), "a score with values")
    return sum(key in score and score[key] == value for key, value in following.score.items()) / len(following.score)


def _share_of_changes(objects: Mapping[Any, Mapping[str, Any]], current: ObjectState, following: ObjectState) -> float:
    shared = [uuid for uuid in following.objects if uuid in current.objects and uuid in objects]
    before, after = state_entries(current), state_entries(following)
    for uuid in shared:
        properties = objects[uuid].get("properties")
        # There the whole term is left out if one object has no properties.
        if not isinstance(properties, dict):
            return 0.0
        _require(
            all((uuid, "properties", name) in before or (uuid, "properties", name) in after for name in properties),
            "properties of the recorded states",
        )
    absent = object()
    right = []
    for uuid, kind, name in differing(before, after, true_is_one=True):
        if uuid not in shared:
            continue
        if kind == "contains":
            predicted = objects[uuid].get("contains", absent)
            right.append(predicted is not absent and _sorted(predicted) == list(after[uuid, kind, name]))
        else:
            expected = after.get((uuid, kind, name), absent)
            predicted = objects[uuid]["properties"].get(name, absent)
            right.append(predicted is expected or predicted == expected)
    return sum(right) / len(right) if right else 0.0


def _require(condition: bool, expected: str) -> None:
    if not condition:
        raise UnreadableAnswerError(f"Expected {expected}.")
