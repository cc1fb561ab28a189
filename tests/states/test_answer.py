import pytest

from rlvr_world_hf.states.answer import find_answer, find_reason, with_reason


@pytest.mark.parametrize(
    ("completion", "answer"),
    [
        ("{}", "{}"),
        ("Thinking.\nThe final answer is:\n{}</s>", "{}"),
        ("The final answer is: a\nNo. The final answer is: b<｜end▁of▁sentence｜>", "b"),
        ("The final state is: a. the final answer is: b", "b"),
        ("<think>The sum is 3</think>\n\ndoor open<|im_end|><|endoftext|>", "door open"),
        ("The final answer is:", ""),
        ("<a> < b and 1<2>0", "<a> < b and 1<2>0"),
    ],
)
def test_the_answer_is_found(completion, answer):
    assert find_answer(completion) == answer


@pytest.mark.parametrize(
    ("completion", "reason"),
    [
        ("{}", None),
        ("<think>", None),
        ("<think>\nit is 3\n</think>\n3<|im_end|>", "it is 3"),
        ("it is 3</think>3", "it is 3"),
        ("<think></think>3", ""),
        ("<think>a</think><think>b</think>3", "b"),
    ],
)
def test_the_reason_is_found(completion, reason):
    assert find_reason(completion) == reason


@pytest.mark.parametrize("reason", ["", "one line", "two\nlines"])
def test_a_reason_that_is_written_is_found_again(reason):
    written = with_reason(reason, "+ open(door)")
    assert (find_reason(written), find_answer(written)) == (reason, "+ open(door)")
    assert with_reason(reason, "") + "+ open(door)" == written, "so that a model can go on from it"


def test_other_markers():
    assert find_answer("so the answer is: 3", markers=["answer is:"]) == "3"
