"""The prompt about a step of a text game, and the answer to it: in words and JSON, or in short lines."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from .compact import WHOLE_STATE, write_compact_difference, write_compact_state
from .state import ObjectState, object_state_text, state_difference


Task = Literal["full", "action", "tick", "score"]
"""What a step goes through: all of the following, what the action does, what happens by itself, or the score."""

Answer = Literal["difference", "state"]
"""What is asked for: what changed, or all of the following state."""

ASKED: dict[str, str] = {
    "full": "Predict one step of a text game: what the action does, what then happens by itself, and the score.",
    "action": "Predict what an action in a text game does, leaving out what happens by itself afterwards.",
    "tick": "Predict what happens by itself in one step of a text game, after the action has had its effect.",
    "score": "Predict the score of a text game. The state below is that after the action; its score is the old one.",
}

FORMS: dict[str, str] = {
    "difference": 'Answer with one JSON object of three keys. "modified" lists each object that is new or no longer '
    'as it was, written out completely. "removed" lists the uuid of each object that no longer exists. "score" is '
    '{"score": number, "gameOver": boolean, "gameWon": boolean} if one of the three changes, else {}.',
    "state": "Answer with the whole state afterwards, in the JSON form of the state below.",
}

ANNOUNCED = "The final answer is:"
"""What an answer in JSON begins with; reasoning may come before it."""

RULES: dict[str, tuple[str, ...]] = {
    "full": ("object_rules", "action_rules", "score_rules"),
    "action": ("object_rules", "action_rules"),
    "tick": ("object_rules",),
    "score": ("object_rules", "score_rules"),
}
"""Rule texts that a task needs."""

NAMED = re.compile(r" \(ID: (\d+)\)")


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectStep:
    """One step of a text game, or a part of it."""

    game: str
    """Name of the game."""

    goal: str
    """What the player is to do, in the words of the game."""

    action: str
    """The action."""

    next_uuid: int
    """`uuid` of the next object that is created."""

    current: ObjectState
    """The state before."""

    following: ObjectState
    """The state afterwards."""


def read_object_step(record: Mapping[str, Any], task: Task) -> ObjectStep:
    """
    The part of a recorded step that a task is about.

    Args:
        record (`Mapping[str, Any]`):
            A line of ByteSized32-State-Prediction: `current_state`, `action_state`, `tick_state`,
            `current_score_state`, `next_score_state`, `game`.
        task (`str`):
            `"full"`, `"action"`, `"tick"` or `"score"`. Only in the first and last may the score change.

    Returns:
        `ObjectStep`: the step.
    """
    before = {"full": "current_state", "action": "current_state", "tick": "action_state", "score": "tick_state"}[task]
    after = "action_state" if task == "action" else "tick_state"
    score = "next_score_state" if task in ("full", "score") else "current_score_state"
    current, following = (
        ObjectState(objects={item["uuid"]: item for item in record[name]["objects"]}, score=record[score_name])
        for name, score_name in ((before, "current_score_state"), (after, score))
    )
    return ObjectStep(
        game=record["game"],
        goal=record["current_state"]["taskDesc"],
        action=record["action_state"]["lastAction"],
        next_uuid=record[before]["max_UUID"],
        current=current,
        following=following,
    )


def write_answer(step: ObjectStep, answer: Answer, *, compact: bool) -> str:
    """
    What a model should write about a step.

    Args:
        step (`ObjectStep`):
            The step.
        answer (`str`):
            `"difference"` or `"state"`.
        compact (`bool`):
            Whether in short lines instead of JSON.

    Returns:
        `str`: the answer, as [`read_following_state`] reads it.
    """
    if compact and answer == "difference":
        return write_compact_difference(step.current, step.following)
    if compact:
        return f"{WHOLE_STATE}\n{write_compact_state(step.following)}"
    difference = json.dumps(state_difference(step.current, step.following))
    return f"{ANNOUNCED}\n{difference if answer == 'difference' else object_state_text(step.following)}"


def write_prompt(
    step: ObjectStep,
    *,
    task: Task,
    answer: Answer,
    compact: bool,
    rules: Mapping[str, Mapping[str, str]] | None = None,
    examples: Sequence[ObjectStep] = (),
) -> str:
    """
    The prompt about a step.

    Args:
        step (`ObjectStep`):
            The step.
        task (`str`):
            What the step goes through.
        answer (`str`):
            What is asked for.
        compact (`bool`):
            Whether states are short lines; then nothing is explained, as the model learns the form from its targets.
        rules (`Mapping`, *optional*):
            The rule texts of each game.
        examples (`Sequence[ObjectStep]`, *optional*, defaults to none):
            Solved steps to begin with, all of one game.

    Returns:
        `str`: the prompt.
    """
    solved = [f"{_state(item, compact)}{write_answer(item, answer, compact=compact)}\n" for item in examples]
    # All examples are of one game, whose rules are told once.
    shown = [_game(solved_step, task, rules, compact) for solved_step in examples[:1]]
    shown += [text if compact else f"\nExample {number}\n{text}" for number, text in enumerate(solved, start=1)]
    asked = _game(step, task, rules, compact) + _state(step, compact)
    if compact:
        return "".join([*shown, asked])
    explained = f"{ASKED[task]}\n{FORMS[answer]}\nNew objects are numbered from the next free uuid on.\n"
    shown = ["\nSolved examples of another game come first.\n", *shown, "\nNow your game.\n"] if shown else ["\n"]
    return "".join([explained, *shown, asked, f'\nGive the answer after the words "{ANNOUNCED}"'])


def _game(step: ObjectStep, task: Task, rules: Mapping[str, Mapping[str, str]] | None, compact: bool) -> str:
    texts = [rules[step.game][name].strip() for name in RULES[task]] if rules is not None else []
    if compact:
        return "\n".join([step.game, *([step.goal, *texts] if texts else []), ""])
    titles = [name.replace("_", " ").capitalize() for name in RULES[task]]
    titled = [f"{title}:\n{text}\n" for title, text in zip(titles, texts, strict=True)] if texts else []
    return "\n".join([f"{step.goal}\n", *titled])


def _state(step: ObjectStep, compact: bool) -> str:
    if compact:
        # An object is `@uuid`, as in the items of a state.
        action = NAMED.sub(r"@\1", step.action)
        return f"next {step.next_uuid}\n{write_compact_state(step.current)}\n> {action}\n"
    state = object_state_text(step.current)
    return f"State:\n{state}\nNext free uuid: {step.next_uuid}\nAction: {step.action}\n"
