"""One function for every image of a set, on all processors."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from tumorscope.data.decode import picture_warnings_off

T = TypeVar("T")


def in_threads(one: Callable[[int], T], count: int, progress: Callable[[int, int], None] | None) -> Iterator[T]:
    """Yield what `one` returns for 0, 1 and so on up to `count`, in this order; the libraries of formats warn of nothing."""
    with picture_warnings_off(), ThreadPoolExecutor(os.cpu_count()) as pool:
        for done, result in enumerate(pool.map(one, range(count)), start=1):
            if progress is not None and (done % 64 == 0 or done == count):
                progress(done, count)
            yield result
