"""Push: uploads a checkpoint to the Hub, with the card, results and pictures of its run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...hub.push import push_checkpoint
from ...runs.echo import echo
from ...runs.keys import fill, key, keys_of
from ...runs.recipe import parse_overrides
from ..help import describe


USAGE = """usage: rlvr-world push FOLDER REPO [--key value ...]

Uploads a checkpoint to the repository REPO, `owner/name`, which is made if it is missing. FOLDER is a checkpoint, such
as outputs/quickstart/base, or the output folder of a run, of which `rlvr/` is uploaded with results.json, card and
pictures. Log in by `hf auth login` first.

keys:
{keys}
"""

TRAINED = "rlvr"
"""The checkpoint of a run that is uploaded: its folder in the output folder."""

DOCUMENTS = ("README.md", "results.json", "examples.md", "example.npz", "*.png", "*.gif", ".eval_results/*.yaml")
"""Files of a run's folder that are uploaded with the checkpoint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PushSettings:
    """Where and how it is uploaded."""

    revision: str = key("", "Branch of the repository; made if missing.")
    private: bool = key(False, "Whether a repository that is made is private.")
    message: str = key("Upload world model", "Title of the commit.")


def push(words: Sequence[str]) -> int:
    """
    Upload a checkpoint and print where it is.

    Args:
        words (`Sequence[str]`):
            Folder, repository and `--key value` pairs, as after `rlvr-world push`.

    Returns:
        `int`: 0, or 2 without folder and repository.

    Raises:
        ValueError: If a key is unknown, or the folder holds pickled files.
        FileNotFoundError: If the folder is not a checkpoint.
        PermissionError: If the Hub does not let you write.
        ConnectionError: If the upload broke off.
    """
    if {"-h", "--help"} & set(words) or len(words) < 2 or any(word.startswith("-") for word in words[:2]):
        echo(USAGE.format(keys="\n".join(describe(keys_of(PushSettings)))))
        return 0 if {"-h", "--help"} & set(words) else 2
    folder, repo_id = Path(words[0]), words[1]
    settings = fill(PushSettings, parse_overrides(words[2:]), where="push")
    is_run = (folder / TRAINED / "processor_config.json").is_file()
    commit = push_checkpoint(
        folder / TRAINED if is_run else folder,
        repo_id,
        documents=[file for pattern in DOCUMENTS for file in sorted(folder.glob(pattern))] if is_run else [],
        commit_message=settings.message,
        # `None` leaves it to the default of the owner; `False` would make it public.
        private=settings.private or None,
        revision=settings.revision or None,
    )
    echo(f"{commit.repo_url}, commit {commit.oid}")
    return 0
