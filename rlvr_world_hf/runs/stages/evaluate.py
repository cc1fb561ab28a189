"""Evaluate: measures the checkpoints of a run and its baselines on held-out episodes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...evaluation.answers import CLASSES
from ...evaluation.draws import BestSampling, Draws
from ...evaluation.metrics import BEST_OF, RATES
from ...evaluation.predictions import Sampling
from ...evaluation.results import Results, write_results
from ...evaluation.sharing import ALONE, Share
from ...hub import load_world_model
from ..content import checkpoint_identity, named_folders
from ..keys import key
from ..kinds import WorldKind, kind_of
from ..named_parts import build_metrics, build_rewards, refuse_below, refuse_unknown, try_parts
from ..places import check_world_model
from ..recipe import Recipe
from ..stage import StageRun, checkpoint_folder, stage
from ..world import is_text
from .grpo import grpo


REVISION = 1
"""Raised when other numbers come of the same checkpoints, see [`~rlvr_world_hf.runs.stage.Stage`]."""

CHECKPOINTS = ("base", "control", "rlvr")
"""The checkpoints of every run, as folders of its output and as rows of its table."""

EQUAL_PROMPTS = "control_equal_prompts"
"""One more, of runs whose recipe has a part for the stage of this name."""

YARDSTICKS = ("copy_last", "few_shot", "law", "nearest", "nothing_changes", "oracle", "recorded", "tokenizer_floor")
"""Rows of no checkpoint of a run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateSettings:
    """What to measure."""

    windows: int = key(0, "Test windows, evenly chosen; 0 for all.")
    validation_windows: int = key(256, "Validation windows on which sampling settings are chosen.")
    sampling_seeds: tuple[int, ...] = key((0, 1, 2), "Seeds of the sampled predictions.")
    temperature: float = key(
        1.0, "Sampling temperature of the rows without best sampling; 0 takes the likeliest token."
    )
    reject_repetition: int = key(
        0,
        "Most draws of a prediction of frames or sensors: it is drawn again while one of its steps repeats the step "
        "before. Sampling takes up to this many times as long. Not for `_best_sampling` rows. 0: off.",
    )
    num_samples: int = key(
        1,
        "Predictions per window and seed; with more than 1, the best of them is measured, too. Metrics that compare "
        "them, such as the energy score, need 2 or more.",
    )
    best_sampling: tuple[str, ...] = key(("base",), "Checkpoints also measured with their best sampling settings.")
    choose_by: str = key("", "Metric by which the best settings are chosen; the first rewarded one if empty.")
    metrics: list[dict[str, Any]] = key(
        [], "Metrics of this world, beside the standard ones: import paths of rewards."
    )
    max_new_tokens: int = key(256, "In a world of text: tokens after which an answer is cut off.")
    few_shot: int = key(
        0,
        "In a world of text: examples in the prompt of the row few_shot, of the model that pretrain starts from as it "
        "was installed; 0: no such row.",
        counts_at_default=False,
    )
    nearest: bool = key(
        False,
        "In a world of text: whether there is a row nearest, the change that the nearest state of the training split "
        "went through under the same action; nothing changes where none had it.",
        counts_at_default=False,
    )
    replaced_reasons: tuple[str, ...] = key(
        (),
        "In a world of text, where pretrain learns reasons: checkpoints whose answers are also measured after the "
        "true reason, that of another transition, and none: rows _reasons_given, _reasons_swapped, _reasons_removed.",
        counts_at_default=False,
    )
    further_rows: dict[str, str] = key(
        {},
        "Rows of checkpoints from elsewhere, such as of another run: a row's name, and a folder, bundled name or Hub "
        "id.",
        counts_at_default=False,
    )
    conditions: dict[str, dict[str, Any]] = key(
        {},
        "Other conditions to measure under: a name, and the keys of collect by which test episodes are recorded then. "
        "Their metrics are columns `<metric>_<name>`, and a row `recorded` has those of the truth.",
        counts_at_default=False,
    )
    batch_size: int = key(128, "Predictions in memory at a time.", affects_result=False)

    def __post_init__(self) -> None:
        self.draws()  # raises before anything is trained, if the settings cannot be used
        least = {"windows": 0, "validation_windows": 1, "max_new_tokens": 1, "batch_size": 1, "few_shot": 0}
        refuse_below(least, self, where="evaluate")
        unnamed = sorted(name for name in self.conditions if not name.isidentifier())
        if unnamed:
            raise ValueError(f"evaluate.conditions: expected names of letters, digits and `_`, got {unnamed}.")
        taken = sorted({*self.further_rows} & {*CHECKPOINTS, EQUAL_PROMPTS, *YARDSTICKS})
        if taken:
            raise ValueError(
                f"evaluate.further_rows: expected other names than those of a run's own rows, got {taken}."
            )

    def sampling(self) -> Sampling:
        """Sampling settings of the rows without best sampling."""
        return Sampling(temperature=self.temperature, reject_repetition=self.reject_repetition)

    def draws(self) -> Draws:
        """The predictions of each window."""
        return Draws(sampling=self.sampling(), seeds=self.sampling_seeds, num_samples=self.num_samples)

    def best(self, kind: WorldKind) -> BestSampling:
        """How the rows with best sampling are chosen, on validation windows."""
        return BestSampling(
            rows=kind.rows("validation", count=self.validation_windows),
            checkpoints=self.best_sampling,
            choose_by=self.choose_by or None,
        )


def checkpoints_of(recipe: Recipe) -> tuple[str, ...]:
    """
    The checkpoints that a run of a recipe has, in the order of its table.

    Args:
        recipe (`Recipe`):
            The recipe.

    Returns:
        `tuple[str, ...]`: their names.

    Example:

    ```python
    >>> from rlvr_world_hf.runs.recipe import load_recipe
    >>> checkpoints_of(load_recipe("pusht/debug"))
    ('base', 'control', 'control_equal_prompts', 'rlvr')

    ```
    """
    further = (EQUAL_PROMPTS,) if EQUAL_PROMPTS in recipe.sections else ()
    return (*CHECKPOINTS[:-1], *further, CHECKPOINTS[-1])


def _try(recipe: Recipe, settings: EvaluateSettings) -> None:
    """The metrics, and what names one of them or a checkpoint."""
    kind = kind_of(recipe)
    rewards, _ = build_rewards(grpo.read(recipe).rewards)
    metrics = build_metrics(settings.metrics, where="evaluate.metrics")
    try_parts(metrics, kinds=kind.states(), where="evaluate.metrics")
    measured = kind.measured(rewards, metrics)
    settings.draws().refuse_for(measured, where="evaluate.num_samples")
    refuse_unknown(settings.best_sampling, checkpoints_of(recipe), where="evaluate.best_sampling")
    for row, place in settings.further_rows.items():
        check_world_model(place, where=f"evaluate.further_rows.{row}")
    if settings.conditions:
        kind.try_conditions(settings.conditions)
        names = measured_names(recipe)
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(
                f"evaluate.conditions: expected names by which no two columns are called alike, got {twice} twice; "
                "rename the condition."
            )
    if settings.few_shot:
        kind.try_few_shot(settings.few_shot)
    refuse_unknown(settings.replaced_reasons, checkpoints_of(recipe), where="evaluate.replaced_reasons")
    learned = kind.settings("pretrain")
    if settings.replaced_reasons and not (learned.reasons or learned.reasons_everywhere):
        raise ValueError(
            "evaluate.replaced_reasons: expected none where pretrain learns no reasons, got "
            f"{', '.join(settings.replaced_reasons)}; leave it out, or give pretrain.reasons."
        )
    if settings.nearest:
        kind.try_nearest()
    if settings.choose_by:
        refuse_unknown([settings.choose_by], [metric.name for metric in measured], where="evaluate.choose_by")


def _made_from(recipe: Recipe) -> Any:
    """By their content: the checkpoints of further rows, and folders that metrics read, as of a model that judges."""
    settings = evaluate.read(recipe)
    rows = {row: checkpoint_identity(place) for row, place in settings.further_rows.items()}
    folders = named_folders(settings.metrics)
    return {"rows": rows, "folders": folders} if rows and folders else rows or folders


@stage(
    settings=EvaluateSettings,
    revision=REVISION,
    after=("control",),
    also_after=(EQUAL_PROMPTS,),
    made_from=_made_from,
    by_content=("further_rows",),
    tries=_try,
    shares_processes=True,
)
def evaluate(run: StageRun) -> list[Path]:
    """
    Measure `copy_last`, `tokenizer_floor` and the checkpoints base, control and rlvr on held-out episodes.

    Writes `results.json`. For frames: MAE, MSE, PSNR, SSIM, and LPIPS if its trunk is there, each also on moving
    pixels only, and the repetition rate. For sensors: MAE, MSE and accuracy. For text: the metrics of the rewards,
    also apart for transitions that change something and those that do not. For all: the recipe's further `metrics`.

    Args:
        run (`StageRun`):
            The stage.

    Returns:
        `list[Path]`: `results.json`.
    """
    own = {name: checkpoint_folder(run.recipe, name) for name in checkpoints_of(run.recipe)}
    places = {**run.settings.further_rows, **own}
    checkpoints = {name: load_world_model(place, device=run.processes.device) for name, place in places.items()}
    results = measure_checkpoints(run.recipe, checkpoints, share=run.processes.share)
    file = run.folder / "results.json"
    return [write_results(results, file) if run.processes.is_first else file]


def measured_names(recipe: Recipe) -> list[str]:
    """
    Names of all that a table of a recipe will have, before anything is trained.

    Args:
        recipe (`Recipe`):
            The recipe.

    Returns:
        `list[str]`: Metrics, parts of them such as `fact_f1_changed`, rates, what metrics diagnose, and best of `N`:
        each `N`, and `<metric>_best_of` for the curve of all.

    Example:

    ```python
    >>> from rlvr_world_hf.runs.recipe import load_recipe
    >>> names = measured_names(load_recipe("pusht/debug", overrides={"evaluate.num_samples": 4}))
    >>> [name for name in names if name.startswith("mae")]
    ['mae', 'mae_best_of', 'mae_best_of_2', 'mae_best_of_4', 'mae_moving', 'mae_moving_best_of', ...]

    ```
    """
    settings = evaluate.read(recipe)
    rewards, _ = build_rewards(grpo.read(recipe).rewards)
    metrics = kind_of(recipe).measured(rewards, build_metrics(settings.metrics, where="evaluate.metrics"))
    counts = [count for count in range(2, settings.num_samples + 1) if settings.num_samples % count == 0]
    ends = ["", *([BEST_OF.rstrip("_")] if counts else []), *(f"{BEST_OF}{count}" for count in counts)]
    if is_text(recipe):
        ends += [f"_{label}" for label in CLASSES]
    # Predictions that a metric compares with each other have no best one.
    named = {
        f"{metric.name}{end}": None
        for metric in metrics
        for end in (ends[:1] if getattr(metric, "needs_group", False) else ends)
    }
    for metric in metrics:
        named |= dict.fromkeys(getattr(metric, "diagnoses", ()))
    usual = [*named, *(rate for rate in RATES if rate not in named)]
    return usual + [f"{name}_{condition}" for condition in settings.conditions for name in usual]


def measure_checkpoints(
    recipe: Recipe, checkpoints: Mapping[str, tuple[Any, Any]], *, share: Share = ALONE
) -> Results:
    """
    Measure any checkpoints as the stage `evaluate` of a recipe does.

    Args:
        recipe (`Recipe`):
            Gives episodes, windows, rewards and evaluation; its collect stage must be finished.
        checkpoints (`Mapping[str, tuple]`):
            Row -> model and processor.
        share ([`~rlvr_world_hf.evaluation.sharing.Share`], *optional*):
            The batches of this process, where several measure together; each returns the whole record. All batches by
            default.

    Returns:
        `dict`: The record of one training seed, see `evaluation/results.py`.
    """
    settings = evaluate.read(recipe)
    rewards, _ = build_rewards(grpo.read(recipe).rewards)
    own = build_metrics(settings.metrics, where="evaluate.metrics")
    return kind_of(recipe).evaluate(settings, checkpoints, rewards, own, share=share)
