"""What holds for every test: offline, without a display, without the user's caches, on two threads."""

import os
import shutil
import socket
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest


# Read by the libraries when they are imported, hence set before anything else is.
_HF_HOME = tempfile.mkdtemp(prefix="rlvr_world_hf_tests_")
_HUB = socket.socket()
_HUB.bind(("127.0.0.1", 0))
os.environ.update(
    HF_HOME=_HF_HOME,
    HF_ENDPOINT=f"http://127.0.0.1:{_HUB.getsockname()[1]}",  # where the fixture `hub` answers, and else nobody
    HF_HUB_DISABLE_XET="1",
    HF_HUB_OFFLINE="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    HF_HUB_DISABLE_PROGRESS_BARS="1",
    GRADIO_ANALYTICS_ENABLED="False",
    MPLBACKEND="Agg",
    SDL_VIDEODRIVER="dummy",
    TOKENIZERS_PARALLELISM="false",
)
os.environ.setdefault("OMP_NUM_THREADS", "2")

_REPOSITORY = Path(__file__).resolve().parents[1]
_WHY_LEFT_OUT = {
    "slow": "take more than a minute: `make test-slow`",
    "gpu": "need a CUDA device: `make test-gpu`",
    "browser": "need Chromium: `make test-browser`",
}
_left_out: Counter[str] = Counter()


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return _REPOSITORY


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder `shared/` beside the checkout, with recorded cases of the official code and real samples."""
    folder = _REPOSITORY.parent / "shared"
    if not folder.is_dir():
        pytest.skip("`shared/` does not lie beside this checkout: its recorded cases cannot be compared")
    return folder


@pytest.fixture(scope="session")
def golden(shared: Path) -> Path:
    """Inputs and outputs recorded from the official code."""
    return shared / "golden"


@pytest.fixture(scope="session")
def recorded_numbers() -> Path:
    """Those of them that lie in the repository, so that every clone compares them."""
    return _REPOSITORY / "tests" / "parity" / "recorded"


@pytest.fixture(scope="session")
def _running_hub() -> Iterator[Any]:
    from tests.local_hub import LocalHub

    with LocalHub(_HUB).running() as running:
        yield running


@pytest.fixture
def hub(_running_hub: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A Hub on this machine, empty, that libraries of this process and its children push to and load from."""
    from tests.local_hub import TOKEN

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    yield _running_hub
    _running_hub.clear()


@pytest.fixture(scope="session")
def small_recipe() -> Callable[..., Any]:
    """Makes the debug recipe with four updates a stage."""
    from tests.small_runs import small_recipe

    return small_recipe


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache of the tests' own."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("RLVR_WORLD_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def whole_run(cache: Path, small_recipe: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The recipe of a finished run through all stages, for all tests that look at one."""
    from rlvr_world_hf.runs.run import run

    recipe = small_recipe(tmp_path_factory.mktemp("whole"))
    run(recipe)
    return recipe


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:  # a command turns bars on that the tests keep off
        if {"runs", "findings", "commands"} & set(item.path.parts):
            item.add_marker(pytest.mark.filterwarnings("ignore:Cannot enable progress bars:UserWarning"))


def pytest_deselected(items: list[pytest.Item]) -> None:
    for item in items:
        reason = next((marker for marker in _WHY_LEFT_OUT if item.get_closest_marker(marker)), None)
        _left_out.update([reason] if reason else [])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for marker, count in _left_out.items():
        terminalreporter.write_line(f"left out: {count} test(s) marked {marker!r}, which {_WHY_LEFT_OUT[marker]}")


def pytest_unconfigure() -> None:
    _HUB.close()
    shutil.rmtree(_HF_HOME, ignore_errors=True)
