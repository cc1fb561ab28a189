"""What a page makes of errors and values, without a server; tests/spaces/test_answers.py asks pages by HTTP."""

import asyncio
from collections.abc import Callable
from typing import Any

import gradio as gr
import pytest

from rlvr_world_hf.playground.answering import MAX_WAITING, AnsweringPage, as_error
from tests.running_loop import in_running_loop


class Page(AnsweringPage, gr.Blocks):
    pass


def repeat(text: str, times: float) -> str:
    return text * int(times)


def build(**settings: Any) -> Any:
    def call() -> Any:
        with Page(analytics_enabled=False) as page:
            text, times = gr.Textbox(label="Text", max_length=5), gr.Number(label="Times", maximum=9)
            button, state = gr.Button(), gr.State(0)
            button.click(repeat, [text, times], text, api_name="repeat")
            button.click(lambda *values: values[0], [text, times, state], text, api_visibility="private")
        return page.queue(**settings)

    return in_running_loop(call)


@pytest.fixture(scope="module")
def page() -> Any:
    return build()


@pytest.mark.parametrize("error", [ValueError("No."), TypeError("No."), FileNotFoundError("No."), ImportError("No.")])
def test_refusals_keep_their_words(error: Exception) -> None:
    assert as_error(error).message == "No."
    own = gr.Error("Mine.")
    assert as_error(own) is own


@pytest.mark.parametrize("error", [RuntimeError(), KeyError("x"), ValueError(), ZeroDivisionError("y" * 10**5)])
def test_other_errors_get_words(error: Exception) -> None:
    message = as_error(error).message
    assert type(error).__name__ in message and "report it as a bug" in message and len(message) < 400


def test_nothing_passes_the_queue_and_private_handlers_have_no_name(page: Any) -> None:
    names = {handler.api_visibility: handler.api_name for handler in page.fns.values()}
    assert names == {"public": "repeat", "private": None}
    assert not page.api_open and page._queue.max_size == MAX_WAITING
    assert not build(api_open=True).api_open and build(max_size=2)._queue.max_size == 2


@pytest.mark.parametrize(
    ("at", "inputs", "words"),
    [
        (0, [], r"Expected 2 values \(text, times\), got 0; give all of them, in this order"),
        (0, ["a", 1, 2], r"Expected 2 values \(text, times\), got 3"),
        (0, [1, 1], "Expected `text` to be of type string, got 1; give such a value"),
        (0, ["a", "1"], "Expected `times` to be of type number, got '1'"),
        (0, ["aaaaaa", 1], "Expected `text` of at most 5 characters, got 6; shorten it"),
        (1, ["a"], r"Expected 3 values \(Text, Times, state\), got 1"),
        (1, ["a", [], None], r"Expected `Times` to be of type number, got \[\]"),
    ],
)
def test_values_that_a_handler_does_not_take_are_refused(page: Any, at: int, inputs: list[Any], words: str) -> None:
    handler = list(page.fns.values())[at]
    with pytest.raises(gr.Error, match=words):
        page.validate_inputs(handler, inputs)
    page.validate_inputs(handler, ["a", 1, 0][: len(handler.inputs)])
    page.validate_inputs(handler, [None] * len(handler.inputs))


@pytest.mark.parametrize(
    ("inputs", "words"),
    [(["a", 10], "greater than maximum"), (["a", None], "int"), (["a", float("inf")], "greater than maximum")],
)
def test_what_goes_wrong_inside_has_words_too(page: Any, inputs: list[Any], words: str) -> None:
    run: Callable[..., Any] = page.process_api

    async def call() -> Any:
        return await run(next(iter(page.fns.values())), inputs)

    with pytest.raises(gr.Error, match=words):
        asyncio.run(call())
