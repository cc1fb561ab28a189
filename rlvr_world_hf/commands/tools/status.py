"""Status: shows how far a run is, also while it goes on."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

from ...runs.echo import echo
from ...runs.keys import fill, key, keys_of
from ...runs.recipe import parse_overrides
from ...runs.status import describe_run, run_status
from ..help import describe


USAGE = """usage: rlvr-world status RUN [--key value ...]

How far the run in the output folder RUN is, also while another process works in it: its stages, waiting, running,
done, stopped or failed; their times; where each training stands, with the best value so far and the time left; what
evaluation measured; and the last picture of predictions. Of a reproduction, each of its runs.

keys:
{keys}
"""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StatusSettings:
    """How it is shown."""

    json: bool = key(False, "Whether to print JSON, for a program.")


def status(words: Sequence[str]) -> int:
    """
    Print how far a run is.

    Args:
        words (`Sequence[str]`):
            The run's folder and `--key value` pairs, as after `rlvr-world status`.

    Returns:
        `int`: 0; 2 without a folder.

    Raises:
        FileNotFoundError: If there is no run in the folder.
    """
    if {"-h", "--help"} & set(words) or not words or words[0].startswith("-"):
        echo(USAGE.format(keys="\n".join(describe(keys_of(StatusSettings)))))
        return 0 if {"-h", "--help"} & set(words) else 2
    folder = Path(words[0])
    settings = fill(StatusSettings, parse_overrides(words[1:]), where="status")
    found = {run: run_status(run) for run in _runs(folder)}
    if settings.json:
        stages = {str(run): [dataclasses.asdict(stage) for stage in statuses] for run, statuses in found.items()}
        echo(json.dumps(stages, indent=2, default=str))
    else:
        echo("\n".join(describe_run(run, statuses) for run, statuses in found.items()))
    return 0


def _runs(folder: Path) -> list[Path]:
    """The run in a folder, or those of a reproduction or a finding below it."""
    if (folder / "stages").is_dir():
        return [folder]
    # Without any, the folder itself, for the error.
    return sorted(path.parent for path in folder.glob("*/stages") if path.is_dir()) or [folder]
