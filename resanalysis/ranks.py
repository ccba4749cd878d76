"""The processes of one command, as ``torchrun`` starts them: each has its rank, and all of them the results.

Without a launcher a command is alone: rank 0 of 1, and torch is not even imported here.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any, TypeVar

from resanalysis.errors import ResanalysisError

T = TypeVar("T")

# All processes are there within minutes or not at all. Later, one may wait for another's share for as long as
# that takes; a dead one is noticed by its connection.
_MEETING = timedelta(minutes=3)
PATIENCE = timedelta(days=7)


@dataclass(frozen=True)
class Ranks:
    """Which of how many this process is.

    Attributes
    ----------
    rank : from 0; the first writes the files and speaks.
    size : processes on all machines.
    local : rank among those of this machine, which is the number of its GPU.
    """

    rank: int = 0
    size: int = 1
    local: int = 0

    @property
    def first(self) -> bool:
        return self.rank == 0

    def takes(self, number: int) -> bool:
        """Whether the block of this number is this process's share."""
        return number % self.size == self.rank


@cache
def ranks() -> Ranks:
    """As the launcher's environment says."""
    try:
        found = Ranks(*(int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")))
    except (KeyError, ValueError):
        return Ranks()
    return found if found.size > 1 and "MASTER_ADDR" in os.environ else Ranks()


@contextmanager
def together() -> Generator[None, None, None]:
    """Inside, the processes can hand each other what they found.

    Over gloo on GPUs too: what travels are finished blocks of a table, in the memory of the CPU.
    """
    if ranks().size == 1:
        yield
        return
    # Or each process prints the warnings of torch's C++ part, which reads this when it is imported.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    import torch
    from torch import distributed
    from torch.distributed import PrefixStore  # pyright: ignore[reportPrivateImportUsage]
    from torch.distributed.rendezvous import rendezvous

    if torch.cuda.is_available():
        torch.cuda.set_device(ranks().local % torch.cuda.device_count())
    # The launcher's store outlives processes that it restarts: without a name of its own for each try, the new
    # ones find the addresses of those that died, and wait.
    store, rank, size = next(rendezvous("env://", timeout=_MEETING))
    store = PrefixStore(f"try{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", store)
    distributed.init_process_group(
        "gloo", store=store, rank=rank, world_size=size, timeout=_MEETING
    )
    _wait_for(PATIENCE)
    try:
        yield
    finally:
        distributed.destroy_process_group()


def _wait_for(patience: timedelta) -> None:
    """From now on, what a process waits for another's share."""
    from torch import distributed

    if hasattr(distributed, "set_timeout"):
        distributed.set_timeout(patience)
    else:  # torch before 2.14 has it under this name
        distributed.distributed_c10d._set_pg_timeout(patience)  # pyright: ignore[reportDeprecated]


@contextmanager
def with_others() -> Generator[None, None, None]:
    """Inside, where another process is lost, this one ends with a line that says so."""
    try:
        yield
    except RuntimeError as error:
        # An error of its own, such as one of memory, is another's only if the connection says so.
        if "gloo" not in str(error).lower() and not _of_the_connection(error):
            raise
        raise ResanalysisError(
            "another process of this run has ended, and with it the run; what was computed is kept: "
            "the same command goes on from there"
        ) from error


def _of_the_connection(error: RuntimeError) -> bool:
    from torch import distributed

    return isinstance(error, distributed.DistError)


def _gathered(mine: Any) -> list[Any]:
    """What each process gives, by rank."""
    from torch import distributed

    found: list[Any] = [None] * ranks().size
    with with_others():
        distributed.all_gather_object(found, mine)
    return found


def all_of(mine: Mapping[int, T]) -> dict[int, T]:
    """The shares of all processes, by the numbers of their blocks."""
    if ranks().size == 1:
        return dict(mine)
    return {number: block for share in _gathered(mine) for number, block in share.items()}


def of_the_first(value: T) -> T:
    """The first process's value: what each would choose for itself and all must have alike."""
    return value if ranks().size == 1 else _gathered(value)[0]
