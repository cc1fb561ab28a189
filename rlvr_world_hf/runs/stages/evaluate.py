"""Evaluate: measures the checkpoints of a run and its baselines on held-out episodes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...evaluation.draws import BestSampling, Draws
from ...evaluation.predictions import Sampling
from ...evaluation.results import Results, write_results
from ...evaluation.sharing import ALONE, Share
from ...hub import load_world_model
from ..keys import key
from ..kinds import WorldKind, kind_of
from ..named_parts import build_metrics, build_rewards
from ..recipe import Recipe
from ..stage import StageRun, stage
from .grpo import grpo


CHECKPOINTS = ("base", "control", "rlvr")
"""The checkpoints of a run, as folders of its output and as rows of its table."""


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
    num_samples: int = key(1, "Predictions per window and seed; with more than 1, the best of them is measured, too.")
    best_sampling: tuple[str, ...] = key(("base",), "Checkpoints also measured with their best sampling settings.")
    choose_by: str = key("", "Metric by which the best settings are chosen; the first rewarded one if empty.")
    metrics: list[dict[str, Any]] = key(
        [], "Metrics of this world, beside the standard ones: import paths of rewards."
    )
    max_new_tokens: int = key(256, "In a world of text: tokens after which an answer is cut off.")
    batch_size: int = key(128, "Predictions in memory at a time.", affects_result=False)

    def __post_init__(self) -> None:
        self.draws()  # raises before anything is trained, if the settings cannot be used

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


@stage(settings=EvaluateSettings, after=("control",), shares_processes=True)
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
    folder = run.recipe.output_dir
    checkpoints = {name: load_world_model(folder / name, device=run.processes.device) for name in CHECKPOINTS}
    results = measure_checkpoints(run.recipe, checkpoints, share=run.processes.share)
    file = folder / "results.json"
    return [write_results(results, file) if run.processes.is_first else file]


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
