"""A model that computes a prompt once gives what it gives when the prompt stands before every completion."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from peft import LoraConfig, PrefixTuningConfig, PromptTuningConfig, get_peft_model
from transformers import (
    AutoModelForCausalLM,
    Cohere2Config,
    Cohere2ForCausalLM,
    Exaone4Config,
    Exaone4ForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GptOssConfig,
    GptOssForCausalLM,
    Llama4ForCausalLM,
    Llama4TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    NemotronConfig,
    NemotronForCausalLM,
    Olmo3Config,
    Olmo3ForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen2MoeConfig,
    Qwen2MoeForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    RobertaConfig,
    RobertaForCausalLM,
    SmolLM3Config,
    SmolLM3ForCausalLM,
    Starcoder2Config,
    Starcoder2ForCausalLM,
)

from rlvr_world_hf.rollouts import shared_prompt as module
from rlvr_world_hf.rollouts.group_cache import GroupCache
from rlvr_world_hf.rollouts.shared_prompt import (
    PackedGroups,
    no_mask,
    pack_groups,
    samples_a_prompt,
    share_prompts,
    unpack_completions,
)


SIZES = {
    "vocab_size": 50,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.3,
}
LAYERS = {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 4}
USED = {"use_sliding_window": True}
CAPPED = {"attn_logit_softcapping": 0.5, "head_dim": 8, "attn_implementation": "eager"}
MODELS = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SIZES)),
    "llama with biases": lambda: LlamaForCausalLM(LlamaConfig(**SIZES, attention_bias=True, tie_word_embeddings=True)),
    "plain attention": lambda: LlamaForCausalLM(LlamaConfig(**SIZES, attn_implementation="eager")),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**SIZES)),
    "qwen2, every other layer with a window": lambda: Qwen2ForCausalLM(Qwen2Config(**SIZES, **LAYERS, **USED)),
    "mistral": lambda: MistralForCausalLM(MistralConfig(**SIZES, sliding_window=4)),
    "mistral, plain": lambda: MistralForCausalLM(
        MistralConfig(**SIZES, sliding_window=3, attn_implementation="eager")
    ),
    "a window of one token": lambda: MistralForCausalLM(MistralConfig(**SIZES, sliding_window=1)),
    "a wide window": lambda: MistralForCausalLM(MistralConfig(**SIZES, sliding_window=100)),
    "phi3": lambda: Phi3ForCausalLM(Phi3Config(**SIZES, sliding_window=4, pad_token_id=0)),
    "starcoder2": lambda: Starcoder2ForCausalLM(Starcoder2Config(**SIZES, sliding_window=4)),
    "gemma2, capped": lambda: Gemma2ForCausalLM(Gemma2Config(**SIZES, **LAYERS, **CAPPED)),
    "gemma3": lambda: Gemma3ForCausalLM(Gemma3TextConfig(**SIZES, **LAYERS, head_dim=8)),
    "gemma3, plain": lambda: Gemma3ForCausalLM(
        Gemma3TextConfig(**SIZES, **LAYERS, head_dim=8, attn_implementation="eager")
    ),
    "cohere2": lambda: Cohere2ForCausalLM(Cohere2Config(**SIZES, **LAYERS)),
    "olmo3": lambda: Olmo3ForCausalLM(Olmo3Config(**SIZES, **LAYERS, pad_token_id=0)),
    "smollm3": lambda: SmolLM3ForCausalLM(SmolLM3Config(**SIZES, **LAYERS, **USED, pad_token_id=0)),
    "exaone4": lambda: Exaone4ForCausalLM(Exaone4Config(**SIZES, **LAYERS)),
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**SIZES, head_dim=16)),
    "lora": lambda: get_peft_model(LlamaForCausalLM(LlamaConfig(**SIZES)), LoraConfig(init_lora_weights=False)),
}
GROUP, PROMPT, LENGTH = 4, 6, 5


@pytest.fixture(params=MODELS.values(), ids=list(MODELS))
def model(request: pytest.FixtureRequest) -> PreTrainedModel:
    torch.manual_seed(0)
    return request.param().eval()


def sequences() -> tuple[torch.Tensor, torch.Tensor]:
    """Three prompts, whole, half and a single token, padded on the left; completions padded on the right."""
    random = torch.Generator().manual_seed(1)
    prompts = torch.randint(1, 50, (3, PROMPT), generator=random).repeat_interleave(GROUP, dim=0)
    ids = torch.cat([prompts, torch.randint(1, 50, (3 * GROUP, LENGTH), generator=random)], dim=1)
    mask = torch.ones_like(ids)
    mask[GROUP : 2 * GROUP, :3] = 0
    mask[2 * GROUP :, : PROMPT - 1] = 0
    mask[5, -2:] = 0
    return ids.masked_fill(mask == 0, 0), mask


def unshared(model: PreTrainedModel, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
    logits = model(input_ids=ids, attention_mask=mask, position_ids=positions).logits
    return logits[:, PROMPT - 1 : -1]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
def test_packed_logits_and_gradients(model: PreTrainedModel, dtype: torch.dtype, tolerance: float) -> None:
    if not model._supports_sdpa:  # and plain attention is no more exact than float32
        dtype, tolerance = torch.float32, 1e-5
    model = model.to(dtype)
    ids, mask = sequences()
    weight = mask[:, PROMPT:, None] * torch.randn(50, dtype=dtype, generator=torch.Generator().manual_seed(2))
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    implementation = model.config._attn_implementation
    if dtype == torch.float64:  # in which plain attention computes its softmax as float32, and nan where all is hidden
        model.set_attn_implementation("sdpa")
    expected = unshared(model, ids, mask)
    model.set_attn_implementation(implementation)
    wanted = torch.autograd.grad((expected * weight).sum(), trained)

    assert share_prompts(model) is None
    packed = pack_groups(ids, mask, completion_length=LENGTH)
    assert packed["input_ids"].shape == (1, 3 * (PROMPT - 1) + 3 * GROUP * LENGTH)
    logits = unpack_completions(model(**packed, use_cache=False).logits, packed["shared_prompt"])
    scored = mask[:, PROMPT:].bool()
    # Relative too: logits reach 5, where 1e-5 is twenty roundings of float32, and processors sum in different orders.
    torch.testing.assert_close(logits[scored], expected[scored], atol=tolerance, rtol=tolerance)
    for gradient, of_unshared in zip(torch.autograd.grad((logits * weight).sum(), trained), wanted, strict=True):
        assert (gradient - of_unshared).norm() <= 1e-5 * of_unshared.norm() + 1e-12


def test_calls_without_it_are_as_before(model: PreTrainedModel, tmp_path: Path) -> None:
    ids, mask = sequences()
    before = unshared(model, ids, mask)
    generated = model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=3, do_sample=False)
    share_prompts(model)
    share_prompts(model)
    assert torch.equal(unshared(model, ids, mask), before)
    again = model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=3, do_sample=False)
    assert torch.equal(again, generated)


def test_a_saved_model_knows_nothing_of_it(tmp_path: Path) -> None:
    model = MODELS["llama"]()
    share_prompts(model)
    model.save_pretrained(tmp_path)
    assert "shared_prompts" not in (tmp_path / "config.json").read_text()
    assert AutoModelForCausalLM.from_pretrained(tmp_path).config._attn_implementation == "sdpa"


def test_the_same_with_activation_checkpoints(model: PreTrainedModel) -> None:
    ids, mask = sequences()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    share_prompts(model)

    def gradients() -> tuple[torch.Tensor, ...]:
        packed = pack_groups(ids, mask, completion_length=LENGTH)
        logits = model(**packed, use_cache=False).logits
        return torch.autograd.grad(unpack_completions(logits, packed["shared_prompt"]).sum(), trained)

    expected = gradients()
    plain = model.get_base_model() if hasattr(model, "get_base_model") else model
    plain.gradient_checkpointing_enable({"use_reentrant": False})
    model.train()
    for gradient, wanted in zip(gradients(), expected, strict=True):
        torch.testing.assert_close(gradient, wanted)


def test_cached_logits_in_pieces(model: PreTrainedModel) -> None:
    ids, mask = sequences()
    expected = unshared(model, ids, mask)
    positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
    share_prompts(model)
    cache = GroupCache(group_size=GROUP, length=LENGTH, prompt_mask=mask[::GROUP, :PROMPT].bool())
    shared = {"attention_mask": no_mask(ids), "shared_prompt": cache, "use_cache": False}
    first = slice(0, PROMPT)
    with torch.no_grad():
        logits = model(input_ids=ids[::GROUP, first], position_ids=positions[::GROUP, first], **shared).logits
        pieces = [logits[:, -1:].repeat_interleave(GROUP, dim=0)]
        for start, stop in ((0, 1), (1, 3), (3, LENGTH - 1)):
            piece = slice(PROMPT + start, PROMPT + stop)
            cache.advance(torch.arange(start, stop), stop=stop)
            pieces.append(model(input_ids=ids[:, piece], position_ids=positions[:, piece], **shared).logits)
    scored = mask[:, PROMPT:].bool()
    torch.testing.assert_close(torch.cat(pieces, dim=1)[scored], expected[scored], atol=1e-5, rtol=0)


PREFIX = PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)
PROMPT_TUNING = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)
BERT = {"vocab_size": 50, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 48}
CHUNKS = {"num_local_experts": 1, "layer_types": ["chunked_attention", "full_attention"], "head_dim": 8}
WHOLE = {"layer_types": ["full_attention"] * 2, "sliding_window": None}


def capped_gemma() -> PreTrainedModel:
    return Gemma2ForCausalLM(Gemma2Config(**SIZES, **WHOLE, head_dim=8, attn_implementation="flex_attention"))


def gpt_oss_of_whole_attention() -> PreTrainedModel:
    experts = {"num_local_experts": 2, "num_experts_per_tok": 1}
    return GptOssForCausalLM(GptOssConfig(**SIZES, **WHOLE, **experts, head_dim=8, attn_implementation="eager"))


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (lambda: LlamaForCausalLM(LlamaConfig(**SIZES, attention_dropout=0.1)), "attention dropout"),
        (lambda: NemotronForCausalLM(NemotronConfig(**SIZES)), "do not hand arguments on"),
        (lambda: RobertaForCausalLM(RobertaConfig(**BERT)), "sees later tokens too"),
        (capped_gemma, "caps its attention scores, which 'flex_attention' attention does not; use 'eager'"),
        (lambda: Llama4ForCausalLM(Llama4TextConfig(**SIZES, **CHUNKS)), "layers of the kind 'chunked_attention'"),
        (
            lambda: Qwen2MoeForCausalLM(Qwen2MoeConfig(**SIZES, **LAYERS, **USED)),
            "does not say how wide its sliding window",
        ),
        (gpt_oss_of_whole_attention, "has attention sinks"),
        (lambda: get_peft_model(MODELS["llama"](), PREFIX), "adapter (PREFIX_TUNING) puts learned tokens"),
        (lambda: get_peft_model(MODELS["llama"](), PROMPT_TUNING), "adapter (PROMPT_TUNING) puts learned tokens"),
    ],
)
def test_what_cannot_share_says_why(build: Callable[[], PreTrainedModel], reason: str) -> None:
    model = build()
    before = model.config._attn_implementation
    assert reason in (share_prompts(model) or "")
    assert model.config._attn_implementation == before


def test_arguments_of_attention_that_are_not_known_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even of a model that the reasons not to share do not know."""
    monkeypatch.setattr(module, "_reason_not_to_share", lambda model: None)
    model, (ids, mask) = gpt_oss_of_whole_attention(), sequences()
    model.config.sliding_window = 64  # of layers that it does not have, for which their masks are made
    share_prompts(model)
    unshared(model, ids, mask)
    with pytest.raises(ValueError, match="got s_aux too; train with `share_prompts=False`"):
        model(**pack_groups(ids, mask, completion_length=LENGTH), use_cache=False)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"position_bias": torch.zeros(1)}, "position_bias"),
        ({"output_attentions": True}, "output_attentions"),
        ({"dropout": 0.1}, "dropout"),
        ({"is_causal": False}, "is_causal"),
        ({"mask": torch.zeros(1, 1, 4, 4)}, "attention_mask"),
        ({"position": (0.5,)}, "1 arguments without a name"),
    ],
)
def test_what_changes_attention_is_named(given: dict[str, Any], named: str) -> None:
    attend = module._attention_beside("sdpa")
    states = torch.zeros(1, 1, 5, 8)
    groups = PackedGroups(prompts=1, prompt_length=1, completion_length=2)
    usual = {"scaling": 1.0, "dropout": 0.0, "sliding_window": None, "position_ids": torch.zeros(1, 5)}
    owner = SimpleNamespace(layer_idx=0)
    attend(owner, states, states, states, no_mask(states), **usual, shared_prompt=groups)
    mask, position = given.pop("mask", no_mask(states)), given.pop("position", ())
    with pytest.raises(ValueError, match=f"got {named} too"):
        attend(owner, states, states, states, mask, *position, **usual | given, shared_prompt=groups)


def test_a_prompt_that_does_not_reach_attention_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where the reasons not to share do not tell."""
    monkeypatch.setattr(module, "_hands_arguments_on", lambda forward: True)
    model, (ids, mask) = NemotronForCausalLM(NemotronConfig(**SIZES)), sequences()
    assert share_prompts(model) is None
    with pytest.raises(ValueError, match="NemotronAttention is called without the `shared_prompt`"):
        model(**pack_groups(ids, mask, completion_length=LENGTH), use_cache=False)


def test_samples_a_prompt() -> None:
    prompts = torch.tensor([[0, 2], [3, 4], [5, 6]])
    ones = torch.ones(3, 2)
    four = prompts.repeat_interleave(4, dim=0)
    assert samples_a_prompt(four, torch.ones_like(four)) == 4
    assert samples_a_prompt(prompts, ones) == 1
    uneven = torch.cat([four, prompts[-1:].repeat(2, 1)])
    assert samples_a_prompt(uneven, torch.ones_like(uneven)) == 2, "each prompt stands twice or three times"
    mask = torch.ones_like(four)
    mask[2:, 0] = 0
    assert samples_a_prompt(four, mask) == 2, "an id is another as padding"
