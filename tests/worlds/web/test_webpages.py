import random
import sys
from itertools import pairwise

import pytest

from rlvr_world_hf.worlds.web import webpages
from rlvr_world_hf.worlds.web.change import page_difference, parse_page_change
from rlvr_world_hf.worlds.web.site import TASKS, Site, serve_site
from rlvr_world_hf.worlds.web.tree import parse_page
from rlvr_world_hf.worlds.web.webpages import (
    PROMPT_TEMPLATE,
    Visit,
    admissible_actions,
    choose_action,
    collect_transitions,
    open_browser,
)


PAGE = """[1] RootWebArea 'Help'
\t[2] link 'Shop'
\t[3] textbox 'Name' value: 'Ann' required: True
\t[4] textbox 'Message' value: ''
\t[5] combobox 'Topic' value: 'Order' expanded: False
\t\t[6] option 'Order' selected: True
\t\t[7] option 'Other'
\t[8] button 'Send' disabled: True
\t[9] checkbox 'News' checked: False"""


def test_actions_are_sensible_and_of_every_kind() -> None:
    rng = random.Random(0)
    texts = {"Message": ("Hello", "Bye")}
    chosen = {choose_action(parse_page(PAGE), texts, rng).text for _ in range(200)}
    assert chosen == {
        "click [2] where [2] is link 'Shop'",
        "type [4] [Hello] where [4] is textbox 'Message'",
        "type [4] [Bye] where [4] is textbox 'Message'",
        "select [5] [Order] where [5] is combobox 'Topic'",
        "select [5] [Other] where [5] is combobox 'Topic'",
        "click [9] where [9] is checkbox 'News'",
    }


def test_what_is_chosen_is_admissible() -> None:
    page, texts = parse_page(PAGE), {"Message": ("Hello", "Bye", "Hello")}
    actions = [action.text for action in admissible_actions(page, texts)]
    assert actions == [
        "click [2] where [2] is link 'Shop'",
        "type [3] [word] where [3] is textbox 'Name'",
        "type [4] [Hello] where [4] is textbox 'Message'",
        "type [4] [Bye] where [4] is textbox 'Message'",
        "select [5] [Order] where [5] is combobox 'Topic'",
        "select [5] [Other] where [5] is combobox 'Topic'",
        "click [9] where [9] is checkbox 'News'",
    ]
    rng = random.Random(0)
    assert {choose_action(page, texts, rng).text for _ in range(200)} <= set(actions)


def test_the_lexicon_has_what_the_site_may_say() -> None:
    words = " ".join(webpages.lexicon())
    for seed in range(5):
        site = Site(seed=seed, session=seed)
        assert all(name in words for name in (*site.prices, *site.tasks, site.password))


def test_a_page_without_anything_to_act_on_is_an_error() -> None:
    with pytest.raises(ValueError, match="1 element.s. without one"):
        choose_action(parse_page("[1] RootWebArea 'Help'"), {}, random.Random(0))


def test_without_playwright_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "playwright.sync_api", None)
    with pytest.raises(ModuleNotFoundError, match="pip install playwright"):
        next(collect_transitions([0]))


@pytest.fixture
def needs_browser() -> None:
    pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")


@pytest.mark.browser
def test_without_chromium_the_remedy_is_named(needs_browser: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webpages.shutil, "which", lambda name: "/nowhere/chromium")
    with pytest.raises(FileNotFoundError, match="apt-get install chromium"), open_browser():
        pass


@pytest.mark.browser
def test_sessions_are_recorded_the_same_each_time(needs_browser: None) -> None:
    transitions = list(collect_transitions([3, 4, 5, 6, 7], steps=12))
    assert transitions == list(collect_transitions([3, 4, 5, 6, 7], steps=12, processes=2))
    assert len({item.transition_id for item in transitions}) == 60
    assert len({item.group for item in transitions}) > 3
    assert 0.5 < sum(item.is_changed for item in transitions) / 60 < 1
    for item in transitions:
        change = parse_page_change(item.answer)
        assert item.prompt == PROMPT_TEMPLATE.format(state=item.state, action=item.action)
        assert item.next_state == item.answer == change.text and item.is_changed != change.is_empty
        lines = {line.strip() for line in item.state.split("\n")}
        assert lines.issuperset(change.deleted), "what disappears stood on the page, under its number"
    for item, following in pairwise(transitions):
        if item.transition_id.split("/")[0] == following.transition_id.split("/")[0]:
            change = page_difference(parse_page(item.state), parse_page(following.state))
            assert change.text == item.answer


@pytest.mark.browser
def test_a_visit_is_repeated_and_goes_on_apart(needs_browser: None) -> None:
    with serve_site(0) as address, open_browser() as browser:
        site = Site(seed=0, session=4)
        task, texts = next(name for name in TASKS if name not in site.tasks), site.texts
        first = Visit(browser, address, session=4, area="tasks", texts=texts)
        start = first.state
        write, add = (
            next(action for action in first.changing_actions if words in action)
            for words in (f"[{task}]", "'Add task'")
        )
        written = first.play(write)
        second = first.repeat()
        assert second.state == written != start and second.done == first.done == (write,)
        added = second.play(add)
        assert f"checkbox '{task}'" in added and second.area == "tasks" and first.state == written
        assert Visit(browser, address, session=4, area="tasks", texts=texts).state == start
