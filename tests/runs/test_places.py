import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rlvr_world_hf.hub.bundled import bundled_path
from rlvr_world_hf.runs.places import check_codec, check_language_model, check_text_tokenizer, check_world_model
from tests.local_hub import Repository


KINDS: list[tuple[Callable[..., None], str]] = [
    (check_codec, "pusht-codec"),
    (check_world_model, "pusht-base"),
    (check_language_model, "textworld-rlvr"),
    (check_text_tokenizer, "textworld-rlvr"),
]


@pytest.mark.parametrize(("check", "name"), KINDS)
def test_a_place_is_a_bundled_name_or_its_folder(check: Callable[..., None], name: str) -> None:
    check(name, where="key")
    check(bundled_path(name), where="key")


@pytest.mark.parametrize(("check", "name"), KINDS)
@pytest.mark.parametrize("place", ["/nowhere", "./nowhere", "nowhere", "a/b/c", "someone/nothing"])
def test_a_place_that_there_is_not_is_told_with_its_key(check: Callable[..., None], name: str, place: str) -> None:
    with pytest.raises(FileNotFoundError, match=f"^key: expected .*, got {place!r}: .* Give its folder or Hub id"):
        check(place, where="key")


@pytest.mark.parametrize(
    ("check", "name", "lacking"),
    [
        (check_codec, "pusht-codec", "config.json"),
        (check_codec, "pusht-codec", "diffusion_pytorch_model.safetensors"),
        (check_world_model, "pusht-base", "config.json"),
        (check_world_model, "pusht-base", "processor_config.json"),
        (check_world_model, "pusht-base", "model.safetensors"),
        (check_language_model, "textworld-rlvr", "config.json"),
        (check_language_model, "textworld-rlvr", "model.safetensors"),
        (check_text_tokenizer, "textworld-rlvr", "tokenizer_config.json"),
    ],
)
def test_a_file_that_a_folder_lacks_is_named(
    check: Callable[..., None], name: str, lacking: str, tmp_path: Path
) -> None:
    shutil.copytree(bundled_path(name), tmp_path / "copy")
    (tmp_path / "copy" / lacking).unlink()
    words = "safetensors" if lacking.endswith("safetensors") else lacking
    with pytest.raises(FileNotFoundError, match=f"key: expected .*{words}"):
        check(tmp_path / "copy", where="key")


@pytest.mark.parametrize("check", [check_codec, check_world_model, check_language_model])
def test_a_damaged_file_of_weights_is_named(check: Callable[..., None], tmp_path: Path) -> None:
    shutil.copytree(bundled_path(dict(KINDS)[check]), tmp_path / "copy")
    (file,) = (tmp_path / "copy").glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(ValueError, match=f"key: expected .*{file.name} is damaged"):
        check(tmp_path / "copy", where="key")


@pytest.mark.parametrize(("check", "name"), KINDS)
def test_of_the_hub_the_small_files_are_enough(check: Callable[..., None], name: str, hub: Any) -> None:
    files = {file.name: file.read_bytes() for file in bundled_path(name).glob("*.json")}
    hub.repositories["model", "someone/some"] = Repository()
    hub.repositories["model", "someone/some"].commit(files)
    check("someone/some", where="key")


def test_settings_of_another_kind_of_model_are_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "t5"}))
    with pytest.raises((FileNotFoundError, ValueError), match="key: expected a causal language model, got"):
        check_language_model(tmp_path, where="key")
    (tmp_path / "config.json").write_text(json.dumps({"_class_name": "Flux"}))
    with pytest.raises(ValueError, match="key: expected a codec, got .*'Flux'"):
        check_codec(tmp_path, where="key")


def test_the_authors_codec_is_no_world_model(hub: Any) -> None:
    for name in ("rt1-frame-tokenizer", "rt1-world-model-single-step-base"):
        hub.repositories["model", f"thuml/{name}"] = Repository()
        hub.repositories["model", f"thuml/{name}"].commit({"config.json": b"{}"})
    check_codec("thuml/rt1-frame-tokenizer", where="key")
    check_world_model("thuml/rt1-world-model-single-step-base", where="key")
    with pytest.raises(
        ValueError, match="expected a world model, got 'thuml/rt1-frame-tokenizer': .*the authors' codec"
    ):
        check_world_model("thuml/rt1-frame-tokenizer", where="key")
    with pytest.raises(ValueError, match="expected a codec, got .*the authors' video"):
        check_codec("thuml/rt1-world-model-single-step-base", where="key")
