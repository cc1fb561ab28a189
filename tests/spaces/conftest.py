"""The playground, served with tiny models as a user would serve it, in a process of its own."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
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


@pytest.fixture(scope="session")
def served(repository: Path, tiny_runs: list[Path]) -> Iterator[str]:
    """The address of the page."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    app = repository / "spaces" / "world_model_playground" / "app.py"
    log = tiny_runs[0].parent / "log"
    command = [sys.executable, str(app), *map(str, tiny_runs)]
    settings = {"GRADIO_SERVER_PORT": str(port), "PYTHONPATH": str(repository)}
    with log.open("w") as file:
        process = subprocess.Popen(
            command, cwd=tiny_runs[0].parent, env={**os.environ, **settings}, stdout=file, stderr=subprocess.STDOUT
        )
        try:
            _wait_for(f"http://127.0.0.1:{port}/", process, log)
            yield f"http://127.0.0.1:{port}/"
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
