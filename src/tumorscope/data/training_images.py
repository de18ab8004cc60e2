"""What a network is trained on: decoded images of a run, their outlines, and counterfactual scans made of them."""

from dataclasses import dataclass, field

import numpy as np

from tumorscope.data.pixel_cache import PixelCache
from tumorscope.errors import ManifestError


@dataclass(frozen=True, slots=True, eq=False)
class TrainingImages:
    """The images of a run and what helps to train on them; rows from `len(cache)` on are the edited scans.

    Attributes:
        cache: Every image of the split manifest.
        masks: Outlines of the tumours of `cache` on the network's grid, bool, shape of its grids; None where not needed.
        edited: Counterfactual scans made of the training images alone, or None.
        edited_masks: Their outlines, likewise.
    """

    cache: PixelCache
    masks: np.ndarray | None = None
    edited: PixelCache | None = None
    edited_masks: np.ndarray | None = None
    _labels: np.ndarray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        labels = [cache.label_index for cache in (self.cache, self.edited) if cache is not None]
        object.__setattr__(self, "_labels", np.concatenate(labels))
        for cache, masks in ((self.cache, self.masks), (self.edited, self.edited_masks)):
            if masks is not None and (cache is None or masks.shape != cache.grids.shape or masks.dtype != np.bool_):
                raise ManifestError(f"masks of {masks.dtype} {masks.shape}: bool is needed, one for each image, of its size.")
        if self.edited is not None and (self.masks is None) != (self.edited_masks is None):
            raise ManifestError("outlines of the images but not of the edited scans, or the other way round: give both or none.")

    def __len__(self) -> int:
        return len(self.cache.manifest) + (0 if self.edited is None else len(self.edited.manifest))

    @property
    def edited_rows(self) -> np.ndarray:
        """Rows of the edited scans, int64."""
        return np.arange(len(self.cache.manifest), len(self), dtype=np.int64)

    @property
    def outlined(self) -> int:
        """Number of training images, edited ones included, that show a tumour with its outline."""
        return _outlined(self.cache, self.masks) + _outlined(self.edited, self.edited_masks)

    def at(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Return grids, label indices and masks of some rows, in their order.

        Returns:
            uint8 (n, size, size), int64 (n,), and bool (n, size, size) or None.
        """
        first = len(self.cache.manifest)
        late = np.flatnonzero(rows >= first)
        own = np.where(rows < first, rows, 0)
        grids = self.cache.grids[own]
        masks = None if self.masks is None else self.masks[own]
        if len(late):
            assert self.edited is not None
            grids[late] = self.edited.grids[rows[late] - first]
            if masks is not None:
                assert self.edited_masks is not None
                masks[late] = self.edited_masks[rows[late] - first]
        return grids, self._labels[rows], masks


def edited_count(images: int, share: float) -> int:
    """Return how many edited scans go with so many images for the edited ones to be that share of all, 0 to below 1."""
    return round(images * share / (1 - share))


def _outlined(cache: PixelCache | None, masks: np.ndarray | None) -> int:
    return 0 if cache is None or masks is None else int(np.any(masks, axis=(1, 2))[cache.rows("train")].sum())
