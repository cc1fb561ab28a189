"""What a command prints at the end; progress on the way goes through logging and progress bars."""

import sys


def echo(text: str) -> None:
    """
    Write lines to the terminal.

    Args:
        text (`str`):
            The lines.
    """
    sys.stdout.write(f"{text.rstrip()}\n")
    sys.stdout.flush()
