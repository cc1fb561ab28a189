"""The playground in Chromium: what a user sees and does, with the mouse, by keyboard and on a phone."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


pytestmark = pytest.mark.browser

CHROMIUM = "/usr/bin/chromium"
PATIENCE = 120_000  # milliseconds; a machine under load is slow, and that is no fault of the page
PHONE, DESK = {"width": 390, "height": 844}, {"width": 1280, "height": 900}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is missing: `make install`")
    if not Path(CHROMIUM).exists():
        pytest.fail(f"There is no {CHROMIUM}: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def opened(browser: Any, served: str, request: pytest.FixtureRequest) -> Iterator[Any]:
    """The page, in which nothing may fail and from which nothing may be fetched elsewhere."""
    size, query = getattr(request, "param", (DESK, ""))
    context = browser.new_context(viewport=size)
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("request", lambda asked: None if _is_here(asked.url, served) else faults.append(asked.url))
    page.goto(served + query)
    page.wait_for_selector("#frame img")
    yield page
    context.close()
    assert not faults


def _is_here(address: str, served: str) -> bool:
    return address.startswith((served, served.replace("127.0.0.1", "localhost"), "data:", "blob:"))


def click_targets(page: Any) -> None:
    for number, (x, y) in enumerate(((0.25, 0.3), (0.4, 0.35), (0.3, 0.5)), start=1):
        picture = page.locator("#frame img")
        box = picture.bounding_box()
        picture.click(position={"x": box["width"] * x, "y": box["height"] * y})
        page.locator("#said", has_text=f"{number} target").wait_for()


def open_text(page: Any) -> None:
    page.get_by_role("tab", name="Text game").click()
    page.wait_for_selector("#state table, #state [role=alert]")


def write(page: Any, field: Any, text: str) -> None:
    """Fill a field, again if need be: in an accordion just opened, Gradio sets its first value a moment later."""
    for _ in range(10):
        field.fill(text)
        page.wait_for_timeout(300)
        if field.input_value() == text:
            return
    pytest.fail(f"the field does not keep what is written, and says {field.input_value()!r}")


def test_three_targets_are_clicked_and_frames_appear_one_by_one(opened: Any) -> None:
    before = opened.locator("#frame img").get_attribute("src")
    opened.locator("#starts button").nth(2).click()
    opened.wait_for_function("before => document.querySelector('#frame img').src !== before", arg=before)
    click_targets(opened)
    opened.evaluate(
        """() => { window.counts = new Set(); new MutationObserver(() => window.counts.add(
            document.querySelectorAll('#film .rw-strip thead th, #film .rw-strip th[scope=col]').length
        )).observe(document.querySelector('#film'), {childList: true, subtree: true}); }"""
    )
    opened.locator("#run").click()
    opened.wait_for_selector("#film .rw-film[style*=animation]")
    counts = sorted(opened.evaluate("[...window.counts]"))
    steps = opened.locator("#film .rw-strip th[scope=col]").count()
    assert steps >= 3 and counts[-1] == steps and len(counts) >= 3  # it grew under the user's eyes
    assert opened.locator("#film .rw-curve").count() == 3
    for title in ("Simulator", "Base", "RLVR"):
        assert opened.locator("#film figcaption", has_text=title).first.is_visible()
    click_targets(opened)
    opened.locator("#run").click()
    opened.wait_for_function(
        "steps => document.querySelectorAll('#film .rw-strip th[scope=col]').length > steps", arg=steps
    )


def test_recorded_actions_are_replayed(opened: Any) -> None:
    opened.locator("#replay").click()
    opened.wait_for_selector("#film .rw-film[style*=animation]")
    assert opened.locator("#film .rw-strip th[scope=col]").count() == 12


def test_a_text_is_predicted(opened: Any) -> None:
    open_text(opened)
    if not opened.locator("#state table").count():
        assert "rlvr-world-hf[textworld]" in opened.locator("#state").inner_text()
        return
    opened.locator("#predict").click()
    opened.wait_for_selector("#answers section:nth-of-type(3) .rw-rewards")
    assert "What truly changes" in opened.locator("#answers").inner_text()


def test_bad_json_is_answered_with_the_place(opened: Any) -> None:
    open_text(opened)
    opened.get_by_text("A state of your own").click()
    field = opened.locator("#json textarea")
    write(opened, field, '[\n  "closed(fridge)"\n  "in(apple, fridge)"\n]')
    opened.locator("#predict-own").click()
    alert = opened.locator("#answers [role=alert]")
    alert.wait_for()
    assert "Line 3, column 3" in alert.inner_text() and '"in(apple, fridge)"\n  ^' in alert.inner_text()
    write(opened, field, '["closed(fridge)"]')
    opened.locator("#predict-own").click()
    opened.wait_for_selector("#answers section:nth-of-type(3) li, #answers section:nth-of-type(3) pre")


def test_by_keyboard_alone(opened: Any) -> None:
    first = opened.locator("#starts button").nth(1)
    first.focus()
    opened.keyboard.press("Enter")
    opened.get_by_role("button", name="Targets without a mouse").focus()
    opened.keyboard.press("Enter")
    opened.get_by_role("button", name="Add target").focus()
    opened.keyboard.press("Enter")
    opened.locator("#said", has_text="1 target").wait_for()
    opened.locator("#run").focus()
    opened.keyboard.press("Enter")
    opened.wait_for_selector("#film .rw-film[style*=animation]")


@pytest.mark.parametrize("opened", [(PHONE, ""), (DESK, "?__theme=dark")], indirect=True, ids=["phone", "dark"])
def test_fits_a_phone_and_the_dark(opened: Any) -> None:
    opened.locator("#replay").click()
    opened.wait_for_selector("#film .rw-film[style*=animation]")
    for tab in ("Video", "Text game", "Results"):
        opened.get_by_role("tab", name=tab).click()
        opened.wait_for_timeout(300)
        overflow = opened.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert overflow <= 0, f"{tab} is {overflow} pixels wider than the screen"
    ink, paper = opened.evaluate(
        "[getComputedStyle(document.querySelector('.rw-results')).color,"
        " getComputedStyle(document.body).backgroundColor]"
    )
    assert ink != paper
