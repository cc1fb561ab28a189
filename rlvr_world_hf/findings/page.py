"""The page of evidence of a checkout: a finding's JSON, its pictures, and its table in `docs/evidence.md`."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from ..evaluation.page import renew_page
from ..runs.progress import read_json
from ..runs.reproduce import CHECKOUT
from .table import finding_table


def renew_evidence(file: Path, metrics: Sequence[str]) -> None:
    """
    Copy a finding's JSON, and the pictures and videos named after it, to `docs/evidence/` of the checkout, and renew
    its table in `docs/evidence.md`.

    Args:
        file (`Path`):
            The JSON.
        metrics (`Sequence[str]`):
            Columns of the table.
    """
    folder = CHECKOUT / "docs" / "evidence"
    folder.mkdir(parents=True, exist_ok=True)
    for source in sorted(file.parent.glob(f"{file.stem}*")):
        if source.suffix in (".json", ".png", ".gif"):
            shutil.copyfile(source, folder / source.name)
    renew_page(CHECKOUT / "docs" / "evidence.md", file.stem, finding_table(read_json(file), metrics=metrics))
