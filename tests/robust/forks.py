"""
Commands in processes of their own, each forked from one process that has imported the library.

A command so begins within milliseconds and not after ten seconds of imports, and hundreds of them fit into minutes. It
is a process like any other: it is killed by `kill -9`, has its own output and environment, and ends with an exit code.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any


IMPORTED = (
    "rlvr_world_hf.commands.cli",
    "rlvr_world_hf.runs.run",
    "rlvr_world_hf.runs.kinds.step_blocks",
    "rlvr_world_hf.runs.kinds.text",
    *(f"rlvr_world_hf.runs.stages.{name}" for name in ("collect", "tokenizer", "pretrain", "grpo", "control")),
    *(f"rlvr_world_hf.runs.stages.{name}" for name in ("evaluate", "predict")),
    *(f"rlvr_world_hf.training.{name}" for name in ("grpo_trainer", "pretraining", "tokenizer_training", "language")),
    *(f"rlvr_world_hf.evaluation.{name}" for name in ("comparison", "figures", "predictions", "page")),
    *(f"rlvr_world_hf.worlds.pusht.{name}" for name in ("simulator", "policies", "rewards")),
    "rlvr_world_hf.rewards.pixel",
    "rlvr_world_hf.pipeline",
    "rlvr_world_hf.hub.checkpoint",
    "rlvr_world_hf.processors.video",
    "rlvr_world_hf.tokenizers.modeling_compressive_tokenizer",
    "diffusers",
    "evaluate",
    "gradio",
    "rlvr_world_hf.commands.tools.check",
    "transformers.models.llama.modeling_llama",
    "matplotlib.pyplot",
)
"""What a run imports; a module that is missing here is imported by each fork, which only takes longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a command ended."""

    code: int
    """Exit code; negative for a signal."""

    seconds: float
    """Wall time."""

    memory: float
    """Most memory in MiB, minus that of a fork that does nothing."""

    text: str
    """What it wrote to both outputs."""

    @property
    def sentence(self) -> str:
        """The last line of an error in words, or nothing."""
        lines = [line for line in self.text.splitlines() if line.startswith("rlvr-world: ")]
        return lines[-1] if lines else ""

    @property
    def crash(self) -> str:
        """The last line of a traceback or the signal that ended it, or nothing."""
        if self.code < 0:
            return f"ended by {signal.Signals(-self.code).name}"
        if "Traceback (most recent call last)" in self.text:
            return self.text.strip().splitlines()[-1]
        return ""


class Command:
    """A command that runs."""

    def __init__(self, forks: Forks, pid: int, log: Path) -> None:
        self._forks = forks
        self.pid = pid
        self.log = log
        self._begun = time.monotonic()

    def text(self) -> str:
        """What it has written up to now."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def kill(self) -> None:
        """End it as `kill -9` does."""
        os.kill(self.pid, signal.SIGKILL)

    def poll(self) -> bool:
        """Whether it has ended and not been waited for."""
        state = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state == "Z"

    def wait(self, patience: float) -> Ended | None:
        """
        How it ended; `None`, and the command killed, if it computed longer than `patience` seconds, or took ten times
        as long, which on a machine under load is no fault of the command's.
        """
        answer = self._forks.ask(wait=self.pid, patience=patience)
        if answer["code"] is None:
            self.kill()
            self._forks.ask(wait=self.pid, patience=60.0)
            return None
        return Ended(
            code=answer["code"],
            seconds=time.monotonic() - self._begun,
            memory=answer["memory"],
            text=self.text(),
        )


class Forks:
    """The process that has imported the library; ends with the `with` block."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0
        root = Path(__file__).resolve().parents[2]
        settings = {
            "PYTHONPATH": str(root),
            "OMP_NUM_THREADS": "1",
            "MKL_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "HF_HOME": str(folder / "hf"),
            "HF_HUB_OFFLINE": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
            "GRADIO_ANALYTICS_ENABLED": "False",
            "MPLBACKEND": "Agg",
            "SDL_VIDEODRIVER": "dummy",
            "TOKENIZERS_PARALLELISM": "false",
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.robust.forks"],
            cwd=root,
            env={**os.environ, **settings},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._is_ready = False

    def ask(self, **request: Any) -> dict[str, Any]:
        """Send a request to the process and read its answer."""
        assert self._process.stdin is not None and self._process.stdout is not None
        if not self._is_ready:
            assert json.loads(self._process.stdout.readline()) == {"ready": True}
            self._is_ready = True
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def start(self, *words: str, environment: dict[str, str] | None = None, **what: Any) -> Command:
        """Start `rlvr-world WORDS`, or with `call="module:function"` that function of `words`."""
        self._count += 1
        log = self._folder / f"{self._count}.log"
        log.touch()
        answer = self.ask(words=words, environment=environment or {}, folder=str(self._folder), log=str(log), **what)
        return Command(self, answer["pid"], log)

    def run(self, *words: str, patience: float = 120.0, **how: Any) -> Ended | None:
        """Run a command to its end; `None` if it took longer than `patience` seconds."""
        return self.start(*words, **how).wait(patience)

    def computed(self) -> float:
        """Seconds that the forks waited for have computed, and the process itself."""
        return self.ask(usage=True)["seconds"]

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)
        self._process.stdout.close()


def _work(request: dict[str, Any]) -> None:
    """In the fork: run the command, and end with its exit code."""
    import random

    import numpy as np
    import torch

    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    os.chdir(request["folder"])
    os.environ.update(request["environment"])
    # As a new process has it: what is not seeded differs.
    random.seed()
    np.random.seed()
    torch.seed()
    code: Any = 1
    try:
        if "call" in request:
            module, _, name = request["call"].partition(":")
            code = getattr(import_module(module), name)(*request["words"])
        else:
            from rlvr_world_hf.commands.cli import main

            code = main(request["words"])
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:  # noqa: BLE001 (as the interpreter does at its end)
        import traceback

        traceback.print_exc()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            code = code or 120
    os._exit(code or 0)


def _computed(pid: int) -> float:
    """Seconds that a process has computed."""
    times = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return sum(map(int, times)) / os.sysconf("SC_CLK_TCK")


def _wait(pid: int, patience: float, before: float) -> dict[str, Any]:
    end = time.monotonic() + 10 * patience
    while True:
        done, status, usage = os.wait4(pid, os.WNOHANG)
        if done:
            memory = usage.ru_maxrss / 1024 - before
            return {"code": os.waitstatus_to_exitcode(status), "memory": max(0.0, memory)}
        if time.monotonic() > end or _computed(pid) > patience:
            return {"code": None}
        time.sleep(0.01)


def _memory_of_an_idle_fork() -> float:
    pid = os.fork()
    if not pid:
        os._exit(0)
    return os.wait4(pid, 0)[2].ru_maxrss / 1024


def serve() -> None:
    """Read requests from the input, one JSON a line; answer each in a line."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what an import prints is no answer
    for module in IMPORTED:
        import_module(module)
    sys.stdout = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115 (that of the forks)
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
    answers.write(json.dumps({"ready": True}) + "\n")
    before = _memory_of_an_idle_fork()
    for line in sys.stdin:
        request = json.loads(line)
        if "usage" in request:
            times = os.times()
            answers.write(json.dumps({"seconds": sum(times[:4])}) + "\n")
            continue
        if "wait" in request:
            answers.write(json.dumps(_wait(request["wait"], request["patience"], before)) + "\n")
            continue
        pid = os.fork()
        if not pid:
            answers.close()
            _work(request)
        answers.write(json.dumps({"pid": pid}) + "\n")


if __name__ == "__main__":
    serve()
