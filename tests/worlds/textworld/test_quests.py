from typing import Any

import pytest
import torch

from rlvr_world_hf.pipeline import WorldModelPipeline
from rlvr_world_hf.planning.enumeration import EnumerationPlanner
from rlvr_world_hf.planning.text_agent import TextCost, reactive_actions
from rlvr_world_hf.processors.text import LanguageWorldModelProcessor
from rlvr_world_hf.worlds.textworld.facts import FactState
from rlvr_world_hf.worlds.textworld.games import Playthrough, import_textworld, make_game
from rlvr_world_hf.worlds.textworld.quests import (
    FactGoal,
    attempt_game,
    changing,
    guided_commands,
    predicted_changes,
    quest_goal,
    true_changes,
)
from tests.tiny import text_tokenizer, tiny_language_model


RULES = {
    "open door": "- closed(door)\n+ open(door)",
    "go north": "- at(player, hall)\n+ at(player, yard)",
    "wait": "nothing changes",
}
START = FactState.parse("closed(door)\nat(player, hall)")


@pytest.fixture(scope="module")
def game() -> Any:
    return make_game(2_000_001, rooms=2, objects=4, quest_length=2)  # go south, take fly larva from crate


def test_a_goal_is_worth_the_share_of_its_facts() -> None:
    goal = FactGoal(facts=frozenset({"open(door)", "at(player, yard)"}))
    assert [goal(START), goal(FactState.parse("open(door)")), goal(FactState(facts=goal.facts))] == [0.0, 0.5, 1.0]
    with pytest.raises(ValueError, match="facts to bring about"):
        FactGoal(facts=frozenset())


def test_a_quest_says_which_facts_are_to_hold(game: Any) -> None:
    goal, world = quest_goal(game), Playthrough(game)
    assert goal.facts == {"at(crate, basement)", "at(player, basement)", "held(fly larva)", "open(crate)"}
    values = [goal(world.state)] + [goal(world.play(command)) for command in list(world.walkthrough)]
    assert values == [0.5, 0.75, 1.0]


def test_the_game_foretells_itself_and_looking_ahead_wins(game: Any) -> None:
    predict, world = true_changes(game), Playthrough(game)
    first, second = world.walkthrough
    start = world.state
    (after,) = predict([(start, first)])
    assert after == world.play(first) != start
    (end,) = predict([(after, second)])
    assert end == world.play(second)
    assert predict([(end, second), (start, "dance")]) == [end, start]
    with pytest.raises(ValueError, match="a state that was reached from the start"):
        predict([(START, "wait")])
    guided = guided_commands(true_changes(game), quest_goal(game), EnumerationPlanner(horizon=2), seed=0)
    won = attempt_game(game, guided, commands=2)
    assert won.is_success and won.value == 1.0 and won.commands == (first, second) and len(won.seconds) == 2


def test_reactive_actions_repeat_themselves_by_the_seed(game: Any) -> None:
    first, again = (attempt_game(game, reactive_actions(3), commands=6) for _ in range(2))
    assert first.commands == again.commands and 0 < len(first.commands) <= 6
    others = {attempt_game(game, reactive_actions(seed), commands=6).commands for seed in range(5)}
    assert len(others) > 1


@pytest.fixture(scope="module")
def losable_game() -> Any:
    """An apple is to be put on a table, and lost if eaten."""
    textworld = import_textworld()
    maker, game = textworld.GameMaker(), textworld.generator.game
    kitchen = maker.new_room("kitchen")
    maker.set_player(kitchen)
    apple, table = maker.new(type="f", name="apple"), maker.new(type="s", name="table")
    maker.inventory.add(apple)
    kitchen.add(table)
    laid, eaten = (game.Event(conditions={maker.new_fact(*fact)}) for fact in (("on", apple, table), ("eaten", apple)))
    maker.quests = [game.Quest(win_events=[laid], fail_events=[eaten])]
    return maker.build()


def test_an_attempt_ends_when_the_game_is_lost(losable_game: Any) -> None:
    commands = iter(["eat apple", "put apple on table"])
    lost = attempt_game(losable_game, lambda world: next(commands), commands=10)
    assert lost.commands == ("eat apple",) and not lost.is_success and lost.value < 1
    won = attempt_game(losable_game, lambda world: "put apple on table", commands=10)
    assert won.is_success and won.commands == ("put apple on table",)


def test_what_is_recorded_goes_on_after_the_end_and_an_attempt_does_not(losable_game: Any) -> None:
    endless, once = Playthrough(losable_game), Playthrough(losable_game, restarts=False)
    start = once.state
    eaten = once.play("eat apple")
    assert endless.play("eat apple") == eaten != start
    assert endless.state == start and "eat apple" in endless.changing_actions
    assert once.is_over and once.state == eaten and once.changing_actions == []
    with pytest.raises(ValueError, match="no command after the end of the game, got 'look'"):
        once.play("look")


def test_nothing_follows_the_end_of_a_game_that_is_foretold(losable_game: Any) -> None:
    predict = true_changes(losable_game)
    start = Playthrough(losable_game).state
    (eaten,) = predict([(start, "eat apple")])
    assert predict([(eaten, "put apple on table"), (eaten, "eat apple")]) == [eaten, eaten]


def test_looking_changes_nothing(game: Any) -> None:
    world = Playthrough(game)
    assert "look" in world.possible and "look" not in changing(world.possible)
    assert set(world.changing_actions) <= set(changing(world.possible))


def test_a_world_model_foretells_what_it_can_read(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = text_tokenizer()
    processor = LanguageWorldModelProcessor(tokenizer, prompt_template="{state}\n> {action}\n")
    pipeline = WorldModelPipeline(tiny_language_model(tokenizer), processor)
    asked: list[list[str]] = []

    def answers(model: Any, processor: Any, prompts: list[str], **settings: Any) -> list[list[str]]:
        asked.append(prompts)
        return [[RULES["open door"] if "open" in prompt.split(">")[1] else "gibberish"] for prompt in prompts]

    unreadable = predicted_changes(pipeline, max_new_tokens=4)([(START, "open door")])
    assert unreadable == [None], "random weights write nothing that can be read"
    monkeypatch.setattr("rlvr_world_hf.planning.text_agent.sample_answers", answers)
    predict = predicted_changes(pipeline)
    opened, dance = predict([(START, "open door"), (START, "dance")])
    assert opened == FactState.parse("open(door)\nat(player, hall)") and dance is None
    assert predict([(START, "open door")]) == [opened] and len(asked[-1]) == 0
    assert asked[0] == [f"{START}\n> open door\n", f"{START}\n> dance\n"]
    assert torch.is_tensor(TextCost(START, predict, FactGoal(facts=frozenset({"open(door)"})))([("open door",)]))
