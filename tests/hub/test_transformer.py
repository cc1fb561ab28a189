"""A checkpoint predicts with the weights in its files, or is refused by what they lack; none is drawn at random."""

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from rlvr_world_hf import LanguageWorldModelProcessor
from rlvr_world_hf.hub.checkpoint import load_world_model, save_world_model
from rlvr_world_hf.hub.convert import load_official_tokenizer
from rlvr_world_hf.hub.official import load_official, official_processor
from tests.official import official_tokenizer, save_official_model, save_weights
from tests.tiny import text_tokenizer, tiny_language_model, tiny_model, tiny_processor


PROCESSOR = tiny_processor()
Tensors = dict[str, torch.Tensor]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_world_model(tmp_path / "world", tiny_model(PROCESSOR), PROCESSOR)


@pytest.fixture
def adapted(tmp_path: Path) -> Path:
    """A checkpoint whose adapter is kept apart."""
    settings = LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False)
    model = get_peft_model(tiny_model(PROCESSOR), settings)
    return save_world_model(tmp_path / "adapted", model, PROCESSOR, merge_adapter=False)


def change_weights(file: Path, change: Callable[[Tensors], Any]) -> None:
    weights = load_file(file)
    change(weights)
    save_file(weights, file, metadata={"format": "pt"})


def change_settings(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def remove(*names: str) -> Callable[[Tensors], None]:
    return lambda weights: [weights.pop(name) for name in names] and None


def test_missing_tensors_are_named(folder: Path) -> None:
    lost = [f"model.layers.0.self_attn.{part}_proj.weight" for part in "qkvo"]
    change_weights(folder / "model.safetensors", remove(*lost))
    # By their sizes, before a model is built.
    with pytest.raises(ValueError, match=rf"Expected in {folder} the weights of the llama .* numbers, got files of"):
        load_world_model(folder)
    filler = {"filler": torch.zeros(10_000)}
    change_weights(folder / "model.safetensors", lambda weights: weights.update(filler))
    with pytest.raises(ValueError, match=r"got: 4 missing \(\S+k_proj.weight, .*, …\); 1 superfluous \(filler\)"):
        load_world_model(folder)


@pytest.mark.parametrize("lost", ["lm_head.weight", "model.norm.weight", "model.embed_tokens.weight"])
def test_one_missing_tensor_is_enough(folder: Path, lost: str) -> None:
    change_weights(folder / "model.safetensors", remove(lost))
    with pytest.raises(ValueError, match="Save or download it again, with its own config.json"):
        load_world_model(folder)


def test_superfluous_tensors_are_named(folder: Path) -> None:
    change_weights(folder / "model.safetensors", lambda weights: weights.update(extra=torch.zeros(1)))
    with pytest.raises(ValueError, match=rf"Expected in {folder} .* got: 1 superfluous \(extra\)"):
        load_world_model(folder)


def test_another_shape_is_named(folder: Path) -> None:
    def turn(weights: Tensors) -> None:
        weights["model.layers.0.mlp.up_proj.weight"] = weights["model.layers.0.mlp.up_proj.weight"].T.contiguous()

    change_weights(folder / "model.safetensors", turn)
    with pytest.raises(ValueError, match=r"1 of another shape \(model.layers.0.mlp.up_proj.weight\)"):
        load_world_model(folder)


@pytest.mark.parametrize("layers", [1, 3])
def test_settings_of_another_kind_of_model_are_refused(folder: Path, layers: int) -> None:
    change_settings(folder / "config.json", model_type="gpt2", n_layer=layers, n_head=2, n_positions=8)
    with pytest.raises(ValueError, match=rf"Expected in {folder} the weights of the gpt2 that its config.json"):
        load_world_model(folder)


def test_what_is_no_language_model_is_refused(folder: Path) -> None:
    change_settings(folder / "config.json", model_type="t5")
    with pytest.raises(ValueError, match=f"Expected a causal language model, got model_type 't5' in {folder}"):
        load_world_model(folder)


@pytest.mark.parametrize("kind", ["smell", None, [], 3])
def test_a_kind_that_transformers_does_not_know_is_refused(folder: Path, kind: Any) -> None:
    change_settings(folder / "config.json", model_type=kind)
    told = (
        rf"Expected in {folder}/config.json a `model_type` of transformers \S+, .* got {re.escape(repr(kind))}\. Save"
    )
    with pytest.raises(ValueError, match=told):
        load_world_model(folder)


@pytest.mark.parametrize("dtype", [None, torch.float32])
def test_integers_are_no_weights(folder: Path, dtype: torch.dtype | None) -> None:
    def round_one(weights: Tensors) -> None:
        weights["model.norm.weight"] = weights["model.norm.weight"].to(torch.int8)

    change_weights(folder / "model.safetensors", round_one)
    with pytest.raises(ValueError, match=rf"floating-point weights in {folder}, got I8 in 1 tensor \(model.norm"):
        load_world_model(folder, dtype=dtype)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_numbers_that_are_not_finite_are_refused(folder: Path, value: float) -> None:
    change_weights(folder / "model.safetensors", lambda weights: weights["lm_head.weight"][1, 2:3].fill_(value))
    with pytest.raises(ValueError, match=rf"Expected finite weights in {folder}, .* 1 tensor \(lm_head.weight\)"):
        load_world_model(folder)


@pytest.mark.parametrize("name", ["num_hidden_layers", "n_layers"])
@pytest.mark.parametrize("layers", [2_000, 10**6, 10**18, float("inf")])
def test_layers_that_no_weights_are_for_are_never_built(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, layers: float
) -> None:
    def build(*_: Any, **__: Any) -> None:
        raise AssertionError("a model of the declared size is built")

    for method in ("from_config", "from_pretrained"):
        monkeypatch.setattr(AutoModelForCausalLM, method, build)
    change_settings(folder / "config.json", **{name: layers})
    start = time.perf_counter()
    with pytest.raises(ValueError, match=rf"Expected in {folder}/config.json as many layers .* got {name} {layers}"):
        load_world_model(folder)
    assert time.perf_counter() - start < 0.5


@pytest.mark.parametrize(
    "sizes", [{"num_hidden_layers": 9}, {"vocab_size": 10**12}, {"intermediate_size": 10**9}, {"vocab_size": 10**19}]
)
def test_sizes_that_no_weights_are_for_are_never_allocated(
    folder: Path, monkeypatch: pytest.MonkeyPatch, sizes: dict[str, int]
) -> None:
    def load(*_: Any, **__: Any) -> None:
        raise AssertionError("weights are read")

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", load)
    change_settings(folder / "config.json", **sizes)
    with pytest.raises(ValueError, match=rf"Expected in {folder}.* (numbers, got files of|do not fit together)"):
        load_world_model(folder)


def test_sizes_that_do_not_fit_together_are_refused(folder: Path) -> None:
    change_settings(folder / "config.json", num_attention_heads=0, head_dim=None)
    with pytest.raises(ValueError, match=f"{folder}/config.json the settings of a model, .* do not fit together"):
        load_world_model(folder)


def test_a_vocabulary_smaller_than_the_processors_is_refused(folder: Path) -> None:
    needed = PROCESSOR.layout.vocabulary_size
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    LlamaForCausalLM(LlamaConfig(vocab_size=needed - 1, **sizes)).save_pretrained(folder)
    with pytest.raises(ValueError, match=rf"in {folder} .* at least the {needed} ids .* llama of {needed - 1}"):
        load_world_model(folder)
    LlamaForCausalLM(LlamaConfig(vocab_size=needed + 1, **sizes)).save_pretrained(folder)
    assert load_world_model(folder)[0].config.vocab_size == needed + 1


def test_a_vocabulary_smaller_than_the_texts_is_refused(tmp_path: Path) -> None:
    tokenizer = text_tokenizer()
    model = tiny_language_model(tokenizer)
    save_world_model(tmp_path / "world", model, LanguageWorldModelProcessor(tokenizer))
    load_world_model(tmp_path / "world")
    model.resize_token_embeddings(100)
    model.save_pretrained(tmp_path / "world")
    with pytest.raises(ValueError, match="ids that its processor writes, got a .* of 100"):
        load_world_model(tmp_path / "world")


def test_a_tied_head_is_not_missing(folder: Path) -> None:
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = LlamaConfig(vocab_size=PROCESSOR.layout.vocabulary_size, tie_word_embeddings=True, **sizes)
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    assert "lm_head.weight" not in load_file(folder / "model.safetensors")
    for dtype in (None, torch.bfloat16):
        model, _ = load_world_model(folder, dtype=dtype)
        assert model.lm_head.weight is model.model.embed_tokens.weight
        assert model.dtype == (dtype or torch.float32), "on a CPU numbers are as exact as the file's, and faster"


def test_shards_are_read_together_and_a_lost_one_is_named(folder: Path) -> None:
    model = tiny_model(PROCESSOR)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="40KB")
    loaded, _ = load_world_model(folder)
    assert torch.equal(loaded.lm_head.weight, model.lm_head.weight)
    shard = sorted(folder.glob("model-*.safetensors"))[-1]
    shard.unlink()
    with pytest.raises(FileNotFoundError, match=f"{folder} lacks {shard.name}"):
        load_world_model(folder)


@pytest.mark.parametrize("file", ["model.safetensors", "codec/diffusion_pytorch_model.safetensors"])
def test_a_truncated_file_is_named(folder: Path, file: str) -> None:
    content = (folder / file).read_bytes()
    (folder / file).write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=rf"{folder / file} is damaged .*Save or download it again"):
        load_world_model(folder)


def test_an_adapter_lacks_nothing(adapted: Path) -> None:
    file = adapted / "adapter_model.safetensors"
    load_world_model(adapted)
    (lost,) = [name for name in load_file(file) if "lora_A" in name]
    whole = file.read_bytes()
    for change, words in [
        (remove(lost), f"in {adapted} the weights of the LORA adapter .*: 1 missing .*lora_A.*adapter_config.json"),
        (lambda weights: weights.update(extra=torch.zeros(1)), r"1 superfluous \(extra\)"),
        (lambda weights: weights.update({lost: torch.zeros(3, 16)}), r"1 of another shape \(.*lora_A"),
        (lambda weights: weights.update({lost: weights[lost].int()}), "floating-point weights .* got I32"),
        (lambda weights: weights[lost].fill_(torch.nan), "finite weights .*lora_A"),
    ]:
        file.write_bytes(whole)
        change_weights(file, change)
        with pytest.raises(ValueError, match=words):
            load_world_model(adapted)


def test_the_rank_of_an_adapter_is_that_of_its_weights(adapted: Path) -> None:
    change_settings(adapted / "adapter_config.json", r=10**9)
    with pytest.raises(ValueError, match=f"Expected in {adapted}/adapter_config.json the rank .* got 1000000000"):
        load_world_model(adapted)


def test_the_model_below_an_adapter_lacks_nothing(adapted: Path, tmp_path: Path) -> None:
    change_weights(adapted / "model.safetensors", lambda weights: weights["model.norm.weight"].fill_(torch.nan))
    with pytest.raises(ValueError, match=f"finite weights in {adapted}"):
        load_world_model(adapted)
    base = save_world_model(tmp_path / "base", tiny_model(PROCESSOR), PROCESSOR)
    change_weights(base / "model.safetensors", remove("model.norm.weight"))
    (adapted / "config.json").unlink()  # as peft alone saves an adapter, which then names its base
    change_settings(adapted / "adapter_config.json", base_model_name_or_path=str(base))
    with pytest.raises(ValueError, match=f"Expected in {base} the weights of the llama"):
        load_world_model(adapted)


def test_a_codec_of_the_authors_has_numbers(tmp_path: Path) -> None:
    config, weights = official_tokenizer("compressive")
    file = tmp_path / "diffusion_pytorch_model.safetensors"
    (tmp_path / "config.json").write_text(json.dumps(config))
    save_weights(weights | {"quant_conv.bias": torch.full_like(weights["quant_conv.bias"], torch.nan)}, file)
    with pytest.raises(ValueError, match=rf"finite weights in {tmp_path}, .*\(context_in.bias\)"):
        load_official_tokenizer(tmp_path)
    save_weights(weights | {"quant_conv.bias": weights["quant_conv.bias"].int()}, file)
    with pytest.raises(ValueError, match=r"floating-point weights .* got I32 in 1 tensor \(quant_conv.bias\)"):
        load_official_tokenizer(tmp_path)
    change_settings(tmp_path / "config.json", layers_per_block=10**6)
    with pytest.raises(ValueError, match="got layers_per_block 1000000"):
        load_official_tokenizer(tmp_path)


def test_a_checkpoint_of_the_authors_lacks_nothing(tmp_path: Path) -> None:
    root = tmp_path / "thuml"
    codec, model = root / "rt1-compressive-tokenizer", root / "rt1-world-model-multi-step-base"
    codec.mkdir(parents=True)
    config, weights = official_tokenizer("compressive")
    (codec / "config.json").write_text(json.dumps(config))
    save_weights(weights, codec / "diffusion_pytorch_model.safetensors")
    save_official_model(model, official_processor(model).layout.vocabulary_size)
    change_weights(model / "model.safetensors", lambda weights: weights.update(extra=torch.zeros(9000)))
    load_official(model)  # what else lies in their files is known to be of no use
    change_weights(model / "model.safetensors", remove("model.norm.weight"))
    with pytest.raises(ValueError, match=r"got: 1 missing \(model.norm.weight\)\. Save"):
        load_official(model)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (remove("dynamics_in.weight"), "the weights of the CompressiveTokenizer that its config.json declares"),
        (lambda weights: weights.update(extra=torch.zeros(1)), r"got: 1 superfluous \(extra\)"),
        (lambda weights: weights["context_in.bias"].fill_(torch.nan), r"finite weights .*\(context_in.bias\)"),
    ],
)
def test_a_codec_lacks_nothing(folder: Path, change: Callable[[Tensors], Any], words: str) -> None:
    change_weights(folder / "codec" / "diffusion_pytorch_model.safetensors", change)
    with pytest.raises(ValueError, match=words) as error:
        load_world_model(folder)
    assert str(folder / "codec") in str(error.value)
