"""The processes that train one network together, one for each device."""

import atexit
import gc
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from textwrap import shorten
from typing import Any

from torch import Tensor, distributed
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from tumorscope.errors import TrainingError

ANSWER_WITHIN = timedelta(minutes=10)
"""A process that the others have waited for so long is taken for dead."""

# For an order the others wait as long as the first process prepares, evaluates and explains.
_ORDER_WITHIN = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Team:
    """Which process of a training this is. The first one (rank 0) leads: it alone writes, shows and decides.

    Attributes:
        rank: Number of this process, counted from 0 over all machines.
        size: Number of processes.
        per_node: Number of processes on every machine.
        group: Over which they agree; None where there is one process only.
        orders: Over which they are told what comes next, likewise.
    """

    rank: int = 0
    size: int = 1
    per_node: int = 1
    group: distributed.ProcessGroup | None = field(default=None, repr=False, compare=False)
    orders: distributed.ProcessGroup | None = field(default=None, repr=False, compare=False)

    @property
    def leads(self) -> bool:
        """Whether this is the first process."""
        return self.rank == 0

    @property
    def nodes(self) -> int:
        """Number of machines."""
        return self.size // self.per_node

    def agreed(self, value: Any) -> Any:  # noqa: ANN401 - whatever can be pickled
        """Return what the first process has given, in every process; all of them must call it within ten minutes."""
        return _told(value, self.group)

    def ordered(self, value: Any) -> Any:  # noqa: ANN401
        """Return what the first process has given, however long it takes to give it; all must call it."""
        return _told(value, self.orders)

    def gathered(self, value: Any) -> list[Any]:  # noqa: ANN401
        """Return what all processes have given, by rank, in the first process, and nothing in the others; all must call it."""
        if self.group is None:
            return [value]
        values: list[Any] | None = [None] * self.size if self.leads else None
        distributed.gather_object(value, values, dst=0, group=self.group)
        return values or []

    def average(self, tensors: Iterable[Tensor]) -> None:
        """Replace floating-point tensors by their mean over all processes, in place; all must call it."""
        for tensor in tensors:
            if self.group is not None and tensor.is_floating_point():
                distributed.all_reduce(tensor, group=self.group)
                tensor /= self.size


ALONE = Team()


def _told(value: Any, group: distributed.ProcessGroup | None) -> Any:  # noqa: ANN401
    if group is None:
        return value
    box = [value]
    distributed.broadcast_object_list(box, src=0, group=group)
    return box[0]


@contextmanager
def joined(rank: int, *, size: int, per_node: int, cuda: bool, store: TCPStore | None = None) -> Iterator[Team]:
    """Enter the group of all processes and leave it again.

    Args:
        rank: Number of this process.
        size: Number of processes.
        per_node: Number of processes on every machine.
        cuda: Whether tensors on GPUs are exchanged too.
        store: Where the processes find each other; None takes `MASTER_ADDR` and `MASTER_PORT`.

    Raises:
        TrainingError: The others did not come.
    """
    fast = "nccl" if distributed.is_nccl_available() else "gloo"
    backend = f"cpu:gloo,cuda:{fast}" if cuda else "gloo"
    try:
        distributed.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=ANSWER_WITHIN)
        group, orders = distributed.group.WORLD, distributed.new_group(backend="gloo", timeout=_ORDER_WITHIN)
    except RuntimeError as error:
        raise TrainingError(
            f"the {size} processes of a training did not find each other ({shorten(str(error), 120)}). Start all of them within "
            f"{ANSWER_WITHIN.seconds // 60} minutes, with srun or torchrun, and with a MASTER_PORT that is free."
        ) from error
    assert isinstance(orders, distributed.ProcessGroup)
    atexit.register(gc.collect)  # ends torch's threads, one of which may hold a tensor and abort an interpreter that ends
    try:
        yield Team(rank, size, per_node, group, orders)
    except BaseException:
        if not cuda:  # leaving waits for what is under way on a GPU, which a process that is gone will not finish
            distributed.destroy_process_group()
        raise
    distributed.destroy_process_group()


def lost(error: RuntimeError) -> TrainingError:
    """Return what to say of an error that torch raises when a connection broke, or another process did not answer."""
    return TrainingError(
        f"another process of the training ended or hangs, or this one failed ({shorten(str(error), 120)}). The same command goes "
        "on from the last finished epoch."
    )
