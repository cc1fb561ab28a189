"""Where a training stands, kept in its folder while it goes on; read without any library that learns."""

import json
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ..data.drafts import whole_file


PROGRESS_FILE = "progress.json"
"""In the folder of a training: a [`Standing`] and when it was written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """
    Where a training stands.

    Example:

    ```python
    >>> print(Standing(step=96, steps=256, metric="reward", value=-0.02, best=-0.01, best_step=64, seconds_left=190.0))
    update 96 of 256, reward -0.02, best -0.01 at 64, 3:10 left

    ```
    """

    step: int
    """Updates made."""
    steps: int | None = None
    """Updates to make; `None` where time decides."""
    metric: str | None = None
    """Name of what matters; `None` before it was measured."""
    value: float | None = None
    """Its last value."""
    best: float | None = None
    """Its best value so far."""
    best_step: int | None = None
    """Update at which it was best."""
    seconds_left: float | None = None
    """Seconds to the end; `None` before they can be told."""

    def __str__(self) -> str:
        parts = [f"update {self.step}" + (f" of {self.steps}" if self.steps is not None else "")]
        if self.value is not None:
            parts.append(f"{self.metric} {self.value:.4g}")
        if self.best is not None:
            parts.append(f"best {self.best:.4g} at {self.best_step}")
        if self.seconds_left is not None:
            parts.append(f"{clock_time(self.seconds_left)} left")
        return ", ".join(parts)


def clock_time(seconds: float) -> str:
    """
    Seconds as minutes and seconds, or as hours, minutes and seconds.

    Args:
        seconds (`float`):
            At least 0.

    Returns:
        `str`: such as `3:10`.

    Example:

    ```python
    >>> clock_time(190.4), clock_time(3700)
    ('3:10', '1:01:40')

    ```
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def note_standing(folder: str | Path, standing: Standing) -> None:
    """
    Writes [`PROGRESS_FILE`].

    Args:
        folder (`str` or `Path`):
            That of the training.
        standing ([`Standing`]):
            What it says.
    """
    with whole_file(Path(folder, PROGRESS_FILE)) as draft:
        draft.write_text(json.dumps(asdict(standing) | {"written": time.time()}) + "\n", encoding="utf-8")


def read_standing(folder: str | Path) -> Standing | None:
    """
    Where a training stood when it was noted last; the time left is that from now on.

    Args:
        folder (`str` or `Path`):
            That of the training.

    Returns:
        [`Standing`]: `None` if none was noted, or it cannot be read.

    Example:

    ```python
    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> note_standing(folder, Standing(step=3, steps=8))
    >>> str(read_standing(folder))
    'update 3 of 8'

    ```
    """
    try:
        noted = json.loads(Path(folder, PROGRESS_FILE).read_text(encoding="utf-8"))
        passed = time.time() - noted.pop("written")
        standing = Standing(**noted)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    if standing.seconds_left is None:
        return standing
    return replace(standing, seconds_left=max(0.0, standing.seconds_left - passed))
