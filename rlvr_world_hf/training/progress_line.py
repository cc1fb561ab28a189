"""
What a person wants to know of a training while it goes on: the metric, its best so far, the time left.

    a terminal       a bar with these behind it
    no terminal      a line a minute
    progress.json    the same in the run's folder, for `rlvr-world status`
"""

import math
import sys
import time
from collections.abc import Mapping
from typing import Any, Self

from tqdm.auto import tqdm
from transformers import ProgressCallback, TrainerControl, TrainerState, TrainingArguments

from .callbacks import ENDLESS, Clock
from .standing import Standing, clock_time, note_standing


LINE_EVERY = 60.0
"""Seconds between two lines where there is no terminal."""

NOTE_EVERY = 5.0
"""Seconds between two notes in the folder."""


class ProgressLine(ProgressCallback):
    """
    Shows a [`Standing`] of a training, in place of transformers' bar and its lines of all that is logged.

    Args:
        *metrics (`str`):
            Names of further logged values to show, such as `"kl"`.
        chosen (`str`):
            Name of the logged value that matters.
        higher_is_better (`bool`, *optional*, defaults to `False`):
            Whether more of it is better.
        clock ([`~rlvr_world_hf.training.callbacks.Clock`], *optional*):
            What ends the training, where that is time.

    Example:

    ```python
    >>> ProgressLine("kl", chosen="reward", higher_is_better=True).chosen
    'reward'

    ```
    """

    def __init__(self, *metrics: str, chosen: str, higher_is_better: bool = False, clock: Clock | None = None) -> None:
        super().__init__()
        self.metrics = metrics
        self.chosen = chosen
        self.higher_is_better = higher_is_better
        self.clock = clock
        self.shown: dict[str, float] = {}
        self.best: tuple[float, int] | None = None
        self.lined = self.noted = -math.inf
        self.begin, self.first_step = time.perf_counter(), 0  # anew at its begin, before which something may be logged

    @classmethod
    def of_rewards(cls, args: TrainingArguments) -> Self:
        """That of RL: the measure by which the best checkpoint is kept, or the mean reward."""
        if args.load_best_model_at_end and args.metric_for_best_model:
            chosen = f"eval_{args.metric_for_best_model.removeprefix('eval_')}"
            return cls("reward", "kl", chosen=chosen, higher_is_better=bool(args.greater_is_better))
        return cls("kl", chosen="reward", higher_is_better=True)

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Takes up what was logged before an interruption, and opens the bar, one without an end if time decides."""
        for entry in state.log_history:
            self._take(entry, entry["step"])
        self.begin, self.first_step = time.perf_counter(), state.global_step
        self.current_step = 0
        if state.is_world_process_zero and sys.stderr.isatty():
            total = state.max_steps if state.max_steps < ENDLESS else None
            self.training_bar = tqdm(total=total, dynamic_ncols=True)
        self.lined = self.begin  # the first line after a minute

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Moves the bar, or writes a line if a minute is over."""
        if not state.is_world_process_zero:
            return
        now, is_last = time.perf_counter(), control.should_training_stop or state.global_step == state.max_steps
        if self.training_bar is not None:
            self.training_bar.update(state.global_step - self.current_step)
            self.current_step = state.global_step
        elif is_last or now - self.lined >= LINE_EVERY:
            self.lined = now
            sys.stderr.write(f"{self._line(state)}\n")
            sys.stderr.flush()
        if is_last or now - self.noted >= NOTE_EVERY:
            self._note(args, state)

    def on_prediction_step(self, *args: Any, **kwargs: Any) -> None:
        """Opens no second bar for an evaluation."""

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Takes the values that are shown."""
        self._take(logs or {}, state.global_step)
        if self.training_bar is not None:
            self.training_bar.set_postfix_str(self._values(state))
        if state.is_world_process_zero and self.chosen in (logs or {}):
            self._note(args, state)

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Closes the bar, and writes where the training ended."""
        if self.training_bar is not None:
            self.training_bar.close()
            self.training_bar = None
        if state.is_world_process_zero:
            self._note(args, state)

    def standing(self, state: TrainerState) -> Standing:
        """Where the training stands."""
        best, best_step = self.best or (None, None)
        value = self.shown.get(self.chosen)
        return Standing(
            step=state.global_step,
            steps=state.max_steps if state.max_steps < ENDLESS else None,
            metric=None if value is None else self.chosen,
            value=None if value is None or math.isnan(value) else value,
            best=best,
            best_step=best_step,
            seconds_left=self._seconds_left(state),
        )

    def _take(self, logs: Mapping[str, Any], step: int) -> None:
        names = (self.chosen, *self.metrics)
        self.shown |= {name: float(logs[name]) for name in names if isinstance(logs.get(name), (int, float))}
        value = logs.get(self.chosen)
        if not isinstance(value, (int, float)) or math.isnan(value):
            return
        if self.best is None or (value > self.best[0] if self.higher_is_better else value < self.best[0]):
            self.best = (float(value), step)

    def _seconds_left(self, state: TrainerState) -> float | None:
        if self.clock is not None and self.clock.minimum_seconds:
            return max(0.0, self.clock.minimum_seconds - self.clock.seconds)
        made = state.global_step - self.first_step
        if not made:
            return None
        return (time.perf_counter() - self.begin) / made * (state.max_steps - state.global_step)

    def _values(self, state: TrainerState) -> str:
        """What stands behind the bar, which tells updates and, unless time ends the training, the time by itself."""
        values = {name: f"{value:.4g}" for name, value in self.shown.items()}
        if self.best is not None:
            values["best"] = f"{self.best[0]:.4g} at {self.best[1]}"
        left = self._seconds_left(state)
        if state.max_steps >= ENDLESS and left is not None:
            values["left"] = clock_time(left)
        return ", ".join(f"{name}={value}" for name, value in values.items())

    def _line(self, state: TrainerState) -> str:
        names = [name for name in self.metrics if name in self.shown and name != self.chosen]
        further = [f"{name} {self.shown[name]:.4g}" for name in names]
        return ", ".join([str(self.standing(state)), *further])

    def _note(self, args: TrainingArguments, state: TrainerState) -> None:
        self.noted = time.perf_counter()
        note_standing(args.output_dir, self.standing(state))
