"""Where the files of a checkpoint are on this machine."""

import os
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError


def local_folder(
    folder_or_repo: str | os.PathLike[str],
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    ignored: Sequence[str] = (),
) -> Path:
    """
    A folder, or the files of a Hub repository, downloaded if they are not in the cache.

    Args:
        folder_or_repo (`str` or `PathLike`):
            A folder, or the id of a Hub repository (`"owner/name"`).
        revision (`str`, *optional*):
            Branch, tag or commit of the repository.
        token (`str` or `bool`, *optional*):
            Hub token for a private repository.
        ignored (`Sequence[str]`, *optional*):
            Patterns of files that are not downloaded.

    Returns:
        `Path`: the folder.

    Raises:
        `FileNotFoundError`: If there is no such folder, and the Hub does not give it either.

    Example:

    ```python
    >>> local_folder("outputs/no-such-run/rlvr")
    Traceback (most recent call last):
    ...
    FileNotFoundError: There is no checkpoint folder outputs/no-such-run/rlvr; `rlvr-world run RECIPE` makes one.

    ```
    """
    folder = Path(folder_or_repo)
    if folder.is_dir():
        return folder
    name = str(folder_or_repo)
    looks_like_repository = (
        isinstance(folder_or_repo, str) and name.count("/") <= 1 and name[:1] not in (".", "/", "~")
    )
    if not looks_like_repository or folder.parent.is_dir() and name.count("/") == 1:
        raise FileNotFoundError(f"There is no checkpoint folder {name}; `rlvr-world run RECIPE` makes one.")
    try:
        return Path(snapshot_download(name, revision=revision, token=token, ignore_patterns=list(ignored)))
    except (HfHubHTTPError, LocalEntryNotFoundError) as error:
        raise FileNotFoundError(f"{name} is no folder here, and the Hub did not give it either: {error}") from error
