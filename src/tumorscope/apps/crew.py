"""Several processes, one command: the first does everything, the others train when it does."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from tumorscope.apps.run_folder import RunFolder
from tumorscope.errors import TrainingError, UsageError

if TYPE_CHECKING:
    from tumorscope.models.device import Device
    from tumorscope.training.team import Team


@dataclass(frozen=True, slots=True)
class Order:
    """One training, for every process that takes part.

    Attributes:
        folder: The run, with its images decoded already, where all processes can read it.
        name: Of the network.
        device: `auto`, `cpu` or `cuda`.
    """

    folder: RunFolder
    name: str
    device: "Device"


@dataclass(frozen=True, slots=True)
class Crew:
    """The processes at hand.

    Attributes:
        devices: How many train together on this machine.
        team: Of the processes that torchrun or SLURM started; None where they are started for each training.
    """

    devices: int = 1
    team: "Team | None" = None

    @contextmanager
    def training(self, order: Order) -> Iterator["Team"]:
        """Let the others follow an order, and lead them.

        Raises:
            TrainingError: One of them is gone.
        """
        from tumorscope.models.device import torch_device
        from tumorscope.training.launch import with_followers
        from tumorscope.training.team import ALONE

        if self.team is not None:
            with _broken_connections():
                self.team.ordered(order)
                yield self.team
        elif self.devices > 1:
            follow, cuda = partial(follow_order, order), torch_device(order.device).type == "cuda"
            logs = order.folder.model(order.name) / "training"
            with with_followers(follow, size=self.devices, cuda=cuda, logs=logs) as team:
                yield team
        else:
            yield ALONE


def follow_order(order: Order, team: "Team") -> None:
    """Train as one of the processes that do not lead, on the images as the first one has left them in the run folder."""
    from rich.console import Console

    from tumorscope.apps.console import Reporter
    from tumorscope.apps.training_data import training_images
    from tumorscope.data.pixel_cache import build_pixel_cache
    from tumorscope.training.allocator import keep_freed_memory
    from tumorscope.training.train import help_train

    folder, recipe = order.folder, order.folder.recipe()
    cache = build_pixel_cache(folder.manifest(), recipe.preprocessing, folder.cache_path)
    images = training_images(cache, recipe, folder.cache_path, Reporter(Console(quiet=True)))
    keep_freed_memory()
    help_train(images, recipe, name=order.name, folder=folder.model(order.name), device=order.device, team=team)


def work_together(work: Callable[[Crew], None], *, device: "Device", devices: int, nodes: int) -> None:
    """Do some work in the first process, and in the others of torchrun or SLURM the trainings in it.

    Args:
        work: Called once with what its trainings need.
        device: `auto`, `cpu` or `cuda`.
        devices: How many of every machine train together.
        nodes: Machines.

    Raises:
        UsageError: There are no such devices, or torchrun or SLURM started another number of processes.
        TrainingError: The first process is gone.
    """
    if devices == nodes == 1 and device != "cuda" and not _may_be_one_of_several():
        work(Crew())
        return
    from tumorscope.models.device import check_devices, torch_device
    from tumorscope.training.launch import joined_from_outside, place_from_outside

    check_devices(device, devices)
    place = place_from_outside()
    if place is None:
        if nodes > 1:
            raise UsageError(
                f"--num-nodes {nodes}: start the command with torchrun or srun, once for every device of every machine."
            )
        work(Crew(devices))
        return
    with joined_from_outside(place, devices=devices, nodes=nodes, cuda=torch_device(device).type == "cuda") as team:
        if not team.leads:
            _follow_orders(team)
            return
        work(Crew(devices, team))
        with suppress(RuntimeError):  # a process that is gone needs no word that the work is done
            team.ordered(None)


def _may_be_one_of_several() -> bool:
    """Cheap, since the libraries that know for certain take seconds to import."""
    return any(os.environ.get(name, "1") != "1" for name in ("WORLD_SIZE", "SLURM_NTASKS"))


def _follow_orders(team: "Team") -> None:
    while (order := _next_order(team)) is not None:
        with _broken_connections():
            follow_order(order, team)


def _next_order(team: "Team") -> Order | None:
    try:
        order: Order | None = team.ordered(None)
    except RuntimeError as error:  # what torch makes of a connection that broke
        raise TrainingError("the first process ended: what it printed says why. The same command goes on.") from error
    return order


@contextmanager
def _broken_connections() -> Iterator[None]:
    from tumorscope.training.team import lost

    try:
        yield
    except RuntimeError as error:
        raise lost(error) from error
