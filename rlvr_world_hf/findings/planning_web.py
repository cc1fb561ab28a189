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

from ..pipeline import WorldModelPipeline
from ..planning.enumeration import EnumerationPlanner
from ..planning.text_agent import (
    Decide,
    Predict,
    TextAttempt,
    attempt_goal,
    guided_actions,
    matching_actions,
    reactive_actions,
)
from ..worlds.web.site import serve_site
from ..worlds.web.tasks import draw_task, predicted_pages, true_pages
from ..worlds.web.webpages import Visit, open_browser
from .attempts import FIRST_START, Agent, Piece, measure_agents, measure_text


if TYPE_CHECKING:
    from playwright.sync_api import Browser


def web_planning(
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

    Of the reactive agents, one draws actions and one takes those whose words are the task's.

    Args:
        runs (`Sequence[Path]`):
            Output folders of runs, one a training seed, each with the checkpoints `base` and `rlvr`.
        folder (`Path`):
            Where to write `planning_web.json` and the finished attempts.
        starts (`int`, *optional*, defaults to 50):
            Number of tasks; the same for all rows.
        seed (`int`, *optional*, defaults to 0):
            Of what is drawn.
        first_start (`int`, *optional*, defaults to 5000000):
            Seed of the first task.
        actions (`int`, *optional*, defaults to 10):
            Most actions of an attempt.
        site_seed (`int`, *optional*, defaults to 0):
            Decides what the site offers.
        device (`str` or `torch.device`, *optional*):
            Where the models compute; the CPU by default.

    Returns:
        `Path`: `planning_web.json`, in the form of [`planning`].

    Raises:
        FileNotFoundError: If a checkpoint or Chromium is not there.
        ModuleNotFoundError: If Playwright is not installed.
        ValueError: If there is no run or start.
    """
    load = cache(partial(WorldModelPipeline.from_pretrained, device=device))
    task = cache(partial(draw_task, site_seed=site_seed))

    def guided(foresee: Callable[[Visit], Predict]) -> Agent:
        return lambda visit, of_start: guided_actions(
            foresee(visit), task(visit.session).goal, EnumerationPlanner(), seed=of_start
        )

    def attempt(visit: Visit, decide: Decide) -> TextAttempt:
        try:
            return attempt_goal(visit, task(visit.session).goal, decide, limit=actions)
        finally:
            visit.close()

    def measure(piece: Piece) -> dict[str, float]:
        metrics = measure_text(piece, actions="actions")
        return {**metrics, f"success_{task(piece['start']).kind}": metrics["success"]}

    with ExitStack() as opened:

        @cache
        def open_site() -> tuple[Browser, str]:  # where all attempts are made already, no browser is needed
            return opened.enter_context(open_browser()), opened.enter_context(serve_site(site_seed))

        def begin(start: int) -> Visit:
            return Visit(*open_site(), session=start, area=task(start).area, texts=task(start).texts)

        path, _ = measure_agents(
            "planning_web",
            runs,
            begin=begin,
            attempt=attempt,
            agents={
                "reactive": lambda visit, of_start: reactive_actions(of_start),
                "matching": lambda visit, of_start: matching_actions(task(visit.session).wording, of_start),
            },
            imagined=lambda place: guided(lambda visit: predicted_pages(load(place))),
            ceiling={"site": guided(true_pages)},
            measure=measure,
            folder=folder,
            starts=starts,
            first_start=first_start,
            seed=seed,
            protocol={"actions": actions, "site_seed": site_seed},
        )
    return path
