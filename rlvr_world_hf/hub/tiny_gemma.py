"""
A Gemma 3 of random weights as a GGUF file: a package as those that bring a real model, made by code.

Recipes named `gemma_debug` start from it: it takes the way of the real one, through its file, its tokenizer and its
sliding windows, in seconds.
"""

import string
from pathlib import Path
from typing import Any

import torch
from transformers import Gemma3ForCausalLM, Gemma3TextConfig


SPECIAL = ("<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "<start_of_turn>", "<end_of_turn>")
"""The first tokens, as in Gemma's own vocabulary."""

WORDS = (
    "held", "open", "closed", "locked", "player", "north_of", "west_of", "edible", "nothing changes", "kitchen",
    "pantry", "garden", "chest", "apple", "carrot", "door", "key", "table", "weather", "mountain", "yesterday",
)  # fmt: skip
"""Words that are tokens, with each of their beginnings, by which they are merged; some that no world needs."""

SIZES = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 32,
    "sliding_window": 64,
    "max_position_embeddings": 8192,
}
"""Sizes of the model; both layers slide."""

CONTROL, USER_DEFINED, NORMAL, BYTE, UNKNOWN = 3, 4, 1, 6, 2
"""Kinds of tokens, as GGUF numbers them."""


def build_tiny_gemma(*, seed: int = 0) -> Gemma3ForCausalLM:
    """
    The model, with fresh weights.

    Args:
        seed (`int`, *optional*, defaults to 0):
            Decides the weights.

    Returns:
        [`~transformers.Gemma3ForCausalLM`]: float32, on the CPU.

    Example:

    ```python
    >>> build_tiny_gemma().config.model_type
    'gemma3_text'

    ```
    """
    config = Gemma3TextConfig(
        vocab_size=len(_tokens()), **SIZES, pad_token_id=0, eos_token_id=1, bos_token_id=2, tie_word_embeddings=True
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Gemma3ForCausalLM(config).eval()


def assemble(path: str | Path) -> Path:
    """
    Write the model to a GGUF file; its matrices are quantized to eight bits, as in files that are shared.

    Args:
        path (`str` or `Path`):
            Where to.

    Returns:
        `Path`: the file.
    """
    from gguf import GGMLQuantizationType, GGUFWriter, get_tensor_name_map
    from gguf.constants import MODEL_ARCH
    from gguf.quants import quantize

    writer: Any = GGUFWriter(str(path), "gemma3")
    writer.add_name("tiny-gemma-3")
    _write_sizes(writer)
    _write_tokens(writer)
    names = get_tensor_name_map(MODEL_ARCH.GEMMA3, SIZES["num_hidden_layers"])
    for name, weights in build_tiny_gemma().state_dict().items():
        if name == "lm_head.weight":  # tied
            continue
        values = weights.numpy()
        values = values + 1 if name.endswith("norm.weight") else values  # as such files have Gemma's
        kind = GGMLQuantizationType.Q8_0 if values.ndim == 2 else GGMLQuantizationType.F32
        new_name = names.get_name(name, try_suffixes=(".weight",))
        writer.add_tensor(new_name, quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return Path(path)


def _write_sizes(writer: Any) -> None:
    writer.add_context_length(SIZES["max_position_embeddings"])
    writer.add_embedding_length(SIZES["hidden_size"])
    writer.add_block_count(SIZES["num_hidden_layers"])
    writer.add_feed_forward_length(SIZES["intermediate_size"])
    writer.add_head_count(SIZES["num_attention_heads"])
    writer.add_head_count_kv(SIZES["num_key_value_heads"])
    writer.add_key_length(SIZES["head_dim"])
    writer.add_value_length(SIZES["head_dim"])
    writer.add_sliding_window(SIZES["sliding_window"])
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(1e6)


def _write_tokens(writer: Any) -> None:
    tokens = _tokens()
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([token for token, _ in tokens])
    writer.add_token_scores([-float(index) for index in range(len(tokens))])
    writer.add_token_types([kind for _, kind in tokens])
    for index, add in enumerate((writer.add_pad_token_id, writer.add_eos_token_id, writer.add_bos_token_id)):
        add(index)
    writer.add_unk_token_id(3)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(False)


def _tokens() -> list[tuple[str, int]]:
    """Tokens and their kinds: shorter ones first, as merges are made in the order of what they make."""
    special = [(token, UNKNOWN if token == "<unk>" else CONTROL) for token in SPECIAL]
    runs = [(run, USER_DEFINED) for run in ("\n\n", "\n\n\n", "  ", "    ")]
    single = [(f"<0x{byte:02X}>", BYTE) for byte in range(256)]
    characters = ["\u2581", *(character for character in string.printable if character not in " \t\r\x0b\x0c")]
    spelled = [word.replace(" ", "\u2581") for word in WORDS]
    beginnings = {word[:length] for word in spelled for length in range(2, len(word) + 1)}
    pieces = [*characters, *sorted(beginnings, key=lambda piece: (len(piece), piece))]
    return [*special, *runs, *single, *((piece, NORMAL) for piece in pieces)]
