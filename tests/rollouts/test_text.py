import pytest

from rlvr_world_hf import LanguageWorldModelProcessor
from rlvr_world_hf.rollouts.text import sample_answers
from tests.tiny import text_tokenizer, tiny_language_model


PROMPTS = ["shut(door)\n> open door\n", "> look\n", "shut(door)\nshut(box)\n> wait\n"]


@pytest.fixture
def world():
    processor = LanguageWorldModelProcessor(text_tokenizer())
    return tiny_language_model(processor.tokenizer), processor


def test_answers_of_each_prompt_in_order(world):
    together = sample_answers(*world, PROMPTS, temperature=0, max_new_tokens=8)
    alone = [sample_answers(*world, [prompt], temperature=0, max_new_tokens=8)[0] for prompt in PROMPTS]
    assert together == alone, "padding and order change nothing"
    assert len({answers[0] for answers in together}) > 1


def test_samples_differ_and_can_be_drawn_again(world):
    drawn = sample_answers(*world, PROMPTS, num_samples=4, max_new_tokens=8, seed=1)
    assert [len(answers) for answers in drawn] == [4, 4, 4]
    assert len(set(drawn[0])) > 1
    assert drawn == sample_answers(*world, PROMPTS, num_samples=4, max_new_tokens=8, seed=1)
    assert drawn != sample_answers(*world, PROMPTS, num_samples=4, max_new_tokens=8, seed=2)


def test_greedy_answers_are_one(world):
    answers = sample_answers(*world, PROMPTS[:1], temperature=0, num_samples=3, max_new_tokens=8)
    assert len(answers[0]) == 3 and len(set(answers[0])) == 1


def test_batches_hold_as_much_as_asked(world):
    small = sample_answers(*world, PROMPTS, temperature=0, max_new_tokens=8, batch_size=1)
    assert small == sample_answers(*world, PROMPTS, temperature=0, max_new_tokens=8, batch_size=64)
