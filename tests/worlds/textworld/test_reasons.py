import pytest

from rlvr_world_hf.states.answer import UnreadableAnswerError
from rlvr_world_hf.worlds.textworld.facts import FactState
from rlvr_world_hf.worlds.textworld.games import LOOKING, collect_transitions, write_reason
from rlvr_world_hf.worlds.textworld.reasons import ONLY_LOOKS, Reason, explain


STATE = FactState.parse("""\
at(player, attic)
at(chest, attic)
at(table, attic)
at(coin, attic)
closed(hatch)
edible(pear)
held(key)
held(pear)
in(ring, chest)
locked(safe)
at(safe, attic)
match(key, safe)
north_of(yard, attic, hatch)
on(cup, table)
open(chest)
west_of(attic, hall)
""")

HERE = "yes at(player, attic)"


@pytest.fixture(scope="module")
def transitions():
    return list(collect_transitions([2, 5, 9, 14, 31, 70], rooms=(1, 4), unchanged=0.5, processes=1))


def test_reasons_say_what_the_games_own_logic_does(transitions):
    verbs = {transition.group for transition in transitions}
    assert verbs >= {"go", "take", "open", "close", "drop", "look", "examine", "inventory"} and len(transitions) > 150
    for transition in transitions:
        reason = explain(FactState.parse(transition.state), transition.action)
        assert reason.allows == transition.is_changed, f"{transition.prompt}\n{reason}"


def test_every_line_can_be_checked_against_the_state(transitions):
    for transition in transitions:
        state = FactState.parse(transition.state)
        reason = explain(state, transition.action)
        assert all(holds == (fact in state.facts) for holds, fact in reason.needs)
        assert all(holds for holds, _ in reason.needs[:-1]), "nothing is looked at after the first that fails"
        assert (not reason.needs) == (transition.action.split()[0] in LOOKING)
        text = write_reason(transition.state, transition.action)
        assert Reason.parse(text) == reason


@pytest.mark.parametrize(
    ("action", "lines"),
    [
        ("go north", [HERE, "yes north_of(yard, attic, hatch)", "no open(hatch)"]),
        ("go east", [HERE, "yes west_of(attic, hall)"]),
        ("go west", [HERE, "no west_of(?, attic)"]),
        ("go south", [HERE, "no north_of(attic, ?)"]),
        ("open hatch", [HERE, "yes north_of(yard, attic, hatch)", "yes closed(hatch)"]),
        ("open chest", [HERE, "yes at(chest, attic)", "no closed(chest)"]),
        ("close chest", [HERE, "yes at(chest, attic)", "yes open(chest)"]),
        ("open box", [HERE, "no at(box, attic)"]),
        ("take ring from chest", [HERE, "yes at(chest, attic)", "yes open(chest)", "yes in(ring, chest)"]),
        ("take cup from table", [HERE, "yes at(table, attic)", "yes on(cup, table)"]),
        ("take ring from table", [HERE, "yes at(table, attic)", "no on(ring, table)"]),
        ("take Coin", [HERE, "yes at(coin, attic)"]),
        ("take key", [HERE, "no at(key, attic)"]),
        ("drop key", [HERE, "yes held(key)"]),
        ("eat key", [HERE, "yes held(key)", "no edible(key)"]),
        ("eat pear", [HERE, "yes held(pear)", "yes edible(pear)"]),
        ("put key on table", [HERE, "yes held(key)", "yes at(table, attic)"]),
        ("insert key into safe", [HERE, "yes held(key)", "yes at(safe, attic)", "no open(safe)"]),
        (
            "unlock safe with key",
            [HERE, "yes at(safe, attic)", "yes held(key)", "yes match(key, safe)", "yes locked(safe)"],
        ),
        (
            "lock safe with key",
            [HERE, "yes at(safe, attic)", "yes held(key)", "yes match(key, safe)", "no closed(safe)"],
        ),
        ("examine coin", [ONLY_LOOKS]),
    ],
)
def test_the_facts_that_a_command_needs(action, lines):
    assert str(explain(STATE, action)).splitlines() == lines


def test_other_commands_are_refused():
    with pytest.raises(ValueError, match="Expected a command of these games, .*got 'sing'"):
        explain(STATE, "sing")


@pytest.mark.parametrize("text", ["", "maybe held(key)", "yes", "yes held", f"{ONLY_LOOKS}\nyes held(key)"])
def test_what_is_no_reason_is_unreadable(text):
    with pytest.raises(UnreadableAnswerError):
        Reason.parse(text)


def test_case_spacing_and_empty_lines_do_not_matter():
    assert Reason.parse("\n YES  Held( key )\n\nno open(safe)") == Reason.parse("yes held(key)\nno open(safe)")
