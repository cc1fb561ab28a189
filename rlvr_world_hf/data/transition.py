"""What happened in a world of text: one action and what it changed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    r"""
    One recorded transition of a world of text.

    Raises:
        `ValueError`: If the prompt or the answer is empty.

    Example:

    ```python
    >>> transition = Transition(
    ...     transition_id="game-1/0", group="game-1", prompt="door shut\n> open door\n", answer="+ door open",
    ...     state="door shut", action="open door", next_state="door open", is_changed=True,
    ... )
    >>> transition_row(transition)["completion"]
    '+ door open'

    ```
    """

    transition_id: str
    """Its name, unique in its source."""

    group: str
    """The game or site it belongs to; tables are also broken down by group."""

    prompt: str | list[dict[str, str]]
    """What the model is given: a text, or the messages of a conversation. It contains state and action."""

    answer: str
    """What the model should write: the target of likelihood training."""

    state: str
    """The state before the action, as the world's state class parses it."""

    action: str
    """The action."""

    next_state: str
    """What an answer is compared with: the state afterwards, or the recorded change, as the state class parses it."""

    is_changed: bool
    """Whether the action changed anything."""

    def __post_init__(self) -> None:
        if not self.prompt or not self.answer:
            raise ValueError(
                f"Transition {self.transition_id!r}: expected a prompt and an answer, got {self.prompt!r:.60} and "
                f"{self.answer!r:.60}; an action that changes nothing needs an answer that says so."
            )


def transition_row(transition: Transition) -> dict[str, Any]:
    """
    A transition as a row in TRL's columns.

    Args:
        transition (`Transition`):
            The transition.

    Returns:
        `dict[str, Any]`: `transition_id`, `group`, `prompt`, `completion` (the answer), and what rewards read, under
        the names of the authors' code: `data_state`, `data_action`, `ground_truth`; and `is_changed`.
    """
    return {
        "transition_id": transition.transition_id,
        "group": transition.group,
        "prompt": transition.prompt,
        "completion": transition.answer,
        "data_state": transition.state,
        "data_action": transition.action,
        "ground_truth": transition.next_state,
        "is_changed": transition.is_changed,
    }


def save_transitions(transitions: Iterable[Transition], folder: str | Path) -> datasets.Dataset:
    """
    Store transitions as a `datasets` dataset, one row a transition.

    Args:
        transitions (`Iterable[Transition]`):
            Transitions. Either all prompts are texts, or all are conversations.
        folder (`str` or `Path`):
            Folder to write; its old content is replaced only after all transitions have been read.

    Returns:
        `datasets.Dataset`: The rows; see [`transition_row`].

    Raises:
        `ValueError`: If there is no transition.
    """
    rows = [transition_row(transition) for transition in transitions]
    if not rows:
        raise ValueError(f"Expected at least one transition to store in {folder}, got none; collect or load some.")
    dataset = datasets.Dataset.from_list(rows)
    dataset.save_to_disk(str(folder))
    return dataset
