"""The engine for GPUs: torch itself, and what the others are compared with."""

from pathlib import Path

import numpy as np
import torch

from tumorscope.data.dataset import network_input
from tumorscope.engines.engine import Answers
from tumorscope.models.bundle import load_bundle
from tumorscope.models.device import Device, images_per_pass, torch_device


class TorchEngine:
    """The network of a bundle on a GPU where there is one.

    Args:
        folder: Of the bundle.
        device: Where it runs.
    """

    def __init__(self, folder: Path, *, device: Device = "auto") -> None:
        bundle = load_bundle(folder, calibrated=False)
        self._device = torch_device(device)
        self._network = bundle.network.eval().to(self._device).to(memory_format=torch.channels_last)
        self._preprocessing = bundle.preprocessing
        self.version = f"torch {torch.__version__}, {self._device.type}"

    def infer(self, grids: np.ndarray) -> Answers:
        """See `Engine.infer`."""
        step = images_per_pass(self._device)
        with torch.inference_mode():
            parts = [self._answer(grids[first : first + step]) for first in range(0, len(grids), step)]
        return Answers(*(np.concatenate(outputs) for outputs in zip(*parts, strict=True)))

    def _answer(self, grids: np.ndarray) -> Answers:
        answer = self._network.answer(network_input(grids, self._preprocessing, self._device))
        return Answers(*(values.cpu().numpy() for values in answer))
