"""Rewards on text of the official code: recorded cases of golden/README.md, section 1 (tolerance 1e-9)."""

import gzip
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from rlvr_world_hf.rewards import ObjectStateReward
from rlvr_world_hf.worlds.bytesized32.state import (
    ObjectState,
    differing,
    object_state_text,
    parse_object_state,
    state_difference,
    state_entries,
)


KINDS = ("binary", "task_specific")


def read_lines(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def cases(golden: Path) -> list[dict[str, Any]]:
    return read_lines(golden / "text_game_reward.jsonl.gz")


@pytest.fixture(scope="module")
def transitions(golden: Path, shared: Path, cases) -> list[tuple[dict[str, Any], ObjectState, ObjectState]]:
    """Recorded labels of a transition, with its states: of the test set, or of a case."""
    states = {
        (line["game"], line["state_id"]): (
            {"game_state": [*line["current_state"]["objects"], line["current_score_state"]]},
            {"game_state": [*line["tick_state"]["objects"], line["next_score_state"]]},
        )
        for line in read_lines(shared / "data" / "bytesized32" / "test_dev.jsonl.gz")
    }
    texts = {key: tuple(json.dumps(state) for state in pair) for key, pair in states.items()}
    texts |= {(case["game"], case["state_id"]): (case["data_state"], case["ground_truth"]) for case in cases}
    labels = read_lines(golden / "text_game_transitions.jsonl.gz")
    known = [(label, texts.get((label["game"], label["state_id"]))) for label in labels]
    return [(label, *map(parse_object_state, pair)) for label, pair in known if pair is not None]


def rewards_of(kind: str, completions: list[str], states: list[str], truths: list[str]) -> list[float]:
    reward = ObjectStateReward(kind=kind, parity=True)
    columns = {"data_state": states, "ground_truth": truths, "data_action": [""] * len(states)}
    return reward(completions=completions, **columns)


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize("kind", KINDS)
def test_object_state_cases(cases, kind: str) -> None:
    columns = [[case[name] for case in cases] for name in ("solution", "data_state", "ground_truth")]
    given = rewards_of(kind, *columns)
    wrong = {}
    for case, reward in zip(cases, given, strict=True):
        versions = case["alt"].values() if case["repair_sensitive"] else ()
        accepted = [case[kind], *(version[kind] for version in versions)]
        if min(abs(reward - value) for value in accepted) > 1e-9:
            wrong[case["id"]] = (case["kind"], reward, case[kind])
    assert len(cases) == 627 and not wrong


@pytest.mark.parametrize("kind", KINDS)
def test_full_and_empty_differences_of_transitions(transitions, kind: str) -> None:
    states = [object_state_text(current) for _, current, _ in transitions]
    truths = [object_state_text(following) for _, _, following in transitions]
    full = [
        {**state_difference(current, following), "score": following.score} for _, current, following in transitions
    ]
    labels = [label for label, _, _ in transitions]
    assert len(labels) > 900
    oracle = rewards_of(kind, [json.dumps(difference) for difference in full], states, truths)
    assert oracle == pytest.approx([label[f"oracle_{kind}"] for label in labels], abs=1e-9)
    empty = json.dumps({"modified": [], "removed": [], "score": {}})
    nothing = rewards_of(kind, [empty] * len(states), states, truths)
    assert nothing == pytest.approx([label[f"noop_{kind}"] for label in labels], abs=1e-9)


def test_states_differences_and_labels_of_transitions(transitions) -> None:
    for label, current, following in transitions:
        assert sha256(object_state_text(current)) == label["data_state_sha256"]
        assert sha256(object_state_text(following)) == label["ground_truth_sha256"]
        changes = differing(state_entries(current), state_entries(following))
        score_changed = bool(differing(current.score, following.score))
        assert (bool(changes) or score_changed, score_changed) == (label["changed"], label["score_changed"])
        shared = [uuid for uuid, _, _ in changes if uuid in current.objects and uuid in following.objects]
        assert len(shared) == label["n_changed_props"]
        difference = state_difference(current, following)
        assert len(difference["removed"]) == label["n_removed"]
        if not label["n_added"]:
            assert sha256(json.dumps(difference)) == label["state_difference_sha256"]
