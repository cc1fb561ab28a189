"""Bad values to every endpoint of every Space, over HTTP, as a stranger sends them."""

from __future__ import annotations

import json
import runpy
import socket
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from tests.robust.campaign import CRASHED, HUNG, WRONG, Place, Tally
from tests.robust.forks import Command


PROMISE = (
    "Whatever is sent to an endpoint of a Space is answered with data, or refused in words; handlers of the page's "
    "own answer to nobody else; the page goes on serving."
)

SPACES = Path(__file__).resolve().parents[2] / "spaces"
OPENS = 240.0
"""Seconds that a page may take to open on a machine under load."""

SECONDS = 60.0
"""In which a request must be answered."""

DEEP: Any = []
for _ in range(200):
    DEEP = [DEEP]

BAD: dict[str, Any] = {
    "nothing": None,
    "a text": "no-such-value",
    "no characters": "",
    "a zero byte": "a\0b",
    "a long text": "x" * 150_000,
    "less than nothing": -1,
    "half": 1.5,
    "a tiny number": 1e-300,
    "a huge number": 1e300,
    "more digits than fit": 10**30,
    "true": True,
    "an empty list": [],
    "an empty mapping": {},
    "a list of lists": [[1, 2], [3, 4]],
    "a list of a hole": [None],
    "a deep list": DEEP,
    "a file elsewhere": {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}},
    "an address elsewhere": {"url": "file:///etc/passwd", "path": "x", "meta": {"_type": "gradio.FileData"}},
}

BODIES: dict[str, bytes] = {
    "no body": b"",
    "no JSON": b"{",
    "not a number": b'{"data": [NaN]}',
    "infinite": b'{"data": [Infinity, -Infinity]}',
    "a list as body": b"[]",
    "data that is a text": b'{"data": "abc"}',
    "data that is missing": b"{}",
    "data that is a mapping": b'{"data": {"a": 1}}',
    "no arguments": b'{"data": []}',
    "a hundred arguments": json.dumps({"data": [0] * 100}).encode(),
    "no text": b"\xff\xfe",
}


def check(place: Place, tally: Tally) -> None:
    runs = place.folder / "runs"
    ended = place.forks.run(str(runs), call="tests.robust.endpoints:save_runs")
    assert ended is not None and ended.code == 0, ended and ended.text
    apps = sorted(path.parent.name for path in SPACES.glob("*/app.py"))
    for app in apps[1:2] if place.is_quick else apps:
        _try_app(place, tally, app, [str(runs / "pusht"), str(runs / "text")] if "playground" in app else [])


def _try_app(place: Place, tally: Tally, app: str, words: list[str]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {"GRADIO_SERVER_PORT": str(port), "GRADIO_ANALYTICS_ENABLED": "False"}
    server = place.forks.start(app, *words, call="tests.robust.endpoints:serve", environment=environment)
    page = Page(f"http://127.0.0.1:{port}", server)
    try:
        if not page.opens():
            tally.tried += 1
            tally.fault(CRASHED, app, f"the page does not open: {server.text()[-300:]}")
            return
        for name, parameters in page.endpoints().items():
            _try_endpoint(place, tally, page, f"{app}{name}", name, parameters)
        for name in page.private_names():
            for route, ask in (("run", lambda name, body: page.post(f"run/{name}", body)), ("call", page.call)):
                tally.tried += 1
                kind, said = ask(name, b'{"data": []}')
                if kind == "data":
                    tally.fault(WRONG, f"{app}: private {name} by {route}", f"answers {said[:100]}")
        tally.tried += 1
        if not page.opens(patience=10.0):
            tally.fault(CRASHED, f"{app} after all requests", "the page serves no longer")
    finally:
        server.kill()
        server.wait(30.0)


def _try_endpoint(
    place: Place, tally: Tally, page: Page, where: str, name: str, parameters: list[dict[str, Any]]
) -> None:
    usual = [parameter.get("parameter_default", parameter.get("example_input")) for parameter in parameters]
    bodies = dict(BODIES)
    for number, parameter in enumerate(parameters):
        for what, value in BAD.items():
            data = [*usual[:number], value, *usual[number + 1 :]]
            bodies[f"{parameter['parameter_name']} is {what}"] = json.dumps({"data": data}).encode()
        bodies[f"only {number} arguments"] = json.dumps({"data": usual[:number]}).encode()
    chosen = list(bodies.items())
    for what, body in chosen[:: len(chosen) // 12] if place.is_quick else chosen:
        tally.tried += 1
        case = f"{where}: {what}"
        kind, said = page.call(name.lstrip("/"), body)
        if kind == "hung":
            tally.fault(HUNG, case, f"no answer within {SECONDS:.0f} s")
        elif kind == "crashed":
            tally.fault(CRASHED, case, said)
        elif kind == "refused" and not _words(said):
            tally.fault(WRONG, case, f"refused without a word: {said[:100]}")


def _words(said: str) -> str:
    """What a refusal says to its reader: the answer itself, or a field of it."""
    try:
        answer = json.loads(said.partition(" ")[2] if said[:3].isdigit() else said)
    except ValueError:
        return said
    if isinstance(answer, dict):
        answer = answer.get("error") or answer.get("detail") or ""
    return str(answer or "")


class Page:
    """A page that is served."""

    def __init__(self, address: str, server: Command) -> None:
        self.server = server
        self._address = address

    def opens(self, patience: float = OPENS) -> bool:
        """Wait until the page answers; returns whether it does."""
        end = time.monotonic() + patience
        while time.monotonic() < end and not self.server.poll():
            try:
                with urllib.request.urlopen(f"{self._address}/config", timeout=5):
                    return True
            except (urllib.error.URLError, TimeoutError, ConnectionError):
                time.sleep(0.2)
        return False

    def endpoints(self) -> dict[str, list[dict[str, Any]]]:
        """Names of its endpoints, with their parameters, as its API tells them."""
        with urllib.request.urlopen(f"{self._address}/gradio_api/info", timeout=SECONDS) as answer:
            named = json.load(answer)["named_endpoints"]
        return {name: endpoint["parameters"] for name, endpoint in named.items()}

    def private_names(self) -> list[str]:
        """Names of the handlers that its API does not tell."""
        with urllib.request.urlopen(f"{self._address}/config", timeout=SECONDS) as answer:
            names = {str(one["api_name"]) for one in json.load(answer)["dependencies"] if one["api_name"]}
        return sorted(names - {name.lstrip("/") for name in self.endpoints()})

    def post(self, path: str, body: bytes) -> tuple[str, str]:
        """Send a body; returns `data`, `refused`, `crashed` or `hung`, and what was said."""
        request = urllib.request.Request(
            f"{self._address}/gradio_api/{path}", data=body, headers={"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=SECONDS) as answer:
                return "data", answer.read().decode(errors="replace")
        except urllib.error.HTTPError as error:
            said = error.read().decode(errors="replace")
            return ("crashed" if error.code == 500 and "error" not in said else "refused"), f"{error.code} {said}"
        except TimeoutError:
            return "hung", ""
        except (urllib.error.URLError, ConnectionError) as error:
            return "crashed", f"no answer: {error}"

    def call(self, name: str, body: bytes) -> tuple[str, str]:
        """Call an endpoint and wait for its last event."""
        kind, said = self.post(f"call/{name}", body)
        if kind != "data":
            return kind, said
        event = json.loads(said)["event_id"]
        end = time.monotonic() + SECONDS
        last = ""
        try:
            with urllib.request.urlopen(f"{self._address}/gradio_api/call/{name}/{event}", timeout=SECONDS) as stream:
                for line in stream:
                    text = line.decode(errors="replace").strip()
                    if text.startswith("event: "):
                        last = text.removeprefix("event: ")
                    elif text.startswith("data: ") and last in ("complete", "error"):
                        return ("data" if last == "complete" else "refused"), text.removeprefix("data: ")
                    if time.monotonic() > end:
                        return "hung", ""
        except TimeoutError:
            return "hung", ""
        except (urllib.error.URLError, ConnectionError) as error:
            return "crashed", f"no answer: {error}"
        return "crashed", f"the answer broke off after {last!r}"


def save_runs(folder: str) -> int:
    """In a fork: save runs of PushT and of text, with models that have learned nothing."""
    from rlvr_world_hf.pipeline import WorldModelPipeline
    from rlvr_world_hf.processors.text import LanguageWorldModelProcessor
    from tests.tiny import text_tokenizer, tiny_language_model, tiny_model, tiny_processor

    video, tokenizer = tiny_processor(observed_steps=1), text_tokenizer()
    text = LanguageWorldModelProcessor(tokenizer, prompt_template="{state}\n> {action}\n")
    for seed, name in enumerate(("base", "rlvr")):
        WorldModelPipeline(tiny_model(video, seed=seed), video).save_pretrained(Path(folder) / "pusht" / name)
        language = tiny_language_model(tokenizer, seed=seed)
        WorldModelPipeline(language, text).save_pretrained(Path(folder) / "text" / name)
    return 0


def serve(app: str, *words: str) -> int:
    """In a fork: serve a page until it is killed."""
    path = SPACES / app / "app.py"
    sys.argv = [str(path), *words]
    runpy.run_path(str(path), run_name="__main__")
    return 0
