"""Sampling writes valid ids, agrees with the plain forward pass, and gives a row the same in any company."""

from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from rlvr_world_hf.processors.video import VideoWorldModelProcessor
from rlvr_world_hf.rollouts import sampling
from rlvr_world_hf.rollouts.group_cache import GroupCache
from rlvr_world_hf.rollouts.sampling import draw_uniforms, rollout, sample_completions
from rlvr_world_hf.rollouts.shared_prompt import no_mask, share_prompts
from tests.tiny import tiny_model, tiny_processor


@pytest.fixture
def inputs(processor: VideoWorldModelProcessor, context: torch.Tensor, actions: torch.Tensor) -> tuple[Any, ...]:
    return processor.encode_prompt(context, actions), processor.world_tokens(actions), processor.token_ranges(4)


def sample(model: LlamaForCausalLM, inputs: tuple[Any, ...], *, num_samples: int = 5, **settings: Any) -> Any:
    uniforms = draw_uniforms([5, 6, 7], num_samples, inputs[1].shape[1])
    return sample_completions(model, *inputs, num_samples=num_samples, **({"uniforms": uniforms} | settings))


def teacher_forced(
    model: LlamaForCausalLM, inputs: tuple[Any, ...], ids: torch.Tensor, temperature: float = 1.0
) -> torch.Tensor:
    """Log-probabilities of a plain forward pass over the whole sequence, among the valid ids of each position."""
    prompts, world, ranges = inputs
    prompts = prompts.repeat_interleave(len(ids) // len(prompts), dim=0)
    with torch.no_grad():
        logits = model(torch.cat([prompts, ids], dim=1)).logits[:, prompts.shape[1] - 1 : -1] / temperature
    vocabulary = torch.arange(logits.shape[-1])
    valid = (vocabulary >= ranges[:, :1]) & (vocabulary < ranges[:, 1:])
    logprobs = logits.masked_fill(~valid, -torch.inf).log_softmax(-1).gather(2, ids[..., None])[..., 0]
    return logprobs.masked_fill(world[0] >= 0, 0.0)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_cached_logprobs_equal_a_plain_forward(
    model: LlamaForCausalLM, inputs: tuple[Any, ...], temperature: float
) -> None:
    ids, logprobs = sample(model, inputs, temperature=temperature, return_logprobs=True)
    expected = teacher_forced(model, inputs, ids, temperature)
    torch.testing.assert_close(logprobs, expected, atol=1e-5, rtol=0)
    assert logprobs.min() < -1


def test_ids_are_valid_and_the_worlds_are_kept(model: LlamaForCausalLM, inputs: tuple[Any, ...]) -> None:
    ids = sample(model, inputs)
    _, world, ranges = inputs
    assert ids.shape == (15, world.shape[1]) and ids.dtype == torch.long
    assert ((ids >= ranges[:, 0]) & (ids < ranges[:, 1])).all()
    written = world.repeat_interleave(5, dim=0)
    assert torch.equal(ids[written >= 0], written[written >= 0])
    assert len(ids.unique(dim=0)) == 15


def test_same_noise_gives_same_completion(model: LlamaForCausalLM, inputs: tuple[Any, ...]) -> None:
    uniforms = draw_uniforms([5, 6, 7], 1, inputs[1].shape[1]).repeat_interleave(4, dim=0)
    ids = sample(model, inputs, num_samples=4, uniforms=uniforms)
    assert torch.equal(ids, ids[::4].repeat_interleave(4, dim=0))


def test_a_row_is_the_same_in_any_company(model: LlamaForCausalLM, inputs: tuple[Any, ...]) -> None:
    prompts, world, ranges = inputs
    together = sample(model, inputs)
    uniforms = draw_uniforms([5, 6, 7], 5, world.shape[1])
    for row in range(3):
        rows = slice(row, row + 1)
        noise = uniforms[5 * row : 5 * row + 5]
        alone = sample_completions(model, prompts[rows], world[rows], ranges, num_samples=5, uniforms=noise)
        assert torch.equal(alone, together[5 * row : 5 * row + 5])
        one = sample_completions(model, prompts[rows], world[rows], ranges, num_samples=1, uniforms=noise[2:3])
        assert torch.equal(one[0], together[5 * row + 2])


@pytest.mark.parametrize("num_samples", [0, -2])
def test_there_is_no_noise_for_no_sample(num_samples: int) -> None:
    with pytest.raises(ValueError, match="num_samples"):
        draw_uniforms([5], num_samples, 3)


def test_noise_belongs_to_the_seed() -> None:
    noise = draw_uniforms([3, 4], 6, 7)
    assert noise.shape == (12, 7) and noise.min() >= 0 and noise.max() < 1
    assert torch.equal(noise[6:], draw_uniforms([4], 6, 7))
    assert torch.equal(noise[:2], draw_uniforms([3], 2, 7))


def test_temperature_zero_top_k_one_and_small_top_p_are_greedy(
    model: LlamaForCausalLM, inputs: tuple[Any, ...]
) -> None:
    greedy = sample(model, inputs, temperature=0)
    assert torch.equal(greedy, greedy[::5].repeat_interleave(5, dim=0))
    assert torch.equal(sample(model, inputs, top_k=1), greedy)
    assert torch.equal(sample(model, inputs, top_p=1e-6), greedy)
    assert not torch.equal(sample(model, inputs), greedy)


def test_top_k_draws_among_the_likeliest_only(model: LlamaForCausalLM, inputs: tuple[Any, ...]) -> None:
    prompts, world, ranges = (part[:1] if part.shape[0] == 3 else part for part in inputs)
    uniforms = torch.linspace(0, 1 - 2**-24, 400)[:, None].expand(-1, world.shape[1])
    ids = sample_completions(model, prompts, world, ranges, num_samples=400, uniforms=uniforms, top_k=3)
    with torch.no_grad():
        first = model(prompts).logits[0, -1, : ranges[0, 1]]
    assert set(ids[:, 0].tolist()) == set(first.topk(3).indices.tolist())


def test_frequencies_follow_the_model(model: LlamaForCausalLM, inputs: tuple[Any, ...]) -> None:
    prompts, world, ranges = (part[:1] if part.shape[0] == 3 else part for part in inputs)
    uniforms = draw_uniforms([0], 4000, world.shape[1])
    ids = sample_completions(model, prompts, world[:, :1], ranges[:1], num_samples=4000, uniforms=uniforms[:, :1])
    with torch.no_grad():
        expected = model(prompts).logits[0, -1, : ranges[0, 1]].softmax(-1)
    counts = torch.bincount(ids[:, 0], minlength=len(expected))
    likely = 4000 * expected >= 5
    statistic = ((counts - 4000 * expected)[likely].square() / (4000 * expected)[likely]).sum()
    freedom = int(likely.sum()) - 1
    assert freedom > 3
    assert statistic < freedom + 4 * (2 * freedom) ** 0.5, "chi-square, four standard deviations"


def test_model_is_left_as_it_was(model: LlamaForCausalLM, inputs: tuple[Any, ...]) -> None:
    expected = sample(model, inputs)
    model.train()
    getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)()
    model.config.use_cache = False
    assert torch.equal(sample(model, inputs), expected)
    assert model.training and all(module.training for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast(model: LlamaForCausalLM, inputs: tuple[Any, ...], dtype: torch.dtype) -> None:
    computed = set()
    model.model.layers[0].mlp.down_proj.register_forward_hook(lambda module, given, out: computed.add(out.dtype))
    ids, logprobs = sample(model, inputs, autocast_dtype=dtype, return_logprobs=True)
    assert computed == {dtype}
    assert logprobs.dtype == torch.float32
    torch.testing.assert_close(logprobs, teacher_forced(model, inputs, ids), atol=0.3, rtol=0.1)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_keeps_half_as_many_bytes(dtype: torch.dtype) -> None:
    model = tiny_model(tiny_processor())
    cache = GroupCache(group_size=1, length=2)
    given = {"input_ids": torch.ones(1, 3, dtype=torch.long), "attention_mask": no_mask(torch.ones(1))}
    share_prompts(model)
    with torch.no_grad(), torch.autocast("cpu", dtype):
        model(**given, shared_prompt=cache, use_cache=False)
    assert {x.dtype for pair in cache.prompts.values() for x in pair} == {dtype}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": -1.0}, "temperature of 0"),
        ({"temperature": float("nan")}, "temperature of 0"),
        ({"temperature": 1e-300}, "temperature of 0"),
        ({"top_p": 0.0}, "0 < top_p"),
        ({"top_p": float("nan")}, "0 < top_p"),
        ({"uniforms": torch.zeros(2, 3)}, "`uniforms` of shape"),
        ({"uniforms": torch.ones(15, 24)}, r"`uniforms` in \[0, 1\)"),
        ({"num_samples": 0}, "num_samples"),
    ],
)
def test_wrong_settings_are_named(
    model: LlamaForCausalLM, inputs: tuple[Any, ...], settings: dict[str, Any], message: str
) -> None:
    length = inputs[1].shape[1]
    if "uniforms" in settings and len(settings["uniforms"]) == 15:
        settings = {"uniforms": torch.ones(15, length)}
    if "num_samples" in settings:
        settings = settings | {"uniforms": torch.zeros(0, length)}
    with pytest.raises(ValueError, match=message):
        sample(model, inputs, **settings)


def test_pieces_of_what_fits_into_memory(
    model: LlamaForCausalLM, inputs: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = sample(model, inputs, return_logprobs=True)
    monkeypatch.setattr(sampling, "prompts_at_once", lambda model, **sizes: 2)
    for piecewise, together in zip(sample(model, inputs, return_logprobs=True), whole, strict=True):
        torch.testing.assert_close(piecewise, together)


def test_rows_must_share_the_mask(model: LlamaForCausalLM, inputs: tuple[Any, ...]) -> None:
    prompts, world, ranges = inputs
    world[1, 0] = 0
    with pytest.raises(ValueError, match="same positions of every row"):
        sample(model, (prompts, world, ranges))


def test_rollout_decodes_what_was_sampled(
    model: LlamaForCausalLM, processor: VideoWorldModelProcessor, context: torch.Tensor, actions: torch.Tensor
) -> None:
    record = rollout(model, processor, context, actions, seeds=[1, 2, 3], num_samples=2, return_logprobs=True)
    assert record.group_size == 2
    assert torch.equal(record.model_token_mask, processor.model_token_mask(4))
    assert record.predicted.shape == (6, 4, 3, 16, 16)
    assert torch.equal(record.predicted, processor.decode_state(record.completion_ids, context))
    assert (record.logprobs[:, ~record.model_token_mask] == 0).all()
    bare = rollout(model, processor, context, actions, seeds=[1, 2, 3], num_samples=2, decode=False, horizon=2)
    assert bare.predicted is None and bare.logprobs is None
    length = processor.layout.completion_length(2)
    assert bare.completion_ids.shape == (6, length)
    with pytest.raises(ValueError, match="each of 3 prompts, got 1"):
        rollout(model, processor, context, actions, seeds=[1])


def test_single_step_is_the_first_step_of_many(
    model: LlamaForCausalLM, processor: VideoWorldModelProcessor, context: torch.Tensor, actions: torch.Tensor
) -> None:
    one = rollout(model, processor, context, actions, seeds=[1, 2, 3], horizon=1, temperature=0)
    many = rollout(model, processor, context, actions, seeds=[1, 2, 3], temperature=0)
    assert torch.equal(one.completion_ids, many.completion_ids[:, : one.completion_ids.shape[1]])


def test_actions_of_each_completion_are_those_of_prompts_apart(
    model: LlamaForCausalLM, processor: VideoWorldModelProcessor, context: torch.Tensor
) -> None:
    """Three contexts, four completions of each, all with other actions: as twelve prompts, and one by one."""
    actions = torch.rand(12, 5, 2, generator=torch.Generator().manual_seed(4)) * 2 - 1
    settings: dict[str, Any] = {"temperature": 1.0, "return_logprobs": True}
    together = rollout(model, processor, context, actions, seeds=[1, 2, 3], num_samples=4, **settings)
    assert together.predicted.shape == (12, 4, 3, 16, 16) and together.group_size == 1
    noise = draw_uniforms([1, 2, 3], 4, together.completion_ids.shape[1])
    contexts = context.repeat_interleave(4, dim=0)
    prompts, world = processor.encode_prompt(contexts, actions), processor.world_tokens(actions)
    ranges = processor.token_ranges(4)
    apart = sample_completions(model, prompts, world, ranges, num_samples=1, uniforms=noise)
    assert torch.equal(together.prompt_ids, prompts)
    assert torch.equal(together.completion_ids, apart)
    expected = teacher_forced(model, (prompts, world, ranges), apart)
    torch.testing.assert_close(together.logprobs, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(together.predicted, processor.decode_state(apart, contexts))
    for row in range(12):
        one = sample_completions(
            model, prompts[row : row + 1], world[row : row + 1], ranges, num_samples=1, uniforms=noise[row : row + 1]
        )
        assert torch.equal(one[0], together.completion_ids[row])
    assert len(together.completion_ids[:, :6].unique(dim=0)) > 3


def test_equal_actions_given_apart_are_as_those_given_once(
    model: LlamaForCausalLM, processor: VideoWorldModelProcessor, context: torch.Tensor, actions: torch.Tensor
) -> None:
    once = rollout(model, processor, context, actions, seeds=[1, 2, 3], num_samples=3)
    apart = rollout(model, processor, context, actions.repeat_interleave(3, dim=0), seeds=[1, 2, 3], num_samples=3)
    assert torch.equal(once.completion_ids, apart.completion_ids)
    assert torch.equal(once.prompt_ids.repeat_interleave(3, dim=0), apart.prompt_ids)
    torch.testing.assert_close(once.predicted, apart.predicted)


def test_world_tokens_of_each_completion(model: LlamaForCausalLM, inputs: tuple[Any, ...]) -> None:
    prompts, world, ranges = inputs
    assert torch.equal(sample(model, (prompts, world.repeat_interleave(5, dim=0), ranges)), sample(model, inputs))
    with pytest.raises(ValueError, match="`world_tokens` of shape"):
        sample(model, (prompts, world.repeat_interleave(2, dim=0), ranges))


def test_a_prompt_is_computed_once_for_all_its_actions(
    processor: VideoWorldModelProcessor, context: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(1)
    config = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=processor.layout.vocabulary_size, **config))
    read: list[tuple[int, ...]] = []
    plain = sampling.GroupDecoder.read

    def counted(self: Any, tokens: torch.Tensor, **settings: Any) -> torch.Tensor:
        read.append(tuple(tokens.shape))
        return plain(self, tokens, **settings)

    monkeypatch.setattr(sampling.GroupDecoder, "read", counted)
    actions = torch.rand(8, 3, 2) * 2 - 1
    rollout(model, processor, context[:1], actions, seeds=[1], num_samples=8, horizon=2)
    assert read[0] == (1, processor.layout.prompt_length - 2)
    assert read[1] == (8, 2), "the actions that follow it"


def test_actions_before_the_last_given_frame_are_of_the_context(
    model: LlamaForCausalLM, context: torch.Tensor
) -> None:
    processor = tiny_processor(observed_steps=2)
    frames = torch.rand(1, 3, 3, 16, 16)
    torch.manual_seed(1)
    policy = tiny_model(processor)
    actions = 512 * torch.rand(1, 4, 2).repeat(3, 1, 1)
    actions[1, 1] = 3.0
    assert rollout(policy, processor, frames, actions, seeds=[0], num_samples=3).predicted.shape[:2] == (3, 2)
    actions[2, 0] = 3.0
    with pytest.raises(ValueError, match="other actions before it"):
        rollout(policy, processor, frames, actions, seeds=[0], num_samples=3)
