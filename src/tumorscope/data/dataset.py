"""The torch side of a PixelCache: whole batches, and the only place with augmentation."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import kornia.augmentation as K  # noqa: N812 - the library's own short name
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset, Sampler

from tumorscope.data.augmentation import Augmentation
from tumorscope.data.intensity import draw, random_bias_field, random_coarse, random_curve, random_gamma, random_noise
from tumorscope.data.lesions import UNSTATED, drawn_lesions, recoloured
from tumorscope.data.pixel_cache import PixelCache
from tumorscope.data.preprocess import Preprocessing
from tumorscope.data.training_images import TrainingImages, edited_count
from tumorscope.labels import LABELS, NO_TUMOUR


class Batch(NamedTuple):
    """Some images of one split.

    Attributes:
        images: uint8, shape (batch, 1, size, size).
        labels: Positions in `LABELS`, int64, shape (batch,); `lesions.UNSTATED` for a tumour of unstated
            type.
        masks: Where the tumour is, bool, shape of `images`, all false without an outline; None where no masks are needed.
    """

    images: Tensor
    labels: Tensor
    masks: Tensor | None = None


class BatchedRows(Dataset[Batch]):
    """Images by whole batches: an item is a batch, its key a list of rows."""

    def __init__(self, images: TrainingImages) -> None:
        self._images = images

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, rows: list[int]) -> Batch:
        """Return the images at some rows."""
        grids, labels, masks = self._images.at(np.array(rows, dtype=np.int64))
        return Batch(
            torch.from_numpy(grids[:, None]), torch.from_numpy(labels), None if masks is None else torch.from_numpy(masks[:, None])
        )


class Part(NamedTuple):
    """Which rows of a batch a process takes where several train together: every `of`-th, from the `rank`-th on."""

    rank: int = 0
    of: int = 1


WHOLE = Part()


class EpochOrder(Sampler[list[int]]):
    """Batches of rows, shuffled by seed and epoch alone, so that a resumed training sees what an unbroken one saw.

    Processes that train together draw the same batches and divide each of them, so that a step sees the images that it would see
    in one process.

    Args:
        rows: Positions of images, int64.
        batch_size: Rows per batch, over all processes.
        seed: Of the shuffling; None keeps the order and every row.
        weights: How often each of `rows` is drawn in an epoch of as many draws; None takes each once.
        edited: Positions of counterfactual scans, int64.
        edited_share: Share of an epoch that is drawn from `edited`, added to as many draws from `rows` as there are.
        part: What this process takes of every batch.
    """

    def __init__(
        self,
        rows: np.ndarray,
        *,
        batch_size: int,
        seed: int | None,
        weights: np.ndarray | None = None,
        edited: np.ndarray | None = None,
        edited_share: float = 0.0,
        part: Part = WHOLE,
    ) -> None:
        self._rows = rows
        self._batch_size = batch_size
        self._seed = seed
        self._weights = weights
        self._edited = np.empty(0, dtype=np.int64) if edited is None else edited
        self._more = edited_count(len(rows), edited_share) if len(self._edited) else 0
        self._part = part
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order comes next; the training loop calls it."""
        self._epoch = epoch

    def __len__(self) -> int:
        full, rest = divmod(len(self._rows) + self._more, self._batch_size)
        # One image alone cannot be batch-normalised, so in training it waits for an epoch that draws it earlier.
        return full + (rest >= (1 if self._seed is None else 2 * self._part.of))

    def weight(self, batch: int) -> float:
        """Return how much this process's mean over its part of a batch counts, 1 where all parts are of one size.

        The mean of all processes' means, each multiplied by its weight, is the mean over the whole batch.
        """
        rank, of = self._part
        whole = min(self._batch_size, len(self._rows) + self._more - batch * self._batch_size)
        return len(range(rank, whole, of)) * of / whole

    def __iter__(self) -> Iterator[list[int]]:
        rows = self._rows if self._seed is None else self._drawn(np.random.default_rng((self._seed, self._epoch)))
        for batch in range(len(self)):
            yield rows[batch * self._batch_size : (batch + 1) * self._batch_size][self._part.rank :: self._part.of].tolist()

    def _drawn(self, rng: np.random.Generator) -> np.ndarray:
        rows = self._rows
        if self._weights is not None:
            rows = rng.choice(rows, size=len(rows), p=self._weights / self._weights.sum())
        if self._more:
            # Whole passes over the edited scans, and a part of them.
            passes = [rng.permutation(self._edited) for _ in range(-(-self._more // len(self._edited)))]
            rows = np.concatenate([rows, np.concatenate(passes)[: self._more]])
        return rng.permutation(rows)


def batches(cache: PixelCache, split: str, *, batch_size: int, part: Part = WHOLE) -> DataLoader[Batch]:
    """Return a loader of whole batches of one split in the manifest's order, without masks; the last batch may be smaller.

    Args:
        cache: Decoded images.
        split: `train`, `validation` or `test`.
        batch_size: Images per batch.
        part: What this process takes of the split; no image is taken twice.
    """
    return _loader(TrainingImages(cache), EpochOrder(cache.rows(split)[part.rank :: part.of], batch_size=batch_size, seed=None))


def training_batches(
    images: TrainingImages,
    *,
    batch_size: int,
    seed: int,
    balanced: bool = False,
    edited_share: float = 0.0,
    part: Part = WHOLE,
) -> DataLoader[Batch]:
    """Return a loader of shuffled batches of the training images.

    Args:
        images: Decoded images.
        batch_size: Images per batch, over all processes.
        seed: Shuffles, together with the sampler's epoch.
        balanced: Whether every label is drawn as often as every other from the images that are not edited, some of them then more
            than once an epoch.
        edited_share: Share of counterfactual scans in an epoch, 0 to below 1; without any such scans there are none.
        part: What this process takes of every batch.
    """
    rows = images.cache.rows("train")
    labels = images.cache.label_index[rows]
    order = EpochOrder(
        rows,
        batch_size=batch_size,
        seed=seed,
        weights=(1 / np.maximum(np.bincount(labels), 1))[labels] if balanced else None,
        edited=images.edited_rows,
        edited_share=edited_share,
        part=part,
    )
    return _loader(images, order)


def _loader(images: TrainingImages, order: EpochOrder) -> DataLoader[Batch]:
    # A generator of its own, or making an iterator would draw from the global one and shift every later draw.
    return DataLoader(BatchedRows(images), sampler=order, batch_size=None, generator=torch.Generator())


class Augmenter(torch.nn.Module):
    """Changes images at random, and their masks and labels with them.

    It draws from torch's global generator, which the training loop seeds at every epoch.
    """

    def __init__(self, augmentation: Augmentation) -> None:
        super().__init__()
        self._choice = augmentation
        steps: list[Any] = []
        if augmentation.flip:
            steps.append(K.RandomHorizontalFlip(p=augmentation.flip))
        if augmentation.rotation_deg or augmentation.shift or augmentation.zoom != (1.0, 1.0):
            shift = (augmentation.shift, augmentation.shift) if augmentation.shift else None
            steps.append(K.RandomAffine(degrees=augmentation.rotation_deg, translate=shift, scale=augmentation.zoom, p=1.0))
        self._geometry = K.AugmentationSequential(*steps, data_keys=["input"]) if steps else None
        levels: list[Any] = []
        if augmentation.contrast:
            levels.append(K.RandomContrast((1 - augmentation.contrast, 1 + augmentation.contrast), p=1.0))
        if augmentation.brightness:
            levels.append(K.RandomBrightness((1 - augmentation.brightness, 1 + augmentation.brightness), p=1.0))
        self._levels = K.AugmentationSequential(*levels, data_keys=["input"]) if levels else None

    def forward(self, batch: Batch) -> Batch:
        """Return a changed batch.

        Args:
            batch: Images float, range 0 to 1; masks float, 1 where the tumour is, or None.
        """
        images, labels = batch.images, batch.labels
        masks = batch.masks
        if self._geometry is not None and masks is not None:
            images, masks = self._geometry(images, masks, data_keys=["input", "mask"])
        elif self._geometry is not None:
            images = self._geometry(images)
        if self._choice.recoloured and masks is not None:
            images, changed = recoloured(images, masks, self._choice.recoloured)
            labels = labels.masked_fill(changed, UNSTATED)
        if self._choice.drawn:
            images, masks, labels = self._drawn(images, masks, labels)
        return Batch(self._changed_levels(images), labels, masks)

    def _drawn(self, images: Tensor, masks: Tensor | None, labels: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
        """Draw lesions into some scans without a tumour."""
        healthy = labels == LABELS.index(NO_TUMOUR)
        chosen = (healthy & (torch.rand(len(labels), device=labels.device) < self._choice.drawn)).nonzero()[:, 0]
        if not len(chosen):
            return images, masks, labels
        pictures, lesions = drawn_lesions(images[chosen])
        shown = lesions.flatten(1).any(dim=1)
        images = images.index_copy(0, chosen, pictures)
        masks = None if masks is None else masks.index_copy(0, chosen, lesions)
        return images, masks, labels.index_fill(0, chosen[shown], UNSTATED)

    def _changed_levels(self, images: Tensor) -> Tensor:
        choice = self._choice
        if choice.gamma > 1 or choice.curve:
            images = self._curved(images)
        if choice.bias_field:
            images = random_bias_field(images, choice.bias_field)
        if self._levels is not None:
            images = self._levels(images)
        if choice.coarse:
            images = random_coarse(images, choice.coarse)
        return random_noise(images, choice.noise) if choice.noise else images

    def _curved(self, images: Tensor) -> Tensor:
        smooth = random_gamma(images, self._choice.gamma)
        if not self._choice.curve:
            return smooth
        chosen = draw(images) < self._choice.curve
        return torch.where(chosen, random_curve(images), smooth)


def resize(images: Tensor, size: int) -> Tensor:
    """Return square images of shape (batch, 1, h, h) at another size, widened filters when shrinking."""
    if images.shape[-1] == size:
        return images
    return functional.interpolate(images, size=(size, size), mode="bilinear", antialias=True, align_corners=False)


def network_input(grids: np.ndarray, preprocessing: Preprocessing, device: torch.device) -> Tensor:
    """Return the network's input for grids, uint8, shape (n, size, size): float32, shape (n, 3, size, size), channels last."""
    return normalise(torch.from_numpy(np.array(grids[:, None])).to(device).float() / 255, preprocessing)


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
