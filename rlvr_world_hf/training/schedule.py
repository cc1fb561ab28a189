"""
The course of a learning rate over the updates of one training alone, whatever was trained before it.

    rate(step) = peak * course((step - first) / updates)

Where the training ends by time, the number of updates is measured on its first ones. That number is kept in the run's
folder, and the rate depends on it and on the step alone: a resumed training makes the updates of one that was not.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import broadcast_object_list
from torch.optim.lr_scheduler import LambdaLR
from transformers import Trainer, TrainerControl, TrainerState, TrainingArguments, get_scheduler
from transformers.utils import logging

from ..data.drafts import whole_file
from .callbacks import ENDLESS, Clock


logger = logging.get_logger(__name__)

UPDATES_FILE = "updates.json"
"""In a training's folder: its number of updates, if that was measured, and after which update it was known."""

UNMEASURED = 2
"""First updates of a process that are not measured: they also prepare what later ones use."""

MEASURED = 10
"""Updates that are measured, at least."""

MEASURED_SHARE = 0.02
"""Share of a training's time that is measured, at least."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """
    The course of a learning rate.

    Example:

    ```python
    >>> course = Schedule(kind="linear", warmup_steps=2, first_step=100)
    >>> [round(course.factor(step, updates=6), 2) for step in range(100, 107)]
    [0.0, 0.5, 1.0, 0.75, 0.5, 0.25, 0.0]

    ```
    """

    kind: str
    """One of transformers' schedules that depend on the update alone, such as `linear` or `cosine`."""
    warmup_steps: int = 0
    """Updates over which the rate rises from 0."""
    first_step: int = 0
    """Updates before this training, which do not count."""

    def __post_init__(self) -> None:
        self.factor(self.first_step, updates=1)

    def factor(self, step: int, *, updates: int) -> float:
        """
        What the peak of the rate is multiplied by at an update, the training having so many.

        Raises:
            ValueError: If transformers has no such schedule, or it depends on more than the update.
        """
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        how = {"num_warmup_steps": self.warmup_steps, "num_training_steps": updates}
        try:
            scheduler = get_scheduler(self.kind, optimizer, **how)
        except (TypeError, ValueError, ImportError) as error:
            raise ValueError(
                f"Expected a schedule of the learning rate such as 'linear', got {self.kind!r}: {error}"
            ) from error
        if not isinstance(scheduler, LambdaLR):
            raise ValueError(
                f"Expected a schedule that depends on the update alone, such as 'linear', got {self.kind!r}."
            )
        return float(scheduler.lr_lambdas[0](max(0, step - self.first_step)))


class ScheduledClock(Clock):
    """
    A clock of a training whose learning rate has a [`Schedule`].

    Args:
        schedule ([`Schedule`]):
            The course.
        output_dir (`str` or `Path`):
            Folder of the training.
        updates (`int`, *optional*):
            Updates of the training, those before it left out; by default as many as fit into `minimum_seconds`.
        minimum_seconds (`float`, *optional*, defaults to `0.0`):
            Seconds to train for, if the updates are to be measured.
    """

    def __init__(
        self,
        schedule: Schedule,
        *,
        output_dir: str | Path,
        updates: int | None = None,
        minimum_seconds: float = 0.0,
    ) -> None:
        super().__init__(minimum_seconds=minimum_seconds)
        self.schedule = schedule
        self.file = Path(output_dir, UPDATES_FILE)
        self.updates, self.known_after = updates, -1
        self.made_here = 0
        self.peaks: list[float] = []
        if updates is None and self.file.exists():
            try:
                known = json.loads(self.file.read_text(encoding="utf-8"))
                self.updates, self.known_after = int(known["updates"]), int(known["known_after"])
            except (ValueError, TypeError, KeyError):
                logger.warning(f"{self.file} was damaged: the number of updates is measured again.")

    @property
    def last_step(self) -> int:
        """Update at which the training ends, those before it included; [`ENDLESS`] before it is known."""
        return ENDLESS if self.updates is None else self.schedule.first_step + self.updates

    def attach(self, trainer: Trainer) -> None:
        """Have a trainer make a scheduler of this course, in place of that of its arguments."""

        def create_scheduler(num_training_steps: int, optimizer: Any = None) -> LambdaLR:
            if trainer.lr_scheduler is None:
                # Not the method itself: a scheduler writes into what it is given, when a checkpoint is loaded.
                trainer.lr_scheduler = LambdaLR(optimizer or trainer.optimizer, lambda step: self.factor(step))
                self.peaks = [*trainer.lr_scheduler.base_lrs]
            return trainer.lr_scheduler

        trainer.create_scheduler = create_scheduler

    def factor(self, step: int) -> float:
        """What the peak of the rate is multiplied by at an update; before the number is known, as without an end."""
        is_known = self.updates is not None and step - self.schedule.first_step > self.known_after
        return self.schedule.factor(step, updates=self.updates if is_known and self.updates else ENDLESS)

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        optimizer: Any = None,
        lr_scheduler: Any = None,
        **kwargs: Any,
    ) -> None:
        """Starts to count, with a rate that is not that of the checkpoint this training goes on from."""
        super().on_train_begin(args, state, control)
        self.made_here = 0
        factor = self.factor(state.global_step)
        lr_scheduler.base_lrs = [*self.peaks]
        for group, peak in zip(optimizer.param_groups, self.peaks, strict=True):
            group["lr"] = peak * factor

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Counts an update, measures how many there will be, and ends the training after the last."""
        super().on_step_end(args, state, control)
        self.made_here += 1
        if self.made_here == UNMEASURED:
            self.seconds_before = self.seconds
        if self.updates is None and self.made_here >= UNMEASURED + MEASURED:
            self._measure(state)
        if self.minimum_seconds and state.global_step >= self.last_step:
            # As where time decides: the last weights take part in the choice of the best.
            control.should_training_stop = control.should_evaluate = control.should_save = True

    def _measure(self, state: TrainerState) -> None:
        """Know the number of updates, if enough of the time was measured."""
        seconds, measured = broadcast_object_list([self.seconds, self.seconds - self.seconds_before])
        if measured < MEASURED_SHARE * self.minimum_seconds:
            return
        made = state.global_step - self.schedule.first_step
        each = measured / (self.made_here - UNMEASURED)
        self.updates = made + max(0, round((self.minimum_seconds - seconds) / each))
        self.known_after = made
        if state.is_world_process_zero:
            known = {"updates": self.updates, "known_after": made, "seconds_an_update": each}
            with whole_file(self.file) as draft:
                draft.write_text(json.dumps(known) + "\n", encoding="utf-8")
            logger.info(f"An update takes {each:.3g} s: {self.updates} of them fit into {self.minimum_seconds:.0f} s.")
