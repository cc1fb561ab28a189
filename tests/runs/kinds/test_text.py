"""A world of text through all stages in one command."""

from pathlib import Path

import datasets
import pytest

from rlvr_world_hf import LanguageWorldModelProcessor, WorldModelPipeline
from rlvr_world_hf.commands import cli
from rlvr_world_hf.data.folder import UnusableEpisodesError
from rlvr_world_hf.data.transition import Transition
from rlvr_world_hf.evaluation.results import read_results
from rlvr_world_hf.runs.kinds import kind_of
from rlvr_world_hf.runs.kinds.kind import SPLITS
from rlvr_world_hf.runs.recipe import Recipe, load_recipe
from rlvr_world_hf.runs.run import run, summary
from rlvr_world_hf.runs.stage import find_stage


FEW_UPDATES = {
    "collect.train": 3,
    "collect.validation": 1,
    "collect.test": 1,
    "collect.length": 8,
    "collect.processes": 1,
    "pretrain.max_steps": 4,
    "pretrain.eval_steps": 2,
    "control.max_steps": 2,
    "grpo.max_steps": 2,
}


def small(folder: Path, **changes: object) -> Recipe:
    return load_recipe("textworld/debug", overrides={**FEW_UPDATES, "output_dir": str(folder), **changes})


@pytest.fixture(scope="module")
def finished(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    recipe = small(tmp_path_factory.mktemp("text"))
    run(recipe)
    return recipe


def test_results_card_and_examples(finished: Recipe) -> None:
    folder = finished.output_dir
    results = read_results(folder / "results.json")
    assert list(results["rows"]) == ["nothing_changes", "oracle", "base", "base_best_sampling", "control", "rlvr"]
    assert results["rewarded"] == ["fact_f1"]
    assert {"fact_f1", "exact_match", "fact_f1_changed", "parse_failure"} <= set(results["rows"]["rlvr"])
    assert results["rows"]["oracle"]["exact_match"]["mean"] == 1.0
    assert results["groups"]
    card = (folder / "README.md").read_text()
    assert "pipeline_tag: text-generation" in card and "## Examples" in card
    assert "fact_f1_changed ↑" in summary(finished)


def test_games_of_a_split_are_in_no_other(finished: Recipe) -> None:
    splits = [set(kind_of(finished).stored(split)["transition_id"]) for split in ("train", "validation", "test")]
    assert all(splits) and len(set.union(*splits)) == sum(map(len, splits))
    assert len(kind_of(finished).rows("train", count=2)) == 2


def test_a_state_and_an_action_are_answered(finished: Recipe) -> None:
    pipeline = WorldModelPipeline.from_pretrained(finished.output_dir / "rlvr")
    assert isinstance(pipeline.processor, LanguageWorldModelProcessor)
    answers = pipeline("at(player, attic)", "look", num_samples=2)
    assert len(answers) == 2 and all(isinstance(answer, str) for answer in answers)
    assert pipeline("at(player, attic)\n> look\n", num_samples=2) == answers


def test_predict_prints_an_answer(finished: Recipe, capsys: pytest.CaptureFixture) -> None:
    words = ["predict", "textworld/debug", "--output_dir", str(finished.output_dir)]
    words += [word for key, value in FEW_UPDATES.items() for word in (f"--{key}", str(value))]
    before = {file: file.stat().st_mtime_ns for file in finished.output_dir.rglob("*")}
    pipeline = WorldModelPipeline.from_pretrained(finished.output_dir / "rlvr")
    # YAML would fold the lines, read the object, and take the action for false.
    state, action = 'at(player, attic)\n{"lamp": "on"} #1', "no"
    expected = pipeline(state, action, temperature=3.0)[0]
    assert len(expected) > 20
    for _ in range(2):
        assert cli.main([*words, "--temperature", "3.0", "--state", state, "--action", action]) == 0
        assert capsys.readouterr().out.endswith(expected + "\n")
    assert {file: file.stat().st_mtime_ns for file in finished.output_dir.rglob("*")} == before


def test_a_finished_run_is_not_run_again(finished: Recipe) -> None:
    written = (finished.output_dir / "rlvr" / "model.safetensors").stat().st_mtime_ns
    run(finished)
    assert (finished.output_dir / "rlvr" / "model.safetensors").stat().st_mtime_ns == written


@pytest.mark.slow  # without an adapter the stages are run above, and with one their trainers in tests/training
def test_an_adapter_goes_through_all_stages(cache: Path, finished: Recipe, tmp_path: Path) -> None:
    start = {
        "pretrain.start_from": str(finished.output_dir / "base"),
        "tokenizer.source": str(finished.output_dir / "base"),
    }
    recipe = small(tmp_path / "lora", **start, **{"pretrain.lora_rank": 2, "pretrain.lora_alpha": 4})
    run(recipe)
    for name in ("base", "control", "rlvr"):
        assert not list((recipe.output_dir / name).glob("adapter*")), "adapters are merged"
    assert "rlvr" in read_results(recipe.output_dir / "results.json")["rows"]


def test_stages_name_what_text_takes() -> None:
    with pytest.raises(ValueError, match="vocab_size"):
        find_stage("tokenizer").read(load_recipe("textworld/debug", overrides={"tokenizer.vocab_sise": 300}))


class RecordedSplits:
    """A source of recorded transitions, fifty in each split."""

    def read(self) -> dict[str, list[Transition]]:
        return {split: [transition(f"{split}/{number}") for number in range(50)] for split in SPLITS}


def transition(name: str) -> Transition:
    texts = {"prompt": "p", "answer": "a", "state": "s", "action": "a", "next_state": "n"}
    return Transition(transition_id=name, group="g", is_changed=True, **texts)


def write_recorded(folder: Path, **counts: float) -> dict[str, list[str]]:
    recipe = load_recipe("textworld/debug", overrides={f"collect.{split}": count for split, count in counts.items()})
    kind_of(recipe).write_recorded(RecordedSplits(), folder)
    return {split: datasets.load_from_disk(str(folder / split))["transition_id"][:] for split in SPLITS}


def test_a_share_of_recorded_transitions_is_a_share(tmp_path: Path) -> None:
    taken = write_recorded(tmp_path, train=0, validation=0.1, test=7)
    assert {split: len(names) for split, names in taken.items()} == {"train": 50, "validation": 5, "test": 7}
    assert taken["validation"] == [f"validation/{number}" for number in (0, 10, 20, 30, 40)]
    assert len(write_recorded(tmp_path / "least", train=1, validation=0.001, test=0)["validation"]) == 1


@pytest.mark.parametrize(
    ("share", "told"),
    [
        (1.5, r"a share in \(0, 1\), or a whole number of 0 or more, got 1.5"),
        (-0.1, r"a share in \(0, 1\), or a whole number of 0 or more, got -0.1"),
        (51, "at most the 50 recorded transitions of this split, got 51"),
    ],
)
def test_what_is_no_share_of_recorded_transitions_is_refused(tmp_path: Path, share: float, told: str) -> None:
    with pytest.raises(UnusableEpisodesError, match=f"collect.validation: expected {told}"):
        write_recorded(tmp_path, train=0, validation=share, test=0)
    assert not list(tmp_path.iterdir()), "nothing is written before all is checked"


@pytest.mark.browser
def test_pages_go_through_all_stages(cache: Path, tmp_path: Path) -> None:
    changes = {name: value for name, value in FEW_UPDATES.items() if "length" not in name}
    recipe = load_recipe("webpages/debug", overrides={**changes, "output_dir": str(tmp_path / "run")})
    run(recipe)
    rows = read_results(recipe.output_dir / "results.json")["rows"]
    assert rows["oracle"]["page_change_f1"]["mean"] == 1.0 and "rlvr" in rows
