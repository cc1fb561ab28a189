import json
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import pytest

from rlvr_world_hf.pipeline import WorldModelPipeline
from rlvr_world_hf.processors.text import LanguageWorldModelProcessor
from rlvr_world_hf.worlds.textworld.facts import FactChange, FactState
from rlvr_world_hf.worlds.textworld.playground import (
    EXCERPT,
    MAX_FACTS,
    MAX_JSON,
    MalformedStateError,
    TextGames,
    TextPlayground,
    read_state,
    write_state,
)
from tests.robust.forks import Forks
from tests.tiny import text_tokenizer, tiny_language_model


STATE = FactState.parse("at(player, kitchen)\nclosed(fridge)\nin(apple, fridge)")
OPENED = FactChange.parse("- closed(fridge)\n+ open(fridge)")


class Says:
    """A pipeline with one answer, which keeps what it was asked."""

    processor = SimpleNamespace(predicts=("text",), prompt_template="{state} > {action}")

    def __init__(self, *texts: str) -> None:
        self.texts = list(texts)
        self.asked: list[Any] = []

    def __call__(self, state: str, action: str, **sampling: Any) -> list[str]:
        self.asked.append((state, action, sampling))
        return self.texts


@pytest.fixture(scope="module")
def games() -> TextGames:
    if find_spec("textworld") is None:
        pytest.skip("TextWorld is not installed, so there is no game to play: `make install`")
    return TextGames()


def test_a_game_says_what_holds_and_what_can_be_done(games: TextGames) -> None:
    situation = games.situation(7_000_000)
    assert situation == games.situation(7_000_000) and situation.state != games.situation(7_000_001).state
    assert situation.changing_actions and situation.no_op_actions
    assert any(fact.startswith("at(player, ") for fact in situation.state.facts)


def test_what_truly_happens_is_the_games_own(games: TextGames) -> None:
    situation = games.situation(7_000_000)
    for command in situation.changing_actions:
        change = games.outcome(situation, f" {command.upper()} ")
        assert change
        following, is_over = games.follow(situation, command)
        assert following.state == (situation.state if is_over else situation.state.apply(change))
        assert following.commands == (command,)
    assert games.outcome(situation, situation.no_op_actions[0]) == FactChange(added=frozenset(), removed=frozenset())
    assert games.outcome(situation, "fly to the moon") is None and games.outcome(situation, "") is None


def test_a_game_goes_on_by_commands_that_it_offers(games: TextGames) -> None:
    situation = games.situation(7_000_000)
    following, is_over = games.follow(situation, "Look")
    assert following.commands == ("look",) and following.state == situation.state and not is_over
    with pytest.raises(ValueError, match="Expected a command that the game offers, got 'fly'"):
        games.situation(situation.seed, ["fly"])
    with pytest.raises(ValueError, match="at most 100 commands, got 101"):
        games.situation(0, ["look"] * 101)
    with pytest.raises(ValueError, match="Expected the seed to be a whole number"):
        games.situation(-1)


def test_without_textworld_it_is_said_what_to_install(forks: Forks) -> None:
    ended = forks.run(call="tests.worlds.textworld.without_textworld:play")
    assert ended is not None and ended.code == 1 and "closed(box)" in ended.text
    assert "TextWorld is missing: install it with `pip install 'rlvr-world-hf[textworld]'`" in ended.text


def test_answers_come_model_by_model_with_their_rewards() -> None:
    base, rlvr = Says("+ open(fridge)", "the fridge opens"), Says(str(OPENED))
    playground = TextPlayground({"base": base, "rlvr": rlvr})  # type: ignore[dict-item]
    how: dict[str, Any] = {"samples": 2, "temperature": 0.5, "sampling_seed": 3}
    half, unreadable, right = playground.predict(STATE, "  Open  Fridge ", truth=OPENED, **how)
    assert [answer.model for answer in (half, unreadable, right)] == ["base", "base", "rlvr"]
    assert half.rewards == {"exact_match": 0.0, "fact_f1": pytest.approx(2 / 3)}
    assert unreadable.change is None and "Expected lines" in unreadable.problem
    assert unreadable.rewards == {"exact_match": 0.0, "fact_f1": 0.0}
    assert right.change == OPENED and right.rewards == {"exact_match": 1.0, "fact_f1": 1.0} and not right.problem
    assert rlvr.asked == [(str(STATE), "open fridge", {"num_samples": 2, "temperature": 0.5, "seed": 3})]


def test_where_nothing_is_known_there_is_no_reward() -> None:
    (answer,) = TextPlayground({"rlvr": Says("nothing changes")}).predict(STATE, "look")  # type: ignore[dict-item]
    assert answer.rewards is None and answer.change is not None and not answer.change


def test_a_model_answers() -> None:
    tokenizer = text_tokenizer()
    processor = LanguageWorldModelProcessor(tokenizer, prompt_template="{state}\n> {action}\n")
    playground = TextPlayground({"base": WorldModelPipeline(tiny_language_model(tokenizer), processor)})
    (answer,) = playground.predict(FactState.parse("open(box)"), "close box", truth=OPENED)
    assert isinstance(answer.text, str) and answer.rewards is not None


@pytest.mark.parametrize(
    ("state", "action", "settings", "words"),
    [
        (STATE, "  ", {}, "the action to be a text of 1 to 120 characters, got '  '"),
        (STATE, "x" * 121, {}, "of 121 characters; type one"),
        (FactState(facts=frozenset()), "look", {}, "Expected 1 to 100 facts, got 0"),
        (STATE, "look", {"samples": 9}, "number of samples to be a"),
        (STATE, "look", {"temperature": -1.0}, "temperature to be a"),
        (STATE, "look", {"sampling_seed": 2**31}, "seed of the sampling to be a"),
    ],
)
def test_what_is_out_of_bounds_is_refused(state: Any, action: str, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        next(TextPlayground({"rlvr": Says("")}).predict(state, action, **settings))  # type: ignore[dict-item]


def test_only_language_models_play() -> None:
    with pytest.raises(ValueError, match="got none"):
        TextPlayground({})
    frames = SimpleNamespace(processor=SimpleNamespace(predicts=("frames",), prompt_template=None))
    with pytest.raises(ValueError, match="'base' is no language world model"):
        TextPlayground({"base": frames})  # type: ignore[dict-item]


def test_a_state_survives_json() -> None:
    assert read_state(write_state(STATE)) == STATE
    assert read_state(json.dumps({"facts": sorted(STATE.facts)})) == STATE


@pytest.mark.parametrize(
    ("text", "line", "column", "words"),
    [
        ('[\n  "closed(box)"\n  "open(door)"\n]', 3, 3, "Expecting ',' delimiter"),
        ("", 1, 1, "Expecting value"),
        ('\n  "closed(box)"', 2, 3, "Expected a list of facts"),
        ('{"state": []}', 1, 1, "Expected a list of facts"),
        ('[\n "closed(box)",\n "closed box"\n]', 3, 2, "Expected a fact such as"),
        ('[\n "closed(box)",\n 12\n]', 3, 2, "Expected a fact in quotes"),
        ('["closed(box)", {"a": 1}]', 1, 17, "Expected a fact in quotes"),
        ('["grün"]', 1, 2, "Expected a fact such as"),
        ("[" * 5000, 1, 1, "Too many brackets"),
        (" " * (MAX_JSON + 1), 1, MAX_JSON + 1, "longer than 10,000"),
        (json.dumps([f"closed(box {n})" for n in range(MAX_FACTS + 1)]), 1, 1, "at most 100 facts, got 101"),
    ],
)
def test_what_cannot_be_read_is_shown_where_it_is(text: str, line: int, column: int, words: str) -> None:
    with pytest.raises(MalformedStateError) as caught:
        read_state(text)
    error = caught.value
    assert (error.line, error.column) == (line, column) and words in str(error)
    shown, caret = error.excerpt.split("\n")
    assert len(shown) <= EXCERPT and caret.strip() == "^"
    if column <= len(text.split("\n")[line - 1]):
        assert shown[len(caret) - 1] == text.split("\n")[line - 1][column - 1]
