"""Tables within a Markdown page: each stands between two comments that name it, and is renewed in place."""

from __future__ import annotations

import re
from pathlib import Path


def renew_section(text: str, name: str, table: str) -> str:
    r"""
    The text of a page with another table in one of its sections.

    Args:
        text (`str`):
            Markdown that has the lines `<!-- NAME -->` and `<!-- end of NAME -->`; without them it stays as it is.
        name (`str`):
            Name of the section.
        table (`str`):
            Markdown to put between the two lines.

    Returns:
        `str`: Markdown.

    Example:

    ```python
    >>> renew_section("<!-- a -->\nold\n<!-- end of a -->", "a", "new\n")
    '<!-- a -->\n\nnew\n\n<!-- end of a -->'

    ```
    """
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", flags=re.DOTALL)
    # A function, because a replacement string would read a backslash of the table as a reference to a group.
    return pattern.sub(lambda _: f"{begin}\n\n{table}\n{end}", text)


def renew_page(page: Path, name: str, table: str) -> None:
    r"""
    Write another table into one section of a page; a page that does not exist is not made.

    Args:
        page (`Path`):
            Markdown file.
        name (`str`):
            Name of the section, see [`renew_section`].
        table (`str`):
            Markdown to put there.

    Example:

    ```python
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     page = Path(folder, "page.md")
    ...     _ = page.write_text("<!-- a -->\n<!-- end of a -->")
    ...     renew_page(page, "a", "new\n")
    ...     page.read_text()
    '<!-- a -->\n\nnew\n\n<!-- end of a -->'

    ```
    """
    if page.exists():
        page.write_text(renew_section(page.read_text(encoding="utf-8"), name, table), encoding="utf-8")
