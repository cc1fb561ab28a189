"""
Which models play: those of a run's folder or of the bundled one, or a user's from the Hub.

A folder of a run holds one folder a checkpoint, `results.json` and `learning_curves.png`.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

from ..pipeline import WorldModelPipeline
from . import limits


HUB = "hf://"
"""How a place on the Hub begins, so that no mistyped folder is looked for there."""

HUB_ID = re.compile(r"(?P<repo>[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95})(?:@(?P<revision>\w[\w./-]{0,99}))?")
"""`owner/name`, and behind an `@` the revision: branch, tag or commit."""

FETCHED = ("*.json", "*.safetensors", "learning_curves.png")
"""What is downloaded for the page: no code, and no weights but safetensors."""

MAX_BYTES = 2 * 1024**3
"""Most bytes of a repository's files that are downloaded for who serves the page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoints:
    """The models of one world, and where their results lie."""

    pipelines: dict[str, WorldModelPipeline]
    """Models by name, as in `base` and `rlvr`."""

    folder: Path
    """Where `results.json` and `learning_curves.png` lie, if there are any."""

    @property
    def predicts(self) -> tuple[str, ...]:
        """What they predict: `("frames",)` or `("text",)`, as their processor says."""
        return tuple(next(iter(self.pipelines.values())).processor.predicts)

    @classmethod
    def from_pretrained(
        cls,
        place: str | os.PathLike[str],
        *,
        names: Sequence[str] = ("base", "rlvr"),
        device: str | torch.device | None = None,
    ) -> "Checkpoints":
        """
        Load the checkpoints of a run.

        Args:
            place (`str` or `PathLike`):
                The run's folder, with one folder a checkpoint, in it or, as `name-base`, beside it; or
                `hf://owner/name`, which stands for the Hub repositories `owner/name-base` and `owner/name-rlvr`.
            names (`Sequence[str]`, *optional*, defaults to `("base", "rlvr")`):
                Checkpoints to load.
            device (`str` or `torch.device`, *optional*):
                Where to compute. Defaults to a CUDA device if there is one, else the CPU.

        Returns:
            `Checkpoints`: in the dtype of the weights; on a CPU in float32.

        Raises:
            `FileNotFoundError`: If a checkpoint is not there; nothing is downloaded that was not asked for by `hf://`.
            `ValueError`: If a repository cannot be used, see [`fetch`].

        Example:

        ```python
        >>> Checkpoints.from_pretrained("outputs/no-such-run")
        Traceback (most recent call last):
        ...
        FileNotFoundError: There is no checkpoint outputs/no-such-run/base. Run `make quickstart` first ...

        ```
        """
        if str(place).startswith(HUB):
            owner_and_name = str(place).removeprefix(HUB)
            folders = {name: fetch(f"{owner_and_name}-{name}") for name in names}
            return cls(
                pipelines={name: load(folder, device=device) for name, folder in folders.items()},
                folder=list(folders.values())[-1],
            )
        folders = {name: _folder_of(Path(place), name) for name in names}
        # All of them before the first is loaded, which takes time.
        for folder in folders.values():
            _refuse_missing(folder)
        return cls(
            pipelines={name: load(folder, device=device) for name, folder in folders.items()}, folder=Path(place)
        )


def has_checkpoints(folder: str | os.PathLike[str], *, names: Sequence[str] = ("base", "rlvr")) -> bool:
    """
    Whether a run's folder holds the checkpoints that a page shows.

    Args:
        folder (`str` or `PathLike`):
            The run's folder.
        names (`Sequence[str]`, *optional*, defaults to `("base", "rlvr")`):
            Checkpoints that are needed.

    Returns:
        `bool`: True if each has its configuration; the weights are not looked at.
    """
    return all((_folder_of(Path(folder), name) / "config.json").is_file() for name in names)


def _folder_of(place: Path, name: str) -> Path:
    """A checkpoint's folder: within the run's, or beside it, where runs share a base that ships."""
    inner, beside = place / name, place.with_name(f"{place.name}-{name}")
    return beside if not inner.is_dir() and (beside / "config.json").is_file() else inner


def load(folder: str | os.PathLike[str], *, device: str | torch.device | None = None) -> WorldModelPipeline:
    """
    Load one checkpoint.

    Args:
        folder (`str` or `PathLike`):
            The checkpoint's folder.
        device (`str` or `torch.device`, *optional*):
            Where to compute. Defaults to a CUDA device if there is one, else the CPU.

    Returns:
        `WorldModelPipeline`: in the dtype of the weights; on a CPU in float32.
    """
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    settings: dict[str, Any] = {"device": device, "dtype": torch.float32 if device.type == "cpu" else None}
    return WorldModelPipeline.from_pretrained(folder, **settings)


def parse_hub_id(text: str) -> tuple[str, str | None]:
    """
    Repository and revision of a Hub id that a user typed.

    Args:
        text (`str`):
            `owner/name` or `owner/name@revision`.

    Returns:
        `tuple[str, str | None]`: repository and revision.

    Raises:
        ValueError: If it is neither.

    Example:

    ```python
    >>> parse_hub_id(" owner/world-model@v1 ")
    ('owner/world-model', 'v1')
    >>> parse_hub_id("../etc/passwd")
    Traceback (most recent call last):
    ...
    ValueError: Expected the id of a Hub repository such as owner/name or owner/name@revision, got '../etc/passwd'.

    ```
    """
    match = HUB_ID.fullmatch(text.strip())
    # The Hub allows no `..`, which in a cache's path would mean another folder.
    if not match or ".." in text:
        raise ValueError(
            f"Expected the id of a Hub repository such as owner/name or owner/name@revision, got {text!r:.120}."
        )
    return match["repo"], match["revision"]


def fetch(hub_id: str, *, most: int = MAX_BYTES) -> Path:
    """
    Download the checkpoint of a Hub repository: JSON files, safetensors and learning curves, and nothing else.

    A folder of that name on this machine is never looked at.

    Args:
        hub_id (`str`):
            `owner/name` or `owner/name@revision`.
        most (`int`, *optional*, defaults to 2 GiB):
            Most bytes that are downloaded.

    Returns:
        `Path`: where it lies in the cache.

    Raises:
        ValueError: If it is no Hub id, or the repository has no safetensors, or more to download.
        FileNotFoundError: If the Hub does not give it.
    """
    repo, revision = parse_hub_id(hub_id)
    try:
        # A user's repository may hold anything, so its sizes are read before a byte of it is downloaded.
        files = HfApi().model_info(repo, revision=revision, files_metadata=True).siblings or []
        sizes = {file.rfilename: file.size or 0 for file in files if _is_fetched(file.rfilename)}
        if not any(name.endswith(".safetensors") for name in sizes):
            raise ValueError(f"{repo} holds no weights as safetensors; others are not read. Convert them first.")
        if sum(sizes.values()) > most:
            raise ValueError(
                f"{repo} holds {sum(sizes.values()) / 1024**3:.1f} GiB of weights and settings, and here "
                f"{most / 1024**3:.0f} GiB are the limit. Load it with `WorldModelPipeline.from_pretrained` on a "
                "machine of your own."
            )
        return Path(snapshot_download(repo, revision=revision, allow_patterns=list(FETCHED)))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        at = f" at {revision}" if revision else ""
        raise FileNotFoundError(
            f"The Hub did not give {repo}{at}: {str(error).strip().splitlines()[0]:.200} Check the id, and that the "
            "repository is public."
        ) from error


def replace_from_hub(checkpoints: Checkpoints, hub_ids: dict[str, str]) -> Checkpoints:
    """
    Replace some of the models by models from the Hub.

    Args:
        checkpoints (`Checkpoints`):
            The models at hand.
        hub_ids (`dict[str, str]`):
            By the name of the model to replace: `owner/name` or `owner/name@revision`; an empty one changes nothing.

    Returns:
        `Checkpoints`: with the results of the last repository, or those of the models at hand if no id was given.

    Raises:
        ValueError: If a repository cannot be used, see [`fetch`]; is more than a page loads, see
            [`refuse_too_large`]; or predicts something else.
        FileNotFoundError: If the Hub does not give it.
    """
    folders = {name: fetch(hub_id, most=limits.MAX_BYTES) for name, hub_id in hub_ids.items() if hub_id.strip()}
    if not folders:
        return checkpoints
    for name, folder in folders.items():
        limits.refuse_too_large(folder, name=hub_ids[name].strip())
    device = next(iter(checkpoints.pipelines.values())).model.device
    loaded = {name: load(folder, device=device) for name, folder in folders.items()}
    for name, pipeline in loaded.items():
        if tuple(pipeline.processor.predicts) != checkpoints.predicts:
            raise ValueError(
                f"{hub_ids[name]} predicts {' and '.join(pipeline.processor.predicts)}; here models of "
                f"{' and '.join(checkpoints.predicts)} play."
            )
    return Checkpoints(pipelines=checkpoints.pipelines | loaded, folder=list(folders.values())[-1])


def _is_fetched(file: str) -> bool:
    return any(fnmatch(file, pattern) for pattern in FETCHED)


def _refuse_missing(folder: Path) -> None:
    if not folder.is_dir():
        raise FileNotFoundError(
            f"There is no checkpoint {folder}. Run `make quickstart` first (in a checkout; elsewhere `rlvr-world run "
            f"pusht/quickstart`), which makes outputs/quickstart; or give the output folder of another run of PushT "
            f"or TextWorld, or `{HUB}owner/name` for `owner/name-{folder.name}` on the Hub."
        )
