"""
A language model's vocabulary cut to what some texts need, with the same tokens for each of them.

    kept tokens    those of the texts; single characters and bytes, by which anything else can be written; special ones
    kept merges    every one on the way to a kept token: none of them is made otherwise, or in another order

Most of a small language model are embeddings of tokens that a world's texts never have: of Gemma 3 270M, 166 of 268
million parameters.
"""

import json
import string
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from tokenizers import Tokenizer, pre_tokenizers
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerFast


AT_ONCE = 1000
"""Texts that are tokenized together."""

NAMED = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
"""Special tokens that a tokenizer has names for; others are kept where they occur."""

KEPT_SETTINGS = (
    "chat_template",
    "clean_up_tokenization_spaces",
    "model_max_length",
    "padding_side",
    "truncation_side",
)
"""Settings of a tokenizer beside what it computes."""

SPACE = "\u2581"
"""How SentencePiece writes a space."""

IDS = ("bos_token_id", "eos_token_id", "pad_token_id")
"""Ids in the settings of a model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fallback:
    """How a tokenizer with a cut vocabulary writes texts that it was not cut for."""

    texts: int
    """Texts that were looked at."""

    texts_in_pieces: int
    """Those in which something is written in smaller pieces, down to characters and bytes."""

    tokens: int
    """Tokens of all texts, before the cut."""

    tokens_cut: int
    """Tokens of all texts, after it."""


def trim_tokenizer(
    tokenizer: PreTrainedTokenizerFast, texts: Iterable[str]
) -> tuple[PreTrainedTokenizerFast, list[int]]:
    """
    A tokenizer with the tokens that some texts need.

    Args:
        tokenizer ([`~transformers.PreTrainedTokenizerFast`]):
            A tokenizer of BPE, over bytes or with SentencePiece's spaces, or of SentencePiece's unigrams.
        texts (`Iterable[str]`):
            What it is to write as before.

    Returns:
        `tuple`: the tokenizer, and of each of its ids the id that the token had before.

    Raises:
        ValueError: If it is a tokenizer of another kind.

    Example:

    ```python
    >>> from rlvr_world_hf.training.language import train_text_tokenizer
    >>> whole = train_text_tokenizer(["open(door)", "shut(door)", "take(apple)"], vocab_size=270)
    >>> cut, ids = trim_tokenizer(whole, ["open(door)"])
    >>> len(cut) < len(whole), [ids[token] for token in cut("open(door)").input_ids] == whole("open(door)").input_ids
    (True, True)
    >>> cut.decode(cut("an apple").input_ids)
    'an apple'

    ```
    """
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    model = state["model"]
    if model["type"] not in ("BPE", "Unigram"):
        raise ValueError(
            f"Expected a tokenizer of BPE or Unigram, whose vocabulary can be cut, got {model['type']}; leave "
            "`trim_vocabulary` out."
        )
    is_bpe = model["type"] == "BPE"
    pieces = model["vocab"] if is_bpe else {piece: index for index, (piece, _) in enumerate(model["vocab"])}
    kept = {index for ids in _tokenized(tokenizer, texts) for index in ids}
    kept |= _always(tokenizer, state, pieces)
    if is_bpe:
        prefix = model.get("continuing_subword_prefix") or ""
        merges = [merge if isinstance(merge, list) else merge.split(" ") for merge in model["merges"]]
        kept |= _parts_of(kept, pieces, merges, prefix)
    # Tokens of the model come first, others behind them, as tokenizers numbers them.
    of_model = {index: piece for piece, index in pieces.items()}
    order = sorted(kept, key=lambda index: (index not in of_model, index))
    number = {before: after for after, before in enumerate(order)}
    if is_bpe:
        model["vocab"] = {of_model[index]: number[index] for index in order if index in of_model}
        known = model["vocab"]
        model["merges"] = [
            [left, right]
            for left, right in merges
            if left in known and right in known and left + right.removeprefix(prefix) in known
        ]
    else:
        model["vocab"] = [model["vocab"][index] for index in order if index in of_model]
        model["unk_id"] = number.get(model["unk_id"])
    state["added_tokens"] = [
        token | {"id": number[token["id"]]} for token in state["added_tokens"] if token["id"] in number
    ]
    state["post_processor"] = _renumbered(state["post_processor"], number)
    state["padding"] = state["truncation"] = None
    return rebuild_tokenizer(tokenizer, json.dumps(state)), order


def rebuild_tokenizer(tokenizer: PreTrainedTokenizerFast, state: str) -> PreTrainedTokenizerFast:
    """
    A tokenizer as its `tokenizer.json` alone says it, whatever class it is of.

    Args:
        tokenizer ([`~transformers.PreTrainedTokenizerFast`]):
            Gives its special tokens, its chat template and on which side it pads.
        state (`str`):
            The content of `tokenizer.json`.

    Returns:
        [`~transformers.PreTrainedTokenizerFast`]: the tokenizer.
    """
    named = {name: str(token) for name in NAMED if (token := getattr(tokenizer, name, None)) is not None}
    settings = {name: getattr(tokenizer, name) for name in KEPT_SETTINGS if getattr(tokenizer, name, None) is not None}
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(state), **named, **settings)


def trim_model(model: PreTrainedModel, kept: Sequence[int], tokenizer: PreTrainedTokenizerFast) -> None:
    """
    Cut a model's embeddings, and its head, to some ids; the logits of these stay as they are.

    Args:
        model ([`~transformers.PreTrainedModel`]):
            A causal language model, changed in place.
        kept (`Sequence[int]`):
            Of each new id the old one, as of [`trim_tokenizer`].
        tokenizer ([`~transformers.PreTrainedTokenizerFast`]):
            The tokenizer that was cut: its begin, end and padding tokens become those of the model.

    Raises:
        ValueError: If the tokenizer had ids beyond the model's, or the model has further tables of its vocabulary.
    """
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    size = embedding.weight.shape[0]
    if max(kept) >= size:
        raise ValueError(
            f"Expected a model with the ids of its tokenizer, got one of {size} ids and a tokenizer with the id "
            f"{max(kept)}; give a tokenizer and a model that belong together."
        )
    own = {id(weights) for module in (embedding, head) if module is not None for weights in module.parameters()}
    others = [
        name
        for name, weights in model.named_parameters()
        if "embed" in name and weights.shape[0] == size and id(weights) not in own
    ]
    if others:
        raise ValueError(
            f"Expected one table of embeddings, got also {', '.join(others)}; leave `trim_vocabulary` out."
        )
    whole = embedding.weight
    rows = torch.tensor(kept, device=whole.device)
    for module in (embedding, *([] if head is None else [head])):
        for name, weights in [*module.named_parameters()]:
            if module is head and weights is whole:  # tied; a bias beside it is not
                head.weight = embedding.weight
                continue
            setattr(module, name, nn.Parameter(weights.detach()[rows].clone(), requires_grad=weights.requires_grad))
    new = {before: after for after, before in enumerate(kept)}
    embedding.num_embeddings = len(kept)
    embedding.padding_idx = new.get(embedding.padding_idx)
    if head is not None:
        head.out_features = len(kept)
    config = model.config.get_text_config()
    config.vocab_size = len(kept)
    if hasattr(model, "vocab_size"):
        model.vocab_size = len(kept)
    for settings in {id(one): one for one in (model.config, config, model.generation_config)}.values():
        for name in IDS:
            ids = _kept_ids(getattr(settings, name, None), new)
            setattr(settings, name, getattr(tokenizer, name) if ids in (None, []) else ids)


def count_fallback(
    tokenizer: PreTrainedTokenizerFast, cut: PreTrainedTokenizerFast, kept: Sequence[int], texts: Iterable[str]
) -> Fallback:
    """
    How often a tokenizer with a cut vocabulary writes otherwise than before.

    Args:
        tokenizer ([`~transformers.PreTrainedTokenizerFast`]):
            The tokenizer before the cut.
        cut ([`~transformers.PreTrainedTokenizerFast`]):
            The one after it.
        kept (`Sequence[int]`):
            Of each of its ids the one before.
        texts (`Iterable[str]`):
            Texts.

    Returns:
        [`Fallback`]: the counts.
    """
    counts = {"texts": 0, "texts_in_pieces": 0, "tokens": 0, "tokens_cut": 0}
    for some in _in_parts(texts):
        for before, after in zip(_tokenized(tokenizer, some), _tokenized(cut, some), strict=True):
            counts["texts"] += 1
            counts["texts_in_pieces"] += before != [kept[index] for index in after]
            counts["tokens"] += len(before)
            counts["tokens_cut"] += len(after)
    return Fallback(**counts)


def _tokenized(tokenizer: PreTrainedTokenizerFast, texts: Iterable[str]) -> Iterator[list[int]]:
    for some in _in_parts(texts):
        yield from tokenizer(some).input_ids


def _in_parts(texts: Iterable[str]) -> Iterator[list[str]]:
    rest = iter(texts)
    while some := list(islice(rest, AT_ONCE)):
        yield some


def _always(tokenizer: PreTrainedTokenizerFast, state: Mapping[str, Any], pieces: Mapping[str, int]) -> set[int]:
    """Ids that are kept whatever the texts are: by them everything can be written and read."""
    special = [getattr(tokenizer, f"{name}_id", None) for name in NAMED]
    kept: set[int] = {*(number for number in special if number is not None), *_ids_in(state["post_processor"])}
    model = state["model"]
    if model["type"] == "Unigram":
        # An unknown character costs a step more than the least likely piece.
        kept |= {min(range(len(model["vocab"])), key=lambda index: model["vocab"][index][1])}
        kept |= set() if model["unk_id"] is None else {model["unk_id"]}
    elif model["unk_token"] is not None:
        kept |= {pieces[model["unk_token"]]} if model["unk_token"] in pieces else set()
    # Within a word a character may be written otherwise than alone, and at its end.
    before, behind = model.get("continuing_subword_prefix") or "", model.get("end_of_word_suffix") or ""
    bare = {piece: piece.removeprefix(before).removesuffix(behind) for piece in pieces}
    if "ByteLevel" in json.dumps([state["pre_tokenizer"], state["decoder"]]):
        characters = set(pre_tokenizers.ByteLevel.alphabet())
    elif model.get("byte_fallback"):
        characters = {*string.printable, SPACE, *(f"<0x{byte:02X}>" for byte in range(256))}
    else:  # nothing but characters stands for a character
        characters = {character for character in bare.values() if len(character) == 1}
    return kept | {index for piece, index in pieces.items() if piece in characters or bare[piece] in characters}


def _parts_of(
    kept: Iterable[int], pieces: Mapping[str, int], merges: Sequence[Sequence[str]], prefix: str
) -> set[int]:
    """Ids of all tokens that kept ones can be made of, and of what these can be made of."""
    made_of: dict[str, list[str]] = {}
    for left, right in merges:
        made_of.setdefault(left + right.removeprefix(prefix), []).extend((left, right))
    piece_of = {index: piece for piece, index in pieces.items()}
    found: set[str] = set()
    waiting = [piece_of[index] for index in kept if index in piece_of]
    while waiting:
        piece = waiting.pop()
        if piece not in found:
            found.add(piece)
            waiting += made_of.get(piece, ())
    return {pieces[piece] for piece in found}


def _ids_in(processor: Any) -> Iterator[int]:
    """Ids that a post-processor writes."""
    if processor is not None:
        for inner in processor.get("processors", ()):
            yield from _ids_in(inner)
        for token in _templates(processor):
            yield from token["ids"]
        yield from (processor[end][1] for end in ("sep", "cls") if end in processor)


def _renumbered(processor: Any, number: Mapping[int, int]) -> Any:
    """A post-processor with new ids."""
    if processor is None:
        return None
    renumbered = dict(processor)
    if "processors" in processor:
        renumbered["processors"] = [_renumbered(inner, number) for inner in processor["processors"]]
    if "special_tokens" in processor:
        renumbered["special_tokens"] = {
            token["id"]: token | {"ids": [number[index] for index in token["ids"]]} for token in _templates(processor)
        }
    for end in ("sep", "cls"):
        if end in processor:
            token, index = processor[end]
            renumbered[end] = [token, number[index]]
    return renumbered


def _templates(processor: Mapping[str, Any]) -> list[dict[str, Any]]:
    return list(processor.get("special_tokens", {}).values())


def _kept_ids(ids: Any, new: Mapping[int, int]) -> Any:
    """An id, or several, as they are after the cut; those that are gone are left out."""
    if isinstance(ids, list):
        return [new[index] for index in ids if index in new]
    return new.get(ids)
