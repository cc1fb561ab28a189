"""One head: what is sampled from, scored and differentiated are the logits that the model itself computes."""

import copy
import inspect
import pickle
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import (
    CohereConfig,
    CohereForCausalLM,
    FalconH1Config,
    FalconH1ForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GraniteConfig,
    GraniteForCausalLM,
    HyperCLOVAXConfig,
    HyperCLOVAXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    ModernBertDecoderConfig,
    ModernBertDecoderForCausalLM,
)
from trl import GRPOTrainer

from rlvr_world_hf.rollouts import head as module
from rlvr_world_hf.rollouts.decoding import draw
from rlvr_world_hf.rollouts.head import OutputHead, RangeHead, accept_range_head
from rlvr_world_hf.rollouts.sampling import draw_uniforms, sample_completions
from rlvr_world_hf.rollouts.shared_prompt import pack_groups, share_prompts
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
    output = OutputHead(module=torch.nn.Linear(4, 30, bias=False))
    log_probs, entropies = head(states, output, completion)
    assert log_probs.requires_grad and not entropies.requires_grad and entropies.max() > 0
    without = head(states, output, completion, with_entropies=False)
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


def test_it_is_sent_without_what_lies_on_a_device(processor, sequences) -> None:
    head, output = RangeHead.of(processor, HORIZON), OutputHead(module=torch.nn.Linear(4, 30))
    states = torch.randn(*sequences[1].shape, 4)
    before = head(states, output, sequences[1])
    copied = pickle.loads(pickle.dumps(head))
    assert head._positions and not copied._positions
    for again, expected in zip(copied(states, output, sequences[1]), before, strict=True):
        assert torch.equal(again, expected)


def test_another_length_is_refused(processor, sequences) -> None:
    head = RangeHead(processor.token_ranges(HORIZON + 1), processor.model_token_mask(HORIZON + 1))
    with pytest.raises(ValueError, match="one horizon"):
        head(torch.zeros(3, sequences[1].shape[1], 4), OutputHead(module=torch.nn.Linear(4, 30)), sequences[1])


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


SIZES = {
    "vocab_size": 30,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "initializer_range": 0.3,
}


SPECIAL_IDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2}


class CappedLlama(LlamaForCausalLM):
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        output = super().forward(*args, **kwargs)
        output.logits = (output.logits / self.config.logits_soft_cap).tanh() * self.config.logits_soft_cap
        return output


def with_adapter_on_head() -> Any:
    config = LoraConfig(target_modules=["q_proj", "lm_head"], init_lora_weights=False)
    return get_peft_model(LlamaForCausalLM(LlamaConfig(**SIZES)), config)


def with_replaced_head() -> Any:
    model = LlamaForCausalLM(LlamaConfig(**SIZES))
    model.lm_head.forward = lambda states: 3 * nn.functional.linear(states, model.lm_head.weight)
    return model


MODELS = {
    "capped": lambda: Gemma2ForCausalLM(Gemma2Config(**SIZES, head_dim=8, final_logit_softcapping=0.5)),
    "scaled": lambda: CohereForCausalLM(CohereConfig(**SIZES, logit_scale=5.0)),
    "divided": lambda: GraniteForCausalLM(GraniteConfig(**SIZES, logits_scaling=0.2)),
    "scaled by the same name": lambda: HyperCLOVAXForCausalLM(HyperCLOVAXConfig(**SIZES, logits_scaling=5.0)),
    "scaled by another name": lambda: FalconH1ForCausalLM(
        FalconH1Config(
            **SIZES, lm_head_multiplier=5.0, mamba_n_heads=4, mamba_d_head=8, mamba_d_ssm=32, mamba_d_state=8
        )
    ),
    "more than a matrix": lambda: ModernBertDecoderForCausalLM(ModernBertDecoderConfig(**SIZES, **SPECIAL_IDS)),
    "capped by another name": lambda: CappedLlama(LlamaConfig(**SIZES, logits_soft_cap=0.5)),
    "an adapter on the head": with_adapter_on_head,
    "adapters elsewhere": lambda: get_peft_model(
        LlamaForCausalLM(LlamaConfig(**SIZES)), LoraConfig(init_lora_weights=False)
    ),
    "replaced": with_replaced_head,
}
RANGES, WRITES = torch.tensor([[0, 9], [9, 30], [3, 4], [5, 20]]), torch.tensor([True, True, False, True])


@pytest.fixture(params=MODELS.values(), ids=list(MODELS))
def model(request: pytest.FixtureRequest) -> Any:
    torch.manual_seed(0)
    return request.param().eval()


def sampled(model: Any) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Prompts, one a completion, the completions and their log-probabilities when they were sampled."""
    prompts = torch.randint(1, 30, (2, 5), generator=torch.Generator().manual_seed(1))
    world = torch.where(WRITES, -1, RANGES[:, 0]).repeat(2, 1)
    noise = draw_uniforms([0, 1], 3, len(RANGES))
    settings: dict[str, Any] = {"num_samples": 3, "uniforms": noise, "return_logprobs": True}
    ids, log_probs = sample_completions(model, prompts, world, RANGES, **settings)
    return prompts.repeat_interleave(3, dim=0), ids, log_probs


def expected_log_probs(model: Any, prompts: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """Of the logits that the model itself computes, sliced."""
    logits = model(input_ids=torch.cat([prompts, ids], dim=1)).logits[:, prompts.shape[1] - 1 : -1]
    columns = []
    for position, (low, high) in enumerate(RANGES.tolist()):
        scores = logits[:, position, low:high].log_softmax(-1).gather(1, ids[:, position, None] - low)[:, 0]
        columns.append(scores if WRITES[position] else torch.zeros_like(scores))
    return torch.stack(columns, dim=1)


def test_sampling_and_ratios_agree_with_the_models_own_logits(model: Any) -> None:
    prompts, ids, of_sampling = sampled(model)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    weight = torch.arange(24.0).reshape(6, 4)
    expected = expected_log_probs(model, prompts, ids)
    wanted = torch.autograd.grad((expected * weight).sum(), trained, allow_unused=True)

    accept_range_head(model)
    rows = torch.cat([prompts, ids], dim=1)
    log_probs, _ = model(input_ids=rows, range_head=RangeHead(RANGES, WRITES), completion_ids=ids)
    torch.testing.assert_close(of_sampling, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(log_probs, expected, atol=1e-5, rtol=1e-5)
    gradients = torch.autograd.grad((log_probs * weight).sum(), trained, allow_unused=True)
    for gradient, of_plain in zip(gradients, wanted, strict=True):
        assert (gradient is None) == (of_plain is None)
        if gradient is not None:
            assert (gradient - of_plain).norm() <= 1e-5 * of_plain.norm() + 1e-7


def test_sampled_ids_are_those_of_the_models_own_logits(model: Any) -> None:
    prompts, ids, _ = sampled(model)
    noise = draw_uniforms([0, 1], 3, len(RANGES))
    rows = prompts
    for position, (low, high) in enumerate(RANGES.tolist()):
        with torch.no_grad():
            logits = model(input_ids=rows).logits[:, -1, low:high]
        drawn = draw(logits, noise[:, position].double(), temperature=1.0, top_k=0, top_p=1.0) + low
        if WRITES[position]:
            assert torch.equal(drawn, ids[:, position])
        rows = torch.cat([rows, ids[:, position, None]], dim=1)


@pytest.mark.parametrize("autocast", [False, True])
def test_a_head_that_trl_casts_computes_in_float32(autocast: bool) -> None:
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**SIZES)).bfloat16().eval()
    head = model.lm_head.float()

    def cast_forward_to_fp32(states: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(states.float(), head.weight.float())

    head.forward = cast_forward_to_fp32  # as TRL's trainer does
    states = torch.randn(2, 3, 16).bfloat16()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        logits = OutputHead.of(model)(states, (5, 20))
    assert OutputHead.of(model).can_be_cut
    torch.testing.assert_close(logits, states.float() @ head.weight[5:20].T, atol=1e-6, rtol=1e-6)


def test_trl_still_casts_by_a_function_of_that_name() -> None:
    assert "def cast_forward_to_fp32(" in inspect.getsource(GRPOTrainer.__init__)


def test_pieces_change_nothing_and_keep_fewer_logits(
    processor: Any, sequences: tuple[torch.Tensor, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    prompt, completion = sequences
    model = small_policy(processor)
    accept_range_head(model)
    head = RangeHead.of(processor, HORIZON)
    width = max(high - low for low, high in head.groups)

    def outputs_and_gradient() -> tuple[list[torch.Tensor], int]:
        kept = []
        model.zero_grad()
        rows = torch.cat([prompt, completion], dim=1)
        with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):
            outputs = model(input_ids=rows, range_head=head, completion_ids=completion)
        (outputs[0] * torch.arange(3)[:, None]).sum().backward()
        made = [*outputs, *(parameter.grad.clone() for parameter in model.parameters())]
        return made, sum(x.numel() for x in kept if x.ndim == 3 and x.shape[-1] == width)

    whole, logits_of_whole = outputs_and_gradient()
    monkeypatch.setattr(module, "LOGITS_AT_ONCE", 3 * width * 2)  # two positions of three rows
    pieces, logits_of_pieces = outputs_and_gradient()
    for piece, expected in zip(pieces, whole, strict=True):
        torch.testing.assert_close(piece, expected, atol=1e-6, rtol=1e-5)
    assert logits_of_pieces == 0 < logits_of_whole


def share_out(head: nn.Linear) -> None:
    """Empty a head's weight as ZeRO-3 does; its hooks gather it for the head's own forward pass."""
    whole = head.weight.data
    head.weight.data, head.weight.ds_id = whole.new_empty(0), 0

    def gather(module: nn.Module, inputs: Any) -> None:
        module.weight.data = whole

    def release(module: nn.Module, inputs: Any, output: Any) -> None:
        module.weight.data = whole.new_empty(0)

    head.register_forward_pre_hook(gather)
    head.register_forward_hook(release)


def test_weights_that_are_shared_out_are_gathered_or_refused_by_name() -> None:
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**SIZES)).eval()
    prompts, ids, of_sampling = sampled(model)
    share_out(model.lm_head)
    again = sampled(model)
    assert torch.equal(again[1], ids)
    torch.testing.assert_close(again[2], of_sampling)
    accept_range_head(model)
    rows = torch.cat([prompts, ids], dim=1)
    with torch.no_grad():
        log_probs, _ = model(input_ids=rows, range_head=RangeHead(RANGES, WRITES), completion_ids=ids)
    torch.testing.assert_close(log_probs, of_sampling, atol=1e-5, rtol=1e-5)
    model.lm_head._forward_pre_hooks.clear()
    model.lm_head._forward_hooks.clear()
    with pytest.raises(ValueError, match="DeepSpeed has shared them out"):
        OutputHead.of(model)(torch.zeros(1, 16), (0, 4))
