"""Where a map's cells lie on a scan: from the feature map's grid to the scan's own. Numpy only."""

import numpy as np

from tumorscope.data.preprocess import Framing, Preprocessing


def place(heatmap: np.ndarray, *, stride: float, start: float, preprocessing: Preprocessing, framing: Framing) -> np.ndarray:
    """Return a heatmap on the scan's own grid, each cell where the network really looked.

    Between cell centres values are interpolated linearly; beyond the outermost centres the nearest cell counts. With
    symmetric padding the cells of a strided network are not centred in equal tiles of the image, as ordinary upsampling
    assumes, so `stride` and `start` must come from the network (`Classifier.cell_grid`).

    Args:
        heatmap: float, shape (cell rows, cell columns).
        stride: Distance of cell centres in pixels of the network's grid.
        start: Centre of the first cell in pixels of the network's grid.
        preprocessing: How the scan came onto the network's grid.
        framing: Which part of the scan that is.

    Returns:
        float32, shape (rows, columns), in the unit of `heatmap`.
    """
    height, width = framing.shape
    rows, columns = preprocessing.to_grid(np.arange(height, dtype=float), np.arange(width, dtype=float), framing)
    along_rows = _interpolation((rows - start) / stride, heatmap.shape[0])
    along_columns = _interpolation((columns - start) / stride, heatmap.shape[1])
    # Not by `@`: on products this small the threads of a linear algebra library wait for each other.
    placed: np.ndarray = np.einsum("ri,ic->rc", along_rows, np.einsum("ij,cj->ic", heatmap.astype(np.float32), along_columns))
    return placed


def _interpolation(positions: np.ndarray, cells: int) -> np.ndarray:
    """Weights (positions, cells) of linear interpolation at fractional cell positions, clamped at both ends."""
    clamped = positions.clip(0, cells - 1)
    weights = np.clip(1 - np.abs(clamped[:, None] - np.arange(cells)[None, :]), 0, None)
    result: np.ndarray = weights.astype(np.float32)
    return result
