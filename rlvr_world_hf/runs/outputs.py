"""
What a run shows in its output folder: links to what its stages made last, such as `base` and `results.json`.

The files themselves lie with their stage and settings, `stages/<stage>/<fingerprint>/`, so that other settings replace
a link and nothing else.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..data.drafts import draft_path
from .lock import RunFolderError
from .progress import DONE, STARTED, read_json, write_json


logger = logging.getLogger(__name__)

CURRENT = "current.json"
"""In the folder of a stage: the fingerprint of the settings that were asked for last."""

EARLIER = "earlier_version"
"""Settings folder of what an earlier version of the library left without a readable fingerprint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingsFolder:
    """The work of one stage with one set of settings."""

    folder: Path
    """Where it lies."""

    stage: str
    """Name of the stage."""

    is_done: bool
    """Whether the stage finished with these settings."""

    is_current: bool
    """Whether it was asked for last, or a link of the run leads to it."""

    size: int
    """Bytes of its files."""


def publish(output_dir: Path, folder: Path, names: Iterable[str]) -> None:
    """
    Point names of an output folder to what a stage made; a name that points to other settings changes at once.

    Args:
        output_dir (`Path`):
            The run's folder.
        folder (`Path`):
            The stage's folder with its settings.
        names (`Iterable[str]`):
            Files and folders in it.
    """
    for name in names:
        link, target = output_dir / name, os.path.relpath(folder / name, (output_dir / name).parent)
        if link.is_symlink() and os.readlink(link) == target:
            continue
        if os.path.lexists(link) and not link.is_symlink():
            logger.warning("%s is a %s of yours and stays; that of the run is %s", link, _kind(link), folder / name)
            continue
        link.parent.mkdir(parents=True, exist_ok=True)
        draft = draft_path(link)
        try:
            os.symlink(target, draft, target_is_directory=(folder / name).is_dir())
        except (OSError, NotImplementedError):
            # Some file systems have no links. Stages find each other's outputs without them.
            logger.warning("%s cannot be made here, as links cannot; what it would show is %s.", link, folder / name)
            continue
        if link.is_symlink():
            logger.info("%s: now that of %s; the earlier one stays in %s", link, folder, link.resolve().parent)
        os.replace(draft, link)


def shows(output_dir: Path, folder: Path, names: Iterable[str]) -> bool:
    """
    Whether names of an output folder point to what a stage made.

    Args:
        output_dir (`Path`):
            The run's folder.
        folder (`Path`):
            The stage's folder with its settings.
        names (`Iterable[str]`):
            Files and folders in it.

    Returns:
        `bool`: False if one points elsewhere, or nowhere.
    """
    return all((output_dir / name).resolve() == (folder / name).resolve() for name in names)


def note_current(folder: Path) -> None:
    """Remember the settings that a stage was asked for last, for `rlvr-world clean`; `folder` is that of a stage."""
    file = folder.parent / CURRENT
    record = {"fingerprint": folder.name}
    try:
        known = read_json(file)
    except ValueError:  # it says nothing that is not said now
        known = {}
    if known != record:
        write_json(file, record)


def refuse_occupied(output_dir: Path, names: Iterable[str]) -> None:
    """
    Refuse an output folder where a user's own file or folder lies under the name of a checkpoint of the run.

    Args:
        output_dir (`Path`):
            The run's folder.
        names (`Iterable[str]`):
            Names that the run will point to what it makes.

    Raises:
        RunFolderError: Naming the file.
    """
    for place in (output_dir / name for name in names):
        if place.exists() and not place.is_symlink():
            raise RunFolderError(
                f"{place}: expected nothing here, or a link that a run made, got a {_kind(place)} of your own; move "
                "it, or give another `--output_dir`."
            )


def adopt(output_dir: Path) -> None:
    """
    Bring a run of an earlier version, which kept one result a stage, into the form of today; nothing is deleted.

    Args:
        output_dir (`Path`):
            The run's folder.
    """
    for stage in sorted(path for path in (output_dir / "stages").glob("*") if path.is_dir()):
        if (stage / DONE).is_file() or (stage / STARTED).is_file():
            _adopt_stage(output_dir, stage)


def settings_folders(output_dir: Path) -> list[SettingsFolder]:
    """
    All work of a run, by stage and settings.

    Args:
        output_dir (`Path`):
            The run's folder.

    Returns:
        `list[SettingsFolder]`: Sorted by stage and folder.
    """
    kept = _kept(output_dir)
    found = []
    for folder in sorted(path for path in (output_dir / "stages").glob("*/*") if path.is_dir()):
        found.append(
            SettingsFolder(
                folder=folder,
                stage=folder.parent.name,
                is_done=(folder / DONE).exists(),
                # Where nothing says what is current, nothing is taken for old.
                is_current=not (folder.parent / CURRENT).is_file() or folder.resolve() in kept,
                size=sum(
                    file.stat().st_size for file in folder.rglob("*") if file.is_file() and not file.is_symlink()
                ),
            )
        )
    return found


def _kept(output_dir: Path) -> set[Path]:
    """Settings folders that are shown or were asked for last, and those whose results they were made from."""
    waiting = [place.resolve().parent for place in output_dir.glob("*") if place.is_symlink()]
    for file in (output_dir / "stages").glob(f"*/{CURRENT}"):
        asked = _record(file).get("fingerprint")
        # Where nothing says what is current, nothing is taken for old.
        waiting += [file.parent / str(asked)] if asked else [path for path in file.parent.iterdir() if path.is_dir()]
    kept: set[Path] = set()
    while waiting:
        folder = waiting.pop().resolve()
        if folder not in kept:
            kept.add(folder)
            settings = _record(folder / STARTED).get("settings")
            after = settings.get("after") if isinstance(settings, dict) else None
            stages = after.items() if isinstance(after, dict) else ()
            waiting += [folder.parents[1] / stage / str(name) for stage, name in stages]
    return kept


def _adopt_stage(output_dir: Path, stage: Path) -> None:
    """Move a stage's files, and what it made beside them, into a folder of its settings, and point to them."""
    record = _record(stage / DONE) or _record(stage / STARTED)
    folder = stage / str(record.get("fingerprint", EARLIER))
    own = [path for path in stage.iterdir() if path != folder and not _is_settings_folder(path)]
    folder.mkdir(exist_ok=True)
    made = [place for place in _made_beside(output_dir, stage, record) if not (folder / place.name).exists()]
    # The records last: a stage whose move was interrupted is known by them.
    for place in [*made, *sorted(own, key=lambda path: path.name in (DONE, STARTED))]:
        if not (folder / place.name).exists():
            os.replace(place, folder / place.name)
    publish(output_dir, folder, [place.name for place in made])
    logger.info("%s: its files were made by an earlier version, and lie in %s now", stage.name, folder)


def _made_beside(output_dir: Path, stage: Path, record: dict[str, object]) -> Iterator[Path]:
    """Files and folders of the output folder that a stage of an earlier version recorded as made by it."""
    outputs = record.get("outputs")
    for output in outputs if isinstance(outputs, list) else []:
        place = (stage / str(output)).resolve()
        if place.parent == output_dir.resolve() and place.exists() and not (output_dir / place.name).is_symlink():
            yield output_dir / place.name


def _is_settings_folder(path: Path) -> bool:
    return path.is_dir() and ((path / STARTED).exists() or path.name == EARLIER)


def _record(file: Path) -> dict[str, object]:
    try:
        return read_json(file)
    except ValueError:
        return {}


def _kind(place: Path) -> str:
    return "folder" if place.is_dir() else "file"
