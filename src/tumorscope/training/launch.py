"""How the processes of a training are started: by this one on one machine, or from outside by torchrun or SLURM."""

import multiprocessing
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import NamedTuple

from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.pytorch.strategies import DDPStrategy
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from tumorscope.errors import TrainingError, UsageError
from tumorscope.training.team import ANSWER_WITHIN, Team, joined, lost

LOG_FILES = "process-*.log"
_HERE = "127.0.0.1"
_READY = "ready"


@contextmanager
def with_followers(follow: Callable[[Team], None], *, size: int, cuda: bool, logs: Path) -> Iterator[Team]:
    """Start the other processes of a training on this machine and lead them; they are gone afterwards.

    They talk over the loopback interface alone. Ctrl-C reaches this process only, which ends the others.

    Args:
        follow: What every other process does, called with its team. It must be picklable.
        size: Number of processes, this one among them.
        cuda: Whether they train on GPUs.
        logs: Folder for what they print, one file each.

    Raises:
        TrainingError: One of them ended before the training did, or hangs.
    """
    logs.mkdir(parents=True, exist_ok=True)
    store = _store(size)
    context = multiprocessing.get_context("spawn")
    others = [
        context.Process(target=_follow, args=(follow, rank, size, store.port, cuda, _log(logs, rank)), daemon=True)
        for rank in range(1, size)
    ]
    try:
        with _over_loopback():
            with _deaf_to_interrupts():
                for process in others:
                    process.start()
            _await(others, store, logs)
            with joined(0, size=size, per_node=size, cuda=cuda, store=store) as team:
                try:
                    yield team
                    team.agreed(None)
                except RuntimeError as error:  # what torch makes of a connection that broke
                    _await_fallen(others)
                    _refuse_fallen(others, logs, error)
                    raise lost(error) from error
        for process in others:
            process.join(timeout=60)
    finally:
        for process in others:
            if process.is_alive():
                process.kill()
                process.join()


def _store(size: int) -> TCPStore:
    """Return where the processes find each other; on its own it would listen on every interface."""
    listening = socket.create_server((_HERE, 0))
    port = listening.getsockname()[1]
    return TCPStore(_HERE, port, size, is_master=True, wait_for_workers=False, master_listen_fd=listening.detach())


@contextmanager
def _over_loopback() -> Iterator[None]:
    """Keep what the processes exchange off the network, unless the user has chosen an interface."""
    loopback = next((name for _, name in socket.if_nameindex() if name in ("lo", "lo0")), None)
    added = [name for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME") if loopback and name not in os.environ]
    os.environ.update(dict.fromkeys(added, loopback or ""))
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Processes that are started in here never hear of Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _follow(follow: Callable[[Team], None], rank: int, size: int, port: int, cuda: bool, log: Path) -> None:
    """Be one of the other processes."""
    with log.open("w") as file:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    store = TCPStore(_HERE, port, size, is_master=False)
    store.add(_READY, 1)
    with joined(rank, size=size, per_node=size, cuda=cuda, store=store) as team:
        follow(team)
        team.agreed(None)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(0)  # a thread of torch that still holds a tensor would abort an interpreter that ends


def _await(others: Sequence[SpawnProcess], store: TCPStore, logs: Path) -> None:
    """Wait until all have come; joining them at once would not notice that one of them has failed to start."""
    deadline = time.monotonic() + ANSWER_WITHIN.total_seconds()
    while store.add(_READY, 0) < len(others):
        _refuse_fallen(others, logs, None)
        if time.monotonic() > deadline:
            raise TrainingError(f"only {store.add(_READY, 0)} of {len(others)} other processes have started. Take fewer --devices.")
        time.sleep(0.05)


def _await_fallen(others: Sequence[SpawnProcess]) -> None:
    """Wait for the end of a process whose connection broke; its sentinel tells a moment before its exit status does."""
    ended = wait([process.sentinel for process in others], timeout=5)
    for process in others:
        if process.sentinel in ended:
            process.join(timeout=5)


def _refuse_fallen(others: Sequence[SpawnProcess], logs: Path, error: RuntimeError | None) -> None:
    fallen = [rank for rank, process in enumerate(others, start=1) if process.exitcode]
    if fallen:
        raise TrainingError(
            f"process {fallen[0]} of the training ended (status {others[fallen[0] - 1].exitcode}): {_log(logs, fallen[0])} holds "
            "what it said. The same command goes on from the last finished epoch, with fewer --devices too."
        ) from error


def _log(logs: Path, rank: int) -> Path:
    return logs / LOG_FILES.replace("*", str(rank))


class Place(NamedTuple):
    """Where torchrun or SLURM have put this process.

    Attributes:
        size: Number of processes.
        local: Number of this one on its machine.
        node: Number of its machine.
        address: Where all of them meet.
        port: Where all of them meet.
    """

    size: int
    local: int
    node: int
    address: str
    port: int


def place_from_outside() -> Place | None:
    """Return what torchrun or SLURM say of this process, or None when it was started by itself.

    Raises:
        UsageError: They say it in part only, or something else has set their variables.
    """
    try:
        if TorchElasticEnvironment.detect():
            found: TorchElasticEnvironment | SLURMEnvironment = TorchElasticEnvironment()
        elif os.environ.get("SLURM_NTASKS", "1") != "1" and SLURMEnvironment.detect():
            found = SLURMEnvironment(auto_requeue=False)
        elif os.environ.get("WORLD_SIZE", "1") != "1":
            raise UsageError(
                f"WORLD_SIZE={os.environ['WORLD_SIZE']} is set, but not by torchrun: unset it, or start with torchrun."
            )
        else:
            return None
        if found.world_size() == 1:
            return None
        return Place(found.world_size(), found.local_rank(), found.node_rank(), found.main_address, found.main_port)
    except RuntimeError as error:
        raise UsageError("SLURM started several tasks: give it --ntasks-per-node, as many as --devices.") from error
    except (KeyError, ValueError) as error:
        raise UsageError(
            f"the variables of torchrun or SLURM are incomplete or no numbers ({error}). Start with one of them."
        ) from error


@contextmanager
def joined_from_outside(place: Place, *, devices: int, nodes: int, cuda: bool) -> Iterator[Team]:
    """Enter the group of processes that torchrun or SLURM started.

    Args:
        place: What they say of this process.
        devices: Processes of every machine.
        nodes: Machines.
        cuda: Whether they train on GPUs.

    Raises:
        UsageError: Other numbers of processes were started.
        TrainingError: The others did not come.
    """
    size, local, node, address, port = place
    if size != devices * nodes or local >= devices or node >= nodes:
        raise UsageError(
            f"--devices {devices} --num-nodes {nodes}: torchrun or SLURM started {size} processes, this one as number {local} of "
            f"machine {node}. Start one for each device, or give the numbers they were started with."
        )
    os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"] = address, str(port)
    with (
        _over_loopback() if nodes == 1 else nullcontext(),
        joined(node * devices + local, size=size, per_node=devices, cuda=cuda) as team,
    ):
        yield team


class _Placed(LightningEnvironment):
    """Tells the training loop where this process stands, however it was started."""

    def __init__(self, team: Team) -> None:
        super().__init__()
        self._team = team

    @property
    def creates_processes_externally(self) -> bool:
        return True

    def local_rank(self) -> int:
        return self._team.rank % self._team.per_node

    def node_rank(self) -> int:
        return self._team.rank // self._team.per_node

    def teardown(self) -> None:
        """Leave the environment's variables to those who set them."""


def ddp(team: Team) -> DDPStrategy:
    """Return the strategy of a team: gradients are averaged at every step, buffers are not (see `TrainingModule`)."""
    return DDPStrategy(cluster_environment=_Placed(team), forward_sync_buffers=False)
