"""Files that are numbered one after the other, as the slices of one acquisition often are."""

import re
from collections.abc import Sequence

import numpy as np

_LAST_NUMBER = re.compile(r"(.*?)(\d+)(\D*)", re.DOTALL)


def consecutive(paths: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of images whose paths differ by one in their last number and in nothing else.

    Leading zeros do not matter: `scan_9.png` is followed by `scan_10.png` and `scan_009.png` by `scan_010.png`.

    Args:
        paths: As the manifest spells them; items of an archive are numbered too.

    Returns:
        Rows and the rows that follow them, int64, shape (pairs,).
    """
    parsed = [_LAST_NUMBER.fullmatch(path) for path in paths]
    rows = {(found[1], int(found[2]), found[3]): row for row, found in enumerate(parsed) if found}
    next_row = [(row, rows.get((before, number + 1, after))) for (before, number, after), row in rows.items()]
    pairs = [(row, other) for row, other in next_row if other is not None]
    first, second = zip(*pairs, strict=True) if pairs else ((), ())
    return np.array(first, dtype=np.int64), np.array(second, dtype=np.int64)
