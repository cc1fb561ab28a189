"""A way in a process of its own, as whoever takes it has it: memory that one frees does not serve the other."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any


MARK = "measured: "
"""Begins the line of a process that says what it measured; libraries write lines of their own."""


class Apart:
    """
    A way in a process of its own, which waits while another one runs.

    Args:
        command: what to start; it must call [`serve`].
    """

    def __init__(self, command: list[str]) -> None:
        self.command = command
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self) -> dict[str, Any]:
        """Has the process measure once, and returns what it says."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        for line in self.process.stdout:
            if line.startswith(MARK):
                return json.loads(line.removeprefix(MARK))
        raise RuntimeError(f"Expected {' '.join(self.command)} to measure, got exit code {self.process.wait()}.")

    def end(self) -> None:
        """Ends the process."""
        self.process.kill()
        self.process.wait()


def serve(run: Callable[[], dict[str, Any]]) -> None:
    """Measures once for each line that is read, and writes what was measured."""
    for _ in sys.stdin:
        sys.stdout.write(f"\n{MARK}{json.dumps(run())}\n")
        sys.stdout.flush()
