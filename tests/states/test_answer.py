import pytest

from rlvr_world_hf.states.answer import find_answer


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


def test_other_markers():
    assert find_answer("so the answer is: 3", markers=["answer is:"]) == "3"
