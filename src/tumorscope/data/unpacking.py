"""ZIP archives of strangers -> a folder, all of it or nothing."""

import shutil
import stat
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath

from tumorscope.errors import SourceError
from tumorscope.storage import output_error

MAX_BYTES = 8 * 2**30
MAX_FILES = 100_000

_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError)


def unpack(archives: Sequence[Path], folder: Path, *, max_bytes: int = MAX_BYTES, max_files: int = MAX_FILES) -> None:
    """Unpack ZIP archives side by side into a folder that does not exist yet; it appears when all of them are unpacked.

    Every name is looked at before the first byte is written.

    Args:
        archives: ZIP files.
        folder: Where; its parent is made when missing.
        max_bytes: Most bytes that all archives may hold, unpacked.
        max_files: Most entries that all archives may hold.

    Raises:
        SourceError: An archive is broken, encrypted or too large, or an entry would lie outside the folder or is a link.
        OutputError: The place cannot be written or the disk is full.
    """
    _refuse_too_much({path: _safe_entries(path) for path in archives}, max_bytes, max_files)
    partial = folder.with_name(f"{folder.name}.part")
    try:
        if partial.exists():
            shutil.rmtree(partial)
        partial.mkdir(parents=True)
        for path in archives:
            _extract(path, partial)
        partial.replace(folder)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise output_error(folder, error, option="--home") from error


def _extract(path: Path, folder: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            archive.extractall(folder)
    except _BROKEN as error:
        raise SourceError(_broken(path, error)) from error


def _broken(path: Path, error: Exception) -> str:
    return f"{path}: not a whole ZIP file ({error}). Delete it and fetch it again."


def _safe_entries(path: Path) -> list[zipfile.ZipInfo]:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except _BROKEN as error:
        raise SourceError(_broken(path, error)) from error
    except OSError as error:
        raise SourceError(f"{path}: cannot be read ({error.strerror}).") from error
    for entry in entries:
        reason = _refusal(entry)
        if reason:
            raise SourceError(f"{path}: the entry {entry.filename!r} {reason}. Nothing was unpacked; do not trust this archive.")
    return entries


def _refusal(entry: zipfile.ZipInfo) -> str:
    # A name may be written for either kind of system, whatever system this is.
    name = entry.orig_filename
    outside = ".." in PurePosixPath(name).parts or ".." in PureWindowsPath(name).parts
    if outside or name.startswith(("/", "\\")) or PureWindowsPath(name).drive:
        return "would lie outside the folder"
    if stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link or a device, not a file"
    return "is encrypted" if entry.flag_bits & 1 else ""


def _refuse_too_much(entries: dict[Path, list[zipfile.ZipInfo]], max_bytes: int, max_files: int) -> None:
    size = sum(entry.file_size for listed in entries.values() for entry in listed)
    count = sum(len(listed) for listed in entries.values())
    if size > max_bytes or count > max_files:
        raise SourceError(
            f"{', '.join(path.name for path in entries)}: {count:,} entries of {size:,} bytes unpacked; at most {max_files:,} "
            f"entries and {max_bytes:,} bytes are allowed. Nothing was unpacked."
        )
