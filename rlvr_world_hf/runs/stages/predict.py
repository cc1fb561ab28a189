"""Predict: draws what the checkpoints predict, the learning curves, and writes the run's card."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ...evaluation.figures import learning_curves
from ...evaluation.predictions import Sampling
from ...evaluation.results import read_results
from ...pipeline import WorldModelPipeline
from ..card import CURVES, write_card
from ..curves import curve_titles, log_histories
from ..echo import echo
from ..keys import key
from ..kinds import kind_of
from ..named_parts import refuse_below, refuse_unknown
from ..recipe import Recipe
from ..stage import StageRun, checkpoint_folder, stage, stage_folder
from ..world import is_text
from .evaluate import CHECKPOINTS


REVISION = 1
"""Raised when other pictures come of the same checkpoints, see [`~rlvr_world_hf.runs.stage.Stage`]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictSettings:
    """What to draw."""

    examples: int = key(
        4,
        "Test episodes to draw, each by the window in which most moves; in a world of text, right and wrong answers.",
    )
    checkpoints: tuple[str, ...] = key(("base", "rlvr"), "Checkpoints to draw, below the reference.")
    sampling_seed: int = key(0, "Seed of the sampled predictions.")
    temperature: float = key(1.0, "Sampling temperature.")
    scale: int = key(2, "Times that each pixel is repeated.")
    state: str = key(
        "", "In a world of text: a state to predict from. The prediction is printed, and nothing else is done."
    )
    action: str = key("", "In a world of text: the action taken in that state.")

    def __post_init__(self) -> None:
        Sampling(temperature=self.temperature)  # raises before anything is trained, if it cannot be used
        refuse_below({"examples": 0, "scale": 1}, self, where="predict")
        refuse_unknown(self.checkpoints, CHECKPOINTS, where="predict.checkpoints")
        if not self.checkpoints:
            raise ValueError(f"predict.checkpoints: expected some of {', '.join(CHECKPOINTS)}, got none; give one.")


def _asks(recipe: Recipe) -> bool:
    """Whether a recipe asks for the prediction of one state."""
    return bool(predict.read(recipe).state) and is_text(recipe)


@stage(settings=PredictSettings, revision=REVISION, after=("evaluate",), answers=_asks)
def predict(run: StageRun) -> list[Path]:
    """
    Draw reference, predictions and errors as `strip.png` and `strip.gif`, and the curves as `learning_curves.png`;
    sensors are drawn as lines over time, `sensors.png`.

    Test episodes are chosen evenly over the split. Each is drawn by the window in which most moves, as a window in
    which nothing happens shows no difference. In a world of text, right and wrong answers are written to
    `examples.md`; with `state` and `action`, the last of the checkpoints predicts what changes.
    """
    settings, recipe, folder = run.settings, run.recipe, run.folder
    pipelines = {
        name: WorldModelPipeline.from_pretrained(checkpoint_folder(recipe, name), device=run.processes.device)
        for name in settings.checkpoints
    }
    if _asks(recipe):
        last = list(pipelines.values())[-1]
        echo(last(settings.state, settings.action, temperature=settings.temperature, seed=settings.sampling_seed)[0])
        return []
    curves, results = folder / CURVES, stage_folder(recipe, "evaluate") / "results.json"
    learning_curves(log_histories(recipe), curves, titles=curve_titles(read_results(results)))
    shown = kind_of(recipe).draw(run, pipelines)
    return [
        *shown,
        curves,
        *write_card(recipe, results=results, checkpoint=checkpoint_folder(recipe, "rlvr"), folder=folder),
    ]
