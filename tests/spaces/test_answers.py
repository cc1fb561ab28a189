"""
What pages answer, by HTTP, to what they cannot use: a sentence to every bad value, at every endpoint that a page's own
API names; and nothing where no endpoint is meant to be.
"""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest


PAGES = ["playground", "text_game_accuracy", "video_prediction", "web_page_f1"]
BAD: dict[str, Any] = {
    "nothing": None,
    "fraction": 2.5,
    "tiny": 1e-300,
    "huge": 10**400,
    "negative": -1,
    "nan": float("nan"),
    "infinity": float("-inf"),
    "true": True,
    "text": "x",
    "number in quotes": "1",
    "half a character": "\ud800",
    "long text": "y" * 200_000,
    "empty list": [],
    "list": [None, "z", {"x": 1}],
    "deep list": json.loads("[" * 90 + "]" * 90),
    "object": {"path": "/etc/passwd", "x": 1},
    "address": {"url": "file:///etc/passwd", "meta": {"_type": "gradio.FileData"}},
}
KINDS: dict[str, Callable[[Any], bool]] = {
    "integer": lambda value: _is_number(value) and value == int(value),
    "number": lambda value: _is_number(value),
    "string": lambda value: isinstance(value, str),
    "array": lambda value: isinstance(value, list),
}


class Page:
    """A page as a program sees it."""

    def __init__(self, address: str) -> None:
        self.client = httpx.Client(base_url=f"{address}gradio_api/", timeout=120)
        self.endpoints: dict[str, list[dict[str, Any]]] = {
            name[1:]: endpoint["parameters"] for name, endpoint in self.get("info").json()["named_endpoints"].items()
        }

    def get(self, path: str) -> httpx.Response:
        return self.client.get(path)

    def post(self, path: str, body: Any) -> httpx.Response:
        # By hand, as httpx writes no NaN.
        return self.client.post(path, content=json.dumps(body), headers={"Content-Type": "application/json"})

    def call(self, name: str, data: list[Any]) -> tuple[str, Any]:
        """How a call ended, `complete` or `error`, and with what."""
        asked = self.post(f"call/{name}", {"data": data})
        if asked.status_code != 200:
            return "error", {"error": asked.text}
        said = self.get(f"call/{name}/{asked.json()['event_id']}").text
        event, answer = re.findall(r"event: (complete|error)\ndata: (.*)", said)[-1]
        return event, json.loads(answer)

    def press(self, handler: int, data: list[Any]) -> dict[str, Any]:
        """What a handler of the page's own buttons answers."""
        joined = self.post("queue/join", {"data": data, "fn_index": handler, "session_hash": "tester"})
        assert joined.status_code == 200, joined.text
        with self.client.stream("GET", "queue/data?session_hash=tester") as lines:
            for line in lines.iter_lines():
                message = json.loads(line.removeprefix("data: ") or "{}")
                if message.get("msg") == "process_completed":
                    return dict(message)
        pytest.fail("the handler did not answer")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def good(schema: dict[str, Any]) -> Any:
    """A value of a parameter that is right, of its type in the page's API."""
    values = {"integer": 1, "number": 256, "string": "closed(box)"}
    if schema.get("type") == "array":
        return [good(schema["items"])] * 2
    return values.get(schema.get("type", ""))


def good_call(parameters: list[dict[str, Any]]) -> list[Any]:
    return [
        parameter["parameter_default"] if parameter["parameter_has_default"] else good(parameter["type"])
        for parameter in parameters
    ]


def is_sentence(said: Any) -> bool:
    return isinstance(said, str) and len(said) > 30 and " " in said and "Traceback" not in said


@pytest.fixture(scope="module")
def pages(served_pages: dict[str, str]) -> Iterator[dict[str, Page]]:
    opened = {name: Page(address) for name, address in served_pages.items()}
    yield opened
    for page in opened.values():
        page.client.close()


@pytest.fixture(params=PAGES)
def page(pages: dict[str, Page], request: pytest.FixtureRequest) -> Page:
    return pages[request.param]


def test_every_page_has_endpoints(pages: dict[str, Page]) -> None:
    assert sorted(pages) == PAGES
    assert set(pages["playground"].endpoints) == {"predict_frames", "predict_change"}
    assert all("measure" in page.endpoints for name, page in pages.items() if name != "playground")


@pytest.mark.parametrize("bad", BAD)
def test_every_bad_value_of_every_argument_gets_a_sentence(page: Page, bad: str) -> None:
    value = BAD[bad]
    for name, parameters in page.endpoints.items():
        for at, parameter in enumerate(parameters):
            data = good_call(parameters)
            data[at] = value
            event, answer = page.call(name, data)
            kind = parameter["type"].get("type", "")
            if event == "error":
                assert is_sentence(answer["error"]), f"{name}({parameter['parameter_name']}={bad}): {answer}"
            else:
                assert kind in KINDS and KINDS[kind](value), f"{name}({parameter['parameter_name']}={bad}) is taken"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ([1.5, [], 0.0, 1, 0], "Expected the start to be a whole number from 0 to 2147483647, got 1.5; give one"),
        ([1, [], 0.0, 2.5, 0], "Expected the number of samples to be a whole number from 1 to 4, got 2.5; give"),
        ([1, [], 1e-300, 1, 0], "Expected the temperature to be 0, or a number from 0.001 to 2, got 1e-300; 0 takes"),
        ([1, [], float("nan"), 1, 0], "Expected the temperature to be a number from 0 to 2, got nan; give one"),
        ([1, [], float("inf"), 1, 0], "Expected the temperature to be a number from 0 to 2, got inf; give one"),
        ([1, [], -0.5, 1, 0], "Expected the temperature to be a number from 0 to 2, got -0.5; give one"),
        ([1, [], 0.0, 1, None], "Expected the seed of the sampling to be a whole number from 0 to 2147483647, got No"),
        ([1, None, 0.0, 1, 0], "Expected `targets` to be a list of targets (x, y) in world units, got None; give []"),
        ([1, [["1", "2"]], 0.0, 1, 0], "Expected a target as two numbers (x, y) in world units, got ['1', '2']; "),
        ([1, [[True, 2]], 0.0, 1, 0], "Expected a target as two numbers (x, y) in world units, got [True, 2]; "),
        ([], "Expected 5 values (start, targets, temperature, samples, seed), got 0; give all of them, in this order"),
        ([1] * 9, "Expected 5 values (start, targets, temperature, samples, seed), got 9; give all of them"),
    ],
)
def test_sentences_name_what_was_expected_and_given_and_what_to_do(
    pages: dict[str, Page], data: list[Any], words: str
) -> None:
    event, answer = pages["playground"].call("predict_frames", data)
    assert event == "error" and words in answer["error"]


def test_missing_and_superfluous_arguments_get_a_sentence(page: Page) -> None:
    for name, parameters in page.endpoints.items():
        for data in ([], good_call(parameters)[:-1], [*good_call(parameters), 0]):
            event, answer = page.call(name, data)
            assert event == "error" and re.match(r"Expected (\d+ values \(|no values)", answer["error"])
        for body in ({}, {"wrong": 1}):
            answer = page.post(f"call/v2/{name}", body)
            if parameters:
                assert answer.status_code in (200, 422), answer.text
                assert answer.status_code == 200 or is_sentence(answer.json()["error"])
    assert page.post("call/v2/predict_frames", {}).status_code in (404, 422)


def test_nothing_passes_the_queue(page: Page) -> None:
    for name, parameters in page.endpoints.items():
        for door in ("run", "api"):
            answer = page.post(f"{door}/{name}", {"data": good_call(parameters)})
            assert answer.status_code == 404 and "join the queue" in answer.json()["detail"]


def test_private_handlers_answer_to_no_name(pages: dict[str, Page], repository: Path) -> None:
    page = pages["playground"]
    source = (repository / "spaces" / "world_model_playground" / "app.py").read_text(encoding="utf-8")
    private = set(re.findall(r"in_words\((\w+)\)", source)) - set(page.endpoints)
    assert {"begin", "run", "load", "take"} <= private
    for name in sorted(private | {"js_fn", "unnamed", "nothing_of_that_name"}):
        for body in ({"data": [1]}, {"data": []}):
            for door in ("run", "api", "call", "call/v2"):
                answer = page.post(f"{door}/{name}", body)
                assert answer.status_code == 404 and is_sentence(answer.json()["error"]), f"{door}/{name}"


def test_handlers_of_buttons_answer_in_sentences(page: Page) -> None:
    handlers = page.get("../config").json()["dependencies"]
    pressed = 0
    for handler in handlers:
        if handler["api_visibility"] == "private":
            assert handler["api_name"] is None
        if handler["backend_fn"] and handler["queue"] is not False and handler["inputs"]:
            for value in (None, "x", 2.5, [None], {"x": 1}):
                answer = page.press(handler["id"], [value] * len(handler["inputs"]))
                assert answer["success"] or is_sentence(answer["output"]["error"]), (handler["id"], value, answer)
            pressed += 1
    assert pressed
