import os
import subprocess
import sys

import pytest

from rlvr_world_hf.worlds.textworld.facts import FactChange, FactState
from rlvr_world_hf.worlds.textworld.games import (
    LOOKING,
    PROMPT_TEMPLATE,
    Playthrough,
    collect_game,
    collect_transitions,
    describe,
    import_textworld,
    lexicon,
    make_game,
)


SEEDS = [2, 5, 9]


@pytest.fixture(scope="module")
def transitions():
    return list(collect_transitions(SEEDS, processes=1))


def engine_facts(state: FactState) -> set[str]:
    """The facts that TextWorld holds in a state, food's `edible` aside: what `describe` left out, said again."""
    opposite = {"north_of": "south_of", "west_of": "east_of"}
    facts = set()
    for fact in state.facts:
        predicate, names = fact[:-1].split("(")
        names = names.split(", ")
        if predicate in opposite:
            first, second, *door = names
            facts |= {f"{predicate}({first}, {second})", f"{opposite[predicate]}({second}, {first})"}
            if door:
                facts |= {f"link({first}, {door[0]}, {second})", f"link({second}, {door[0]}, {first})"}
            if not door or f"open({door[0]})" in state.facts:
                facts |= {f"free({first}, {second})", f"free({second}, {first})"}
        elif predicate == "held":
            facts.add(f"in({names[0]}, i)")
        elif fact.startswith("at(player, "):
            facts.add(f"at(p, {names[1]})")
        elif predicate != "edible":
            facts.add(fact)
    return facts


def read_engine(facts) -> set[str]:
    return {f"{fact.name}({', '.join(fact.names)})".lower() for fact in facts if fact.name != "edible"}


def commands_of(game: Playthrough, step: int) -> str:
    """All kinds in turn: two that change something, one that does not."""
    commands = game.no_op_actions if step % 3 == 2 or not game.changing_actions else game.changing_actions
    return commands[(7 * step) % len(commands)]


@pytest.mark.parametrize("seed", range(4))
def test_the_short_state_loses_nothing_and_changes_lead_to_the_engines_next_facts(seed):
    game = Playthrough(make_game(seed, rooms=1 + seed, objects=8, quest_length=3))
    for step in range(40):
        before = game.state
        assert engine_facts(before) == read_engine(game._infos["facts"])
        game._infos, _, is_over = game.world.step(commands_of(game, step))
        change = FactChange.parse(str(before.difference(game.state)))
        assert engine_facts(FactState.parse(str(before)).apply(change)) == read_engine(game._infos["facts"])
        if is_over:
            break


def test_food_is_edible_whether_or_not_the_engine_says_so():
    games = [make_game(seed, rooms=2, objects=8, quest_length=2) for seed in range(3)]
    for game in games:
        playthrough = Playthrough(game)
        food = {info.name for info in game.infos.values() if info.type == "f"}
        assert {fact for fact in playthrough.state.facts if fact.startswith("edible")} == {
            f"edible({name.lower()})" for name in food
        }


def test_no_op_actions_change_nothing_and_changing_ones_do():
    game = Playthrough(make_game(4, rooms=3, objects=8, quest_length=3))
    state = game.state
    assert {command.split()[0] for command in game.no_op_actions} >= {*LOOKING, "go", "take", "open", "close"}
    for command in game.no_op_actions:
        assert game.play(command) == state
    for command in game.changing_actions:
        other = Playthrough(make_game(4, rooms=3, objects=8, quest_length=3))
        assert other.play(command) != state, command


def test_a_transition_says_what_an_action_changes(transitions):
    assert len(transitions) == len({item.transition_id for item in transitions})
    for item in transitions:
        state, change = FactState.parse(item.state), FactChange.parse(item.answer)
        assert (str(state), str(change)) == (item.state, item.answer) == (item.state, item.next_state)
        assert change.removed <= state.facts and not change.added & state.facts
        assert item.is_changed == bool(change)
        assert item.group == item.action.split()[0] and item.action == item.action.lower()
        assert item.prompt == PROMPT_TEMPLATE.format(state=item.state, action=item.action)
        assert len(item.prompt) + len(item.answer) < 800


def test_no_state_and_command_of_a_game_comes_twice(transitions):
    games = [[item for item in transitions if item.transition_id.split("-")[1] == str(seed)] for seed in SEEDS]
    for game in games:
        assert len(game) == len({item.prompt for item in game}) == 40
    assert len({item.state for game in games for item in game}) > 60


def test_the_shares_are_those_asked_for(transitions):
    assert sum(not item.is_changed for item in transitions) / len(transitions) == pytest.approx(0.3, abs=0.1)
    assert len({item.group for item in transitions}) >= 10
    assert all(item.is_changed for item in collect_game(6, length=15, unchanged=0.0))
    assert not any(item.is_changed for item in collect_game(6, length=15, unchanged=1.0))


def test_the_walkthrough_is_followed():
    game = Playthrough(make_game(8, rooms=3, objects=6, quest_length=4))
    way = game.walkthrough
    taken = collect_game(
        8, length=4, rooms=(3, 3), objects=(6, 6), quest_length=(4, 4), unchanged=0.0, walkthrough=1.0
    )
    assert [item.action for item in taken] == [command.lower() for command in way]


def test_a_small_game_ends_when_it_is_exhausted():
    few = collect_game(0, length=1000, rooms=(1, 1), objects=(1, 1), quest_length=(1, 1))
    assert 1 <= len(few) < 20


def test_the_same_seed_gives_the_same_transitions(transitions):
    assert list(collect_transitions(SEEDS, processes=2)) == transitions  # other processes, other hash seeds
    assert collect_game(3)[0].state != transitions[0].state


def test_nothing_is_printed_and_nothing_left_behind(tmp_path, repository):
    code = "from rlvr_world_hf.worlds.textworld.games import collect_game; collect_game(1, length=3)"
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONHASHSEED": "7"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=repository, env=environment
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["unchanged", "walkthrough"])
def test_shares_are_checked(name):
    with pytest.raises(ValueError, match=f"`{name}` to be in .0, 1., got 1.5"):
        next(collect_transitions([0], processes=1, **{name: 1.5}))


def test_a_missing_textworld_is_said_with_its_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "textworld", None)
    with pytest.raises(ImportError, match=r"rlvr-world-hf\[textworld\]"):
        make_game(0, rooms=1, objects=1, quest_length=1)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Game .* is not fully supported")  # jericho knows no scores of generated games
@pytest.mark.parametrize("seed", [1, 3])
def test_the_compiled_game_agrees(seed, tmp_path):
    """Inform 7's compiled game, played on a Z-machine, next to TextWorld's own logic."""
    pytest.importorskip("jericho.jericho", reason="jericho, the Z-machine, is not installed: pip install jericho")
    textworld = import_textworld()
    game = make_game(seed, rooms=4, objects=8, quest_length=4)
    options = textworld.GameOptions()
    options.path = str(tmp_path / "game.z8")
    compiled = textworld.start(textworld.generator.compile_game(game, options), textworld.EnvInfos(facts=True))
    compiled.reset()
    played = Playthrough(game)
    for step in range(60):
        command = commands_of(played, step)
        infos, _, is_over = compiled.step(command)
        assert describe(infos["facts"]) == played.play(command), command
        if is_over:
            compiled.reset()
    compiled.close()


def test_the_lexicon_has_the_names_of_any_game() -> None:
    names = {text.rpartition("from ")[2] for text in lexicon()}
    game = make_game(5, rooms=4, objects=8, quest_length=3)
    of_game = {info.name for info in game.infos.values() if info.name} - {"P", "I"}
    # What opens what may be marked, as in "type M key".
    assert len(names) > 200 and {name.rpartition(" ")[2] for name in of_game} <= {n.rpartition(" ")[2] for n in names}
    assert len(of_game & names) > 10
