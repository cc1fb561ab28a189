"""Where the files of a checkpoint are on this machine, and whether they arrived whole."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import constants, hf_hub_download, snapshot_download, try_to_load_from_cache
from huggingface_hub.errors import (
    EntryNotFoundError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.file_download import repo_folder_name

from .bundled import bundled_path


def local_folder(
    folder_or_repo: str | os.PathLike[str],
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    ignored: Sequence[str] = (),
) -> Path:
    """
    A folder, a checkpoint that ships with the library, or the files of a Hub repository, downloaded if they are not in
    the cache.

    A folder that exists comes first. A name without a slash is that of a bundled checkpoint.

    Args:
        folder_or_repo (`str` or `PathLike`):
            A folder, a bundled name (`"pusht-rlvr"`), or the id of a Hub repository (`"owner/name"`).
        revision (`str`, *optional*):
            Branch, tag or commit of the repository.
        token (`str` or `bool`, *optional*):
            Hub token for a private repository.
        ignored (`Sequence[str]`, *optional*):
            Patterns of files that are not downloaded.

    Returns:
        `Path`: the folder; what was downloaded has the hashes that the Hub names.

    Raises:
        `FileNotFoundError`: If there is no such folder, nothing bundled has the name, and the Hub does not give it.
        `ValueError`: If a file arrived damaged; it is removed.

    Example:

    ```python
    >>> local_folder("outputs/no-such-run/rlvr")
    Traceback (most recent call last):
    ...
    FileNotFoundError: There is no checkpoint folder outputs/no-such-run/rlvr; `rlvr-world run RECIPE` makes one.

    ```
    """
    folder = _without_hub(folder_or_repo)
    if folder is not None:
        return folder
    name = str(folder_or_repo)
    blobs = Path(constants.HF_HUB_CACHE, repo_folder_name(repo_id=name, repo_type="model"), "blobs")
    known = {blob.name for blob in blobs.glob("*")}
    try:
        snapshot = Path(snapshot_download(name, revision=revision, token=token, ignore_patterns=list(ignored)))
    except (HfHubHTTPError, LocalEntryNotFoundError) as error:
        raise FileNotFoundError(
            f"{name} is no folder here, and the Hub did not give it either: {_reason(error, revision)}"
        ) from error
    _refuse_damaged(name, snapshot, known)
    return snapshot


def find_file(folder_or_repo: str | os.PathLike[str], file: str) -> Path:
    """
    One small file of a checkpoint, which tells whether there is a checkpoint, without the weights.

    Args:
        folder_or_repo (`str` or `PathLike`):
            As of [`local_folder`].
        file (`str`):
            The file's name, such as `"config.json"`.

    Returns:
        `Path`: the file; of a Hub repository in the cache, where it is looked for first.

    Raises:
        `FileNotFoundError`: If there is no such checkpoint, or it has no such file, or it is not in the cache and the
            Hub cannot be asked.

    Example:

    ```python
    >>> find_file("pusht-base", "config.json").name
    'config.json'

    ```
    """
    folder, name = _without_hub(folder_or_repo), str(folder_or_repo)
    if folder is not None:
        if not (folder / file).is_file():
            raise FileNotFoundError(f"{name} has no {file}; give the folder of a checkpoint.")
        return folder / file
    try:
        cached = try_to_load_from_cache(name, file)
        return Path(cached if isinstance(cached, str) else hf_hub_download(name, file))
    except EntryNotFoundError as error:
        # Where the Hub cannot be asked, too: then it is not in the cache.
        told = str(error) if isinstance(error, LocalEntryNotFoundError) else f"it has no {file} there."
        raise FileNotFoundError(
            f"{name} is no folder here, and the Hub did not give its {file} either: {told}"
        ) from error
    except (HfHubHTTPError, HFValidationError) as error:
        raise FileNotFoundError(
            f"{name} is no folder here, and the Hub did not give its {file} either: {_reason(error, None)}"
        ) from error


def _without_hub(folder_or_repo: str | os.PathLike[str]) -> Path | None:
    """The folder of a checkpoint on this machine; `None` if the name is one of the Hub."""
    folder = Path(folder_or_repo)
    if folder.is_dir():
        return folder
    name = str(folder_or_repo)
    if isinstance(folder_or_repo, str) and "/" not in name:
        return bundled_path(name)
    looks_like_repository = (
        isinstance(folder_or_repo, str) and name.count("/") == 1 and name[:1] not in (".", "/", "~")
    )
    # `outputs/run` looks like a repository, too; where `outputs` is a folder here, a run is what is meant.
    if not looks_like_repository or folder.parent.is_dir():
        raise FileNotFoundError(f"There is no checkpoint folder {name}; `rlvr-world run RECIPE` makes one.")
    return None


def _reason(error: Exception, revision: str | None) -> str:
    if isinstance(error, RevisionNotFoundError):
        return f"it has no revision {revision!r} of it. Give one of its branches, tags or commits."
    if isinstance(error, RepositoryNotFoundError):
        return "it has no such repository, or shows it to others only. Check the id, or log in or give a `token`."
    return str(error)


def _refuse_damaged(name: str, snapshot: Path, known: set[str]) -> None:
    """Raises where a file that was not in the cache before has another hash than its name there, the Hub's."""
    damaged = []
    for file in sorted(snapshot.rglob("*")):
        blob = file.resolve()
        # Those in the cache before were checked when they came; to hash gigabytes at each load would take its time.
        if file.is_file() and blob.parent.name == "blobs" and blob.name not in known:
            given = _hash(blob)
            if given != blob.name:
                file.unlink()  # the link, then what it points to: with either left, it would not be downloaded anew
                blob.unlink()
                path = file.relative_to(snapshot).as_posix()
                damaged.append(f"{path}, expected with the hash {blob.name}, given {given}")
    if damaged:
        raise ValueError(
            f"Files of {name} arrived damaged: {'; '.join(damaged)}. They were removed; load again to download them "
            "anew."
        )


def _hash(blob: Path) -> str:
    """SHA-256 of a large file; of a small one git's hash. The length of the name tells which."""
    if len(blob.name) == 64:
        with blob.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    content = blob.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
