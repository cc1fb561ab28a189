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


METRICS = """
import runpy, sys, threading
for app, port in zip(sys.argv[1::2], sys.argv[2::2]):
    runpy.run_path(app)["build_page"]().launch(server_port=int(port), prevent_thread_lock=True, quiet=True)
threading.Event().wait()
"""


@pytest.fixture(scope="session")
def served(repository: Path, tiny_runs: list[Path]) -> Iterator[str]:
    """The address of the playground."""
    app, port = repository / "spaces" / "world_model_playground" / "app.py", _free_port()
    with _process([str(app), *map(str, tiny_runs)], [port], tiny_runs[0].parent) as (address,):
        yield address


@pytest.fixture(scope="session")
def served_metrics(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The addresses of the pages of metrics, by name, all from one process."""
    apps = [
        app
        for app in sorted((repository / "spaces").glob("*/app.py"))
        if (app.parent / f"{app.parent.name}.py").is_file()
    ]
    ports = [_free_port() for _ in apps]
    words = [str(word) for pair in zip(apps, ports, strict=True) for word in pair]
    with _process(["-c", METRICS, *words], ports, tmp_path_factory.mktemp("metrics")) as addresses:
        yield dict(zip([app.parent.name for app in apps], addresses, strict=True))


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def _process(words: list[str], ports: list[int], folder: Path) -> Iterator[list[str]]:
    """The addresses of pages that Python serves."""
    log = folder / "log"
    settings = {"GRADIO_SERVER_PORT": str(ports[0]), "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, *words], cwd=folder, env={**os.environ, **settings}, stdout=file, stderr=subprocess.STDOUT
        )
        addresses = [f"http://127.0.0.1:{port}/" for port in ports]
        try:
            for address in addresses:
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
