import pytest
import torch

from rlvr_world_hf import LanguageWorldModelProcessor
from rlvr_world_hf.rollouts.text import sample_answers, sample_text, seed_of
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


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"num_samples": -2}, "num_samples"),
        ({"num_samples": 0, "temperature": 0}, "num_samples"),
        ({"temperature": float("nan")}, "temperature"),
        ({"temperature": 1e-300}, "temperature"),
        ({"top_p": 0.0}, "top_p"),
    ],
)
def test_settings_from_which_nothing_can_be_drawn_are_refused(world, wrong, named):
    with pytest.raises(ValueError, match=named):
        sample_answers(*world, PROMPTS, max_new_tokens=2, **wrong)


def test_batches_hold_as_much_as_asked(world):
    small = sample_answers(*world, PROMPTS, temperature=0, max_new_tokens=8, batch_size=1)
    assert small == sample_answers(*world, PROMPTS, temperature=0, max_new_tokens=8, batch_size=64)


def test_answers_of_a_prompt_are_the_same_in_any_company(world):
    drawn = sample_answers(*world, PROMPTS, num_samples=4, max_new_tokens=8, batch_size=4)
    assert drawn == sample_answers(*world, PROMPTS, num_samples=4, max_new_tokens=8, batch_size=64)


def test_completions_end_where_the_plain_model_ends_them(world):
    model, processor = world
    prompts = processor.encode_prompt(PROMPTS)
    whole = sample_text(model, prompts, num_samples=3, max_new_tokens=12, end_ids=[], seeds=[1, 2, 3])
    assert all(len(ids) == 12 for ids in whole)
    ends = [whole[0][4], whole[5][7]]
    cut = sample_text(model, prompts, num_samples=3, max_new_tokens=12, end_ids=ends, seeds=[1, 2, 3])
    for ids, uncut in zip(cut, whole, strict=True):
        first = next((place + 1 for place, token in enumerate(uncut) if token in ends), 12)
        assert ids == uncut[:first]
    assert min(map(len, cut)) < 12


def test_frequencies_follow_the_model(world):
    model, processor = world
    prompts = processor.encode_prompt(PROMPTS[:1])
    drawn = sample_text(model, prompts, num_samples=4000, max_new_tokens=1, end_ids=[], seeds=[0])
    with torch.no_grad():
        expected = 4000 * model(torch.tensor(prompts)).logits[0, -1].softmax(-1)
    counts = torch.bincount(torch.tensor(drawn)[:, 0], minlength=len(expected))
    likely = expected >= 5
    freedom = int(likely.sum()) - 1
    statistic = ((counts - expected)[likely].square() / expected[likely]).sum()
    assert freedom > 3
    assert statistic < freedom + 4 * (2 * freedom) ** 0.5, "chi-square, four standard deviations"


def test_an_empty_prompt_is_refused(world):
    with pytest.raises(ValueError, match="shortest of 0 tokens"):
        sample_text(world[0], [[1], []], num_samples=1, max_new_tokens=2, end_ids=[], seeds=[0, 1])


def test_seeds_of_places_with_different_numbers_of_coordinates_differ() -> None:
    places = [(0, 5), (0, 5, 0), (0, 5, 0, 0), (0, 5, 0, 0, 0), (0, 5, 0, 0, 0, 0), (0,), (0, 0), (0, 0, 0)]
    assert len({seed_of(*place) for place in places}) == len(places)
