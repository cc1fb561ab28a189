"""The playground, served with tiny models as a user would serve it, in a process of its own."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rlvr_world_hf.pipeline import WorldModelPipeline
from rlvr_world_hf.processors.text import LanguageWorldModelProcessor
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


SERVE = """
import runpy, sys
metrics, sys.argv = sys.argv[1].split(","), sys.argv[2:]
for app, port in (metric.rsplit(":", 1) for metric in metrics):
    runpy.run_path(app)["build_page"]().launch(server_port=int(port), prevent_thread_lock=True, quiet=True)
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""All pages in one process, as the libraries that they import take long."""


@pytest.fixture(scope="session")
def served_pages(repository: Path, tiny_runs: list[Path]) -> Iterator[dict[str, str]]:
    """The addresses of the playground and of the pages of metrics, by name."""
    apps = {app.parent.name: app for app in sorted((repository / "spaces").glob("*/app.py"))}
    playground = apps.pop("world_model_playground")
    ports = {name: _free_port() for name in (*apps, "playground")}
    metrics = ",".join(f"{app}:{ports[name]}" for name, app in apps.items())
    with _process(["-c", SERVE, metrics, str(playground), *map(str, tiny_runs)], ports, tiny_runs[0].parent) as pages:
        yield pages


@pytest.fixture(scope="session")
def served(served_pages: dict[str, str]) -> str:
    """The address of the playground."""
    return served_pages["playground"]


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def _process(words: list[str], ports: dict[str, int], folder: Path) -> Iterator[dict[str, str]]:
    """The addresses of pages that Python serves, by name."""
    log = folder / "log"
    settings = {"GRADIO_SERVER_PORT": str(ports["playground"]), "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, *words], cwd=folder, env={**os.environ, **settings}, stdout=file, stderr=subprocess.STDOUT
        )
        addresses = {name: f"http://127.0.0.1:{port}/" for name, port in ports.items()}
        try:
            for address in addresses.values():
                _wait_for(address, process, log)
            yield addresses
        finally:
            process.terminate()
            process.wait()


def _wait_for(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except (urllib.error.URLError, TimeoutError):
            time.sleep(0.5)
    pytest.fail(f"the page did not open within {PATIENCE} s:\n{log.read_text()[-3000:]}")
