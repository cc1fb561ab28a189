"""
The evidence on planning on web pages: find a page or fill a form of the small site, reactive against guided.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ...pipeline import WorldModelPipeline
from ...planning.enumeration import EnumerationPlanner
from ...planning.text_agent import (
    Decide,
    Predict,
    TextAttempt,
    attempt_goal,
    guided_actions,
    matching_actions,
    reactive_actions,
)
from ...worlds.web.site import serve_site
from ...worlds.web.tasks import draw_task, predicted_pages, true_pages
from ...worlds.web.webpages import Visit, open_browser
from ..application import Application
from ..attempts import FIRST_START, Agent, Comparison, measure_agents, text_metrics
from ..pieces import Piece


if TYPE_CHECKING:
    from playwright.sync_api import Browser


def planning_web(
    runs: Sequence[Path | str],
    *,
    folder: Path | str,
    starts: int = 50,
    seed: int = 0,
    first_start: int = FIRST_START,
    actions: int = 10,
    site_seed: int = 0,
    device: str | torch.device | None = None,
) -> Path:
    """
    Do tasks on the small site, in a browser: reactive, guided one action ahead by base or rlvr, and by the site.

    There are two reactive agents: `reactive` draws actions, `matching` takes those that share words with the task.

    Args:
        runs (`Sequence[Path]`):
            Output folders of runs, one a training seed, each with the checkpoints `base` and `rlvr`.
        folder (`Path`):
            Where to write `planning_web.json` and the pieces.
        starts (`int`, *optional*, defaults to 50):
            Number of tasks; the same for all rows.
        seed (`int`, *optional*, defaults to 0):
            Seed of what agents draw.
        first_start (`int`, *optional*, defaults to 5000000):
            Seed of the first task.
        actions (`int`, *optional*, defaults to 10):
            Largest number of actions of an attempt.
        site_seed (`int`, *optional*, defaults to 0):
            Seed of what the site offers.
        device (`str` or `torch.device`, *optional*):
            Where the models compute; the CPU by default.

    Returns:
        `Path`: `planning_web.json`, see [`~rlvr_world_hf.findings.attempts.measure_agents`].

    Raises:
        FileNotFoundError: If a checkpoint or Chromium is not there.
        ModuleNotFoundError: If Playwright is not installed.
        ValueError: If there is no run or start.
    """
    load = cache(partial(WorldModelPipeline.from_pretrained, device=device))
    task = cache(partial(draw_task, site_seed=site_seed))

    def guided(pages_after: Callable[[Visit], Predict]) -> Agent:
        return lambda visit, seed_of_start: guided_actions(
            pages_after(visit), task(visit.session).goal, EnumerationPlanner(), seed=seed_of_start
        )

    def attempt(visit: Visit, decide: Decide) -> TextAttempt:
        try:
            return attempt_goal(visit, task(visit.session).goal, decide, limit=actions)
        finally:
            # All visits share one browser, which would keep the pages of a visit that failed.
            visit.close()

    def metrics_of(piece: Piece) -> dict[str, float]:
        metrics = text_metrics(piece, actions="actions")
        return {**metrics, f"success_{task(piece['start']).kind}": metrics["success"]}

    with ExitStack() as opened:

        @cache
        def open_site() -> tuple[
            Browser, str
        ]:  # opened late: where all pieces are there already, no browser is needed
            return opened.enter_context(open_browser()), opened.enter_context(serve_site(site_seed))

        def begin(start: int) -> Visit:
            return Visit(*open_site(), session=start, area=task(start).area, texts=task(start).texts)

        comparison = Comparison(
            finding="planning_web",
            begin=begin,
            attempt=attempt,
            without_model={
                "reactive": lambda visit, seed_of_start: reactive_actions(seed_of_start),
                "matching": lambda visit, seed_of_start: matching_actions(task(visit.session).wording, seed_of_start),
            },
            with_model=lambda checkpoint: guided(lambda visit: predicted_pages(load(checkpoint))),
            with_true_world={"site": guided(true_pages)},
            metrics_of=metrics_of,
            protocol={"actions": actions, "site_seed": site_seed},
        )
        path, _ = measure_agents(comparison, runs, folder=folder, starts=starts, first_start=first_start, seed=seed)
    return path


APPLICATION = Application(
    recipe="webpages/cpu",
    measure=planning_web,
    options=("starts", "actions"),
    metrics=("success", "success_find", "success_fill", "value", "actions", "seconds_per_decision"),
)
