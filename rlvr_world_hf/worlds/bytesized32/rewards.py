r"""
How right a predicted object state is. An entry is one property, or the contents, of one object; all entries of the
predicted and the recorded state count, as does every key of the two scores:

    binary        = 1 if no entry and no part of the score is wrong, else 0
    task_specific = 0.09 right entries / all entries + 0.01 right score keys / all score keys + 0.2 binary
                    + right changed entries / changed entries         (nothing where no entry changed)
"""

from __future__ import annotations

from typing import Literal, get_args

from ...rewards.text import TextReward
from .answers import read_following_state
from .official_rewards import official_binary_reward, official_task_specific_reward
from .state import differing, parse_object_state, state_entries


Kind = Literal["binary", "task_specific"]


class ObjectStateReward(TextReward):
    """
    Rewards of RLVR-World's text games (https://huggingface.co/papers/2505.13934, section 4.1): `binary` in {0, 1}, the
    accuracy of its tables; `task_specific` in [0, 1.3], of a state that does not change in [0, 0.3].

    By default it differs from the authors' code (`there`) where that code rewards wrong answers, or does not reward
    right ones:

    - an object that the step added can be predicted, and its entries count as changed; there it cannot be right;
    - an object that the step removed must be reported, and its entries count as changed; there nothing depends on it;
    - an object or property that neither state has is an error of its own; there it makes the task-specific reward 0
      (a property) or costs nothing (an object, and either in the binary reward);
    - a changed object that the answer leaves out or strips of properties is wrong in all its changed entries; there
      they are not counted;
    - an answer must have lists under `modified` and `removed`; there a text that holds the two words earns the reward
      of an unchanged state;
    - one part of an unexpected type is wrong; there it makes the whole reward 0;
    - `1` for a recorded `true`, or `0` for `false`, is wrong; there it is right;
    - special tokens of the tokenizer, and anything that looks like Python's `True` inside a text, do no harm.

    It also reads whole states, and the lines of
    [`~rlvr_world_hf.worlds.bytesized32.compact.write_compact_difference`].

    The formula of `task_specific` is that of the authors' code in either case, and it can be cheated: the share of
    right changed entries, most of the reward, does not count what was changed wrongly. On the recorded states that
    change, an answer that flips every boolean and adds 1 to every number earns 0.29, one that changes nothing 0.10.
    `binary` gives both 0: train on it instead, or measure it beside (`evaluate.metrics` of a recipe).

    Args:
        kind (`str`, *optional*, defaults to `"binary"`):
            `"binary"` or `"task_specific"`.
        parity (`bool`, *optional*, defaults to `False`):
            Whether to give the numbers of the authors' code, to compare with the paper's.
        processes (`int`, *optional*, defaults to 1):
            Processes that score a large batch; 0 for one a core.

    Raises:
        ValueError: if there is no such kind.

    Example:

    ```python
    >>> state = '{"game_state": [{"uuid": 2, "properties": {"isOn": false}, "contains": []}, {"score": 0}]}'
    >>> later = state.replace("false", "true")
    >>> lamp = '{"uuid": 2, "properties": {"isOn": true}, "contains": []}'
    >>> ObjectStateReward(kind="task_specific")(
    ...     completions=[f'{{"modified": [{lamp}], "removed": [], "score": {{}}}}', "2|+isOn", "2|-isOn", "the lamp"],
    ...     data_state=[state] * 4, ground_truth=[later] * 4, data_action=["turn on lamp"] * 4,
    ... )
    [1.3, 1.3, 0.055, 0.0]

    ```
    """

    name, higher_is_better, best, floor = "object_state_binary", True, 1.0, 0.0
    columns = ("ground_truth", "data_state", "data_action")

    def __init__(self, *, kind: Kind = "binary", parity: bool = False, processes: int = 1) -> None:
        super().__init__(processes=processes)
        if kind not in get_args(Kind):
            raise ValueError(f"Expected `kind` to be one of {', '.join(get_args(Kind))}, got {kind!r}.")
        self.kind = kind
        self.parity = parity
        self.name = f"object_state_{kind}{'_official' if parity else ''}"
        self.best = 1.0 if kind == "binary" else 1.3

    def measure(self, completion: str, **row: str) -> float:
        """See [`TextReward.measure`]."""
        current, following = parse_object_state(row["data_state"]), parse_object_state(row["ground_truth"])
        if self.parity:
            official = official_binary_reward if self.kind == "binary" else official_task_specific_reward
            return official(completion, current, following)
        predicted = read_following_state(completion, current)
        ours, recorded, before = state_entries(predicted), state_entries(following), state_entries(current)
        wrong, wrong_score = set(differing(ours, recorded)), differing(predicted.score, following.score)
        is_right = not wrong and not wrong_score
        if self.kind == "binary":
            return float(is_right)
        changed = differing(before, recorded)
        changes = sum(entry not in wrong for entry in changed) / len(changed) if changed else 0.0
        # Two states without objects have no entry that could be wrong.
        entries = 1 - len(wrong) / max(len(ours.keys() | recorded.keys()), 1)
        scores = 1 - len(wrong_score) / max(len(predicted.score.keys() | following.score.keys()), 1)
        return 0.09 * entries + 0.01 * scores + 0.2 * is_right + changes
