"""
The public repositories of RLVR-World's authors, and what they leave unsaid: their checkpoints are weights and
`config.json` alone, so which visual tokenizer, layout and action ranges belong to each stands here.

The names are those of https://github.com/thuml/RLVR-World. A repository that was downloaded is known by the last two
parts of its path, `.../thuml/rt1-world-model-multi-step-rlvr`; the others it needs are looked for beside it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import AutoTokenizer, PreTrainedModel

from ..processors import LanguageWorldModelProcessor, VideoWorldModelProcessor
from .convert import load_official_tokenizer
from .download import local_folder
from .transformer import load_transformer


OWNER = "thuml"
"""The authors' organisation."""

LANGUAGE_TOKENIZER = "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B"
"""Tokenizer of the language world models, which were trained from this model, where their repository holds none."""

RT1_FPS = 3.0
"""Frames a second of RT-1 (https://huggingface.co/papers/2212.06817)."""

RT1_ACTIONS = (
    (-0.39600884914398193, 0.39600181579589844),
    (-0.009631033055484295, 0.003676734399050474),
    (-0.4000452756881714, 0.39991137385368347),
    (-1.0, 1.0),
    (-1.569917917251587, 1.570636510848999),
    (-1.569892168045044, 1.5321086645126343),
    (-1.570419430732727, 1.5691522359848022),
    (0.0, 1.0),
    (0.0, 1.0),
    (0.0, 1.0),
    (-2.0204520225524902, 2.9984593391418457),
    (-5.497899532318115, 22.09052848815918),
    (-2.031663417816162, 2.7507524490356445),
)
"""Lowest and highest value of each action dimension, as the authors' code bins them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OfficialRepository:
    """What is in one of the authors' repositories."""

    kind: Literal["dataset", "codec", "video", "language"]
    """A dataset, a visual tokenizer, or a world model of video or of text."""

    codec: str = ""
    """Of video: the repository of the visual tokenizer."""

    observed_steps: int = 0
    """Of video: frames that are given as steps, in front of those to predict."""

    reader: str = ""
    """Of a dataset: the world that reads it, as `world` in a recipe."""


COMPRESSIVE: dict[str, Any] = {"codec": "rt1-compressive-tokenizer", "observed_steps": 1}
FRAMES: dict[str, Any] = {"codec": "rt1-frame-tokenizer", "observed_steps": 4}

REPOSITORIES = {
    "bytesized32-world-model-cot": OfficialRepository(kind="dataset", reader="bytesized32_hub"),
    "bytesized32-world-model-sft": OfficialRepository(kind="language"),
    "bytesized32-world-model-rlvr-binary-reward": OfficialRepository(kind="language"),
    "bytesized32-world-model-rlvr-task-specific-reward": OfficialRepository(kind="language"),
    "webarena-world-model-cot": OfficialRepository(kind="dataset", reader="webarena"),
    "webarena-world-model-sft": OfficialRepository(kind="language"),
    "webarena-world-model-rlvr": OfficialRepository(kind="language"),
    "rt1-frame-tokenizer": OfficialRepository(kind="codec", **FRAMES),
    "rt1-compressive-tokenizer": OfficialRepository(kind="codec", **COMPRESSIVE),
    "rt1-world-model-single-step-base": OfficialRepository(kind="video", **FRAMES),
    "rt1-world-model-single-step-rlvr": OfficialRepository(kind="video", **FRAMES),
    "rt1-world-model-multi-step-base": OfficialRepository(kind="video", **COMPRESSIVE),
    "rt1-world-model-multi-step-rlvr": OfficialRepository(kind="video", **COMPRESSIVE),
}
"""By name, all of [`OWNER`]."""


def find_official(folder_or_repo: str | os.PathLike[str]) -> OfficialRepository | None:
    """
    What is known of a repository of the authors.

    Args:
        folder_or_repo (`str` or `PathLike`):
            Id of a Hub repository, or a folder that holds one.

    Returns:
        `OfficialRepository`: what is in it; `None` for any other, or for a folder that holds a processor.

    Example:

    ```python
    >>> find_official("thuml/rt1-world-model-multi-step-rlvr").codec
    'rt1-compressive-tokenizer'
    >>> find_official("someone/rt1-world-model-multi-step-rlvr") is None
    True

    ```
    """
    path = Path(folder_or_repo)
    # With a processor it is a folder of ours that happens to lie below one of that name, and says itself what it is.
    if path.parent.name != OWNER or (path / "processor_config.json").is_file():
        return None
    return REPOSITORIES.get(path.name)


def load_official(
    folder_or_repo: str | os.PathLike[str],
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    dtype: torch.dtype | None = None,
) -> tuple[PreTrainedModel, Any]:
    """
    A world model of the authors and the processor that belongs to it.

    Args:
        folder_or_repo (`str` or `PathLike`):
            Its repository, or a folder that holds it.
        revision (`str`, *optional*):
            Branch, tag or commit of the repository; of the visual tokenizer the newest is taken.
        token (`str` or `bool`, *optional*):
            Hub token.
        dtype (`torch.dtype`, *optional*):
            Type of the transformer's weights; as they were saved by default.

    Returns:
        `tuple`: the model and its processor, on the CPU.

    Raises:
        `ValueError`: If it is no world model, but a dataset or a visual tokenizer, or none of the authors'; or
            if weights are missing or not finite.
        `FileNotFoundError`: If the Hub does not give it.
    """
    known = find_official(folder_or_repo)
    if known is None or known.kind not in ("video", "language"):
        names = [name for name, repository in REPOSITORIES.items() if repository.kind in ("video", "language")]
        raise ValueError(
            f"Expected a world model among {OWNER}/{{{', '.join(names)}}}, got {folder_or_repo}{_what_it_is(known)}."
        )
    folder = local_folder(folder_or_repo, revision=revision, token=token)
    # Pickled weights, where there are no others, are read by transformers without running code.
    model = load_transformer(
        folder, dtype="auto" if dtype is None else dtype, only_safetensors=False, allow_superfluous=True
    )
    return model, official_processor(folder_or_repo, revision=revision, token=token)


def official_processor(
    folder_or_repo: str | os.PathLike[str], *, revision: str | None = None, token: str | bool | None = None
) -> Any:
    """
    The processor of a repository of the authors, which holds none; of a visual tokenizer, that of its world models.

    Args:
        folder_or_repo (`str` or `PathLike`):
            The repository, or a folder that holds it.
        revision (`str`, *optional*):
            Branch, tag or commit of the repository.
        token (`str` or `bool`, *optional*):
            Hub token.

    Returns:
        `VideoWorldModelProcessor` or `LanguageWorldModelProcessor`: the processor.

    Raises:
        `ValueError`: If the repository is a dataset, or none of the authors'.
        `FileNotFoundError`: If the Hub does not give it, or the visual tokenizer that belongs to it.
    """
    known = find_official(folder_or_repo)
    if known is None or known.kind == "dataset":
        raise ValueError(f"Expected a checkpoint of {OWNER}, got {folder_or_repo}{_what_it_is(known)}.")
    if known.kind == "language":
        folder = local_folder(folder_or_repo, revision=revision, token=token)
        has_tokenizer = (folder / "tokenizer_config.json").is_file()
        return LanguageWorldModelProcessor(
            AutoTokenizer.from_pretrained(folder if has_tokenizer else LANGUAGE_TOKENIZER)
        )
    is_itself = known.kind == "codec"
    place = local_folder(
        folder_or_repo if is_itself else _beside(folder_or_repo, known.codec),
        revision=revision if is_itself else None,  # a commit of one repository is none of another
        token=token,
    )
    low, high = zip(*RT1_ACTIONS, strict=True)
    return VideoWorldModelProcessor.from_codec(
        load_official_tokenizer(place), low, high, observed_steps=known.observed_steps, fps=RT1_FPS
    )


def _what_it_is(known: OfficialRepository | None) -> str:
    if known is None:
        return ""
    if known.kind == "dataset":
        return f", which is a dataset: a recipe reads it by `world: {known.reader}`"
    return ", which is a visual tokenizer: `load_official_tokenizer` reads it"


def _beside(folder_or_repo: str | os.PathLike[str], name: str) -> str | Path:
    """Another repository: the folder beside this one, if there is one, else that of the Hub."""
    local = Path(folder_or_repo).parent / name
    return local if local.is_dir() else f"{OWNER}/{name}"
