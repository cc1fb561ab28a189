"""The playground, served with tiny models as a user would serve it, in a process of its own."""

import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from rlvr_world_hf.pipeline import WorldModelPipeline
from rlvr_world_hf.processors.text import LanguageWorldModelProcessor
from tests.robust.forks import Command, Forks
from tests.tiny import text_tokenizer, tiny_language_model, tiny_model, tiny_processor


PATIENCE = 240
"""Seconds that the page may take to open on a machine under load."""


@pytest.fixture(scope="session")
def tiny_runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Folders of two runs, of PushT and of text, with models that have learned nothing."""
    folder = tmp_path_factory.mktemp("runs")
    video, tokenizer = tiny_processor(observed_steps=1), text_tokenizer()
    text = LanguageWorldModelProcessor(tokenizer, prompt_template="{state}\n> {action}\n")
    for seed, name in enumerate(("base", "rlvr")):
        WorldModelPipeline(tiny_model(video, seed=seed), video).save_pretrained(folder / "pusht" / name)
        WorldModelPipeline(tiny_language_model(tokenizer, seed=seed), text).save_pretrained(folder / "text" / name)
    return [folder / "pusht", folder / "text"]


@pytest.fixture(scope="session")
def served_pages(repository: Path, tiny_runs: list[Path], forks: Forks) -> Iterator[dict[str, str]]:
    """The addresses of the playground and of the pages of metrics, by name."""
    apps = {app.parent.name: app for app in sorted((repository / "spaces").glob("*/app.py"))}
    playground = apps.pop("world_model_playground")
    ports = {name: _free_port() for name in (*apps, "playground")}
    metrics = ",".join(f"{app}:{ports[name]}" for name, app in apps.items())
    settings = {"GRADIO_SERVER_PORT": str(ports["playground"])}
    words = (metrics, str(playground), *map(str, tiny_runs))
    serving = forks.start(*words, call="tests.spaces.serving:serve", environment=settings)
    addresses = {name: f"http://127.0.0.1:{port}/" for name, port in ports.items()}
    try:
        for address in addresses.values():
            _wait_for(address, serving)
        yield addresses
    finally:
        serving.kill()
        serving.wait(PATIENCE)


@pytest.fixture(scope="session")
def served(served_pages: dict[str, str]) -> str:
    """The address of the playground."""
    return served_pages["playground"]


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _wait_for(address: str, serving: Command) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and not serving.poll():
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except (urllib.error.URLError, TimeoutError):
            time.sleep(0.5)
    pytest.fail(f"the page did not open within {PATIENCE} s:\n{serving.text()[-3000:]}")
