"""The torch side of a PixelCache: whole batches, and the only place with augmentation."""

from collections.abc import Iterator
from typing import Any

import kornia.augmentation as K  # noqa: N812 - the library's own short name
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset, Sampler

from tumorscope.data.augmentation import Augmentation
from tumorscope.data.pixel_cache import PixelCache
from tumorscope.data.preprocess import Preprocessing

Batch = tuple[Tensor, Tensor]


class BatchedRows(Dataset[Batch]):
    """Images of a pixel cache by whole batches: an item is a batch, its key a list of rows."""

    def __init__(self, cache: PixelCache) -> None:
        self._grids = cache.grids
        self._labels = cache.label_index

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, rows: list[int]) -> Batch:
        """Return uint8 images of shape (batch, 1, size, size) and int64 label indices of shape (batch,)."""
        return torch.from_numpy(self._grids[rows][:, None]), torch.from_numpy(self._labels[rows])


class EpochOrder(Sampler[list[int]]):
    """Batches of rows, shuffled by seed and epoch alone, so that a resumed training sees what an unbroken one saw.

    Args:
        rows: Positions in a pixel cache, int64.
        batch_size: Rows per batch.
        seed: Of the shuffling; None keeps the order and every row.
    """

    def __init__(self, rows: np.ndarray, *, batch_size: int, seed: int | None) -> None:
        self._rows = rows
        self._batch_size = batch_size
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order comes next; the training loop calls it."""
        self._epoch = epoch

    def __len__(self) -> int:
        full, rest = divmod(len(self._rows), self._batch_size)
        # One image alone cannot be batch-normalised, so in training it waits for an epoch that draws it earlier.
        return full + (rest > (0 if self._seed is None else 1))

    def __iter__(self) -> Iterator[list[int]]:
        rows = self._rows
        if self._seed is not None:
            rows = np.random.default_rng((self._seed, self._epoch)).permutation(rows)
        for batch in range(len(self)):
            yield rows[batch * self._batch_size : (batch + 1) * self._batch_size].tolist()


def batches(cache: PixelCache, split: str, *, batch_size: int, seed: int | None = None) -> DataLoader[Batch]:
    """Return a loader of whole batches of one split.

    Args:
        cache: Decoded images.
        split: `train`, `validation` or `test`.
        batch_size: Images per batch; the last batch may be smaller.
        seed: Shuffles by this and the sampler's epoch; None keeps the manifest's order.

    Returns:
        A loader of (images uint8 (batch, 1, size, size), label indices int64 (batch,)).
    """
    order = EpochOrder(cache.rows(split), batch_size=batch_size, seed=seed)
    # A generator of its own, or making an iterator would draw from the global one and shift every later draw.
    return DataLoader(BatchedRows(cache), sampler=order, batch_size=None, generator=torch.Generator())


def augmenter(augmentation: Augmentation) -> torch.nn.Module:
    """Return a module that augments float images of shape (batch, 1, h, w) and range 0 to 1, each by its own draw.

    It draws from torch's global generator, which the training loop seeds at every epoch.
    """
    steps: list[Any] = []
    if augmentation.flip:
        steps.append(K.RandomHorizontalFlip(p=augmentation.flip))
    if augmentation.rotation_deg or augmentation.shift or augmentation.zoom != (1.0, 1.0):
        shift = (augmentation.shift, augmentation.shift) if augmentation.shift else None
        steps.append(K.RandomAffine(degrees=augmentation.rotation_deg, translate=shift, scale=augmentation.zoom, p=1.0))
    if augmentation.contrast:
        steps.append(K.RandomContrast((1 - augmentation.contrast, 1 + augmentation.contrast), p=1.0))
    if augmentation.brightness:
        steps.append(K.RandomBrightness((1 - augmentation.brightness, 1 + augmentation.brightness), p=1.0))
    return K.AugmentationSequential(*steps, data_keys=["input"]) if steps else torch.nn.Identity()


def resize(images: Tensor, size: int) -> Tensor:
    """Return square images of shape (batch, 1, h, h) at another size, widened filters when shrinking."""
    if images.shape[-1] == size:
        return images
    return functional.interpolate(images, size=(size, size), mode="bilinear", antialias=True, align_corners=False)


def normalise(images: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Return the network's input, the torch twin of `Preprocessing.normalise`.

    Args:
        images: float32, shape (batch, 1, h, w), range 0 to 1.
        preprocessing: Holds mean and deviation.

    Returns:
        float32, shape (batch, 3, h, w), channels last in memory.
    """
    mean = torch.tensor(preprocessing.mean, device=images.device)[:, None, None]
    std = torch.tensor(preprocessing.std, device=images.device)[:, None, None]
    return ((images - mean) / std).contiguous(memory_format=torch.channels_last)
