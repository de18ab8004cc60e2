"""Scan to the array a network takes, and a map back onto the scan's grid. No torch; stored with the weights."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np

from tumorscope.data.head import head_mask
from tumorscope.data.windowing import WINDOWING, Windowing, stretch
from tumorscope.errors import RecipeError
from tumorscope.scan import Scan

_HEAD_MARGIN = 0.04


@dataclass(frozen=True, slots=True)
class Framing:
    """The part of a scan that a network gets to see.

    Attributes:
        shape: Rows and columns of the whole scan.
        top: First row of the part.
        left: First column.
        rows: Number of its rows.
        columns: Number of its columns.
    """

    shape: tuple[int, int]
    top: int
    left: int
    rows: int
    columns: int

    @classmethod
    def whole(cls, shape: tuple[int, int]) -> "Framing":
        """Return the framing that leaves nothing out."""
        return cls(shape, 0, 0, *shape)

    def cut(self, pixels: np.ndarray) -> np.ndarray:
        """Return the part of an array of the scan's shape."""
        return pixels[self.top : self.top + self.rows, self.left : self.left + self.columns]


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """What happens to every scan before every network, in training, evaluation and prediction alike.

    Attributes:
        image_size: Rows and columns of the square that the network sees, in pixels.
        frame: `head` cuts a scan to the head and a margin, so that the framing of its source is gone; `whole` takes all of it.
        fit: `pad` keeps the proportions of that and centres it on black; `stretch` ignores them.
        low_percentile: Intensity of other than 8-bit scans that becomes 0, in percent; 8-bit scans are taken as they are.
        high_percentile: Likewise for 255.
        mean: Subtracted from each of the three channels after division by 255.
        std: Divides each channel after that.
        windowing: The rule by which intensities become 8 bits; see `windowing`.
    """

    image_size: int = 224
    frame: Literal["whole", "head"] = "whole"
    fit: Literal["pad", "stretch"] = "pad"
    low_percentile: float = 0.5
    high_percentile: float = 99.5
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    windowing: Windowing = WINDOWING

    def __post_init__(self) -> None:
        if not 32 <= self.image_size <= 1024:
            raise RecipeError(f"image_size {self.image_size}: allowed are 32 to 1024 pixels.")
        if self.frame not in ("whole", "head"):
            raise RecipeError(f"frame {self.frame!r}: allowed are whole and head.")
        if self.fit not in ("pad", "stretch"):
            raise RecipeError(f"fit {self.fit!r}: allowed are pad and stretch.")
        if self.windowing != WINDOWING:
            raise RecipeError(f"windowing {self.windowing!r}: this version knows {WINDOWING} only.")
        if not 0 <= self.low_percentile < self.high_percentile <= 100:
            raise RecipeError(
                f"percentiles {self.low_percentile}, {self.high_percentile}: allowed are 0 to 100, the low one below the high one."
            )
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise RecipeError(f"mean {self.mean} and std {self.std}: three numbers each are needed, every std above 0.")

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Preprocessing":
        """Build from what `to_json` returned."""
        fields: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
        return cls(**fields)

    def grid(self, scan: Scan) -> np.ndarray:
        """Return the scan on the network's grid.

        Returns:
            uint8, shape (image_size, image_size). Rounding here is part of preprocessing, so a cached array and a fresh
            one give the same probabilities.
        """
        return self.framed_grid(self.eight_bit(scan.pixels))[0]

    def framed_grid(self, eight_bit: np.ndarray) -> tuple[np.ndarray, Framing]:
        """Return a scan on the network's grid, as `grid` does, and the part of it that is there, found once for both.

        Args:
            eight_bit: The scan's intensities from `eight_bit`, uint8, shape (rows, columns).
        """
        framing = self._framed_of(eight_bit)
        part = framing.cut(eight_bit)
        rows, columns = self._fitted(part.shape)
        inner = part if (rows, columns) == part.shape else np.rint(_resized(part, rows, columns))
        return self._framed(inner.astype(np.uint8)), framing

    def framing(self, scan: Scan) -> Framing:
        """Return the part of a scan that goes onto the grid; the whole of it where no head can be made out."""
        return Framing.whole(scan.shape) if self.frame == "whole" else self._framed_of(self.eight_bit(scan.pixels))

    def _framed_of(self, eight_bit: np.ndarray) -> Framing:
        whole = Framing.whole((eight_bit.shape[0], eight_bit.shape[1]))
        if self.frame == "whole":
            return whole
        head = head_mask(eight_bit)
        if not head.any():
            return whole
        around = round(_HEAD_MARGIN * max(eight_bit.shape))
        (top, rows), (left, columns) = (_span(np.flatnonzero(head.any(axis=axis)), head.shape[1 - axis], around) for axis in (1, 0))
        return Framing(whole.shape, top, left, rows, columns)

    def eight_bit(self, pixels: np.ndarray) -> np.ndarray:
        """Return a scan's intensities as they are shown and trained on: uint8, same shape, 8-bit scans as they are."""
        return stretch(pixels, low_percentile=self.low_percentile, high_percentile=self.high_percentile)

    def grid_mask(self, mask: np.ndarray, framing: Framing) -> np.ndarray:
        """Return a mask of the scan on the network's grid: true where at least half of a cell is covered.

        Args:
            mask: bool, shape of the scan.
            framing: Of the scan.

        Returns:
            bool, shape (image_size, image_size).
        """
        part = framing.cut(mask)
        rows, columns = self._fitted(part.shape)
        return self._framed(_resized(part, rows, columns) >= 0.5)

    def to_scan(self, rows: np.ndarray, columns: np.ndarray, framing: Framing) -> tuple[np.ndarray, np.ndarray]:
        """Map points from the network's grid onto the scan's own grid.

        Args:
            rows: Positions in pixels of the network's grid, pixel centres at whole numbers, float.
            columns: Likewise.
            framing: Of the scan.

        Returns:
            The positions in pixels of the scan, outside of its part where the point lay in the padding.
        """
        part = framing.rows, framing.columns
        fitted, (top, left) = self._fitted(part), self._corner(part)
        return (
            (rows - top + 0.5) * (part[0] / fitted[0]) - 0.5 + framing.top,
            (columns - left + 0.5) * (part[1] / fitted[1]) - 0.5 + framing.left,
        )

    def to_grid(self, rows: np.ndarray, columns: np.ndarray, framing: Framing) -> tuple[np.ndarray, np.ndarray]:
        """Map points from the scan's own grid onto the network's: the inverse of `to_scan`."""
        part = framing.rows, framing.columns
        fitted, (top, left) = self._fitted(part), self._corner(part)
        return (
            (rows - framing.top + 0.5) * (fitted[0] / part[0]) - 0.5 + top,
            (columns - framing.left + 0.5) * (fitted[1] / part[1]) - 0.5 + left,
        )

    def normalise(self, grids: np.ndarray) -> np.ndarray:
        """Return the network's input for a batch of grids.

        Args:
            grids: uint8, shape (batch, image_size, image_size).

        Returns:
            float32, shape (batch, 3, image_size, image_size): the grey value in every channel, by mean and deviation.
        """
        grey = grids[:, None].astype(np.float32) / 255
        mean = np.array(self.mean, dtype=np.float32)[:, None, None]
        std = np.array(self.std, dtype=np.float32)[:, None, None]
        normalised: np.ndarray = (grey - mean) / std
        return normalised

    def _corner(self, shape: tuple[int, ...]) -> tuple[int, int]:
        rows, columns = self._fitted(shape)
        return (self.image_size - rows) // 2, (self.image_size - columns) // 2

    def _framed(self, inner: np.ndarray) -> np.ndarray:
        result = np.zeros((self.image_size, self.image_size), dtype=inner.dtype)
        top, left = (self.image_size - inner.shape[0]) // 2, (self.image_size - inner.shape[1]) // 2
        result[top : top + inner.shape[0], left : left + inner.shape[1]] = inner
        return result

    def _fitted(self, shape: tuple[int, ...]) -> tuple[int, int]:
        if self.fit == "stretch":
            return self.image_size, self.image_size
        scale = self.image_size / max(shape)
        return max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale))


def _span(places: np.ndarray, length: int, around: int) -> tuple[int, int]:
    """Return where ordered places along an axis begin, with a margin as far as there is room, and how long they reach."""
    first, after = max(0, int(places[0]) - around), min(length, int(places[-1]) + 1 + around)
    return first, after - first


def _resized(part: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Return an array at another size, float32, by linear interpolation, widened when shrinking so that no pixel is skipped.

    Not by products of matrices: threads that decode many files at once would wait for the threads of a linear algebra library,
    and its roundings differ from machine to machine.
    """
    shorter = _along_rows(part.astype(np.float32), rows)
    resized: np.ndarray = _along_rows(np.ascontiguousarray(shorter.T), columns).T
    return resized


def _along_rows(values: np.ndarray, size: int) -> np.ndarray:
    taps = _taps(len(values), size)
    result: np.ndarray = values[taps[0][0]] * taps[0][1]
    for places, weights in taps[1:]:
        result += values[places] * weights
    return result


@lru_cache(maxsize=512)
def _taps(size_in: int, size_out: int) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """For every result the inputs that it is made of, one after the other: places (size_out,) and weights (size_out, 1)."""
    scale = size_in / size_out
    centres = (np.arange(size_out) + 0.5) * scale - 0.5
    distance = np.abs(np.arange(size_in)[None, :] - centres[:, None])
    weights = np.clip(1 - distance / max(scale, 1.0), 0, None)
    weights = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    count = int((weights > 0).sum(axis=1).max())
    first = np.minimum((weights > 0).argmax(axis=1), size_in - count)
    places = first[:, None] + np.arange(count)
    chosen = np.take_along_axis(weights, places, axis=1)
    return tuple((places[:, tap].copy(), chosen[:, tap, None].copy()) for tap in range(count))
