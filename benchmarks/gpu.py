"""
What one GPU does with this library: `python benchmarks/gpu.py`, at most ten minutes on an H200.

    tests                 the tests marked `gpu`
    exactness             a small float32 policy on the GPU against the CPU: sampling, log-probabilities, gradients
    step                  a step of multi-step RLVR at the paper's sizes, by parts
    step_without_graphs   the same, with no CUDA graphs in sampling
    trl                   a step on prompts of the same sizes, against plain TRL, with peak memory

Each piece is a process of its own, and has a key in the file, gpu.json beside this one or `--output`. A piece that
fails leaves its error there, and the others run. A second call goes on with what is missing or has failed; `--only`
chooses pieces, `--again` measures them anew. The pieces themselves are in `gpu_pieces.py`. `--small` goes through all
of them in two minutes on a CPU. It needs this repository and its packages, and no data.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any


PIECES = ("tests", "exactness", "step", "step_without_graphs", "trl")
TARGETS = {"step": "at most 75 seconds a step", "trl": "a step at least 4 times as fast as plain TRL's"}
HERE = Path(__file__).resolve().parent
ENOUGH = 30
"""Seconds below which no further piece is begun."""


def read(file: Path) -> dict[str, Any]:
    """What was measured so far."""
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {"targets": TARGETS}


def put(file: Path, piece: str, result: dict[str, Any]) -> None:
    """Writes the result of a piece, or what there is of it; a reader never sees half a file."""
    draft = file.with_name(f"{file.name}.draft")
    draft.write_text(json.dumps(read(file) | {piece: result}, indent=2) + "\n", encoding="utf-8")
    draft.replace(file)


def is_done(result: dict[str, Any], *, small: bool) -> bool:
    """Whether a piece was measured to its end, and at these sizes."""
    return "seconds" in result and "error" not in result and result["small"] == small


def run_piece(piece: str, file: Path, *, small: bool, limit: float) -> dict[str, Any]:
    """Runs a piece for at most `limit` seconds; returns its result, with an `error` if it did not end well."""
    start = time.monotonic()
    put(file, piece, {"small": small})
    command = [sys.executable, str(HERE / "gpu_pieces.py"), piece, "--output", str(file), "--limit", f"{limit:.0f}"]
    path = os.pathsep.join(filter(None, [str(HERE.parent), os.environ.get("PYTHONPATH")]))
    error = None
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:
        try:
            ended = subprocess.run(
                [*command, *(["--small"] if small else [])],
                stderr=log, timeout=limit, check=False, env=os.environ | {"PYTHONPATH": path},
            )  # fmt: skip
            failed = ended.returncode != 0
        except subprocess.TimeoutExpired:
            failed, error = True, f"It had not ended after {limit:.0f} seconds."
        log.seek(0)
        last = log.read().splitlines()[-20:]
    result = read(file)[piece] | {"seconds": time.monotonic() - start}
    if failed:
        result |= {"error": error or "It failed.", "last_lines": last}
    put(file, piece, result)
    return result


def main() -> None:
    """Runs the pieces that are missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PIECES, default=PIECES, metavar="PIECE", help=", ".join(PIECES))
    parser.add_argument("--again", action="store_true", help="measure what the file has, too")
    parser.add_argument("--small", action="store_true", help="sizes of a moment")
    parser.add_argument("--limit", type=float, default=580, help="seconds of all pieces")
    parser.add_argument("--piece-limit", type=float, default=240, help="seconds of one piece")
    parser.add_argument("--output", type=Path, default=HERE / "gpu.json")
    given = parser.parse_args()
    given.output.parent.mkdir(parents=True, exist_ok=True)
    start, failed = time.monotonic(), []
    for piece in given.only:
        if not given.again and is_done(read(given.output).get(piece, {}), small=given.small):
            sys.stdout.write(f"{piece}: measured before\n")
            continue
        left = given.limit - (time.monotonic() - start)
        if left < ENOUGH:
            failed.append(piece)
            sys.stdout.write(f"{piece}: no time left; call again\n")
            continue
        limit = min(left, given.piece_limit)
        result = run_piece(piece, given.output.resolve(), small=given.small, limit=limit)
        if "error" in result:
            failed.append(piece)
        sys.stdout.write(f"{piece}: {json.dumps(result, indent=2)}\n")
        sys.stdout.flush()
    if failed:
        sys.exit(f"Not measured: {', '.join(failed)}.")


if __name__ == "__main__":
    main()
