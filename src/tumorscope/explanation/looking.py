"""Looker: a trained network that is asked about pictures and says, in one pass, what it answers and where it looked."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch

from tumorscope.data.dataset import network_input
from tumorscope.data.preprocess import Framing, Preprocessing
from tumorscope.explanation.attention import peak_of
from tumorscope.explanation.placement import place
from tumorscope.labels import LABELS
from tumorscope.models.calibration import Calibration
from tumorscope.models.device import images_per_pass
from tumorscope.models.network import CellGrid, Classifier

CPU = torch.device("cpu")

Ask = Callable[[np.ndarray], np.ndarray]
"""Grids, uint8, shape (n, size, size), to probabilities, float64, shape (n, 4)."""


@dataclass(frozen=True, slots=True, eq=False)
class Looked:
    """What a network said of pictures.

    Attributes:
        probabilities: float64, shape (n, 4), in the order of `LABELS`.
        maps: Raw Grad-CAM of every label, float32, shape (n, 4, rows, columns), at least 0.
        logits: float32, shape (n, 4); empty where nobody kept them.
        features: Pooled features before the head, float32, shape (n, channels); likewise.
    """

    probabilities: np.ndarray
    maps: np.ndarray
    logits: np.ndarray = field(default_factory=lambda: np.zeros((0, len(LABELS)), dtype=np.float32))
    features: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), dtype=np.float32))

    @property
    def predicted_index(self) -> np.ndarray:
        """Most probable label of each picture as a position in `LABELS`, int64, shape (n,)."""
        predicted: np.ndarray = self.probabilities.argmax(axis=1)
        return predicted

    def maps_of(self, label_index: np.ndarray) -> np.ndarray:
        """Return one map for each picture, that of the label given, float32, shape (n, rows, columns)."""
        chosen: np.ndarray = self.maps[np.arange(len(self.maps)), label_index]
        return chosen


@dataclass(frozen=True, slots=True, eq=False)
class Looker:
    """A network at rest, with what it needs to be asked about grids.

    Attributes:
        network: Evaluated in float32.
        preprocessing: Holds mean and deviation, and the size of a grid.
        device: Of torch.
        calibration: What makes probabilities of the network's logits, so that its answer here is the one that users get.
        cells: Where the cells of its feature map lie on a grid.
    """

    network: Classifier
    preprocessing: Preprocessing
    device: torch.device = CPU
    calibration: Calibration = field(default_factory=Calibration)
    cells: CellGrid = field(init=False)

    def __post_init__(self) -> None:
        self.network.eval().to(self.device).to(memory_format=torch.channels_last)
        object.__setattr__(self, "cells", self.network.cell_grid())

    def look(self, grids: np.ndarray, *, progress: Callable[[int, int], None] | None = None) -> Looked:
        """Return answers and maps for grids, uint8, shape (n, size, size), n at least 1."""
        maps, logits, features, done = [], [], [], 0
        with torch.inference_mode():
            for images in self._passes(grids):
                answer = self.network.answer(images)
                maps.append(answer.maps.cpu().numpy())
                logits.append(answer.logits.float().cpu().numpy())
                features.append(answer.features.float().cpu().numpy())
                done += len(images)
                if progress is not None:
                    progress(done, len(grids))
        raw = np.concatenate(logits)
        return Looked(self.calibration.probabilities(raw), np.concatenate(maps), raw, np.concatenate(features))

    def ask(self, grids: np.ndarray) -> np.ndarray:
        """Return probabilities alone, float64, shape (n, 4)."""
        with torch.inference_mode():
            raw = np.concatenate([self.network(images).float().cpu().numpy() for images in self._passes(grids)])
        return self.calibration.probabilities(raw)

    def _passes(self, grids: np.ndarray) -> Iterator[torch.Tensor]:
        """The network's inputs, as many at once as its device takes well."""
        step = images_per_pass(self.device)
        for start in range(0, len(grids), step):
            yield self.inputs(grids[start : start + step])

    def inputs(self, grids: np.ndarray) -> torch.Tensor:
        """Return the network's input for grids, float32, shape (n, 3, size, size)."""
        return network_input(grids, self.preprocessing, self.device)

    def place(self, heatmap: np.ndarray, *, cells: CellGrid | None = None) -> np.ndarray:
        """Return a map of cells on the network's own grid, float32, shape (size, size); `cells` are the network's by default."""
        grid, size = cells or self.cells, self.preprocessing.image_size
        own = Framing.whole((size, size))
        return place(heatmap, stride=grid.stride, start=grid.start, preprocessing=self.preprocessing, framing=own)

    def peak(self, heatmap: np.ndarray, *, cells: CellGrid | None = None) -> tuple[float, float] | None:
        """Return row and column of the centre of a map's highest cell on the network's grid, None for a map that is flat.

        Taken from the cells: beyond the outermost centres a placed map is even, so its highest pixel would be the first of many.
        """
        highest = peak_of(heatmap)
        grid, last = cells or self.cells, self.preprocessing.image_size - 1.0
        if highest is None:
            return None
        row, column = (min(max(grid.start + grid.stride * cell, 0.0), last) for cell in highest)
        return row, column
