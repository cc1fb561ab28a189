"""The processes of `accelerate launch` in a stage: kept in step, and each with its share of the work."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cache, lru_cache
from typing import Any

from ..evaluation.sharing import Share


logger = logging.getLogger(__name__)

PATIENCE = timedelta(days=365)
"""How long processes wait for each other: longer than any stage. The launcher ends those that wait for a dead one."""

_MPI = {"PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE", "WORLD_SIZE"}
"""Set by launchers that tell each process the number of all."""


class Processes:
    """
    The processes of `accelerate launch`, kept in step; a single one without a launcher.

    They wait for each other beside the process group of the training, which gives up after 10 minutes on GPUs and 30
    on CPUs: what one process does while the others wait, such as recording episodes, may take hours.
    """

    def __init__(self) -> None:
        self._state: Any = None
        # The launcher sets it; a single process needs no state of accelerate's.
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            self._state = _process_state()
        else:
            _warn_of_missing_processes()

    @property
    def is_first(self) -> bool:
        """Whether this process writes what all of them made."""
        return self._state is None or self._state.is_main_process

    @property
    def device(self) -> Any:
        """The `torch.device` that this process computes on."""
        return _process_state().device

    def wait(self) -> None:
        """Wait until all processes have come here."""
        if self._state is not None:
            from torch import distributed

            distributed.barrier(group=_patient_group(distributed.group.WORLD))

    @contextmanager
    def first_before_others(self) -> Iterator[None]:
        """A block that the first process has left before the others enter it."""
        if not self.is_first:
            self.wait()
        yield
        if self.is_first:
            self.wait()

    def exchange(self, own: Any) -> list[Any]:
        """What each process gives, in their order; all of them come here, and each is given all."""
        if self._state is None:
            return [own]
        from torch import distributed

        everyone: list[Any] = [None] * distributed.get_world_size()
        distributed.all_gather_object(everyone, own, group=_patient_group(distributed.group.WORLD))
        return everyone

    @property
    def share(self) -> Share:
        """The batches of this process in a measurement of all."""
        if self._state is None:
            return Share()
        return Share(process=self._state.process_index, processes=self._state.num_processes, exchange=self.exchange)

    def part(self) -> None:
        """End the connection when no common work is left; a process that keeps it may abort on exit."""
        if self._state is not None:
            self._state.destroy_process_group()


def _process_state() -> Any:
    """Accelerate's state of this process, as the trainers will use it; without `cpu`, CPU processes stay apart."""
    import torch
    from accelerate import PartialState
    from accelerate.utils import parse_flag_from_env

    return PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.accelerator.is_available())


@lru_cache(maxsize=1)
def _patient_group(world: Any) -> Any:
    """Processes of a group as another one that gives up after [`PATIENCE`][]; made once, by all of them together."""
    from torch import distributed

    # Of Gloo, also on GPUs: a kernel of NCCL that waits keeps the GPU busy.
    return distributed.new_group(backend="gloo", timeout=PATIENCE)


@cache
def _warn_of_missing_processes() -> None:
    """Say once if `accelerate launch` was asked for several processes and started this one alone."""
    # It does so without `--multi_gpu`; its command line is gone, but the address for several processes is left.
    if "ACCELERATE_MIXED_PRECISION" in os.environ and "MASTER_ADDR" in os.environ and not _MPI & os.environ.keys():
        logger.warning(
            "`accelerate launch` was asked for several processes and has started one, which does all the work. For "
            "processes on CPUs, set the environment variable ACCELERATE_USE_CPU=true and give `--multi_gpu` in place "
            "of `--cpu`; see docs/performance.md."
        )
