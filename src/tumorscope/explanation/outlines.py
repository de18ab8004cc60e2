"""The outlines of tumours on the network's grid, as far as they can be used."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from tumorscope.data.pixel_cache import outline_on_grid
from tumorscope.data.preprocess import Preprocessing
from tumorscope.errors import DecodeError
from tumorscope.manifest import Manifest, Record


@dataclass(frozen=True, slots=True, eq=False)
class Outlines:
    """The masks of some images.

    Attributes:
        masks: bool, shape (size, size) each, never empty; None for an image without a usable outline.
        pixel_mm: Height and width of a pixel of the grid in millimetres, None where the scan does not know its spacing.
        notes: Which outlines cannot be used, and why, in sentences.
    """

    masks: tuple[np.ndarray | None, ...]
    pixel_mm: tuple[tuple[float, float] | None, ...]
    notes: tuple[str, ...]


def read_outlines(manifest: Manifest, rows: Iterable[int], preprocessing: Preprocessing) -> Outlines:
    """Return the outlines of the images at some rows of a manifest.

    A mask that cannot be read or has another size than its scan, or one that is empty on the grid, is left out and named in
    the notes: one bad file shall not cost the explanation of all others.
    """
    masks, sizes, empty, refused = [], [], [], []
    for row in rows:
        record = manifest.records[row]
        mask, pixel_mm = None, None
        if record.mask:
            try:
                mask, pixel_mm = _on_grid(manifest, record, preprocessing)
            except DecodeError as error:
                refused.append(str(error))
            else:
                if not mask.any():
                    empty.append(record.path)
        masks.append(None if mask is None or not mask.any() else mask)
        sizes.append(pixel_mm)
    notes = [_left_out(refused, "Masks that cannot be used")] if refused else []
    notes += [_left_out(empty, "Masks without any tumour at this resolution")] if empty else []
    return Outlines(tuple(masks), tuple(sizes), tuple(notes))


def _left_out(names: Sequence[str], what: str) -> str:
    return f"{what}: {len(names):,}; their images count as images without an outline (first: {names[0]})."


def _on_grid(manifest: Manifest, record: Record, preprocessing: Preprocessing) -> tuple[np.ndarray, tuple[float, float] | None]:
    mask, scan = outline_on_grid(manifest, record, preprocessing)
    if scan.spacing_mm is None:
        return mask, None
    rows, columns = preprocessing.to_scan(np.array([0.0, 1.0]), np.array([0.0, 1.0]), preprocessing.framing(scan))
    return mask, (float(np.diff(rows)[0]) * scan.spacing_mm[0], float(np.diff(columns)[0]) * scan.spacing_mm[1])
