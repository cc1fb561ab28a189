"""
A world model to the Hub: one repository, one commit, and with it the code that reads the processor where this library
is not installed.

    what the folder holds                weights, configuration, processor, codec; results.json, pictures, card
    inverse/                             the inverse model that it was rewarded by, if it was saved with one
    codec                                of a bundled checkpoint, whose folder has but its name, added on the way
    auto_map, and the files it names     added to the settings of processor and codec on the way, not in the folder
    README.md                            the folder's, or, where neither it nor the repository has one, a new one
"""

import json
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from huggingface_hub import CommitInfo, CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError
from peft import PeftModel
from transformers import PreTrainedModel

from .cards import CardSubject, card_text
from .checkpoint import PICKLES, holds_codec, is_pickle, load_processor, refuse_incomplete, save_world_model
from .terms import Terms, refuse_unnamed_terms, terms_of_folder


ADAPTER = "adapter_config.json"
CARD = "README.md"
RESULTS = ".eval_results"
"""Where the Hub looks for numbers on its datasets."""

REPLACED = ("*.safetensors", "*.safetensors.index.json", "*.py", ADAPTER, "codec/*", "inverse/*", *PICKLES)
"""Files that an earlier push may have left and that go where this one has none of their name; documents stay."""

BREAKS_OFF: tuple[type[Exception], ...] = (*HfHubHTTPError.__bases__, RuntimeError)
"""What an upload raises: errors of HTTP, of whichever client huggingface_hub uses, of the system, of its threads."""


def push_checkpoint(
    folder: str | os.PathLike[str],
    repo_id: str,
    *,
    documents: Sequence[str | os.PathLike[str]] = (),
    horizon: int = 1,
    commit_message: str = "Upload world model",
    private: bool | None = None,
    token: str | bool | None = None,
    revision: str | None = None,
) -> CommitInfo:
    """
    Upload a folder that [`save_world_model`] wrote, so that [`load_world_model`] gives identical predictions.

    Everything is in one commit: an upload that breaks off leaves the repository as it was. What an earlier push left
    there is replaced; a card, pictures and results stay unless the folder has its own.

    Args:
        folder (`str` or `PathLike`):
            The checkpoint; it is not changed. Hidden files are left out, except for those in `.eval_results/`.
        repo_id (`str`):
            Repository, `"owner/name"`, or `"name"` for one of your own; made if missing.
        documents (`Sequence[str | PathLike]`, *optional*):
            Files from elsewhere that belong to it, such as `results.json` and the card of its run.
        horizon (`int`, *optional*, defaults to 1):
            Steps that the example in a new card predicts.
        commit_message (`str`, *optional*, defaults to `"Upload world model"`):
            Title of the commit.
        private (`bool`, *optional*):
            Whether a repository that is made is private.
        token (`str` or `bool`, *optional*):
            Hub token with write permission; the stored one by default.
        revision (`str`, *optional*):
            Branch; made if missing.

    Returns:
        [`~huggingface_hub.CommitInfo`]: the commit.

    Raises:
        `FileNotFoundError`: If the folder is no checkpoint; it names the missing file.
        `ValueError`: If the folder holds pickled files, or its card does not name the terms that its weights come
            with, such as Gemma's. Nothing is sent then.
        `PermissionError`: If the Hub does not let you write to the repository.
        `ConnectionError`: If the upload broke off.

    Example:

    ```python
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     written = Path(folder, "training_args.bin").write_bytes(b"")
    ...     push_checkpoint(folder, "someone/world")
    Traceback (most recent call last):
    ...
    ValueError: Expected no pickled files in a checkpoint, as loading them runs code, got training_args.bin; ...

    ```
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no checkpoint folder {folder}; `rlvr-world run RECIPE` makes one.")
    files = _files(folder) | {_place(Path(document)): Path(document) for document in documents}
    pickled = [path for path in files if is_pickle(path)]
    if pickled:
        raise ValueError(
            f"Expected no pickled files in a checkpoint, as loading them runs code, got {', '.join(pickled)}; push "
            "the folder that `save_world_model` writes, or remove them. Nothing was sent."
        )
    # All that can be refused is refused here, before the Hub is asked for anything.
    refuse_incomplete(folder, name=str(folder))
    if CARD in files:
        refuse_unnamed_terms(folder, files[CARD].read_text(encoding="utf-8"))
    processor = load_processor(folder)
    api = HfApi(token=token)
    with tempfile.TemporaryDirectory() as code:
        settings = folder
        if processor.codec is not None and not holds_codec(folder):  # it ships with the library: sent whole
            processor.save_pretrained(code)
            settings = Path(code)
        processor.save_code(code, settings_directory=settings)
        files |= _files(Path(code))
        with _explained(repo_id):
            # With the owner, where only a name was given; the card's example needs it.
            repo_id = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
            if revision is not None:
                api.create_branch(repo_id, branch=revision, exist_ok=True)
            present = api.list_repo_files(repo_id, revision=revision)
            contents: dict[str, Path | bytes] = {**files}
            terms = terms_of_folder(folder)
            if CARD in files or CARD not in present:
                contents[CARD] = _card(files.get(CARD), processor, repo_id, horizon, terms).encode()
            elif terms is not None:  # the card that is there stays
                stays = api.hf_hub_download(repo_id, CARD, revision=revision)
                refuse_unnamed_terms(folder, Path(stays).read_text(encoding="utf-8"))
            if {ADAPTER, "config.json"} <= files.keys():
                contents[ADAPTER] = _adapter_settings(files[ADAPTER], repo_id)
            # Weights of an earlier push in other shards, or an adapter, would be loaded beside or in place of these.
            gone = [path for path in present if path not in files and any(fnmatch(path, old) for old in REPLACED)]
            operations: list[CommitOperationAdd | CommitOperationDelete] = [
                *(CommitOperationAdd(path, content) for path, content in sorted(contents.items())),
                *(CommitOperationDelete(path) for path in gone),
            ]
            return api.create_commit(repo_id, operations, commit_message=commit_message, revision=revision)


def push_world_model(
    model: PreTrainedModel | PeftModel,
    processor: Any,
    repo_id: str,
    *,
    merge_adapter: bool = True,
    inverse_model: PreTrainedModel | None = None,
    **options: Any,
) -> CommitInfo:
    """
    Upload a model with its processor, see [`push_checkpoint`].

    Args:
        model (`PreTrainedModel` or `PeftModel`):
            The transformer.
        processor (`WorldModelProcessor`):
            The processor it was trained with.
        repo_id (`str`):
            Repository, `"owner/name"`; made if missing.
        merge_adapter (`bool`, *optional*, defaults to `True`):
            As of [`save_world_model`].
        inverse_model (`InverseDynamicsModel`, *optional*):
            As of [`save_world_model`].
        options (`dict[str, Any]`, *optional*):
            Further arguments of [`push_checkpoint`].

    Returns:
        [`~huggingface_hub.CommitInfo`]: the commit.
    """
    with tempfile.TemporaryDirectory() as parent:
        parts: dict[str, Any] = {"merge_adapter": merge_adapter, "inverse_model": inverse_model}
        folder = save_world_model(Path(parent, "world"), model, processor, **parts)
        return push_checkpoint(folder, repo_id, **options)


def _files(folder: Path) -> dict[str, Path]:
    """Files of a folder by their path in it, without hidden ones, but with the Hub's own place for results."""
    paths = {file.relative_to(folder): file for file in sorted(folder.rglob("*")) if file.is_file()}
    return {
        path.as_posix(): file
        for path, file in paths.items()
        if not any(part.startswith(".") and part != RESULTS for part in path.parts)
    }


def _place(document: Path) -> str:
    """Where a file from elsewhere lies in the repository."""
    return f"{RESULTS}/{document.name}" if document.parent.name == RESULTS else document.name


def _adapter_settings(file: Path, repo_id: str) -> bytes:
    """The settings of an adapter whose base is in the same repository, as transformers and peft look for it."""
    settings = json.loads(file.read_text(encoding="utf-8")) | {"base_model_name_or_path": repo_id, "revision": None}
    return json.dumps(settings, indent=2, sort_keys=True).encode()


def _card(file: Path | None, processor: Any, repo_id: str, horizon: int, terms: Terms | None) -> str:
    """The card of a folder, whose example then loads the repository; or a new one."""
    if file is not None:
        text = file.read_text(encoding="utf-8")
        return re.sub(r'from_pretrained\("[^"]*"', f'from_pretrained("{repo_id}"', text)
    name = repo_id.split("/")[-1]
    return card_text(
        processor,
        CardSubject(name=name, horizon=horizon, world=name, data="Not stated.", repo_id=repo_id, terms=terms),
    )


@contextmanager
def _explained(repo_id: str) -> Iterator[None]:
    try:
        yield
    except BREAKS_OFF as error:
        status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
        if status in (401, 403) or isinstance(error, LocalTokenNotFoundError):
            raise PermissionError(
                f"The Hub does not let you write to {repo_id}: log in by `hf auth login`, or give a `token` with "
                f"write permission. It says: {error}"
            ) from error
        raise ConnectionError(
            f"The upload to {repo_id} broke off, and what it held before is unchanged; push again. The reason: {error}"
        ) from error
