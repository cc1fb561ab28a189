import copy
from typing import Any

import pytest
import torch

from rlvr_world_hf.rollouts.shared_prompt import pack_groups, share_prompts
from rlvr_world_hf.training.range_head import RangeHead, accept_range_head
from tests.training.world import HORIZON, small_policy, small_processor


@pytest.fixture(scope="module")
def processor():
    return small_processor()


@pytest.fixture
def sequences(processor) -> tuple[torch.Tensor, torch.Tensor]:
    """Prompts and valid completions."""
    generator = torch.Generator().manual_seed(0)
    ranges = processor.token_ranges(HORIZON)
    share = torch.rand(3, len(ranges), generator=generator)
    completion = (ranges[:, 0] + share * (ranges[:, 1] - ranges[:, 0])).long()
    prompt = torch.randint(0, 6, (3, processor.layout.prompt_length), generator=generator)
    return prompt, completion


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_equals_the_softmax_over_valid_ids(processor, sequences, temperature: float) -> None:
    prompt, completion = sequences
    model = small_policy(processor)
    ids = torch.cat([prompt, completion], 1)
    logits = model(input_ids=ids).logits[:, prompt.shape[1] - 1 : -1] / temperature
    accept_range_head(model)
    ranges, mask = processor.token_ranges(HORIZON), processor.model_token_mask(HORIZON)
    head = RangeHead(ranges, mask, temperature=temperature)
    log_probs, entropies = model(input_ids=ids, range_head=head, completion_ids=completion)
    for position, (low, high) in enumerate(ranges.tolist()):
        expected = torch.distributions.Categorical(logits=logits[:, position, low:high])
        written = bool(mask[position])
        wanted = expected.log_prob(completion[:, position] - low) if written else torch.zeros(3)
        torch.testing.assert_close(log_probs[:, position], wanted, atol=1e-5, rtol=0)
        wanted = expected.entropy() if written else torch.zeros(3)
        torch.testing.assert_close(entropies[:, position], wanted, atol=1e-5, rtol=0)


def test_entropies_carry_no_gradient_and_can_be_left_out(processor, sequences) -> None:
    _, completion = sequences
    states, head = torch.randn(*completion.shape, 4, requires_grad=True), RangeHead.of(processor, HORIZON)
    log_probs, entropies = head(states, torch.randn(30, 4), None, completion)
    assert log_probs.requires_grad and not entropies.requires_grad and entropies.max() > 0
    without = head(states, torch.randn(30, 4), None, completion, with_entropies=False)
    assert without[1].shape == completion.shape and without[1].abs().max() == 0


def test_invalid_ids_get_no_gradient(processor, sequences) -> None:
    prompt, completion = sequences
    model = small_policy(processor)
    accept_range_head(model)
    head = RangeHead(processor.token_ranges(HORIZON), processor.model_token_mask(HORIZON))
    model(input_ids=torch.cat([prompt, completion], 1), range_head=head, completion_ids=completion)[0].sum().backward()
    moved = model.lm_head.weight.grad.abs().sum(1) > 0
    assert moved.tolist() == [index < processor.layout.dynamics_codebook_size for index in range(len(moved))]


def test_other_calls_are_as_before(processor, sequences) -> None:
    model = small_policy(processor)
    before = model(input_ids=sequences[0], labels=sequences[0])
    accept_range_head(model)
    after = model(input_ids=sequences[0], labels=sequences[0])
    assert torch.equal(before.logits, after.logits) and torch.equal(before.loss, after.loss)
    generated = model.generate(sequences[0], attention_mask=torch.ones_like(sequences[0]), max_new_tokens=2)
    assert generated.shape[1] == sequences[0].shape[1] + 2


def test_a_copy_of_a_model_calls_itself(processor, sequences) -> None:
    model = small_policy(processor)
    accept_range_head(model)
    copied = copy.deepcopy(model)
    accept_range_head(copied)
    with torch.no_grad():
        copied.lm_head.weight.zero_()
    assert copied(input_ids=sequences[0]).logits.abs().max() == 0 < model(input_ids=sequences[0]).logits.abs().max()


def test_another_length_is_refused(processor, sequences) -> None:
    head = RangeHead(processor.token_ranges(HORIZON + 1), processor.model_token_mask(HORIZON + 1))
    with pytest.raises(ValueError, match="one horizon"):
        head(torch.zeros(3, sequences[1].shape[1], 4), torch.zeros(30, 4), None, sequences[1])


def test_a_prompt_shared_by_its_samples_changes_nothing(processor, sequences) -> None:
    prompt, completion = sequences
    completion = torch.cat([completion, completion.flip(0)])  # 3 prompts, 2 completions of each
    ids = torch.cat([prompt.repeat_interleave(2, dim=0), completion], 1)
    model = small_policy(processor)
    accept_range_head(model)
    share_prompts(model)
    head = RangeHead(processor.token_ranges(HORIZON), processor.model_token_mask(HORIZON))

    def outputs_and_gradient(inputs: dict[str, Any]) -> list[torch.Tensor]:
        outputs = model(**inputs, range_head=head, completion_ids=completion)
        model.zero_grad()
        (outputs[0] * torch.arange(len(ids))[:, None]).sum().backward()
        return [*outputs, *(parameter.grad.clone() for parameter in model.parameters())]

    packed = pack_groups(ids, torch.ones_like(ids), completion_length=completion.shape[1])
    for shared, unshared in zip(outputs_and_gradient(packed), outputs_and_gradient({"input_ids": ids}), strict=True):
        torch.testing.assert_close(shared, unshared, atol=1e-5, rtol=1e-5)
