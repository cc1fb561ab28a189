"""A language model in a GGUF file, quantized or not, as a folder that transformers and this library load."""

import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from .vocabulary import rebuild_tokenizer


GGUF = ".gguf"
"""Ending of such files."""

PLAIN = {"F16", "F32"}
"""Types of tensors whose numbers bfloat16 would round; any other type is no finer than it."""


def find_gguf(place: str | Path) -> Path | None:
    """
    The GGUF file that a place is or holds.

    Args:
        place (`str` or `Path`):
            A file, a folder, or anything else.

    Returns:
        `Path`: the file; `None` if the place is neither such a file nor a folder with one in place of `config.json`.

    Raises:
        FileNotFoundError: If the place ends like such a file and is none.
        ValueError: If the folder has several.

    Example:

    ```python
    >>> find_gguf("owner/name") is None
    True

    ```
    """
    path = Path(place).expanduser()
    if path.suffix == GGUF and not path.is_dir():
        if not path.is_file():
            raise FileNotFoundError(f"There is no file {place}; give the path of a GGUF file.")
        return path
    if not path.is_dir() or (path / "config.json").is_file():
        return None
    files = sorted(path.glob(f"*{GGUF}"))
    if len(files) > 1:
        names = ", ".join(file.name for file in files)
        raise ValueError(f"Expected one GGUF file in {place}, got {names}; give the path of the one that is meant.")
    return files[0] if files else None


def convert_gguf(file: Path, folder: Path) -> None:
    """
    Write a GGUF file's model and tokenizer as transformers does.

    Weights become bfloat16 where the file has them quantized or in bfloat16, else float32.

    Args:
        file (`Path`):
            The file, of an architecture that transformers reads from such files.
        folder (`Path`):
            Where to write `config.json`, `model.safetensors`, `tokenizer.json` and their like.

    Raises:
        FileNotFoundError: If the package `gguf` is not installed.
        ValueError: If the file is none, or its architecture or tokenizer is not known.
    """
    refuse_without_reader()
    with file.open("rb") as stream:
        beginning = stream.read(4)
    if beginning != b"GGUF":
        raise ValueError(f"Expected a GGUF file, got {file}, which begins with {beginning!r}; download it again.")
    source: dict[str, Any] = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}
    tokenizer = AutoTokenizer.from_pretrained(**source)
    model = AutoModelForCausalLM.from_pretrained(**source, dtype=_dtype(file))
    # It is whole numbers no longer, but transformers still takes it for quantized and refuses to save it.
    del model.config.quantization_config
    model.hf_quantizer, model.is_quantized = None, False
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Moving the following attributes in the config")
        model.save_pretrained(folder)
    rebuild_tokenizer(tokenizer, tokenizer.backend_tokenizer.to_str()).save_pretrained(str(folder))


def refuse_without_reader() -> None:
    """
    Raises where GGUF files cannot be read.

    Raises:
        FileNotFoundError: If the package `gguf` is not installed; it names the command that does it.
    """
    if find_spec("gguf") is None:
        raise FileNotFoundError("GGUF files need the package `gguf`: pip install 'rlvr-world-hf[gemma]'")


def _dtype(file: Path) -> torch.dtype:
    from gguf import GGUFReader

    kinds = {tensor.tensor_type.name for tensor in GGUFReader(file).tensors}
    return torch.float32 if kinds <= PLAIN else torch.bfloat16
