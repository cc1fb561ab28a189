import datasets
import pytest

from rlvr_world_hf import LanguageWorldModelProcessor
from rlvr_world_hf.evaluation.answers import evaluate_answers, measure_answers, measure_language_checkpoint
from rlvr_world_hf.evaluation.draws import BestSampling, Draws
from rlvr_world_hf.evaluation.predictions import Sampling
from rlvr_world_hf.evaluation.results import merge_results, validate_results
from rlvr_world_hf.evaluation.table import best_row, markdown_table
from rlvr_world_hf.rewards.text import TextReward
from rlvr_world_hf.states.answer import UnreadableAnswerError
from tests.tiny import text_tokenizer, tiny_language_model


class LetterReward(TextReward):
    """Share of the recorded answer's letters at their places."""

    name, higher_is_better, best, floor, columns = "letters", True, 1.0, 0.0, ("ground_truth",)

    def measure(self, completion, *, ground_truth):
        if "!" in completion:
            raise UnreadableAnswerError("Expected no shouting.")
        return sum(map(str.__eq__, completion, ground_truth)) / len(ground_truth)


@pytest.fixture
def rows():
    answers = ["same", "open", "shut", "same"]
    columns = {"prompt": ["a\n", "b\n", "a\n", "c\n"], "completion": answers, "ground_truth": answers}
    return datasets.Dataset.from_dict(
        columns | {"group": ["x", "x", "y", "y"], "is_changed": [False, True, True, False]}
    )


@pytest.fixture
def checkpoints():
    processor = LanguageWorldModelProcessor(text_tokenizer())
    return {name: (tiny_language_model(processor.tokenizer, seed=seed), processor) for seed, name in enumerate("ab")}


def evaluate(checkpoints, rows, **changes):
    arguments = {"metrics": [LetterReward()], "nothing_changes": ["same"] * 4, "recipe": "doors/debug"}
    arguments |= {"rewarded": ["letters"], "max_new_tokens": 4}
    return evaluate_answers(checkpoints, rows, **arguments | changes)


def test_every_answer_is_measured(rows):
    values = measure_answers([["same", "sane"], ["opes!", "open"], ["x", "x"], ["same", "x"]], rows, [LetterReward()])
    assert values["letters"].tolist() == [[1.0, 0.75], [0.0, 1.0], [0.0, 0.0], [1.0, 0.0]]
    assert values["parse_failure"].tolist() == [[0, 0], [1, 0], [0, 0], [0, 0]]


def test_metrics_of_one_name_are_refused(checkpoints, rows):
    class OtherReward(LetterReward):
        pass

    with pytest.raises(ValueError, match=r"two of the name `letters`.* LetterReward\(\) and OtherReward\(\)"):
        evaluate(checkpoints, rows, metrics=[LetterReward(), OtherReward()])


def test_yardsticks_and_classes(checkpoints, rows):
    results = evaluate(checkpoints, rows, draws=Draws(sampling=Sampling(), seeds=[0, 1], num_samples=2))
    validate_results(results)
    table = results["rows"]
    assert list(table) == ["nothing_changes", "oracle", "a", "b"]
    assert table["oracle"]["letters"]["mean"] == 1.0
    assert table["nothing_changes"]["letters_unchanged"]["mean"] == 1.0
    assert table["nothing_changes"]["letters_changed"]["mean"] == pytest.approx(1 / 8)
    assert table["nothing_changes"]["letters"]["mean"] == pytest.approx(9 / 16)
    assert all(len(summary["values"]) == 2 for summary in table["a"].values())
    assert table["a"]["letters_best_of_2"]["mean"] >= table["a"]["letters"]["mean"]
    assert best_row(results, "letters") != "oracle"
    assert "4 held-out transitions" in markdown_table(results)


def test_one_checkpoint_is_measured_as_in_the_table(checkpoints, rows):
    table = evaluate(checkpoints, rows, draws=Draws(sampling=Sampling(temperature=0.0), seeds=[0]))["rows"]
    for name, checkpoint in checkpoints.items():
        found = measure_language_checkpoint(*checkpoint, rows, metrics=[LetterReward()], max_new_tokens=4)
        assert found == {metric: value["mean"] for metric, value in table[name].items()}
        assert {"letters", "letters_changed", "parse_failure"} <= found.keys()


def test_groups_are_told_apart_and_merged(checkpoints, rows):
    per_seed = [evaluate(checkpoints, rows, training_seed=seed) for seed in (0, 1)]
    merged = merge_results(per_seed)
    assert merged["groups"]["x"]["samples"] == 2
    assert merged["groups"]["x"]["rows"]["nothing_changes"]["letters"] == pytest.approx(0.5)


def test_best_sampling_is_chosen_on_validation(checkpoints, rows):
    grid = [Sampling(temperature=0.0), Sampling(temperature=5.0)]
    results = evaluate(
        checkpoints, rows, best_sampling=BestSampling(rows=rows, checkpoints=["a", "elsewhere"], grid=grid)
    )
    assert results["sampling"]["a_best_sampling"][0] in [sampling.to_dict() for sampling in grid]
    assert list(results["rows"]) == ["nothing_changes", "oracle", "a", "a_best_sampling", "b"]


@pytest.mark.parametrize(
    "changes", [{"rewarded": ["f1"]}, {"best_sampling": BestSampling(rows=[], checkpoints=[], choose_by="f1")}]
)
def test_what_is_not_measured_is_refused(checkpoints, rows, changes):
    with pytest.raises(ValueError, match="f1"):
        evaluate(checkpoints, rows, **changes)
    with pytest.raises(ValueError, match="0 checkpoints"):
        evaluate({}, rows)
