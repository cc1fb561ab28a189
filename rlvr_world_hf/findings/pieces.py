"""
Pieces of a finding: what is measured at once is written at once, so an interrupted finding goes on where it stopped.

A piece is a JSON file. Its name ends in a fingerprint of the settings it was measured with, so other settings are
another piece and old pieces stay.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..evaluation.json_files import write_json
from ..evaluation.provenance import commit, machine
from ..runs.progress import fingerprint, read_json


Piece = dict[str, Any]
"""The content of one piece."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pieces:
    """
    The measured pieces of a folder.

    Example:

    ```python
    >>> import tempfile
    >>> pieces = Pieces(folder=Path(tempfile.mkdtemp()))
    >>> piece = pieces.get("base-seed-0", {"windows": 8}, lambda: {"mae": 0.5})
    >>> sorted(piece), piece["settings"]
    (['commit', 'machine', 'mae', 'settings'], {'windows': 8})
    >>> pieces.get("base-seed-0", {"windows": 8}, lambda: {"mae": 0.0})["mae"]  # it is read, not measured again
    0.5

    ```
    """

    folder: Path
    """Where their files are."""

    revision: int = 1
    """Raised when the same settings are measured otherwise: pieces of an earlier revision stay and are not read."""

    def get(
        self, name: str, settings: Mapping[str, Any], measure: Callable[[], Mapping[str, Any]], *, part: str = ""
    ) -> Piece:
        """
        A piece: read if it was measured with these settings before; measured and written if not.

        Args:
            name (`str`):
                What is measured, such as a row and its training seed, for the name of the file.
            settings (`Mapping`):
                All that the numbers depend on; what JSON cannot hold is written as its `str`.
            measure (`Callable`):
                Measures it; called only where there is no such piece.
            part (`str`, *optional*):
                One of many pieces of the same name and settings, such as a start. These have a folder of their own.

        Returns:
            `dict`: `settings`, `commit` and `machine`, and what `measure` returned. Pieces written by earlier versions
            have some or none of the first three.

        Raises:
            `ValueError`: If a measured number is not finite.
        """
        # The commit is recorded and not part of the name: a later commit uses the piece again.
        if self.revision > 1:  # pieces measured before there were revisions keep their names
            settings = {"revision": self.revision, **settings}
        own_name = f"{name}-{fingerprint(settings)}"
        file = self.folder / own_name / f"{part}.json" if part else self.folder / f"{own_name}.json"
        if piece := read_json(file):
            return piece
        measured = measure()
        plain = json.loads(json.dumps(settings, default=str))  # as `fingerprint` sees them
        piece = {"settings": plain, "commit": commit(), "machine": machine(), **measured}
        write_json(piece, file)
        return piece


def digest_weights(checkpoint: str | os.PathLike[str]) -> str:
    """Sixty-four hexadecimal digits that change with the weights of a checkpoint."""
    digest = hashlib.sha256()
    # Below it, too: the codec lies in a folder of its own.
    for file in sorted(Path(checkpoint).rglob("*.safetensors")):
        digest.update(file.read_bytes())
    return digest.hexdigest()
