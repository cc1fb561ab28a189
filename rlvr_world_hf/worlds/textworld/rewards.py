r"""
Rewards on predicted changes of a set of facts. With P the predicted and R the recorded set of signed facts (`+ fact`,
`- fact`):

    exact match = 1 if P = R, else 0
    F1          = \frac{2 |P \cap R|}{|P| + |R|}, and 1 if both are empty

RLVR-World (https://huggingface.co/papers/2505.13934) rewards text games by exact match and changes of web pages by F1;
facts, such as TextWorld's (https://huggingface.co/papers/1806.11532), take either.

Both compare what is said, not what it would lead to, so that every line is a claim:
- A line that stands twice counts once.
- A fact "added" that holds already, or "removed" that does not hold, is no recorded change: a wrong line as any other.
- Adding and removing the same fact, `nothing changes` beside another line, other text beside the lines and no line at
  all are unreadable and earn the floor, 0.
- Claiming a change where nothing changes, or nothing where something does, earns 0.
- Reasoning may precede the answer (see `find_answer`); only the last answer counts.
"""

from __future__ import annotations

from ...rewards.text import TextReward
from ...states.answer import UnreadableAnswerError, find_answer, find_reason
from .facts import FactChange, FactState
from .reasons import Reason, explain


class FactMatchReward(TextReward):
    r"""
    Whether exactly the recorded facts change: 1 or 0; 1 is perfect. Called `exact_match`.

    Example:

    ```python
    >>> recorded = "- closed(box)\n+ open(box)"
    >>> FactMatchReward()(
    ...     completions=["+ open(box)\n- closed(box)", "+ open(box)", "It opens."], ground_truth=[recorded] * 3
    ... )
    [1.0, 0.0, 0.0]

    ```
    """

    name, higher_is_better, best, floor, columns = "exact_match", True, 1.0, 0.0, ("ground_truth",)

    def measure(self, completion: str, *, ground_truth: str) -> float:
        """
        The metric of one answer.

        Args:
            completion (`str`):
                What the model wrote.
            ground_truth (`str`):
                The recorded change, as `str` of a `FactChange` writes it.

        Returns:
            `float`: 1 or 0.

        Raises:
            UnreadableAnswerError: if the answer cannot be read as a change.
            ValueError: if the recorded change cannot be read.
        """
        reference = _recorded_change(ground_truth)
        return float(FactChange.parse(find_answer(completion)) == reference)


class FactF1Reward(TextReward):
    r"""
    F1 of the changed facts, in [0, 1]; 1 is perfect. Called `fact_f1`.

    Example:

    ```python
    >>> recorded = "- closed(box)\n+ open(box)"
    >>> FactF1Reward()(
    ...     completions=[recorded, "+ open(box)\n+ held(box)", "nothing changes"], ground_truth=[recorded] * 3
    ... )
    [1.0, 0.5, 0.0]

    ```
    """

    name, higher_is_better, best, floor, columns = "fact_f1", True, 1.0, 0.0, ("ground_truth",)

    def measure(self, completion: str, *, ground_truth: str) -> float:
        """
        The metric of one answer.

        Args:
            completion (`str`):
                What the model wrote.
            ground_truth (`str`):
                The recorded change, as `str` of a `FactChange` writes it.

        Returns:
            `float`: in [0, 1].

        Raises:
            UnreadableAnswerError: if the answer cannot be read as a change.
            ValueError: if the recorded change cannot be read.
        """
        recorded = _recorded_change(ground_truth).signed_facts
        predicted = FactChange.parse(find_answer(completion)).signed_facts
        if not predicted and not recorded:
            return 1.0
        return 2 * len(predicted & recorded) / (len(predicted) + len(recorded))


class ReasonMatchReward(TextReward):
    r"""
    Whether the reason before an answer names exactly the facts that the command needs, and rightly whether they hold:
    1 or 0; 1 is perfect. Called `reason_match`; the answer itself does not count.

    It is measured beside a reward on answers, to see whether a policy rewarded for these alone reasons rightly.

    Example:

    ```python
    >>> state = "at(player, attic)\nat(box, attic)\nopen(box)"
    >>> begin = "<think>\nyes at(player, attic)\nyes at(box, attic)\n"
    >>> ReasonMatchReward()(
    ...     completions=[f"{begin}{last} closed(box)\n</think>\nnothing changes" for last in ("no", "yes")],
    ...     data_state=[state] * 2, data_action=["open box"] * 2,
    ... )
    [1.0, 0.0]

    ```
    """

    name, higher_is_better, best, floor = "reason_match", True, 1.0, 0.0
    columns = ("data_state", "data_action")

    def measure(self, completion: str, *, data_state: str, data_action: str) -> float:
        """
        The metric of one completion.

        Args:
            completion (`str`):
                What the model wrote.
            data_state (`str`):
                The state, one fact a line.
            data_action (`str`):
                The command.

        Returns:
            `float`: 1 or 0.

        Raises:
            UnreadableAnswerError: if there is no reason, or it cannot be read.
        """
        said = find_reason(completion)
        if said is None:
            raise UnreadableAnswerError(f"Expected a reason, which ends with '</think>', got {completion!r:.80}.")
        true = explain(FactState.parse(data_state), data_action)
        return float({*Reason.parse(said).needs} == {*true.needs})


def _recorded_change(ground_truth: str) -> FactChange:
    """The reference; one that cannot be read is a fault of the data and not of the answer."""
    try:
        return FactChange.parse(ground_truth)
    except UnreadableAnswerError as error:
        raise ValueError(f"Expected the column `ground_truth` to hold changes of facts. {error}") from error
