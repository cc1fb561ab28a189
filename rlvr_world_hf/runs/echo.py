"""What a command prints at the end; progress on the way goes through logging and progress bars."""

import sys


def echo(text: str) -> None:
    """
    Write lines to the terminal.

    Args:
        text (`str`):
            The lines.
    """
    # What the terminal cannot show, such as a file's name that is not UTF-8, is escaped: reports must not end there.
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.rstrip().encode(encoding, "backslashreplace").decode(encoding) + "\n")
    sys.stdout.flush()
