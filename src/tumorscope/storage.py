"""Writing files so that a reader never meets half of one."""

import errno
import os
from contextlib import suppress
from pathlib import Path

from tumorscope.errors import OutputError


def write_atomically(path: Path, content: str | bytes, *, sync: bool = True) -> None:
    """Write a file under a temporary name and rename it: afterwards it is whole, or it is as it was before.

    Args:
        path: Where; the folder is made when missing.
        content: Text is encoded as UTF-8.
        sync: Wait until the disk has it; False for one of many files that something written last vouches for.

    Raises:
        OutputError: The place cannot be written or the disk is full.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise output_error(path, error) from error


def output_error(path: Path, error: OSError, *, option: str = "--out") -> OutputError:
    """Return what to tell a user whose file could not be written; `option` is what chooses the place."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OutputError(f"{path}: the disk is full. What was finished is kept; free some space and run the same command again.")
    return OutputError(f"{path}: cannot be written ({error.strerror}). Choose another {option}, or change its permissions.")
