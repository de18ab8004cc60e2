"""A setting of the C library that training on a CPU gains from."""

import ctypes
import sys

# Numbers of the parameters in glibc's malloc.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4


def keep_freed_memory() -> bool:
    """Tell the C library to keep what a training step frees for the next one, and return whether it listened.

    A step allocates and frees the same hundreds of megabytes again and again. By default glibc hands each large block back to
    the system, which clears it page by page when it is asked for again; that costs a tenth to a third of a step. It holds for the
    whole process, so it belongs into programs and not into library calls.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    wanted = {_MMAP_MAX: 0, _TRIM_THRESHOLD: -1, _TOP_PAD: 256 << 20}
    return all(mallopt(parameter, value) == 1 for parameter, value in wanted.items())
