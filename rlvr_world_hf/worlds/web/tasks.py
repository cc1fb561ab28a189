"""
Tasks on the small site of the web pages world: find a page, fill a form.

A task is drawn by seed from what the site offers its visitor. Its goal is a sequence of steps, and one action is
enough for each of them, so that an agent that looks one action ahead sees when it comes nearer.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from ...pipeline import WorldModelPipeline
from ...planning.text_agent import Predict, predicted_states
from .change import apply_page_change, parse_page_change
from .site import AREAS, TASKS, TOPICS, Site
from .tree import parse_page, write_page
from .webpages import Visit


KINDS = ("find", "fill")
"""Find a page, or fill a form."""

Step = frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class PageGoal:
    r"""
    The value of a page: how far it is along a sequence of steps, in [0, 1]; 1 where the last step is shown.

    A step is shown by a page that has all of its elements, which are named as on a page, without the number, and
    without such properties as do not matter.

    Raises:
        ValueError: If there is no step, or one without elements.

    Example:

    ```python
    >>> goal = PageGoal(steps=(frozenset({"link 'Mug'"}), frozenset({"heading 'Mug'"})))
    >>> goal("[1] RootWebArea 'Shop'\n\t[2] link 'Mug'"), goal("[1] RootWebArea 'Mug'\n\t[2] heading 'Mug'")
    (0.5, 1.0)

    ```
    """

    steps: tuple[Step, ...]
    """The elements of each step, the goal last."""

    def __post_init__(self) -> None:
        if not self.steps or not all(self.steps):
            raise ValueError(f"Expected steps of elements, got {self.steps}; a goal without them would always hold.")

    def __call__(self, page: str) -> float:
        """The number of the last step that is shown, as a share of them all."""
        # The blank ends a word, so that an item does not match an element that only begins alike.
        lines = [element.line.partition("] ")[2] + " " for element in parse_page(page)]
        shown = [all(any(line.startswith(f"{item} ") for line in lines) for item in step) for step in self.steps]
        return max((number for number, is_shown in enumerate(shown, start=1) if is_shown), default=0) / len(shown)


@dataclass(frozen=True, slots=True, kw_only=True)
class WebTask:
    """What a visitor is to do."""

    session: int
    """Decides what the visitor begins with."""

    kind: str
    """One of `KINDS`."""

    wording: str
    """What is asked for."""

    area: str
    """Where the visit begins."""

    goal: PageGoal
    """Value of a page."""

    texts: dict[str, tuple[str, ...]]
    """What may be written into fields, by their names."""


def draw_task(seed: int, *, site_seed: int = 0) -> WebTask:
    """
    Draw a task.

    Args:
        seed (`int`):
            Decides the task, and is the visitor's session.
        site_seed (`int`, *optional*, defaults to 0):
            Decides what the site offers.

    Returns:
        [`WebTask`]: one that at most four actions solve, and that is not solved at its start.

    Example:

    ```python
    >>> task = draw_task(0)
    >>> task.wording == draw_task(0).wording, task.kind in KINDS
    (True, True)

    ```
    """
    site, rng = Site(seed=site_seed, session=seed), random.Random(f"task {seed}")
    kind = rng.choice(KINDS)
    wording, place, steps = _find(site, rng) if kind == "find" else rng.choice((_fill, _submit))(site, rng)
    area = rng.choice([name for name in AREAS if name != place])
    goal = PageGoal(steps=tuple(map(frozenset, steps)))
    return WebTask(session=seed, kind=kind, wording=wording, area=area, goal=goal, texts=site.texts)


def predicted_pages(pipeline: WorldModelPipeline, *, max_new_tokens: int = 320) -> Predict:
    """
    A world model of web pages as a function from pairs of page and action to pages.

    Args:
        pipeline ([`WorldModelPipeline`]):
            Predicts what changes, as a [`~rlvr_world_hf.worlds.web.change.PageChange`].
        max_new_tokens (`int`, *optional*, defaults to 320):
            Tokens after which an answer is cut off.

    Returns:
        `Callable`: see [`~rlvr_world_hf.planning.text_agent.predicted_states`].
    """
    return predicted_states(
        pipeline,
        lambda page, answer: write_page(apply_page_change(parse_page(page), parse_page_change(answer))),
        max_new_tokens=max_new_tokens,
    )


def true_pages(visit: Visit) -> Predict:
    """
    The site itself as a function from pairs of page and action to pages: the best a world model can do.

    Each action is tried in a visit of its own that has come as far.

    Args:
        visit ([`~rlvr_world_hf.worlds.web.webpages.Visit`]):
            What is seen.

    Returns:
        `Callable`: pages after pairs of page and action.

    Raises:
        ValueError: By what it returns, for another page than the visit shows now.
    """

    def predict(pairs: Sequence[tuple[str, str]]) -> list[str]:
        pages = []
        for page, action in pairs:
            if page != visit.state:
                raise ValueError(f"Expected the page that is shown, got {page!r:.80}; look one action ahead.")
            again = visit.repeat()
            pages.append(again.play(action))
            again.close()
        return pages

    return predict


def _find(site: Site, rng: random.Random) -> tuple[str, str, Sequence[set[str]]]:
    """Wording, area where it would be done at once, and steps."""
    area, product = rng.choice(AREAS), rng.choice(list(site.prices))
    if rng.random() < 0.5:
        return f"Find the page {area.capitalize()}.", area, [{f"heading {area.capitalize()!r}"}]
    return f"Find the page {product}.", "", [{f"link {product!r}"}, {f"heading {product!r}"}]


def _fill(site: Site, rng: random.Random) -> tuple[str, str, Sequence[set[str]]]:
    role, name = rng.choice(
        (("textbox", "Name"), ("textbox", "Message"), ("textbox", "User"), ("textbox", "New task"),
         ("searchbox", "Search for"))
    )  # fmt: skip
    text = rng.choice(site.texts[name])
    return f"Write {text!r} into {name}.", "", [{f"{role} {name!r}"}, {f"{role} {name!r} value: {text!r}"}]


def _submit(site: Site, rng: random.Random) -> tuple[str, str, Sequence[set[str]]]:
    form = rng.choice(("search", "tasks", "help"))
    if form == "search":
        name = rng.choice(list(site.prices))
        field = "searchbox 'Search for'"
        steps = [{field}, {f"{field} value: {name!r}"}, {f"link '{name} in the shop'"}]
        return f"Write {name!r} into Search for and click Search.", "", steps
    if form == "tasks":
        name = rng.choice([name for name in TASKS if name not in site.tasks])
        steps = [{"textbox 'New task'"}, {f"textbox 'New task' value: {name!r}"}, {f"checkbox {name!r}"}]
        return f"Write {name!r} into New task and click Add task.", "", steps
    name, message = rng.choice(site.texts["Name"]), rng.choice(site.texts["Message"])
    named = f"textbox 'Name' value: {name!r}"
    steps = [
        {"textbox 'Name'"},
        {named},
        {named, f"textbox 'Message' value: {message!r}"},
        {f"StaticText 'Thank you, {name}. We read it under {TOPICS[0]}.'"},
    ]
    return f"Write {name!r} into Name and {message!r} into Message, and click Send.", "", steps
