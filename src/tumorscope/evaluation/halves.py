"""An external set cut in two: one half may choose between ways to train, the other is only for the final figure."""

import hashlib
from collections.abc import Sequence

import numpy as np

CHOOSING, FINAL = "choosing", "final"


def final_half(groups: Sequence[str], paths: Sequence[str]) -> np.ndarray:
    """Return which images belong to the half for the final figure.

    An image's half is the last bit of the SHA-256 digest of its group's name, or of its path where it has no group: all copies of
    a slice fall into one half, whatever else is in the set, and nobody chose it. Names of groups come from pixels (`audit`), so
    that the halves are the same everywhere.

    Args:
        groups: Group of each image, empty where it has none.
        paths: Path of each image.

    Returns:
        bool, shape (n,).
    """
    names = [group or path for group, path in zip(groups, paths, strict=True)]
    return np.array([hashlib.sha256(name.encode()).digest()[-1] % 2 == 1 for name in names], dtype=bool)
