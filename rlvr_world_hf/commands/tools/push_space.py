"""Push-space: the playground as a Space on the Hub, with the library and the bundled checkpoints in it."""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...runs.echo import echo
from ...runs.locations import shipped_folder


PAGE = "world_model_playground"
"""The folder of the page in `spaces/`."""

CHECKPOINTS = ("pusht", "pusht-base", "pusht-codec", "textworld")
"""Folders of `model_cards/` that are uploaded with it, if they exist."""

IGNORED = ("__pycache__", "*.pyc", "*.bin", "*.pt", "*.pth", "*.pkl", "*.pickle", "*.ckpt", ".*")


def push_space(words: Sequence[str]) -> int:
    """
    Deploy the playground in one commit.

    Args:
        words (`Sequence[str]`):
            REPO, and options; see `rlvr-world push-space --help`.

    Returns:
        `int`: Exit code.

    Raises:
        ValueError: If the arguments are not valid, or the Hub refuses.
        FileNotFoundError: If the page is not installed with the library.
    """
    parser = argparse.ArgumentParser(
        prog="rlvr-world push-space",
        description="Deploys the playground as a Space, with the library and the bundled checkpoints, in one commit. "
        "Who you are on the Hub: `hf auth login`, or the variable HF_TOKEN.",
        exit_on_error=False,
    )
    # argparse exits for missing or unknown words even with `exit_on_error=False`; both are refused below.
    parser.add_argument("repo", metavar="REPO", nargs="?", default="", help="id of the Space: owner/name")
    parser.add_argument("--private", action="store_true", help="create it as private; one that exists stays as it is")
    parser.add_argument("--message", default="Update the playground", help="title of the commit")
    if {"-h", "--help"} & set(words):
        echo(parser.format_help())
        return 0
    try:
        asked, unknown = parser.parse_known_args(list(words))
    except argparse.ArgumentError as error:
        raise ValueError(f"push-space: {error}; see `rlvr-world push-space --help`.") from error
    if unknown or asked.repo.count("/") != 1:
        raise ValueError(
            f"push-space: expected the id of one Space as owner/name, got {' '.join(words)}; see `rlvr-world "
            "push-space --help`."
        )
    echo(
        f"{_deploy(asked.repo, private=asked.private, message=asked.message)}: it builds for minutes before it opens."
    )
    return 0


def _deploy(repo: str, *, private: bool, message: str) -> str:
    """Upload the Space and return its address."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError

    api = HfApi()
    with tempfile.TemporaryDirectory(prefix="rlvr_world_space_") as folder:
        gather_space(Path(folder))
        space: dict[str, Any] = {"repo_id": repo, "repo_type": "space"}
        try:
            # `None` leaves it to the default of the owner; `False` would make it public.
            url = api.create_repo(**space, space_sdk="gradio", private=private or None, exist_ok=True)
            # Files that are no longer part of the Space are deleted in the same commit.
            api.upload_folder(**space, folder_path=folder, commit_message=message, delete_patterns=["*"])
        except (HfHubHTTPError, LocalTokenNotFoundError) as error:
            raise ValueError(f"push-space: the Hub refused {repo}: {error}") from error
    return str(url)


def gather_space(folder: Path) -> Path:
    """
    Put the parts of the Space into a folder: page, library, bundled checkpoints.

    Args:
        folder (`Path`):
            An empty folder.

    Returns:
        `Path`: the folder; `app.py` in it runs with the packages of `requirements.txt` alone.
    """
    ignored = shutil.ignore_patterns(*IGNORED)
    shutil.copytree(shipped_folder("spaces") / PAGE, folder, dirs_exist_ok=True, ignore=ignored)
    library = Path(__file__).resolve().parents[2]
    inside = shutil.ignore_patterns(
        *IGNORED, "model_cards", "spaces", "trainers"
    )  # a wheel has these folders inside the library
    shutil.copytree(library, folder / library.name, ignore=inside)
    for name in CHECKPOINTS:
        checkpoint = shipped_folder("model_cards") / name
        if checkpoint.is_dir():
            shutil.copytree(checkpoint, folder / "model_cards" / name, ignore=ignored)
    return folder
