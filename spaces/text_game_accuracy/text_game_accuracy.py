"""Whether a world model says what a step of a text game changes, as an `evaluate` metric."""

import datasets
import evaluate

from rlvr_world_hf.rewards import FactF1Reward, FactMatchReward, ObjectStateReward
from rlvr_world_hf.worlds.bytesized32.state import parse_object_state


DESCRIPTION = """\
Share of a world model's answers that say exactly what a step of a text game changes. The numbers are those of the
verifiable rewards of RLVR-World (https://huggingface.co/papers/2505.13934, section 4.1), with which it was trained.
"""

INPUTS = """
Args:
    predictions (`list` of `str`): answers of the model; of `bytesized32` JSON with `modified`, `removed` and `score`,
        or short lines as below.
    references (`list` of `str`): of `bytesized32` the recorded states after the step, JSON `{"game_state": [...]}`; of
        `textworld` the recorded changes, one signed fact a line.
    states (`list` of `str`): of `bytesized32` alone, the states before the step, in the same form.
    parity (`bool`, *optional*, defaults to `False`): of `bytesized32` alone, whether to give the numbers of the
        authors' code, to compare with the paper's.

Returns:
    `dict[str, float]`: `accuracy`, in [0, 1]; the graded reward beside it, `task_specific` in [0, 1.3] or `fact_f1` in
    [0, 1]; and `parse_failure`, the share of answers that could not be read and count as wrong. Only the last is
    better when lower.

Raises:
    ValueError: if there are no answers, or a state or a recorded change cannot be read; it says which.

Examples:

    >>> metric = evaluate.load("spaces/text_game_accuracy")
    >>> state = '{"game_state": [{"uuid": 2, "properties": {"isOn": false}, "contains": []}, {"score": 0}]}'
    >>> later = state.replace("false", "true")
    >>> metric.compute(predictions=["2|+isOn", "the lamp"], references=[later, later], states=[state, state])
    {'accuracy': 0.5, 'task_specific': 0.65, 'parse_failure': 0.5}

    >>> metric = evaluate.load("spaces/text_game_accuracy", "textworld")
    >>> metric.compute(predictions=["+ open(box)"], references=["- closed(box)\\n+ open(box)"])
    {'accuracy': 0.0, 'fact_f1': 0.6666666666666666, 'parse_failure': 0.0}
"""

COLUMNS = {
    "bytesized32": ("predictions", "references", "states"),
    "textworld": ("predictions", "references"),
}
"""What each configuration is given, all text; the first one is the default."""


class TextGameAccuracy(evaluate.Metric):
    __doc__ = DESCRIPTION + INPUTS

    def _info(self):
        if self.config_name == "default":
            self.config_name = next(iter(COLUMNS))
        if self.config_name not in COLUMNS:
            raise ValueError(f"Expected the kind of game, one of {', '.join(COLUMNS)}, got {self.config_name!r}.")
        return evaluate.MetricInfo(
            description=DESCRIPTION,
            citation="",
            inputs_description=INPUTS,
            features=datasets.Features({name: datasets.Value("string") for name in COLUMNS[self.config_name]}),
            reference_urls=["https://huggingface.co/papers/2505.13934"],
        )

    def _compute(self, predictions, references, states=None, parity=False):
        if not predictions:
            raise ValueError("Expected at least one answer, got none.")
        if states is None:
            if parity:
                raise ValueError("`parity` is of `bytesized32` alone; leave it out.")
            rewards = {"accuracy": FactMatchReward(), "fact_f1": FactF1Reward()}
            columns = {"ground_truth": references}
        else:
            for name, column in {"references": references, "states": states}.items():
                _refuse_unreadable(name, column)
            kinds = {"accuracy": "binary", "task_specific": "task_specific"}
            rewards = {name: ObjectStateReward(kind=kind, parity=parity) for name, kind in kinds.items()}
            columns = {"ground_truth": references, "data_state": states, "data_action": [""] * len(states)}
        measured = {name: reward.metric(predictions, **columns) for name, reward in rewards.items()}
        means = {name: sum(values) / len(values) for name, (values, _) in measured.items()}
        _, readable = measured["accuracy"]
        return means | {"parse_failure": 1 - sum(readable) / len(readable)}


def _refuse_unreadable(name, column):
    for index, text in enumerate(column):
        try:
            parse_object_state(text)
        except ValueError as error:
            raise ValueError(
                f'`{name}[{index}]` is no recorded state of JSON, {{"game_state": [object, ..., score]}}: {error}'
            ) from error
