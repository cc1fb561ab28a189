import json
from pathlib import Path

import pytest

from rlvr_world_hf import LanguageWorldModelProcessor
from rlvr_world_hf.hub.cards import CardSubject, card_text
from rlvr_world_hf.hub.checkpoint import save_world_model
from rlvr_world_hf.hub.push import push_checkpoint
from rlvr_world_hf.hub.terms import GEMMA, refuse_unnamed_terms, terms_of, terms_of_folder
from rlvr_world_hf.hub.tiny_gemma import build_tiny_gemma
from tests.local_hub import USER, LocalHub
from tests.tiny import text_tokenizer, tiny_language_model


SUBJECT = {"name": "games", "horizon": 1, "world": "games", "data": "Games."}


@pytest.fixture
def processor() -> LanguageWorldModelProcessor:
    return LanguageWorldModelProcessor(text_tokenizer())


@pytest.fixture
def gemma(tmp_path: Path, processor: LanguageWorldModelProcessor) -> Path:
    return save_world_model(tmp_path / "gemma", build_tiny_gemma(), processor)


def test_a_card_names_the_terms(processor: LanguageWorldModelProcessor) -> None:
    text = card_text(processor, CardSubject(**SUBJECT, terms=GEMMA))
    assert GEMMA.notice in text and "license: gemma\n" in text and "Apache" not in text
    assert "license: apache-2.0\n" in (plain := card_text(processor, CardSubject(**SUBJECT))) and "Gemma" not in plain


def test_terms_are_those_of_the_folder(gemma: Path, tmp_path: Path, processor: LanguageWorldModelProcessor) -> None:
    assert terms_of_folder(gemma) is GEMMA
    other = save_world_model(tmp_path / "other", tiny_language_model(processor.tokenizer), processor)
    assert terms_of_folder(other) is None is terms_of("qwen3")
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text('{"base_model_name_or_path": "google/gemma-3-270m"}')
    assert terms_of_folder(adapter) is GEMMA
    (adapter / "adapter_config.json").write_text(
        json.dumps({"base_model_name_or_path": str(gemma.rename(tmp_path / "base"))})
    )
    assert terms_of_folder(adapter) is GEMMA, "a folder is asked, whatever it is called"


def test_all_of_the_family_has_them_but_gemma_4() -> None:
    for name in ("gemma", "gemma2", "gemma3_text", "recurrent_gemma", "vaultgemma", "codegemma-2b", "gemma-3-270m"):
        assert terms_of(name) is GEMMA, name
    assert terms_of("gemma4") is terms_of("gemma4_text") is terms_of("gemma-4-e2b-it") is None


def test_nothing_is_pushed_whose_card_is_silent_about_them(hub: LocalHub, gemma: Path) -> None:
    (gemma / "README.md").write_text("# My model\n")
    with pytest.raises(ValueError, match="the terms of the weights that it was made from, got none; add this line"):
        push_checkpoint(gemma, f"{USER}/gemma")
    assert not hub.repositories
    (gemma / "README.md").write_text(f"# My model\n\n{GEMMA.notice}\n")
    refuse_unnamed_terms(gemma, (gemma / "README.md").read_text())


def test_a_card_that_the_repository_has_names_them_or_nothing_is_pushed(
    hub: LocalHub, gemma: Path, tmp_path: Path, processor: LanguageWorldModelProcessor
) -> None:
    repo = f"{USER}/games-with-a-card"
    push_checkpoint(save_world_model(tmp_path / "other", tiny_language_model(processor.tokenizer), processor), repo)
    before = hub.files(repo)
    with pytest.raises(ValueError, match=r"add this line to its README\.md"):
        push_checkpoint(gemma, repo)
    assert hub.files(repo) == before
    (gemma / "README.md").write_text(f"# My model\n\n{GEMMA.notice}\n")
    push_checkpoint(gemma, repo)
    (gemma / "README.md").unlink()
    push_checkpoint(gemma, repo)
    assert GEMMA.notice in hub.files(repo)["README.md"].decode()


def test_a_new_card_names_them(hub: LocalHub, gemma: Path) -> None:
    push_checkpoint(gemma, f"{USER}/gemma-world")
    assert GEMMA.notice in hub.files(f"{USER}/gemma-world")["README.md"].decode()
