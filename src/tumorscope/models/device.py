"""Where networks run."""

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


def images_per_pass(device: torch.device) -> int:
    """Return how many images to show a network at once when nothing is trained.

    On a CPU few, so that their activations stay in its cache: at 224 pixels both networks take half the time for 32 images four
    by four.
    """
    return 4 if device.type == "cpu" else 32
