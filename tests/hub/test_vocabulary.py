"""A vocabulary is cut without a trace in the texts that it is cut for."""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    CTRLConfig,
    CTRLLMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from rlvr_world_hf.hub.gguf import convert_gguf
from rlvr_world_hf.hub.tiny_gemma import assemble
from rlvr_world_hf.hub.vocabulary import count_fallback, trim_model, trim_tokenizer
from rlvr_world_hf.training.language import train_text_tokenizer


TEXTS = [
    "at(player, kitchen)\nclosed(chest)\n> open chest\n",
    "- closed(chest)\n+ open(chest)",
    "held(apple)\n\n  in(apple, chest) yesterday, 1234",
]
OTHERS = ["locked(pantry)", "the mountain weather", "Ünseen \U0001f511 词"]
CORPUS = [*TEXTS, *OTHERS, "shut the gate", "a carrot on the table", "north_of(garden, pantry)"] * 4
SPACE = "\u2581"
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
SPECIAL = ["<pad>", "<eos>", "<bos>", "<unk>"]


def of_bytes() -> PreTrainedTokenizerFast:
    """BPE over bytes, as of GPT-2, Llama 3 and Qwen, with an added token behind the vocabulary."""
    tokenizer = train_text_tokenizer(CORPUS, vocab_size=400)
    tokenizer.add_tokens(["yesterday", "tomorrow"])
    return tokenizer


def of_gemma(folder: Path) -> PreTrainedTokenizerFast:
    """BPE with SentencePiece's spaces and bytes to fall back to, as of Gemma and Llama 2."""
    convert_gguf(assemble(folder / "tiny.gguf"), folder / "converted")
    return AutoTokenizer.from_pretrained(folder / "converted")


def of_unigrams() -> PreTrainedTokenizerFast:
    """SentencePiece's unigrams, as of T5 and XGLM."""
    trained = Tokenizer(models.Unigram())
    trained.normalizer = normalizers.Replace(" ", SPACE)
    trained.train_from_iterator(CORPUS, trainers.UnigramTrainer(vocab_size=120, show_progress=False))
    learned = [[piece, score] for piece, score in json.loads(trained.to_str())["model"]["vocab"]]
    pieces = [*((token, 0.0) for token in SPECIAL), *((token, -20.0) for token in BYTES), *map(tuple, learned)]
    backend = Tokenizer(models.Unigram(pieces, unk_id=3, byte_fallback=True))
    backend.normalizer = trained.normalizer
    backend.decoder = decoders.Sequence([decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()])
    backend.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 2)])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", eos_token="<eos>", bos_token="<bos>", unk_token="<unk>"
    )


@pytest.fixture(scope="module", params=["bytes", "gemma", "unigrams"])
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> PreTrainedTokenizerFast:
    if request.param == "gemma":
        return of_gemma(tmp_path_factory.mktemp("gemma"))
    return of_bytes() if request.param == "bytes" else of_unigrams()


@pytest.fixture(scope="module")
def cut(whole: PreTrainedTokenizerFast) -> tuple[PreTrainedTokenizerFast, list[int]]:
    return trim_tokenizer(whole, TEXTS)


def random_texts(count: int) -> Iterator[str]:
    """Texts of any characters: of each plane, controls and those that other characters are composed with."""
    draws = random.Random(0)
    ranges = [(0, 0x7F), (0x80, 0x2FF), (0x300, 0x36F), (0x370, 0xD7FF), (0xE000, 0xFFFF), (0x10000, 0x10FFFF)]
    for _ in range(count):
        yield "".join(chr(draws.randint(*draws.choice(ranges))) for _ in range(draws.randint(0, 40)))
    for _ in range(count):  # words that are tokens, and some that were, next to anything
        yield "".join(draws.choice([*TEXTS, *OTHERS, *SPECIAL, " ", "\n", "<0x41>", "é"]) for _ in range(6))


def text_of(tokenizer: Any, ids: list[int]) -> str:
    return tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)


def test_training_texts_have_the_same_tokens(whole: Any, cut: Any) -> None:
    tokenizer, kept = cut
    assert len(tokenizer) == len(kept) < len(whole)
    for text in [*TEXTS, *("".join(TEXTS[:length]) for length in (1,))]:
        for special in (True, False):
            before = whole(text, add_special_tokens=special).input_ids
            after = tokenizer(text, add_special_tokens=special).input_ids
            assert [kept[token] for token in after] == before
            assert tokenizer.convert_ids_to_tokens(after) == whole.convert_ids_to_tokens(before)
    for name in ("bos_token", "eos_token", "pad_token", "unk_token"):
        assert getattr(tokenizer, name) == getattr(whole, name)


def test_any_text_survives(whole: Any, cut: Any) -> None:
    tokenizer, _ = cut
    is_of_unigrams = isinstance(whole.backend_tokenizer.model, models.Unigram)
    in_pieces = 0
    for text in random_texts(300):
        before = whole(text, add_special_tokens=False).input_ids
        after = tokenizer(text, add_special_tokens=False).input_ids
        assert text_of(tokenizer, after) == text_of(whole, before)
        # These stand for a space, and for a byte among unigrams; their own tokenizers lose them, too.
        if SPACE not in text and not (is_of_unigrams and "<0x41>" in text):
            assert text_of(tokenizer, after) == text
        in_pieces += len(after) > len(before)
    assert in_pieces > 50


@pytest.mark.parametrize("mark", [{"end_of_word_suffix": "</w>"}, {"continuing_subword_prefix": "##"}], ids=str)
def test_characters_are_kept_in_each_form_that_they_have_in_a_word(mark: dict[str, str]) -> None:
    backend = Tokenizer(models.BPE(unk_token="<unk>", **mark))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=["<unk>", "<eos>"], show_progress=False, **mark)
    backend.train_from_iterator(CORPUS, trainer)
    whole = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", eos_token="<eos>")
    cut, kept = trim_tokenizer(whole, TEXTS[:1])
    assert len(cut) < len(whole) and [kept[index] for index in cut(TEXTS[0]).input_ids] == whole(TEXTS[0]).input_ids
    for text in CORPUS:
        assert cut.unk_token_id not in cut(text).input_ids, text


def test_it_comes_back_from_its_folder(cut: Any, tmp_path: Path) -> None:
    tokenizer, _ = cut
    tokenizer.save_pretrained(str(tmp_path))
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    for text in [*TEXTS, *OTHERS, *random_texts(20)]:
        assert loaded(text).input_ids == tokenizer(text).input_ids
        assert loaded.decode(loaded(text).input_ids) == tokenizer.decode(tokenizer(text).input_ids)
    assert loaded.eos_token_id == tokenizer.eos_token_id and len(loaded) == len(tokenizer)


@pytest.mark.parametrize("is_tied", [True, False])
def test_logits_of_kept_ids_are_the_same(whole: Any, cut: Any, is_tied: bool, tmp_path: Path) -> None:
    tokenizer, kept = cut
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    ids = {"eos_token_id": whole.eos_token_id, "pad_token_id": whole.pad_token_id, "bos_token_id": None}
    config = LlamaConfig(vocab_size=len(whole) + 7, **sizes, tie_word_embeddings=is_tied, **ids)
    model = LlamaForCausalLM(config).eval()
    expected = model(torch.tensor([whole(TEXTS[0]).input_ids])).logits[..., kept]
    trim_model(model, kept, tokenizer)
    assert (model.get_output_embeddings().weight is model.get_input_embeddings().weight) == is_tied
    model.save_pretrained(tmp_path)
    for one in (model, AutoModelForCausalLM.from_pretrained(tmp_path)):
        given = one(torch.tensor([tokenizer(TEXTS[0]).input_ids])).logits
        assert given.shape == expected.shape and (given - expected).abs().max() < 1e-5
        assert one.config.vocab_size == len(kept) and one.config.eos_token_id == tokenizer.eos_token_id
        assert one.generation_config.pad_token_id == tokenizer.pad_token_id


def test_a_bias_beside_a_tied_head_is_cut_with_it(whole: Any, cut: Any) -> None:
    tokenizer, kept = cut
    config = CTRLConfig(vocab_size=len(whole), n_positions=64, n_embd=16, dff=16, n_layer=1, n_head=2)
    model = CTRLLMHeadModel(config).eval()
    torch.nn.init.normal_(model.lm_head.bias)
    expected = model(torch.tensor([whole(TEXTS[1]).input_ids])).logits[..., kept]
    trim_model(model, kept, tokenizer)
    assert model.lm_head.weight is model.get_input_embeddings().weight
    torch.testing.assert_close(model(torch.tensor([tokenizer(TEXTS[1]).input_ids])).logits, expected)


def test_texts_that_it_was_not_cut_for_are_counted(whole: Any, cut: Any) -> None:
    trained = count_fallback(whole, *cut, TEXTS)
    assert (trained.texts, trained.texts_in_pieces) == (3, 0) and trained.tokens == trained.tokens_cut
    other = count_fallback(whole, *cut, iter([*TEXTS, "a carrot on the table"]))
    assert (other.texts, other.texts_in_pieces) == (4, 1) and other.tokens_cut > other.tokens


def test_a_vocabulary_of_words_is_refused() -> None:
    words = Tokenizer(models.WordLevel({"open": 0, "<eos>": 1}, unk_token="<eos>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    with pytest.raises(ValueError, match="BPE or Unigram, .* got WordLevel"):
        trim_tokenizer(PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<eos>"), ["open"])


def test_a_tokenizer_of_another_model_is_refused(cut: Any) -> None:
    tokenizer, kept = cut
    model = LlamaForCausalLM(LlamaConfig(vocab_size=8, hidden_size=8, num_hidden_layers=1, num_attention_heads=1))
    with pytest.raises(ValueError, match="a model with the ids of its tokenizer, got one of 8 ids"):
        trim_model(model, kept, tokenizer)


def test_a_second_table_of_the_vocabulary_is_refused(cut: Any, whole: Any) -> None:
    tokenizer, kept = cut
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(whole), **sizes))
    model.model.embed_per_layer = torch.nn.Embedding(len(whole), 4)
    with pytest.raises(ValueError, match="got also model.embed_per_layer.weight"):
        trim_model(model, kept, tokenizer)
