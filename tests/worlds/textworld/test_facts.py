import pytest

from rlvr_world_hf.states.answer import UnreadableAnswerError
from rlvr_world_hf.worlds.textworld.facts import NO_CHANGE, FactChange, FactState, canonical_fact


BEFORE = FactState.parse("at(player, kitchen)\nclosed(fridge)\nin(loaf of bread, fridge)")
AFTER = FactState.parse("at(player, kitchen)\nopen(fridge)\nin(loaf of bread, fridge)")


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("in(apple, fridge)", "in(apple, fridge)"),
        ("  In(Loaf  of bread,FRIDGE ) ", "in(loaf of bread, fridge)"),
        ("north_of/d(a, b-c, henderson's key)", "north_of/d(a, b-c, henderson's key)"),
        ("raining(here)", "raining(here)"),
    ],
)
def test_a_fact_has_one_form(text, fact):
    assert canonical_fact(text) == canonical_fact(fact) == fact


@pytest.mark.parametrize(
    "text",
    [
        "",
        "open",
        "open()",
        "open(door",
        "(door)",
        "in(apple, )",
        "in(,)",
        "open(door).",
        "a(b) c(d)",
        "a(b(c))",
        "a b(c)",
    ],
)
def test_what_is_no_fact_cannot_be_read(text):
    with pytest.raises(UnreadableAnswerError, match="Expected a fact"):
        canonical_fact(text)


def test_a_state_is_the_set_of_its_facts():
    shuffled = FactState.parse("In(loaf of bread,fridge)\n\nclosed(fridge)\nclosed(fridge)\nat(player, kitchen)\n")
    assert shuffled == BEFORE != AFTER
    assert str(BEFORE) == "at(player, kitchen)\nclosed(fridge)\nin(loaf of bread, fridge)"
    assert FactState.parse(str(BEFORE)) == BEFORE and FactState.parse("") == FactState(facts=frozenset())
    with pytest.raises(UnreadableAnswerError):
        FactState.parse("closed(fridge)\nThe fridge is closed.")


@pytest.mark.parametrize(("first", "second"), [(BEFORE, AFTER), (AFTER, BEFORE), (BEFORE, BEFORE)])
def test_a_difference_leads_from_one_state_to_the_other(first, second):
    change = first.difference(second)
    assert first.apply(change) == second
    assert FactChange.parse(str(change)) == change
    assert bool(change) == (first != second)


def test_a_change_is_written_in_order():
    assert str(BEFORE.difference(AFTER)) == "- closed(fridge)\n+ open(fridge)"
    assert str(BEFORE.difference(BEFORE)) == NO_CHANGE
    assert BEFORE.difference(AFTER).signed_facts == {"- closed(fridge)", "+ open(fridge)"}


@pytest.mark.parametrize(
    "text", ["+ open(fridge)\n- closed(fridge)", "-closed( FRIDGE )\n\n +  open(fridge)\n+ open(fridge)\n"]
)
def test_order_spacing_and_repetition_do_not_matter(text):
    assert FactChange.parse(text) == BEFORE.difference(AFTER)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  \n ",
        "open(fridge)",
        "+ open(fridge)\nThe fridge opens.",
        "+ open",
        "+",
        "+ + open(fridge)",
        "nothing changes\n+ open(fridge)",
        "nothing changes.",
        "+ nothing changes",
        "+ open(fridge)\n- Open( fridge )",
    ],
)
def test_any_other_line_makes_a_change_unreadable(text):
    with pytest.raises(UnreadableAnswerError, match="Expected"):
        FactChange.parse(text)


def test_a_change_does_not_contradict_itself():
    with pytest.raises(ValueError, match=r"both for 'open\(door\)'"):
        FactChange(added=frozenset({"open(door)"}), removed=frozenset({"open(door)"}))
