from collections.abc import Sequence
from typing import Any, ClassVar

import pytest

from rlvr_world_hf.pipeline import WorldModelPipeline
from rlvr_world_hf.planning.enumeration import EnumerationPlanner
from rlvr_world_hf.planning.text_agent import attempt_goal, guided_actions
from rlvr_world_hf.processors.text import LanguageWorldModelProcessor
from rlvr_world_hf.worlds.web.change import page_difference
from rlvr_world_hf.worlds.web.site import AREAS, Site
from rlvr_world_hf.worlds.web.tasks import PageGoal, draw_task, predicted_pages, true_pages
from rlvr_world_hf.worlds.web.tree import parse_page
from rlvr_world_hf.worlds.web.webpages import PROMPT_TEMPLATE, admissible_actions
from tests.tiny import text_tokenizer, tiny_language_model


CART = """[1] RootWebArea 'Cart'
\t[2] link 'Help'
\t[3] heading 'Cart'"""
HELP = """[1] RootWebArea 'Help'
\t[2] link 'Help'
\t[3] heading 'Help'
\t[4] textbox 'Name' value: '' required: True
\t[5] button 'Send'"""
WRITTEN = HELP.replace("value: ''", "value: 'Ann'")
THANKED = HELP.replace("\t[4] textbox", "\t[4] StaticText 'Thank you, Ann.'\n\t[5] textbox").replace("[5] b", "[6] b")
WAYS = {
    (CART, "click [2] where [2] is link 'Help'"): HELP,
    (HELP, "type [4] [Ann] where [4] is textbox 'Name'"): WRITTEN,
    (WRITTEN, "click [5] where [5] is button 'Send'"): THANKED,
}
GOAL = PageGoal(
    steps=tuple(
        frozenset({item}) for item in ("textbox 'Name'", "textbox 'Name' value: 'Ann'", "StaticText 'Thank you, Ann.'")
    )
)


class Visit:
    """A visit to three recorded pages, as the browser's."""

    texts: ClassVar = {"Name": ("Ann", "Ben")}
    closed = 0

    def __init__(self, done: Sequence[str] = ()) -> None:
        self.state, self.done = CART, []
        for action in done:
            self.play(action)

    @property
    def changing_actions(self) -> list[str]:
        return [action.text for action in admissible_actions(parse_page(self.state), self.texts)]

    def play(self, action: str) -> str:
        assert action in self.changing_actions
        self.done.append(action)
        self.state = WAYS.get((self.state, action), self.state)
        return self.state

    def repeat(self) -> "Visit":
        return Visit(self.done)

    def close(self) -> None:
        Visit.closed += 1


def test_a_page_is_worth_how_far_it_is_along_the_way() -> None:
    assert [GOAL(page) for page in (CART, HELP, WRITTEN, THANKED)] == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert PageGoal(steps=(frozenset({"link 'Help'", "heading 'Help'"}),))(CART) == 0.0, "all of a step's elements"
    assert PageGoal(steps=(frozenset({"link 'Cart'"}),))("[1] RootWebArea ''\n\t[2] link 'Cart (0)'") == 0.0
    for steps in ((), (frozenset(),)):
        with pytest.raises(ValueError, match="steps of elements"):
            PageGoal(steps=steps)


def test_the_site_foretells_itself_and_looking_ahead_solves_the_task() -> None:
    visit: Any = Visit()
    before = Visit.closed
    done = attempt_goal(visit, GOAL, guided_actions(true_pages(visit), GOAL, EnumerationPlanner(), seed=0), limit=9)
    assert done.is_success and list(done.commands) == [action for _, action in WAYS]
    assert Visit.closed - before == 1 + 4 + 4, "a visit for each action that was tried"
    with pytest.raises(ValueError, match="the page that is shown"):
        true_pages(visit)([(CART, visit.changing_actions[0])])


def test_a_perfect_world_model_solves_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = text_tokenizer()
    processor = LanguageWorldModelProcessor(tokenizer, prompt_template=PROMPT_TEMPLATE)
    pipeline = WorldModelPipeline(tiny_language_model(tokenizer), processor)
    assert predicted_pages(pipeline, max_new_tokens=2)([(CART, "click")]) == [None], "random weights, no sections"

    def answers(model: Any, processor: Any, prompts: list[str], **settings: Any) -> list[list[str]]:
        told = {
            PROMPT_TEMPLATE.format(state=state, action=action): (state, WAYS[state, action]) for state, action in WAYS
        }
        pages = [told.get(prompt, (CART, CART)) for prompt in prompts]
        return [[page_difference(*map(parse_page, pair)).text] for pair in pages]

    monkeypatch.setattr("rlvr_world_hf.planning.text_agent.sample_answers", answers)
    guided = guided_actions(predicted_pages(pipeline), GOAL, EnumerationPlanner(), seed=0)
    visit: Any = Visit()
    assert attempt_goal(visit, GOAL, guided, limit=3).is_success


def test_tasks_are_drawn_of_both_kinds_and_start_elsewhere() -> None:
    tasks = [draw_task(seed) for seed in range(200)]
    assert tasks[:3] == [draw_task(seed) for seed in range(3)]
    assert 60 < sum(task.kind == "find" for task in tasks) < 140
    assert {task.area for task in tasks} == set(AREAS)
    assert {len(task.goal.steps) for task in tasks} == {1, 2, 3, 4}
    assert len({task.wording for task in tasks}) > 30
    for task in tasks:
        site = Site(seed=0, session=task.session)
        title = site.get(f"/{task.area}").partition("<h1>")[2].partition("<")[0]
        assert f"heading {title!r}" not in task.goal.steps[-1]
        fields = [item for step in task.goal.steps for item in step if " value: " in item]
        assert all(item.split("'")[3] in site.texts[item.split("'")[1]] for item in fields), "it may be written"


def test_a_form_shows_what_the_goal_waits_for() -> None:
    shown = set()
    for task in map(draw_task, range(200)):
        site, (last,) = Site(seed=0, session=task.session), task.goal.steps[-1]
        if task.wording.endswith("click Search."):
            found = site.get(f"/search?text={last.split(' ')[1][1:]}")
        elif task.wording.endswith("click Add task."):
            found = site.get(site.post("/tasks/add", {"task": last.split("'")[1]}))
        elif task.wording.endswith("click Send."):
            name = task.wording.split("'")[1]
            found = site.get(site.post("/help", {"name": name, "message": "Hello", "topic": "Order"}))
        else:
            continue
        shown.add(last.split(" ")[0])
        assert last.split("'")[1] in found
    assert shown == {"link", "checkbox", "StaticText"}
