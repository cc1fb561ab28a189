import pytest

from rlvr_world_hf.states.answer import UnreadableAnswerError
from rlvr_world_hf.worlds.web.change import PageChange, apply_page_change, page_difference, parse_page_change
from rlvr_world_hf.worlds.web.tree import parse_page


TASKS = """[1] RootWebArea 'Tasks'
\t[2] list 'Open'
\t\t[3] checkbox 'Milk' checked: False
\t\t[4] button 'Delete'
\t[5] list 'Done'
\t\t[6] button 'Delete'
\t[7] textbox 'Task' value: ''"""


def difference(before: str, after: str) -> PageChange:
    return page_difference(parse_page(before), parse_page(after))


def renumbered(page: str, offset: int) -> str:
    for number in range(9, 0, -1):
        page = page.replace(f"[{number}]", f"[{number + offset}]")
    return page


@pytest.mark.parametrize(
    "change",
    [
        PageChange(),
        PageChange(new=("[8] link 'Undo'",)),
        PageChange(new=("[8] a ''", "[9] b 'x: y'"), deleted=('[1] c "it\'s"',), updated=("[2] d '' checked: True",)),
    ],
)
def test_the_text_is_read_as_it_was_written(change):
    assert parse_page_change(change.text) == change
    assert change.is_empty == (change.text.count("None") == 3)


@pytest.mark.parametrize(
    ("text", "change"),
    [
        ("Well.\n[1] a\nNew items: [0] lost\n  [2] b  \r\n\n[3] c", PageChange(new=("[2] b", "[3] c"))),
        ("New items:\na\nDeleted items:\nb\nNew items:\nc", PageChange(new=("a", "c"), deleted=("b",))),
        ("Updated items:\nNone\nnone", PageChange(updated=("none",))),
    ],
)
def test_sections_are_read_wherever_they_open(text, change):
    assert parse_page_change(text) == change


def test_none_may_be_an_item():
    assert parse_page_change("New items:\nNone", none_is_item=True).new == ("None",)


@pytest.mark.parametrize("text", ["", "Nothing.", "new items:\na", "1. New items:\na", "**New items:**"])
def test_a_text_without_section_is_unreadable(text):
    with pytest.raises(UnreadableAnswerError, match="New items"):
        parse_page_change(text)


def test_numbers_of_a_snapshot_tell_nothing():
    assert difference(TASKS, renumbered(TASKS, 20)).is_empty


@pytest.mark.parametrize(
    ("old", "new", "change"),
    [
        ("checked: False", "checked: True", PageChange(updated=("[3] checkbox 'Milk' checked: True",))),
        ("value: ''", "value: 'tea'", PageChange(updated=("[7] textbox 'Task' value: 'tea'",))),
        ("RootWebArea 'Tasks'", "RootWebArea 'All'", PageChange(updated=("[1] RootWebArea 'All'",))),
        ("\t\t[6] button 'Delete'\n", "", PageChange(deleted=("[6] button 'Delete'",))),
        ("\t\t[4] button 'Delete'\n", "", PageChange(deleted=("[4] button 'Delete'",))),
        (
            "Milk' checked: False",
            "Tea'",
            PageChange(new=("[8] checkbox 'Tea'",), deleted=("[3] checkbox 'Milk' checked: False",)),
        ),
        ("\t[7]", "\t[6] link 'A'\n\t[6] link 'B'\n\t[7]", PageChange(new=("[8] link 'A'", "[9] link 'B'"))),
        (
            "list 'Done'",
            "list 'Old'",
            PageChange(
                new=("[8] list 'Old'", "[9] button 'Delete'"), deleted=("[5] list 'Done'", "[6] button 'Delete'")
            ),
        ),
    ],
)
def test_an_element_is_its_role_name_and_path(old, new, change):
    assert old in TASKS
    assert difference(TASKS, renumbered(TASKS.replace(old, new, 1), 30)) == change


def test_of_several_alike_the_last_ones_come_and_go():
    one, two = (f"[1] RootWebArea ''{line}" for line in ("\n\t[2] link 'x'", "\n\t[2] link 'x'\n\t[3] link 'x'"))
    assert difference(one, two) == PageChange(new=("[3] link 'x'",))
    assert difference(two, one) == PageChange(deleted=("[3] link 'x'",))


@pytest.mark.parametrize(
    "after",
    [
        TASKS,
        TASKS.replace("checked: False", "checked: True"),
        TASKS.replace("list 'Done'", "list 'Old'"),
        "[1] RootWebArea 'Cart'\n\t[2] heading 'Cart'\n\t[3] textbox 'Task' value: 'tea'",
    ],
)
def test_a_change_makes_the_page_up_to_where_things_stand(after):
    def elements(page):
        return sorted((element.role, element.name, element.properties) for element in page)

    made = apply_page_change(parse_page(TASKS), difference(TASKS, renumbered(after, 30)))
    assert elements(made) == elements(parse_page(after)) and made[0].depth == 0
    assert len({element.element_id for element in made}) == len(made)


def test_what_is_not_on_the_page_makes_no_difference_and_what_is_no_element_is_unreadable():
    page = parse_page(TASKS)
    assert apply_page_change(page, PageChange(deleted=("[70] link 'x'",), updated=("[71] link 'y'",))) == page
    for item in ("a link", r"[9] link 'a\x'"):
        with pytest.raises(UnreadableAnswerError, match="Expected lines like"):
            apply_page_change(page, PageChange(new=(item,)))
