import gzip
import itertools
import json
from pathlib import Path

import datasets
import pytest

from rlvr_world_hf.data import RecordedTransitions, read_hub_rows
from rlvr_world_hf.data.transition import transition_row
from rlvr_world_hf.training.language import train_text_tokenizer
from rlvr_world_hf.worlds.bytesized32.answers import read_following_state
from rlvr_world_hf.worlds.bytesized32.state import parse_object_state, state_entries


def lamp(is_on):
    return {"name": "lamp (ID: 1)", "uuid": 1, "type": "Lamp", "properties": {"isOn": is_on}, "contains": []}


def record(number, *, game="lamps", change=True):
    stages = {
        name: {"objects": [lamp(is_on)], "taskDesc": "Light it.", "lastAction": f"push {number % 20}", "max_UUID": 2}
        for name, is_on in (("current_state", False), ("action_state", change), ("tick_state", change))
    }
    score = {"score": 0, "gameOver": False, "gameWon": False}
    return stages | {"game": game, "state_id": number, "current_score_state": score, "next_score_state": score}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """60 steps of 20 actions, one in three changing something, and 3 to test; zipped or not."""
    with gzip.open(tmp_path / "train.jsonl.gz", "wt", encoding="utf-8") as lines:
        lines.writelines(f"{json.dumps(record(number, change=number % 3 == 0))}\n" for number in range(60))
    games = ("lamps", "lamps", "others")
    lines = [json.dumps(record(number, game=game)) for number, game in enumerate(games)]
    (tmp_path / "test.jsonl").write_text("\n".join(lines))
    rules = {name: f"{name} of the lamp." for name in ("object_rules", "action_rules", "score_rules")}
    (tmp_path / "rules.json").write_text(json.dumps({"lamps": rules, "others": rules}))
    examples = {"full": {"action": record(7), "tick": record(8)}, "tick": record(9)}
    (tmp_path / "examples.json").write_text(json.dumps(examples))
    return tmp_path


def test_splits_are_cut_by_game_objects_and_action(folder):
    splits = RecordedTransitions(folder=folder, validation_share=0.3).read()
    actions = {split: {item.action for item in items} for split, items in splits.items()}
    assert len(splits["train"]) + len(splits["validation"]) == 60 and len(splits["test"]) == 3
    assert actions["validation"] and not actions["train"] & actions["validation"]
    assert splits == RecordedTransitions(folder=folder, validation_share=0.3).read()
    others = RecordedTransitions(folder=folder, validation_share=0.3, seed=1).read()
    assert others["validation"] != splits["validation"]


@pytest.mark.parametrize(("ratio", "kept"), [((100, 40), 8), ((100, 5), 1), ((1, 0), 0), ((1, 9), 40), (None, 40)])
def test_unchanged_transitions_are_left_out_of_training(folder, ratio, kept):
    read = RecordedTransitions(folder=folder, validation_share=0, changed_to_unchanged=ratio).read
    changed = [item.is_changed for item in read()["train"]]
    assert (sum(changed), changed.count(False)) == (20, kept)
    assert read() == read()


def test_examples_are_left_out_before_transitions(folder):
    def lengths(**settings):
        recorded = RecordedTransitions(folder=folder, examples=True, **settings)
        splits = recorded.read()
        return [len(item.prompt[0]["content"]) + len(item.answer) for item in splits["test"]], recorded.too_long

    full, _ = lengths()
    assert lengths(max_length=max(full)) == (full, {})
    short, too_long = lengths(max_length=max(full) - 1)
    assert max(short) < max(full) - 400 and not too_long
    assert lengths(max_length=10) == ([], {"train": 57, "validation": 3, "test": 3})


def test_lengths_are_counted_in_tokens(folder, tmp_path):
    def read(**settings):
        return [
            (item.prompt[0]["content"], item.answer)
            for item in RecordedTransitions(folder=folder, **settings).read()["test"]
        ]

    tokenizer = train_text_tokenizer([" ".join(pair) for pair in read()], vocab_size=600)
    tokenizer.save_pretrained(tmp_path / "words")
    tokens = [sum(len(tokenizer.encode(text)) for text in pair) for pair in read()]
    assert max(tokens) < min(len(prompt) for prompt, _ in read()), "tokens are fewer than characters"
    budget = {"tokenizer": str(tmp_path / "words")}
    assert read(max_length=max(tokens), **budget) == read()
    assert len(read(max_length=max(tokens) - 1, **budget)) == sum(count < max(tokens) for count in tokens)


def test_games_are_left_out(folder):
    test = RecordedTransitions(folder=folder, leave_out=("others",)).read()["test"]
    assert [item.transition_id for item in test] == ["lamps/0", "lamps/1"]


def test_games_are_tested_on_that_are_in_no_training_data(folder):
    """Their steps in the training file are tested on, too, and those of other games in the test file are not."""
    with (folder / "test.jsonl").open("a") as lines:
        lines.write("\n" + json.dumps(record(7, game="others")))
    splits = RecordedTransitions(folder=folder, test_games=("others",), validation_share=0.3).read()
    assert [item.transition_id for item in splits["test"]] == ["others/2", "others/7"]
    assert {item.group for split in ("train", "validation") for item in splits[split]} == {"lamps"}
    splits = RecordedTransitions(folder=folder, test_games=("lamps",)).read()
    assert len(splits["test"]) == 62 and not splits["train"] and not splits["validation"]
    for settings in ({"test_games": ("lamp", "others")}, {"test_games": ("lamps",), "leave_out": ("lamps",)}):
        with pytest.raises(ValueError, match=r"not left out, got lamps?; give some of (lamps, )?others"):
            RecordedTransitions(folder=folder, **settings).read()


def test_one_example_of_a_part_and_no_more_files_than_needed(folder):
    test = RecordedTransitions(folder=folder, task="tick", examples=True).read()["test"]
    assert "push 9" in test[0].prompt[0]["content"]
    (folder / "rules.json").unlink()
    RecordedTransitions(folder=folder, rules=False).read()
    with pytest.raises(FileNotFoundError, match=r"rules\.json"):
        RecordedTransitions(folder=folder).read()
    (folder / "test.jsonl").unlink()
    with pytest.raises(FileNotFoundError, match="GPT-simulator"):
        RecordedTransitions(folder=folder, rules=False).read()


@pytest.mark.parametrize(
    "wrong", [{"task": "look"}, {"answer": "no"}, {"validation_share": 1.0}, {"changed_to_unchanged": (0, 1)}]
)
def test_arguments_are_checked(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        RecordedTransitions(**wrong)


def test_recorded_transitions_of_all_games(shared):
    splits = RecordedTransitions(folder=shared / "data" / "bytesized32", compact=True, rules=False).read()
    assert {split: len(items) for split, items in splits.items()} == {"train": 11387, "validation": 611, "test": 1482}
    assert sum(item.is_changed for item in splits["test"]) == 590
    keys = [
        {(i.group, json.dumps(json.loads(i.state)["game_state"][:-1]), i.action) for i in s} for s in splits.values()
    ]
    assert not keys[0] & keys[1] and not keys[0] & keys[2] and not keys[1] & keys[2]
    names = [item.transition_id for items in splits.values() for item in items]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("compact", [False, True])
def test_recorded_answers_are_read_as_the_recorded_states(recorded_tests, compact):
    test = RecordedTransitions(folder=recorded_tests, compact=compact, rules=not compact).read()["test"]
    assert len(test) == 1482
    for item in test:
        following = parse_object_state(item.next_state)
        predicted = read_following_state(item.answer, parse_object_state(item.state))
        assert (state_entries(predicted), predicted.score) == (state_entries(following), following.score)


@pytest.fixture
def recorded_tests(shared, tmp_path):
    """The recorded test split with ten transitions to train on, which are read as fast."""
    source = shared / "data" / "bytesized32"
    for file in source.iterdir():
        if file.name != "train.jsonl.gz":
            (tmp_path / file.name).symlink_to(file)
    with gzip.open(source / "train.jsonl.gz", "rt", encoding="utf-8") as lines:
        (tmp_path / "train.jsonl").write_text("".join(itertools.islice(lines, 10)))
    return tmp_path


@pytest.mark.parametrize(("task", "flag"), [("action", "action_change"), ("tick", "time_change")])
def test_parts_change_what_the_source_says_they_change(recorded_tests, task, flag):
    folder = recorded_tests
    flags = json.loads((folder / "dynamic_states.json").read_text())
    test = RecordedTransitions(folder=folder, task=task, compact=True, rules=False).read()["test"]
    changed = {item.transition_id for item in test if item.is_changed}
    assert changed
    assert changed == {
        item.transition_id for item in test if int(item.transition_id.split("/")[1]) in flags[item.group][flag]
    }


def test_scores_change_as_often_as_the_source_says(recorded_tests):
    recorded = RecordedTransitions(folder=recorded_tests, task="score", compact=True, rules=False)
    assert sum(item.is_changed for item in recorded.read()["test"]) == 86


def test_rows_of_the_hub(tmp_path):
    states = [json.dumps({"game_state": [lamp(is_on), {"score": 0}]}) for is_on in (False, True)]
    rows = [
        {
            "data_source": "llm_simulator",
            "prompt": [{"role": "user", "content": "The lamp is off."}],
            "ability": "next state prediction",
            "reward_model": {"style": "rule", "ground_truth": states[following]},
            "extra_info": {"split": "test", "index": following, "data_state": states[0], "data_action": "push"},
        }
        for following in (0, 1)
    ]
    datasets.Dataset.from_list(rows).to_parquet(str(tmp_path / "test.parquet"))
    stored = datasets.Dataset.from_parquet(str(tmp_path / "test.parquet"), cache_dir=str(tmp_path))
    same, changed = read_hub_rows(stored)
    assert (same.transition_id, same.is_changed, changed.is_changed) == ("test/0", False, True)
    assert transition_row(changed)["prompt"] == rows[1]["prompt"] and changed.state == states[0]
    assert read_following_state(changed.answer, parse_object_state(changed.state)).objects[1] == lamp(True)
