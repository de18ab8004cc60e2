"""Files damaged by chance, the same for the same seed."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from tumorscope.errors import DecodeError


def damaged(content: bytes, *, seed: int, places: int, whole: bool) -> bytes:
    """Return content with other bytes in some places, half of them near its start, cut off somewhere unless it stays whole."""
    rng = np.random.default_rng(seed)
    changed = np.frombuffer(content, dtype=np.uint8).copy()
    ends = np.where(rng.random(places) < 0.5, min(len(changed), 600), len(changed))
    changed[rng.integers(0, ends)] = rng.integers(0, 256, places)
    return changed.tobytes()[: None if whole else rng.integers(0, len(changed))]


@contextmanager
def scans_or_refusal() -> Iterator[None]:
    """Let nothing pass but a refusal in one line."""
    refused = ""
    try:
        yield
    except DecodeError as error:
        refused = str(error)
    assert "\n" not in refused
