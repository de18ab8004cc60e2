"""Where networks run."""

import os
from typing import Literal

import torch

from tumorscope.errors import UsageError

Device = Literal["auto", "cpu", "cuda"]


def torch_device(device: Device) -> torch.device:
    """Return the device that a choice means on this machine; `auto` takes a GPU when there is one.

    Raises:
        UsageError: A GPU was asked for and there is none.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: this machine has no CUDA device that torch can use. Take --device cpu or auto.")
    return torch.device("cuda" if device != "cpu" and torch.cuda.is_available() else "cpu")


def check_devices(device: Device, count: int) -> None:
    """Refuse a number of devices that this machine does not have.

    Args:
        device: The choice of the user; one process on the CPU counts as one device.
        count: How many of this machine, at least 1.

    Raises:
        UsageError: There are fewer GPUs or cores, or a GPU was asked for and there is none.
    """
    if torch_device(device).type == "cuda":
        here = torch.cuda.device_count()
        if count > here:
            raise UsageError(
                f"--devices {count}: torch sees {here} CUDA devices here. Give at most so many; a task of SLURM must see all "
                "of its machine (--gres, not --gpus-per-task)."
            )
    elif count > max(2, os.cpu_count() or 1):
        raise UsageError(
            f"--devices {count}: without a GPU each is a process on the CPU, and this machine has {os.cpu_count()} cores. "
            "Give at most so many."
        )


def images_per_pass(device: torch.device) -> int:
    """Return how many images to show a network at once when nothing is trained.

    On a CPU few, so that their activations stay in its cache: at 224 pixels both networks take half the time for 32 images four
    by four.
    """
    return 4 if device.type == "cpu" else 32
