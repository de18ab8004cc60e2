"""Writing files so that a reader never meets half of one."""

import errno
import os
import re
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

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


def remove_torn(folder: Path, name: str = "") -> None:
    """Remove temporary files of `write_atomically` that a killed program left behind.

    Args:
        folder: Where they lie; it may not exist.
        name: Of the file that was to be written; of any where it is empty.
    """
    torn = re.compile((re.escape(name) or ".+") + r"\.\d+\.part")
    with suppress(OSError):
        for path in folder.iterdir():
            if torn.fullmatch(path.name):
                path.unlink()


def refuse_closed_folder(folder: Path, *, option: str) -> None:
    """Raise when nothing can be written into a folder, before hours of work are put into what would go there.

    It is tried, not asked: permissions say nothing to root, of read-only disks, or of a file where a folder is needed. Nothing
    is left behind; a folder that does not exist yet is not made.

    Args:
        folder: Where something will be written; it may not exist yet.
        option: What chooses the place on the command line.

    Raises:
        OutputError: The folder, or the nearest one above it that exists, cannot be written.
    """
    place = folder.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        with TemporaryDirectory(prefix=".tumorscope-", dir=place):
            pass
    except OSError as error:
        raise output_error(folder, error, option=option) from error


def output_error(path: Path, error: OSError, *, option: str = "place") -> OutputError:
    """Return what to tell a user whose file could not be written; `option` is what chooses the place."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OutputError(f"{path}: the disk is full. What was finished is kept; free some space and run the same command again.")
    return OutputError(f"{path}: cannot be written ({error.strerror}). Choose another {option}, or change its permissions.")
