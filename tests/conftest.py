"""
What holds for every test: offline, without a display, without the user's caches.

`make test` runs it in as many processes as there are cores, one thread each. Every process has caches and a Hub of its
own. A file goes to one process, as its tests share fixtures; so do all files that use one of `BUILT_ONCE`.
"""

import functools
import gc
import os
import re
import shutil
import socket
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest


BUILT_ONCE = {"whole_run": "whole_run", "served": "forks", "served_pages": "forks", "forks": "forks"}
"""Fixtures of more than one file that are too dear to be built in every process -> which belong together."""

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
if "PYTEST_XDIST_WORKER" in os.environ:  # one of several processes, each on a core
    os.environ["OMP_NUM_THREADS"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "2")

_REPOSITORY = Path(__file__).resolve().parents[1]
_WHY_LEFT_OUT = {
    "slow": "take long: `make test-slow`; `.ci/run` runs a third of them by turns",
    "gpu": "need a CUDA device: `make test-gpu`",
    "browser": "need Chromium: `make test-browser`",
}
_TURN = int(os.environ["TURN"]) if os.environ.get("TURN") else None
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
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A process that has imported the library, and from which others are forked in a moment."""
    from tests.robust.forks import Forks

    forks = Forks(tmp_path_factory.mktemp("forks"))
    yield forks
    forks.close()


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


def pytest_configure(config: pytest.Config) -> None:
    if find_spec("stable_worldmodel") is None:
        # Importing it says how to install the extra, which would end the collection of docstrings.
        left_out = _REPOSITORY / "rlvr_world_hf" / "integrations" / "stable_worldmodel.py"
        config.option.ignore = [*(config.option.ignore or ()), str(left_out)]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:  # a command turns bars on that the tests keep off
        if {"runs", "findings", "commands"} & set(item.path.parts):
            item.add_marker(pytest.mark.filterwarnings("ignore:Cannot enable progress bars:UserWarning"))
    _keep_those_whose_turn_it_is(items)
    # What takes longest begins first, so that no process ends long before the others.
    items.sort(key=lambda item: _tests_together(str(item.path)) not in BUILT_ONCE.values())


@functools.cache
def _tests_together(file: str) -> str:
    """What a file has in common with those that one process takes with it: a fixture, or nothing but itself."""
    path = _REPOSITORY / file
    text = path.read_text(encoding="utf-8") if path.is_relative_to(_REPOSITORY / "tests") else ""
    return next((place for name, place in BUILT_ONCE.items() if re.search(rf"\b{name}\b", text)), file)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    if config.getvalue("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _tests_together(super()._split_scope(nodeid))

    return Scheduling(config, log)


def pytest_collection_finish() -> None:
    # Every training collects garbage when it begins. Modules and tests stay anyway: looking through them takes .4 s.
    gc.freeze()


def _keep_those_whose_turn_it_is(items: list[pytest.Item]) -> None:
    """With a number `TURN`: every third file of slow tests, and one of the tests that need most of the memory."""
    if _TURN is None:
        return
    slow = [item for item in items if item.get_closest_marker("slow")]
    large = [item for item in slow if item.get_closest_marker("memory")]
    files = sorted({item.path for item in slow if item not in large})
    turn = set(files[_TURN % 3 :: 3])
    kept = [item for item in slow if item not in large and item.path in turn]
    kept += [item for number, item in enumerate(large) if number == _TURN % len(large)]
    items[:] = [item for item in items if item not in slow or item in kept]


def pytest_deselected(items: list[pytest.Item]) -> None:
    for item in items:
        reason = next((marker for marker in _WHY_LEFT_OUT if item.get_closest_marker(marker)), None)
        _left_out.update([reason] if reason else [])


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["left_out"] = dict(_left_out)
    elif _TURN is not None and exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED:
        session.exitstatus = pytest.ExitCode.OK  # a turn may have none of a kind


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take over from a process what all of them have left out, as this one collects nothing itself."""
    _left_out.clear()
    _left_out.update(getattr(node, "workeroutput", {}).get("left_out", {}))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for marker, count in _left_out.items():
        terminalreporter.write_line(f"left out: {count} test(s) marked {marker!r}, which {_WHY_LEFT_OUT[marker]}")


def pytest_unconfigure() -> None:
    gc.unfreeze()
    _HUB.close()
    shutil.rmtree(_HF_HOME, ignore_errors=True)
