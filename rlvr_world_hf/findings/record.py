"""What the JSON of every finding says first: the recipe, where it was measured, and the seeds."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..runs.progress import read_json
from ..runs.reproduce import SEEDS


def finding_record(
    finding: str,
    *,
    recipe: str,
    measured: Iterable[Mapping[str, Any]],
    n: int,
    training_seeds: Sequence[int],
    sampling_seeds: Sequence[int],
    reason: str = "",
    protocol: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """
    The beginning of a finding's JSON, to which its rows are added.

    Args:
        finding (`str`):
            Its name.
        recipe (`str`):
            Name of the recipe whose checkpoints were measured.
        measured (`Iterable[Mapping]`):
            What it is made of, each with the `commit` and `machine` it was measured with; `unknown` where it has none.
        n (`int`):
            Number of samples: windows, starts or episodes.
        training_seeds (`Sequence[int]`):
            Training seeds.
        sampling_seeds (`Sequence[int]`):
            Seeds of what was drawn while measuring.
        reason (`str`, *optional*):
            Why there are fewer than 3 training seeds, where there are; left out if empty.
        protocol (`Mapping`, *optional*):
            Settings of the measurement; left out if there are none.

    Returns:
        `dict`: `finding`, `recipe`, `commit`, `machine`, `n`, `training_seeds`, `sampling_seeds`, `reason`,
        `protocol`. Several commits are joined by ` + `, machines too.

    Example:

    ```python
    >>> pieces = [{"commit": "a1", "machine": "m"}, {"commit": "b2-dirty", "machine": "m"}]
    >>> record = finding_record(
    ...     "credit", recipe="pusht/debug", measured=pieces, n=8, training_seeds=[0, 1, 2], sampling_seeds=[0]
    ... )
    >>> record["commit"], record["machine"]
    ('a1 + b2-dirty', 'm')

    ```
    """
    pieces = list(measured)
    return {
        "finding": finding,
        "recipe": recipe,
        "commit": " + ".join(dict.fromkeys(piece.get("commit", "unknown") for piece in pieces)),
        "machine": " + ".join(dict.fromkeys(piece.get("machine", "unknown") for piece in pieces)),
        "n": n,
        "training_seeds": list(training_seeds),
        "sampling_seeds": list(sampling_seeds),
        **({"reason": reason} if reason else {}),
        **({"protocol": dict(protocol)} if protocol else {}),
    }


def reason_for_few(training_seeds: Sequence[int]) -> str:
    """
    Why a measurement of these training seeds has fewer than 3; empty if it has not.

    Example:

    ```python
    >>> reason_for_few([0]), reason_for_few([0, 1, 2])
    ('1 training seed(s) were asked for', '')

    ```
    """
    return f"{len(training_seeds)} training seed(s) were asked for" if len(training_seeds) < len(SEEDS) else ""


def recipe_and_seeds(runs: Sequence[str | os.PathLike[str]]) -> tuple[str, list[int]]:
    """
    The recipe of finished runs, and the training seed of each, as their `results.json` have them.

    A run without that file has an unknown recipe, and its place among the runs stands for its seed.
    """
    results = [read_json(Path(run, "results.json")) for run in runs]
    recipe = " + ".join(dict.fromkeys(result.get("recipe", "unknown") for result in results))
    return recipe, [result.get("training_seeds", [place])[0] for place, result in enumerate(results)]
