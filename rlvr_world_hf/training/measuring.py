"""Measures of a policy while it trains: they are logged, and may choose the checkpoint that is kept."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from peft import PeftModel
from transformers import PreTrainedModel, Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from .callbacks import Clock


Measure = Callable[[PreTrainedModel | PeftModel], Mapping[str, float]]
"""Takes a policy and returns what was measured, by name; the same in all processes."""

LOSS = "loss"
"""Name of the validation loss among what checkpoints are chosen by."""


def measure_at_evaluations(
    trainer: Trainer, measure: Measure, *, with_loss: bool = True, at_start: bool = False
) -> None:
    """
    Has a trainer log what is measured at each of its evaluations, as `eval_<name>`.

    transformers chooses its best checkpoint by any of these: `metric_for_best_model` is a name. A checkpoint with NaN
    there is the worst.

    Args:
        trainer ([`~transformers.Trainer`]):
            Changed in place.
        measure (`Callable`):
            What is measured; see [`Measure`].
        with_loss (`bool`, *optional*, defaults to `True`):
            Whether the trainer evaluates its own dataset, too.
        at_start (`bool`, *optional*, defaults to `False`):
            Whether what the policy begins with is measured as well, before the first update: what curves start from.
            It takes no part in the choice.

    Example:

    ```python
    >>> import tempfile
    >>> import torch
    >>> from transformers import ProgressCallback, TrainingArguments
    >>> class Square(torch.nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.x = torch.nn.Parameter(torch.ones(1))
    ...
    ...     def forward(self, labels):
    ...         return {"loss": (self.x**2).sum()}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     steps = {"eval_strategy": "steps", "eval_steps": 1, "max_steps": 2, "learning_rate": 0.5}
    ...     args = TrainingArguments(folder, report_to="none", use_cpu=True, save_strategy="no", **steps)
    ...     rows = [{"labels": 0}] * 16
    ...     trainer = Trainer(Square(), args, train_dataset=rows, eval_dataset=rows)
    ...     trainer.remove_callback(ProgressCallback)
    ...     measure_at_evaluations(trainer, lambda model: {"x": model.x.item()}, with_loss=False, at_start=True)
    ...     _ = trainer.train()
    >>> [entry["eval_x"] for entry in trainer.state.log_history if "eval_x" in entry]
    [1.0, 0.5, 0.25]

    ```
    """
    usual = trainer.evaluate

    def log_measured(prefix: str) -> dict[str, float]:
        measured = measure(trainer.accelerator.unwrap_model(trainer.model))
        named = {f"{prefix}_{name}": float(value) for name, value in measured.items()}
        # Not TRL's `log`, which would write what the updates have gathered so far, and the completions, once more.
        Trainer.log(trainer, dict(named))
        return named

    def evaluate(*args: Any, metric_key_prefix: str = "eval", **kwargs: Any) -> dict[str, float]:
        named = log_measured(metric_key_prefix)
        chosen_by = f"{metric_key_prefix}_{str(trainer.args.metric_for_best_model).removeprefix('eval_')}"
        if math.isnan(named.get(chosen_by, 0.0)):  # with which a comparison is false, whatever comes later
            named[chosen_by] = -math.inf if trainer.args.greater_is_better else math.inf
        if with_loss:  # last: its end tells callbacks, such as the clock, that the evaluation is over
            return usual(*args, metric_key_prefix=metric_key_prefix, **kwargs) | named
        handler = trainer.callback_handler
        trainer.control = handler.on_evaluate(trainer.args, trainer.state, trainer.control, named)
        return named

    trainer.evaluate = evaluate
    if at_start:
        trainer.add_callback(_AtStart(trainer, lambda: log_measured("eval")))


class _AtStart(TrainerCallback):
    """Measures before the first update; a `Clock` does not count the seconds that it takes."""

    def __init__(self, trainer: Trainer, measure: Callable[[], Any]) -> None:
        self.trainer = trainer
        self.measure = measure

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if state.global_step == 0:  # one that goes on was measured before
            self.measure()
            for clock in self.trainer.callback_handler.callbacks:
                if isinstance(clock, Clock):
                    clock.leave_out()
