"""One loop samples steps and text; it stops where nothing is left to sample."""

from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from rlvr_world_hf.rollouts.decoder import GroupDecoder, sampling_from
from rlvr_world_hf.rollouts.decoding import LOOK_EVERY, decode
from rlvr_world_hf.rollouts.plan import Plan
from tests.tiny import text_tokenizer, tiny_language_model


GROUP, LENGTH = 2, 20
PROMPTS = torch.tensor([[1, 2, 3], [4, 5, 6], [7, 8, 9]])


@pytest.fixture
def model() -> Any:
    return tiny_language_model(text_tokenizer())


def decoded(model: Any, plan: Plan, *, temperature: float = 0.0, with_logprobs: bool = True) -> Any:
    decoder = GroupDecoder(model, group_size=GROUP, length=plan.length, prompt_length=3)
    noise = torch.rand(3 * GROUP, plan.length, generator=torch.Generator().manual_seed(0))
    with sampling_from(model):
        return decode(decoder, PROMPTS, plan, noise, temperature=temperature, with_logprobs=with_logprobs)


def test_finished_prompts_are_computed_no_further(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    end = int(decoded(model, Plan(length=LENGTH)).ids[0, 2])
    fed: list[int] = []
    forward = model.base_model.forward
    monkeypatch.setattr(
        model.base_model,
        "forward",
        lambda *args, **given: fed.append(len(given["input_ids"])) or forward(*args, **given),
    )
    lengths = decoded(model, Plan(length=LENGTH, end_ids=(end,))).lengths.tolist()
    assert min(lengths) <= 3
    looked_at = [min(LENGTH, -(-length // LOOK_EVERY) * LOOK_EVERY) for length in lengths]
    assert sum(fed[1:]) == sum(length - 1 for length in looked_at), "two of each prompt, which end together"
    assert sum(fed[1:]) < (LENGTH - 1) * len(lengths)


@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_log_probabilities_are_those_of_a_plain_forward(model: Any, temperature: float) -> None:
    whole = decoded(model, Plan(length=LENGTH), temperature=temperature)
    end = int(whole.ids[1, 4])
    cut = decoded(model, Plan(length=LENGTH, end_ids=(end,)), temperature=temperature)
    every = torch.cat([PROMPTS.repeat_interleave(GROUP, 0), whole.ids], dim=1)
    with torch.no_grad():
        logits = model(every).logits[:, 2:-1].float() / (temperature or 1.0)
    expected = logits.log_softmax(-1).gather(-1, whole.ids[..., None])[..., 0]
    torch.testing.assert_close(whole.logprobs, expected, atol=1e-5, rtol=1e-5)
    is_kept = torch.arange(LENGTH) < cut.lengths[:, None]
    assert torch.equal(cut.ids[is_kept], whole.ids[is_kept]) and not is_kept.all()
    torch.testing.assert_close(cut.logprobs, whole.logprobs * is_kept, atol=1e-6, rtol=1e-6)
    assert not decoded(model, Plan(length=3), with_logprobs=False).logprobs.any()


def test_a_world_that_writes_first_and_last() -> None:
    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=20, **sizes)).eval()
    world = torch.tensor([[11, -1, 12, -1, 13]]).repeat(3 * GROUP, 1)
    plan = Plan.of_steps(world, torch.tensor([[0, 20], [2, 6], [0, 20], [5, 6], [0, 20]]))
    made = decoded(model, plan, temperature=1.0)
    assert torch.equal(made.ids[:, [0, 2, 4]], world[:, [0, 2, 4]])
    assert set(made.ids[:, 1].tolist()) <= {2, 3, 4, 5} and (made.ids[:, 3] == 5).all()
    assert (made.lengths == 5).all() and not made.logprobs[:, [0, 2, 3, 4]].any() and made.logprobs[:, 1].all()
