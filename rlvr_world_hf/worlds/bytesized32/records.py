"""
Steps of text games: ByteSized32-State-Prediction, the text world of RLVR-World.

31 games and an example game, recorded by Wang et al. (https://huggingface.co/papers/2406.06485), GitHub
`cognitiveailab/GPT-simulator`, which states no licence: nothing of it is in this repository. RLVR-World
(https://huggingface.co/papers/2505.13934, section 4.1) trains on them, mixing changed and unchanged steps.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, get_args

from ...data.folder import described
from ...data.transition import Transition
from .prompts import ANNOUNCED, Answer, ObjectStep, Task, read_object_step, write_answer, write_prompt
from .state import ObjectState, differing, object_state_text, parse_object_state, state_difference, state_entries
from .transfer import state_parts as state_parts  # a recipe's world is asked for these two
from .transfer import transfer_change as transfer_change


FILES = {"train": ("train",), "test": ("test_dev", "test")}
"""Names of the file of a split, before `.jsonl` or `.jsonl.gz`; the first that is there counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedTransitions:
    """
    A folder of recorded steps. Its fields are keys of the collect stage.

    Validation transitions are cut from the training file; those with the same game, objects and action stay together.

    Raises:
        ValueError: if an argument is out of its range.

    Example:

    ```python
    >>> import tempfile
    >>> lamp = {"name": "lamp (ID: 1)", "uuid": 1, "type": "Lamp", "properties": {"isOn": False}, "contains": []}
    >>> states = [
    ...     {"objects": [lamp | {"properties": {"isOn": value}}], "taskDesc": "Light it.", "lastAction": "light lamp",
    ...      "max_UUID": 2} for value in (False, True, True)
    ... ]
    >>> record = dict(zip(["current_state", "action_state", "tick_state"], states)) | {"game": "lamp", "state_id": 0}
    >>> record |= {"current_score_state": {"score": 0}, "next_score_state": {"score": 1}}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("train.jsonl", "test.jsonl"):
    ...         _ = Path(folder, name).write_text(json.dumps(record))
    ...     splits = RecordedTransitions(folder=Path(folder), rules=False, compact=True).read()
    >>> print(splits["test"][0].prompt + splits["test"][0].answer)
    lamp
    next 2
    1|lamp|Lamp|-isOn
    score|score=0
    > light lamp
    1|+isOn
    score|score=1

    ```
    """

    world: ClassVar[str] = "ByteSized32 text games"
    """What it is, for cards."""

    source: ClassVar[str] = "https://github.com/cognitiveailab/GPT-simulator (no licence stated)"
    """Where the data comes from, for cards and for the error about a missing folder."""

    folder: Path = described(Path("bytesized32"), "Folder of train.jsonl and test.jsonl, both may end in .gz.")
    """Folder of `train.jsonl` and `test_dev.jsonl` or `test.jsonl`, each also as `.gz`; of `rules.json` and
    `examples.json` where they are asked for."""

    task: Task = described("full", "full, action, tick or score: the part of a step to predict.")
    """`"full"`, the step; `"action"`, before anything happens by itself; `"tick"`, what does; or `"score"`."""

    answer: Answer = described("difference", "difference or state: what the model writes.")
    """`"difference"`, what changed, or `"state"`, all of the following state."""

    rules: bool = described(True, "Whether the prompt tells the rules of the game.")
    """Whether the prompt tells the rules of the game, as in the paper."""

    examples: bool = described(False, "Whether the prompt begins with solved examples.")
    """Whether the prompt begins with solved examples of the game `dishwasher`, as in the paper."""

    compact: bool = described(False, "Whether states are short lines, for small models trained from scratch.")
    """Whether states and answers are short lines and the prompt one text; otherwise JSON and a conversation."""

    max_length: int | None = described(None, "Tokens, or characters, that prompt and answer may have together.")
    """Length of prompt and answer together. Where they are longer, the examples are left out; where that does not
    help, the transition is. States are never cut."""

    tokenizer: str | None = described(None, "Tokenizer that measures lengths: folder or Hub id; none: in characters.")
    """Folder or Hub id of the tokenizer in whose tokens lengths are measured, without those of a chat template; by
    default lengths are in characters."""

    leave_out: tuple[str, ...] = described((), "Games to leave out; the authors leave out dishwasher.")
    """Games that are left out."""

    test_games: tuple[str, ...] = described((), "Games that are tested on and in no training data; none: the files'.")
    """Games whose steps, of both files, are the test split; nothing of them is trained or chosen on. Steps of other
    games in the test file are left out then. By default the split is that of the files, which share their games."""

    changed_to_unchanged: tuple[int, int] | None = described(None, "Ratio of the training split, such as [100, 40].")
    """Ratio of changed to unchanged transitions in the training split, met by leaving out unchanged ones: the paper
    has 100:40 for the binary and 100:5 for the task-specific reward. `None` keeps all."""

    validation_share: float = described(0.05, "Share of the training file that becomes the validation split.")
    """Share of the training file that becomes the validation split, in [0, 1)."""

    seed: int = described(0, "Decides what is left out and what is for validation.")
    """Decides which unchanged transitions are left out, and what is for validation."""

    # The record is frozen, but what it holds can be filled.
    too_long: Counter[str] = field(default_factory=Counter, init=False, repr=False, compare=False)
    """Transitions of the last reading, by split, that did not fit into `max_length`."""

    def __post_init__(self) -> None:
        choices = {"task": (self.task, get_args(Task)), "answer": (self.answer, get_args(Answer))}
        for name, (given, known) in choices.items():
            if given not in known:
                raise ValueError(f"Expected `{name}` to be one of {', '.join(known)}, got {given!r}.")
        if not 0 <= self.validation_share < 1:
            raise ValueError(f"Expected `validation_share` in [0, 1), got {self.validation_share}.")
        changed, unchanged = self.changed_to_unchanged or (1, 0)
        if changed <= 0 or unchanged < 0:
            raise ValueError(f"Expected `changed_to_unchanged` such as [100, 40], got {[changed, unchanged]}.")

    @property
    def has_conversations(self) -> bool:
        """Whether prompts are conversations, and not texts."""
        return not self.compact

    def contents(self) -> dict[str, Path]:
        """The files that are read, by name: a run counts each by its content."""
        return {file.name: file for file in sorted(self.folder.glob("*.json*"))}

    def read(self) -> dict[str, list[Transition]]:
        """
        All transitions.

        Returns:
            `dict[str, list[Transition]]`: under `train`, `validation` and `test`, in the order of the files, which
            is by game; shuffle before training. States are JSON, whatever the form of prompts and answers.

        Raises:
            FileNotFoundError: if a file is missing.
            ValueError: if there are no steps of a game of `test_games`.
        """
        self.too_long.clear()
        rules = self._load("rules.json") if self.rules else None
        length = self._measure()
        solved = self._load("examples.json")[self.task] if self.examples else {}
        listed = [solved] if "game" in solved else solved.values()
        examples = [read_object_step(record, self.task) for record in listed]
        splits: dict[str, list[Transition]] = {"train": [], "validation": [], "test": []}
        games: set[str] = set()
        for file in FILES:
            for record in self._records(file):
                step = read_object_step(record, self.task)
                games.add(step.game)
                split = self._split(file, step)
                if split is None:
                    continue
                transition = self._transition(f"{record['game']}/{record['state_id']}", step, rules, examples, length)
                if transition is None:
                    self.too_long[split] += 1
                else:
                    splits[split].append(transition)
        if unknown := sorted({*self.test_games} - games):
            raise ValueError(
                f"Expected in `test_games` games of {self.folder} that are not left out, got {', '.join(unknown)}; "
                f"give some of {', '.join(sorted(games))}."
            )
        return splits | {"train": self._mixed(splits["train"])}

    def _records(self, split: str) -> Iterator[dict[str, Any]]:
        names = [f"{name}.jsonl{ending}" for name in FILES[split] for ending in ("", ".gz")]
        path = next((self.folder / name for name in names if (self.folder / name).is_file()), None)
        if path is None:
            raise FileNotFoundError(
                f"Expected one of {', '.join(names)} in {self.folder}, found none; put it there. Source: {self.source}"
            )
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as lines:
            records = (json.loads(line) for line in lines if line.strip())
            yield from (record for record in records if record["game"] not in self.leave_out)

    def _load(self, name: str) -> dict[str, Any]:
        path = self.folder / name
        if not path.is_file():
            raise FileNotFoundError(
                f"Expected {name} in {self.folder}, found none; put it there or set `{path.stem}` to false."
            )
        return json.loads(path.read_text(encoding="utf-8"))

    def _measure(self) -> Callable[[str], int]:
        """How long a text is."""
        if self.max_length is None or self.tokenizer is None:
            return len
        # Imported here, as collecting without a tokenizer needs no transformers.
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(self.tokenizer)
        return lambda text: len(tokenizer.encode(text, add_special_tokens=False))

    def _transition(
        self,
        name: str,
        step: ObjectStep,
        rules: dict[str, Any] | None,
        examples: list[ObjectStep],
        length: Callable[[str], int],
    ) -> Transition | None:
        answer = write_answer(step, self.answer, compact=self.compact)
        for shown in [examples, []] if examples else [[]]:
            prompt = write_prompt(
                step, task=self.task, answer=self.answer, compact=self.compact, rules=rules, examples=shown
            )
            if self.max_length is None or length(prompt) + length(answer) <= self.max_length:
                return Transition(
                    transition_id=name,
                    group=step.game,
                    prompt=prompt if self.compact else [{"role": "user", "content": prompt}],
                    answer=answer,
                    state=object_state_text(step.current),
                    action=step.action,
                    next_state=object_state_text(step.following),
                    is_changed=_is_changed(step.current, step.following),
                )
        return None

    def _split(self, file: str, step: ObjectStep) -> str | None:
        """The split of a step in a file; `None` if it is in none."""
        if step.game in self.test_games:
            return "test"
        if file == "train":
            return "validation" if self._is_for_validation(step) else "train"
        return None if self.test_games else file

    def _is_for_validation(self, step: ObjectStep) -> bool:
        objects = json.dumps(list(step.current.objects.values()))
        key = "\n".join([str(self.seed), step.game, step.action, objects])
        # Not `hash`, which Python salts in each process, and no draw in order, which leaving out a game would shift.
        drawn = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big")
        return drawn < self.validation_share * 2**64

    def _mixed(self, transitions: list[Transition]) -> list[Transition]:
        if self.changed_to_unchanged is None:
            return transitions
        changed, unchanged = self.changed_to_unchanged
        others = [index for index, transition in enumerate(transitions) if not transition.is_changed]
        wanted = round((len(transitions) - len(others)) * unchanged / changed)
        kept = set(random.Random(self.seed).sample(others, min(wanted, len(others))))
        return [item for index, item in enumerate(transitions) if item.is_changed or index in kept]


def nothing_changes(state: str, *, answer: Answer = "difference", compact: bool = False) -> str:
    r"""
    The answer that nothing changes.

    Args:
        state (`str`):
            The state, as JSON.
        answer (`str`, *optional*, defaults to `"difference"`):
            What is asked for, see [`RecordedTransitions`].
        compact (`bool`, *optional*, defaults to `False`):
            Whether answers are short lines.

    Returns:
        `str`: The answer.

    Example:

    ```python
    >>> state = '{"game_state": [{"uuid": 1, "properties": {}, "contains": []}, {"score": 0}]}'
    >>> nothing_changes(state)
    'The final answer is:\n{"modified": [], "removed": [], "score": {}}'

    ```
    """
    current = parse_object_state(state)
    step = ObjectStep(game="", goal="", action="", next_uuid=0, current=current, following=current)
    return write_answer(step, answer, compact=compact)


def read_hub_rows(rows: Iterable[Mapping[str, Any]]) -> Iterator[Transition]:
    r"""
    Rows of the authors' dataset `thuml/bytesized32-world-model-cot`, prompts and states in their own words.

    Args:
        rows (`Iterable[Mapping[str, Any]]`):
            Rows of a split with states: `data_source`, `prompt` (messages), `reward_model.ground_truth`,
            `extra_info.data_state` and `extra_info.data_action`.

    Yields:
        `Transition`: of each row, answered by the difference of its two states.

    Example:

    ```python
    >>> state = '{"game_state": [{"uuid": 1, "properties": {}, "contains": []}, {"score": 0}]}'
    >>> row = {"data_source": "llm_simulator", "prompt": [{"role": "user", "content": "..."}],
    ...        "reward_model": {"ground_truth": state}, "extra_info": {"data_state": state, "data_action": "look"}}
    >>> next(read_hub_rows([row])).answer
    'The final answer is:\n{"modified": [], "removed": [], "score": {}}'

    ```
    """
    for number, row in enumerate(rows):
        extra = row["extra_info"]
        current = parse_object_state(extra["data_state"])
        following = parse_object_state(row["reward_model"]["ground_truth"])
        yield Transition(
            transition_id=f"{extra.get('split', 'row')}/{extra.get('index', number)}",
            group=row["data_source"],
            prompt=[dict(message) for message in row["prompt"]],
            answer=f"{ANNOUNCED}\n{json.dumps(state_difference(current, following))}",
            state=extra["data_state"],
            action=extra["data_action"],
            next_state=row["reward_model"]["ground_truth"],
            is_changed=_is_changed(current, following),
        )


def _is_changed(current: ObjectState, following: ObjectState) -> bool:
    entries = differing(state_entries(current), state_entries(following))
    return bool(entries or differing(current.score, following.score))
