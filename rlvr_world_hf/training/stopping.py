"""
Ctrl-C ends a training after the update it is in, which is saved where the training can go on from it exactly.

Ctrl-C once more ends it at once.
"""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
from torch import distributed
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import SaveStrategy

from .parallel import is_distributed


ONCE_SECONDS = 1.0
"""Within this time a second signal counts as the first: a launcher hands on what the terminal has sent to all."""

ASKED = b"\nEnding after this update; Ctrl-C once more ends at once.\n"


class Asked:
    """Whether the training was asked to end."""

    def __init__(self) -> None:
        self.since: float | None = None

    def __bool__(self) -> bool:
        return self.since is not None

    def note(self, number: int, frame: FrameType | None) -> None:
        """Notes a signal, as its handler."""
        now = time.monotonic()
        if self.since is None:
            self.since = now
            if os.environ.get("RANK", "0") == "0":
                os.write(2, ASKED)  # not `sys.stderr`, in the midst of whose work this may be
        elif now - self.since > ONCE_SECONDS:
            raise KeyboardInterrupt

    def by_any_process(self, device: torch.device | str) -> bool:
        """Whether one of all processes was asked, all of which come here; they stop at the same update."""
        if not is_distributed() or distributed.get_world_size() == 1:
            return bool(self)
        flag = torch.tensor(int(bool(self)), device=device)
        distributed.all_reduce(flag, op=distributed.ReduceOp.MAX)
        if flag.item() and self.since is None:
            self.since = time.monotonic()
        return bool(flag.item())


@contextmanager
def held_back() -> Iterator[Asked]:
    """
    Context in which Ctrl-C is noted; it interrupts at its end, or at once when it comes again.

    Yields:
        [`Asked`]: whether it came.

    Raises:
        KeyboardInterrupt: at the end, if it came.

    Example:

    ```python
    >>> with held_back() as asked:
    ...     updates = [update for update in range(3) if not asked]
    >>> updates
    [0, 1, 2]

    ```
    """
    asked, before = Asked(), signal.getsignal(signal.SIGINT)
    # Python lets only its first thread have handlers; who has turned Ctrl-C off, as `nohup` does, wants it so.
    is_ours = threading.current_thread() is threading.main_thread() and callable(before)
    if is_ours:
        signal.signal(signal.SIGINT, asked.note)
    try:
        yield asked
    except Exception as error:
        if asked:  # what it broke elsewhere, such as in a process that loads data
            raise KeyboardInterrupt from error
        raise
    finally:
        if is_ours:
            signal.signal(signal.SIGINT, before)
    if asked:
        raise KeyboardInterrupt


class StopWhenAsked(TrainerCallback):
    """
    Ends a training after the update it is in, with a checkpoint, if it was asked to.

    Args:
        asked ([`Asked`]):
            Of [`held_back`].
        save_every (`int`, *optional*, defaults to `1`):
            Updates from one that training can go on from exactly to the next; others are not saved.
    """

    def __init__(self, asked: Asked, *, save_every: int = 1) -> None:
        self.asked = asked
        self.save_every = save_every

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Ends it."""
        if self.asked.by_any_process(args.device):
            control.should_training_stop = True
            can_save = args.save_strategy != SaveStrategy.NO and state.global_step % self.save_every == 0
            control.should_save = control.should_save or can_save
