"""Token by token a group is read as the plain model reads it, with one copy of a prompt or with many."""

import inspect
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from peft import PromptTuningConfig, get_peft_model
from torch._dynamo.testing import CompileCounterWithBackend
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import (
    BambaConfig,
    BambaForCausalLM,
    FalconH1Config,
    FalconH1ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GptOssConfig,
    GptOssForCausalLM,
    JambaConfig,
    JambaForCausalLM,
    Lfm2Config,
    Lfm2ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    Mamba2Config,
    Mamba2ForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen3NextConfig,
    Qwen3NextForCausalLM,
    RecurrentGemmaConfig,
    RecurrentGemmaForCausalLM,
    RwkvConfig,
    RwkvForCausalLM,
)

from rlvr_world_hf.rollouts import decoder as module
from rlvr_world_hf.rollouts import group_cache
from rlvr_world_hf.rollouts.decoder import GroupDecoder, compiled, prompts_at_once, sampling_from


GROUP = 3

INSTALLED = "cache" if "cache" in inspect.signature(LlamaForCausalLM.forward).parameters else "past_key_values"
"""What the installed transformers calls a model's cache."""


class TakesPastKeyValues(LlamaForCausalLM):
    def forward(self, past_key_values: Any = None, **inputs: Any) -> SimpleNamespace:
        output = super().forward(**inputs, **{INSTALLED: past_key_values})
        return SimpleNamespace(logits=output.logits, past_key_values=output[INSTALLED])


class TakesCache(LlamaForCausalLM):
    def forward(self, cache: Any = None, **inputs: Any) -> SimpleNamespace:
        output = super().forward(**inputs, **{INSTALLED: cache})
        return SimpleNamespace(logits=output.logits, cache=output[INSTALLED])


@pytest.fixture(params=[0.0, 0.1], ids=["shared", "repeated"])
def model(request: pytest.FixtureRequest) -> LlamaForCausalLM:
    """With dropout in attention, sharing is refused."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=40,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.3,
        attention_dropout=request.param,
        max_position_embeddings=16,
    )
    return LlamaForCausalLM(config).eval()


@pytest.fixture
def prompts() -> tuple[torch.Tensor, torch.Tensor]:
    ids = torch.randint(1, 40, (3, 6), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    mask[0, :5] = 0
    mask[1, :2] = 0
    return ids * mask, mask


def test_greedy_tokens_are_those_of_generate(model: LlamaForCausalLM, prompts: tuple[torch.Tensor, ...]) -> None:
    ids, mask = prompts
    repeated = {"input_ids": ids.repeat_interleave(GROUP, 0), "attention_mask": mask.repeat_interleave(GROUP, 0)}
    expected = model.generate(**repeated, max_new_tokens=8, min_new_tokens=8, do_sample=False)[:, 6:]
    decoder = GroupDecoder(model, group_size=GROUP, length=8, prompt_length=6, prompt_mask=mask)
    tokens, unread = [], ids
    for _ in range(8):
        unread = decoder.read(unread).argmax(dim=-1)[:, None]
        tokens.append(unread)
    assert torch.equal(torch.cat(tokens, dim=1), expected)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("kinds", [["sliding_attention", "full_attention"], ["sliding_attention"] * 2])
def test_greedy_tokens_of_a_model_with_windows(
    kinds: list[str], attention: str, prompts: tuple[torch.Tensor, ...]
) -> None:
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = Gemma3TextConfig(
        vocab_size=40, **sizes, num_key_value_heads=2, head_dim=8, initializer_range=0.3, sliding_window=4,
        layer_types=kinds, attn_implementation=attention, eos_token_id=None,
    )  # fmt: skip
    test_greedy_tokens_are_those_of_generate(Gemma3ForCausalLM(config).eval(), prompts)


@pytest.mark.parametrize("model", [0.0], ids=["shared"], indirect=True)
@pytest.mark.parametrize("attention", ["sdpa", pytest.param("eager", marks=pytest.mark.slow)])
def test_a_step_is_one_graph_on_the_same_buffers(
    model: LlamaForCausalLM, prompts: tuple[torch.Tensor, ...], attention: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compiled as a whole, once for each part of the buffers that is read."""
    monkeypatch.setitem(group_cache.ROOM, "cpu", 4)
    model.set_attn_implementation(attention)
    ids, mask = prompts
    sizes = {"group_size": GROUP, "length": 10, "prompt_length": 6, "prompt_mask": mask.bool()}
    usual, whole = GroupDecoder(model, **sizes), GroupDecoder(model, **sizes)
    torch.compiler.reset()
    graphs: Any = CompileCounterWithBackend("eager")
    whole.step = torch.compile(whole.step, fullgraph=True, backend=graphs)
    torch.testing.assert_close(whole.read(ids, ids=(3, 20)), usual.read(ids, ids=(3, 20)))
    buffers = [buffer for pair in whole.cache.completions.values() for buffer in pair]
    addresses = [buffer.data_ptr() for buffer in buffers]
    for place in range(10):
        unread = torch.arange(9)[:, None] + place
        torch.testing.assert_close(whole.read(unread, ids=(3, 20)), usual.read(unread, ids=(3, 20)))
    assert 1 < graphs.frame_count <= 3, "of 4, 8 and 10 tokens, of which some may have a graph together"
    kept = [buffer for pair in whole.cache.completions.values() for buffer in pair]
    assert [buffer.data_ptr() for buffer in kept] == addresses


class ComputedAgain(module.CapturedStep):
    """A step whose replay computes it anew from its own tokens and places, as a graph on a device does."""

    def __init__(self, decoder: GroupDecoder, *given: Any) -> None:
        super().__init__(decoder, *given)
        self.graph.replay = lambda: self.states.copy_(decoder.step(self.tokens, self.places))


@pytest.mark.parametrize("model", [0.0], ids=["shared"], indirect=True)
def test_captured_steps_read_what_they_are_given(
    model: LlamaForCausalLM, prompts: tuple[torch.Tensor, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a stand-in for the graphs of a device: `tests/rollouts/test_gpu.py` has them themselves."""
    made: list[tuple[Any, ...]] = []
    monkeypatch.setitem(group_cache.ROOM, "cpu", 4)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", SimpleNamespace)
    monkeypatch.setattr(torch.cuda, "graph", nullcontext)
    monkeypatch.setattr(module, "captures_graphs", lambda tokens: True)
    monkeypatch.setattr(module, "CapturedStep", lambda *given: made.append(given[1:]) or ComputedAgain(*given))
    ids, mask = prompts
    sizes = {"group_size": GROUP, "length": 10, "prompt_length": 6, "prompt_mask": mask.bool()}
    usual, captured = GroupDecoder(model, **sizes), GroupDecoder(model, **sizes)
    usual.has_own_weights = False
    torch.testing.assert_close(captured.read(ids, ids=(3, 20)), usual.read(ids, ids=(3, 20)))
    rows = 9
    for place, valid in enumerate([(3, 20), (3, 20), (5, 9), (3, 20), (3, 20), (3, 20), (3, 20), (3, 20), None]):
        if place == 7:  # what was captured for three prompts is of no use for two
            for decoder in (usual, captured):
                decoder.keep(torch.tensor([0, 2]))
            rows = 6
        unread = torch.arange(rows)[:, None] + place
        torch.testing.assert_close(captured.read(unread, ids=valid), usual.read(unread, ids=valid))
    assert [len(tokens) for tokens, _ in made] == [9, 9], "of the second step of a kind, of 4 and of 8 tokens"


@pytest.mark.slow
@pytest.mark.parametrize("model", [0.0], ids=["shared"], indirect=True)
def test_steps_are_compiled_where_that_is_asked_for(
    model: LlamaForCausalLM, prompts: tuple[torch.Tensor, ...]
) -> None:
    """To code of the processor, with other sizes from decoder to decoder, and other ids from step to step."""
    torch.compiler.reset()
    module._compiled_step.cache_clear()
    for rows in (slice(0, 3), slice(0, 2), slice(1, 3)):
        ids, mask = (x[rows] for x in prompts)
        for mask_or_none in (mask.bool(), None):
            sizes = {"group_size": GROUP, "length": 6, "prompt_length": 6, "prompt_mask": mask_or_none}
            usual, other = GroupDecoder(model, **sizes), GroupDecoder(model, **sizes)
            for place, valid in enumerate([None, (3, 20), (5, 9), None]):
                unread = torch.arange(len(ids) * GROUP)[:, None] + 5 * place if place else ids
                expected = usual.read(unread, ids=valid)
                with compiled(True):
                    found = other.read(unread, ids=valid)
                torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


class Casts(TorchDispatchMode):
    """Counts casts of a model's matrices, or of parts of them."""

    def __init__(self, model: LlamaForCausalLM) -> None:
        super().__init__()
        self.weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
        self.of_matrices = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        is_cast = function is torch.ops.aten._to_copy.default and (kwargs or {}).get("dtype") == torch.bfloat16
        is_weight = bool(args) and isinstance(args[0], torch.Tensor) and args[0].ndim == 2
        self.of_matrices += is_cast and is_weight and args[0].untyped_storage().data_ptr() in self.weights
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("model", [0.0], ids=["shared"], indirect=True)
@pytest.mark.parametrize("frozen", [False, True], ids=["trained", "frozen"])
def test_a_weight_is_cast_once(model: LlamaForCausalLM, prompts: tuple[torch.Tensor, ...], frozen: bool) -> None:
    model.requires_grad_(not frozen)
    with Casts(model) as casts, sampling_from(model, torch.bfloat16):
        decoder = GroupDecoder(model, group_size=GROUP, length=8, prompt_length=6)
        unread = prompts[0]
        for _ in range(8):
            unread = decoder.read(unread).argmax(dim=-1)[:, None]
    assert casts.of_matrices == 2 * 7 + 1, "seven products a layer, and the head"
    assert all(parameter.requires_grad != frozen for parameter in model.parameters())


def test_some_ids_are_a_part_of_all(model: LlamaForCausalLM, prompts: tuple[torch.Tensor, ...]) -> None:
    ids, mask = prompts
    sizes = {"group_size": GROUP, "length": 4, "prompt_length": 6, "prompt_mask": mask}
    every, some = GroupDecoder(model, **sizes), GroupDecoder(model, **sizes)
    for unread in (ids, torch.full((9, 2), 7)):
        torch.testing.assert_close(some.read(unread, ids=(5, 9)), every.read(unread)[:, 5:9], atol=1e-6, rtol=0)


def test_prompts_that_are_left_go_on_as_before(model: LlamaForCausalLM, prompts: tuple[torch.Tensor, ...]) -> None:
    ids, mask = prompts
    sizes = {"group_size": GROUP, "length": 4, "prompt_length": 6, "prompt_mask": mask}
    every, some = GroupDecoder(model, **sizes), GroupDecoder(model, **sizes)
    kept = torch.tensor([0, 2])
    for decoder in (every, some):
        decoder.read(ids)
        decoder.read(torch.arange(9)[:, None])
    some.keep(kept)
    rows = torch.tensor([0, 1, 2, 6, 7, 8])
    for unread in (torch.arange(9)[:, None] + 10, torch.arange(9)[:, None] + 20):
        torch.testing.assert_close(some.read(unread[rows]), every.read(unread)[rows], atol=1e-5, rtol=0)


@pytest.mark.parametrize("model", [0.1], ids=["repeated"], indirect=True)
@pytest.mark.parametrize("kind", [TakesPastKeyValues, TakesCache])
def test_a_cache_is_given_by_the_name_the_model_takes(
    kind: type[LlamaForCausalLM], model: LlamaForCausalLM, prompts: tuple[torch.Tensor, ...]
) -> None:
    named = kind(model.config).eval()
    named.load_state_dict(model.state_dict())
    ids, mask = prompts
    sizes = {"group_size": GROUP, "length": 4, "prompt_length": 6, "prompt_mask": mask}
    expected, decoder = GroupDecoder(model, **sizes), GroupDecoder(named, **sizes)
    for unread in (ids, torch.arange(9)[:, None] + 10, torch.arange(9)[:, None] + 20):
        assert torch.equal(decoder.read(unread), expected.read(unread))


SIZES = {
    "vocab_size": 40,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.3,
}
MAMBA = {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 8, "mamba_n_groups": 1, "mamba_chunk_size": 8}
WITH_STATE = {
    "state space": lambda: Mamba2ForCausalLM(
        Mamba2Config(
            vocab_size=40, hidden_size=32, num_heads=8, head_dim=8, state_size=8, num_hidden_layers=2, n_groups=1,
            chunk_size=8,
        )
    ),
    "linear attention": lambda: Qwen3NextForCausalLM(
        Qwen3NextConfig(
            **SIZES, head_dim=8, linear_num_value_heads=4, linear_num_key_heads=2, linear_key_head_dim=8,
            linear_value_head_dim=8, layer_types=["linear_attention", "full_attention"], num_experts=0,
        )
    ),
    "convolutions": lambda: Lfm2ForCausalLM(Lfm2Config(**SIZES, full_attn_idxs=[1])),
    "state space and attention": lambda: BambaForCausalLM(BambaConfig(**SIZES, attn_layer_indices=[1], **MAMBA)),
    "state space, one token at a time": lambda: JambaForCausalLM(
        JambaConfig(
            **SIZES, attn_layer_period=2, attn_layer_offset=1, num_experts=1, expert_layer_period=10,
            use_mamba_kernels=False, mamba_d_state=8, mamba_dt_rank=4,
        )
    ),
    "both in a layer": lambda: FalconH1ForCausalLM(FalconH1Config(**SIZES, mamba_d_ssm=64, **MAMBA)),
    "sliding windows": lambda: MistralForCausalLM(MistralConfig(**SIZES, sliding_window=4)),
    "attention sinks": lambda: GptOssForCausalLM(
        GptOssConfig(**SIZES, head_dim=8, num_local_experts=2, num_experts_per_tok=1, sliding_window=4)
    ),
}  # fmt: skip


@pytest.mark.parametrize("build", WITH_STATE.values(), ids=list(WITH_STATE))
def test_models_that_keep_a_state_read_as_they_do_alone(build: Any, prompts: tuple[torch.Tensor, ...]) -> None:
    torch.manual_seed(0)
    model = build().eval()
    ids, mask = prompts
    decoder = GroupDecoder(model, group_size=GROUP, length=6, prompt_length=6, prompt_mask=mask)
    rows = [row[seen.bool()].tolist() for row, seen in zip(ids, mask, strict=True) for _ in range(GROUP)]

    def expected() -> torch.Tensor:
        with torch.no_grad():
            return torch.stack([model(torch.tensor([row]), use_cache=False).logits[0, -1] for row in rows])

    torch.testing.assert_close(decoder.read(ids), expected(), atol=1e-4, rtol=1e-4)
    random = torch.Generator().manual_seed(2)
    for count, kept in ((1, [0, 1, 2]), (3, [0, 2]), (1, [0, 1])):
        unread = torch.randint(1, 40, (len(rows), count), generator=random)
        rows = [row + further.tolist() for row, further in zip(rows, unread, strict=True)]
        torch.testing.assert_close(decoder.read(unread), expected(), atol=1e-4, rtol=1e-4)
        decoder.keep(torch.tensor(kept))
        rows = [rows[group * GROUP + member] for group in kept for member in range(GROUP)]


def test_a_cache_that_cannot_be_copied_is_refused_by_name(prompts: tuple[torch.Tensor, ...]) -> None:
    ids, mask = prompts
    sizes = {"group_size": GROUP, "length": 4, "prompt_length": 6, "prompt_mask": mask}
    with pytest.raises(ValueError, match="got RwkvForCausalLM; sample by the model's own"):
        GroupDecoder(RwkvForCausalLM(RwkvConfig(vocab_size=40, hidden_size=32, num_hidden_layers=2)), **sizes)
    griffin = RecurrentGemmaForCausalLM(RecurrentGemmaConfig(**SIZES | {"num_hidden_layers": 3}))
    with pytest.raises(ValueError, match="got RecurrentGemmaForCausalLM; sample by"):
        GroupDecoder(griffin, **sizes).read(ids)
    config = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)
    with pytest.raises(ValueError, match="got PROMPT_TUNING: its learned tokens"):
        GroupDecoder(get_peft_model(LlamaForCausalLM(LlamaConfig(**SIZES)), config), **sizes)


def test_beyond_the_window(model: LlamaForCausalLM, prompts: tuple[torch.Tensor, ...]) -> None:
    with pytest.raises(ValueError, match=r"window of 16 tokens, got 6 \+ 11"):
        GroupDecoder(model, group_size=GROUP, length=11, prompt_length=6, prompt_mask=prompts[1])


@pytest.mark.parametrize("autocast", [False, True])
def test_prompts_fit_into_the_bytes_there_are(
    autocast: bool, model: LlamaForCausalLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = {"group_size": 4, "prompt_length": 10, "length": 5}
    is_shared = model.config.attention_dropout == 0
    of_prompt = 2 * 2 * 2 * 8 * (2 if autocast else 4) * ((10 + 4 * 5) if is_shared else 4 * (10 + 5))
    with torch.autocast("cpu", torch.float16, enabled=autocast):
        monkeypatch.setattr(module, "CACHE_BYTES", 8 * of_prompt - 1)
        assert prompts_at_once(model, **sizes) == 7
        monkeypatch.setattr(module, "CACHE_BYTES", 0)
        assert prompts_at_once(model, **sizes) == 1


def test_a_model_is_left_as_it_was(model: LlamaForCausalLM) -> None:
    model.train()
    with pytest.raises(RuntimeError), sampling_from(model):
        assert not model.training
        raise RuntimeError
    assert model.training
