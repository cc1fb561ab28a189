import pytest

from rlvr_world_hf.states.differences import mark_differences


@pytest.mark.parametrize(
    ("predicted", "reference", "marked"),
    [
        ("the box is open", "the box is open", "the box is open"),
        ("the box is open", "the old box is shut", "the ~~old~~ box is ~~shut~~ **open**"),
        ("a b c", "a c", "a **b** c"),
        ("a c", "a b c", "a ~~b~~ c"),
        ("", "a b", "~~a b~~"),
        ("a b", "", "**a b**"),
        ("", "", ""),
        ("one\ntwo\nfour", "one\nthree\nfour", "one\n~~three~~ **two**\nfour"),
        ("one\nfour", "one\ntwo three\nx\nfour", "one\n~~two three~~\n~~x~~\nfour"),
    ],
)
def test_what_is_too_much_is_bold_and_what_is_missing_struck_through(
    predicted: str, reference: str, marked: str
) -> None:
    assert mark_differences(predicted, reference) == marked


def test_marks_are_no_marks_of_the_text() -> None:
    assert mark_differences("a *b* ~c~ <d>", "a *b* ~c~ <d> e") == r"a \*b\* \~c\~ \<d> ~~e~~"
