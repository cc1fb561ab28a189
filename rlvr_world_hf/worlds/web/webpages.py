r"""
Transitions of real web pages: a browser explores a small site, and each action is recorded with what it changes.

The site is [`Site`]; Chromium renders it, and Playwright steers it. State and change have the form of the authors' web
data, see `worlds/web/tree.py` and `worlds/web/change.py`. A seed is one visitor's session, and gives the same
transitions each time.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ...data.transition import Transition
from ...workers import worker_pool
from .change import PageChange, page_difference
from .site import AREAS, PRODUCTS, QUESTIONS, SETTINGS, TASKS, TOPICS, WORDS, Site, serve_site
from .tree import FIELD_ROLES, PageElement, numbered_nodes, write_page


if TYPE_CHECKING:
    from playwright.sync_api import Browser

CARD = {
    "world": "web pages",
    "data": "Sessions of random visitors to a small site of shop, tasks, settings and help, which comes with the "
    "library (Apache 2.0), in a real browser.",
}
"""What a model card says of the world."""

PROMPT_TEMPLATE = """\
A web page is shown as its accessibility tree, one element a line: [id] role 'name' properties.
Say what the action changes: the elements under "New items:", "Deleted items:" and "Updated items:", one a line, \
"None" where there is none. New elements are numbered on from the largest id; updated ones are as they are afterwards.

Page:
{state}

Action: {action}

Changes:
"""
"""The prompt: a state and an action."""

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
"""Programs that are looked for; without them, the browser that Playwright has downloaded is started."""

GROUPS = {"field": 0.3, "tick": 0.2, "button": 0.3, "link": 0.2}
"""How often a visitor chooses each kind of element, among the kinds on the page."""

KINDS = {"button": "button", "link": "link"}
KINDS |= dict.fromkeys(("checkbox", "radio", "combobox", "DisclosureTriangle"), "tick")
KINDS |= dict.fromkeys(FIELD_ROLES, "field")
"""The kind of each role that can be acted on."""

UNKNOWN = ("word",)
"""What is written into a field of which nothing is known."""

# `invalid` does not bubble: only a listener that captures hears it.
PREPARE = """
addEventListener("submit", event => { window.isLeaving = !event.defaultPrevented });
addEventListener("click", event => {
  if (event.target.closest("a[href]")) window.isLeaving = !event.defaultPrevented;
});
addEventListener("invalid", event => event.preventDefault(), true);
"""
"""Marks a page that is about to be replaced, so that one can wait for the next; hides hints, which fade with time."""

# A value that a script sets fires no events, so they are sent by hand.
PERFORM = """function (verb, text) {
  if (verb === "click") {
    this.click();
  } else {
    this.value = text;
    for (const name of ["input", "change"]) this.dispatchEvent(new Event(name, { bubbles: true }));
  }
  return Boolean(window.isLeaving);
}"""
"""Acts on an element, and says whether its page is about to be replaced."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PageAction:
    """What a visitor does to an element."""

    verb: str
    """`click`, `type` or `select`."""

    element: PageElement
    """What it is done to."""

    content: str = ""
    """The text typed, or the option selected."""

    @property
    def text(self) -> str:
        """The action in words, such as `type [4] [Mug] where [4] is textbox 'Search'`."""
        number = f"[{self.element.element_id}]"
        content = "" if self.verb == "click" else f" [{self.content}]"
        return f"{self.verb} {number}{content} where {number} is {self.element.role} {self.element.name!r}"


def choose_action(page: Sequence[PageElement], texts: Mapping[str, Sequence[str]], rng: random.Random) -> PageAction:
    """
    A sensible action at random. An empty field is filled before a filled one, with a text that suits it.

    Args:
        page (`Sequence[PageElement]`):
            The page.
        texts (`Mapping[str, Sequence[str]]`):
            What may be written into a field, by its name; others get a word of no meaning.
        rng (`random.Random`):
            Source of all randomness.

    Returns:
        `PageAction`: on an element that is not disabled.

    Raises:
        ValueError: if the page has nothing to act on.

    Example:

    ```python
    >>> page = [PageElement(element_id=2, depth=1, role="link", name="Cart")]
    >>> choose_action(page, {}, random.Random(0)).text
    "click [2] where [2] is link 'Cart'"

    ```
    """
    groups: dict[str, list[PageElement]] = {}
    for element in page:
        if _is_active(element):
            groups.setdefault(KINDS[element.role], []).append(element)
    if not groups:
        raise ValueError(f"Expected a link, button or field to act on, got {len(page)} element(s) without one.")
    group = rng.choices(list(groups), [GROUPS[name] for name in groups])[0]
    empty = [element for element in groups[group] if "value: ''" in element.properties]
    element = rng.choice(empty or groups[group])
    if group == "field":
        return PageAction(verb="type", element=element, content=rng.choice(texts.get(element.name, UNKNOWN)))
    if element.role == "combobox":
        return PageAction(verb="select", element=element, content=rng.choice(_options(page, element)))
    return PageAction(verb="click", element=element)


def admissible_actions(page: Sequence[PageElement], texts: Mapping[str, Sequence[str]]) -> list[PageAction]:
    """
    All sensible actions of a page, those that [`choose_action`] draws from.

    Args:
        page (`Sequence[PageElement]`):
            The page.
        texts (`Mapping[str, Sequence[str]]`):
            What may be written into a field, by its name; others get a word of no meaning.

    Returns:
        `list[PageAction]`: on elements that are not disabled, in their order.

    Example:

    ```python
    >>> page = [PageElement(element_id=4, depth=1, role="searchbox", name="Search for", properties="value: ''")]
    >>> [action.content for action in admissible_actions(page, {"Search for": ("Mug", "Sofa", "Mug")})]
    ['Mug', 'Sofa']

    ```
    """
    actions = []
    for element in filter(_is_active, page):
        verb, contents = "click", [""]
        if KINDS[element.role] == "field":
            verb, contents = "type", list(dict.fromkeys(texts.get(element.name, UNKNOWN)))
        elif element.role == "combobox":
            verb, contents = "select", _options(page, element)
        actions += [PageAction(verb=verb, element=element, content=content) for content in contents]
    return actions


def _is_active(element: PageElement) -> bool:
    return element.role in KINDS and "disabled: True" not in element.properties


def _options(page: Sequence[PageElement], combobox: PageElement) -> list[str]:
    """Names of the options that stand below an element."""
    names: list[str] = []
    for element in page[page.index(combobox) + 1 :]:
        if element.depth <= combobox.depth:
            break
        names += [element.name] if element.role == "option" else []
    return names


def collect_transitions(
    seeds: Sequence[int], *, steps: int = 25, site_seed: int = 0, processes: int = 1
) -> Iterator[Transition]:
    """
    Explore the site once for each seed and record every action, in order.

    Args:
        seeds (`Sequence[int]`):
            One a session: each decides what the visitor begins with and does.
        steps (`int`, *optional*, defaults to 25):
            Actions of a session.
        site_seed (`int`, *optional*, defaults to 0):
            Decides what the site offers, which is the same to all visitors.
        processes (`int`, *optional*, defaults to 1):
            Processes that share the work, each with its browser. The transitions do not depend on it.

    Returns:
        `Iterator[Transition]`: `steps` a seed. The group is the site's area, such as `cart`; answer and next state are
        the page change.

    Raises:
        ModuleNotFoundError: if Playwright is not installed.
        FileNotFoundError: if there is no Chromium.

    Example:

    ```python
    >>> transitions = collect_transitions([0, 1], steps=10)  # starts no browser until it is asked for the first

    ```
    """
    record = partial(_record_sessions, steps=steps, site_seed=site_seed)
    if processes == 1:
        yield from record(seeds)
        return
    # Each part starts a site and a browser, so it holds several sessions.
    parts = [seeds[start : start + 4] for start in range(0, len(seeds), 4)]
    with worker_pool(processes) as pool:
        for transitions in pool.map(partial(_listed_sessions, steps=steps, site_seed=site_seed), parts):
            yield from transitions


def _listed_sessions(seeds: Sequence[int], *, steps: int, site_seed: int) -> list[Transition]:
    return list(_record_sessions(seeds, steps=steps, site_seed=site_seed))  # a pool returns no generators


def _record_sessions(seeds: Sequence[int], *, steps: int, site_seed: int) -> Iterator[Transition]:
    with serve_site(site_seed) as address, open_browser() as browser:
        for seed in seeds:
            yield from _record_session(browser, address, seed=seed, steps=steps, site_seed=site_seed)


def _record_session(browser: Browser, address: str, *, seed: int, steps: int, site_seed: int) -> Iterator[Transition]:
    rng = random.Random(f"visitor {seed}")
    texts = Site(seed=site_seed, session=seed).texts
    visit = Visit(browser, address, session=seed, area=rng.choice(AREAS), texts=texts)
    for step in range(steps):
        before, state, area = visit.elements, visit.state, visit.area
        action = choose_action(before, texts, rng)
        visit.act(action)
        change = page_difference(before, visit.elements)
        yield Transition(
            transition_id=f"{seed}/{step}",
            group=area,
            prompt=PROMPT_TEMPLATE.format(state=state, action=action.text),
            answer=change.text,
            state=state,
            action=action.text,
            next_state=change.text,
            is_changed=not change.is_empty,
        )
    visit.close()


class Visit:
    """
    A visit to the site in a browser: the page that is shown, and what may be done on it.

    Each visit begins as its session decides, whatever others of the same session have done.

    Args:
        browser (`Browser`):
            Playwright's, see [`open_browser`].
        address (`str`):
            Of the site, see [`~rlvr_world_hf.worlds.web.site.serve_site`].
        session (`int`):
            Decides what the visitor begins with.
        area (`str`):
            Where the visit begins, one of [`~rlvr_world_hf.worlds.web.site.AREAS`].
        texts (`Mapping[str, Sequence[str]]`):
            What may be written into fields, by their names.
    """

    # Of all visits: the site keeps what was done under a cookie, so each visit needs its own.
    _numbers = count()

    def __init__(
        self, browser: Browser, address: str, *, session: int, area: str, texts: Mapping[str, Sequence[str]]
    ) -> None:
        self.session = session
        self.done: tuple[str, ...] = ()
        self._again = partial(Visit, browser, address, session=session, area=area, texts=texts)
        self._texts = texts
        self._context = browser.new_context()
        number = next(self._numbers)
        self._context.add_cookies([{"name": "session", "value": f"{session}-{number}", "url": address}])
        self._context.add_init_script(PREPARE)
        self._page = self._context.new_page()
        self._page.goto(f"{address}/{area}")
        self._devtools = self._context.new_cdp_session(self._page)
        self._look()

    @property
    def state(self) -> str:
        """The page as text."""
        return write_page(self.elements)

    @property
    def area(self) -> str:
        """The site's area, such as `cart`."""
        return urlsplit(self._page.url).path.split("/")[1]

    @property
    def changing_actions(self) -> list[str]:
        """The actions of this page, in words."""
        return list(self._actions())

    def play(self, action: str) -> str:
        """Act by the words of one of the page's actions, and return the page that it leads to, as text."""
        self.act(self._actions()[action])
        return self.state

    def act(self, action: PageAction) -> None:
        """Act on an element of the page."""
        node = self._nodes[self.elements.index(action.element)]
        resolved = self._devtools.send("DOM.resolveNode", {"backendNodeId": node["backendDOMNodeId"]})
        call = {"objectId": resolved["object"]["objectId"], "functionDeclaration": PERFORM, "returnByValue": True}
        arguments = [{"value": action.verb}, {"value": action.content}]
        is_left = self._devtools.send("Runtime.callFunctionOn", {**call, "arguments": arguments})["result"]["value"]
        if is_left:
            # The next page's window has no `isLeaving` yet.
            self._page.wait_for_function("!window.isLeaving && document.readyState === 'complete'")
        self.done = (*self.done, action.text)
        self._look()

    def repeat(self) -> Visit:
        """Another visit that has come as far as this one, and goes on apart from it."""
        visit = self._again()
        for action in self.done:
            visit.play(action)
        return visit

    def close(self) -> None:
        """End the visit."""
        self._context.close()

    def _look(self) -> None:
        shown = numbered_nodes(self._devtools.send("Accessibility.getFullAXTree")["nodes"])
        self.elements = [element for element, _ in shown]
        self._nodes: list[Mapping[str, Any]] = [node for _, node in shown]

    def _actions(self) -> dict[str, PageAction]:
        return {action.text: action for action in admissible_actions(self.elements, self._texts)}


@contextmanager
def open_browser() -> Iterator[Browser]:
    """
    A headless Chromium, closed at the end.

    Yields:
        `Browser`: Playwright's.

    Raises:
        ModuleNotFoundError: if Playwright is not installed.
        FileNotFoundError: if there is no Chromium.
    """
    try:
        from playwright.sync_api import Error, sync_playwright
    except ImportError as error:
        raise ModuleNotFoundError(
            "Web pages are recorded through Playwright, which is not installed: `pip install playwright`."
        ) from error
    program = next(filter(None, map(shutil.which, CHROMIUM)), None)
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=program)
        except Error as error:
            raise FileNotFoundError(
                f"Chromium did not start from {program or 'where Playwright keeps it'}: `apt-get install chromium` or "
                f"`playwright install chromium`. {error.message}"
            ) from error
        try:
            yield browser
        finally:
            browser.close()


def nothing_changes(state: str) -> str:
    """The answer that nothing changes; the same in each state."""
    return PageChange().text


def lexicon() -> Iterator[str]:
    """
    Each text of the site that a page or an answer may have, as it stands there.

    Yields:
        `str`: the text in quotes, as a name, and after a space.

    Example:

    ```python
    >>> next(lexicon())
    "'Apron' Apron"

    ```
    """
    texts = (*PRODUCTS, *TASKS, *WORDS, *SETTINGS.values(), *TOPICS, *QUESTIONS, *QUESTIONS.values(), *AREAS)
    for text in texts:
        yield f"'{text}' {text}"
