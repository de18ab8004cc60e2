"""Which files a command is about: those that were named, and the scans in folders."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from tumorscope.data.opening import may_hold_scans
from tumorscope.errors import SourceError, UsageError


def scan_files(roots: Sequence[Path], *, beside: Path | None = None) -> Iterator[str]:
    """Yield files as they are named, and in folders every file that may hold scans, sorted; nothing is kept in memory.

    Hidden files and folders are passed by, and links to folders are not followed, since they may lead in a circle.

    Args:
        roots: Files and folders, in the order in which they are worked through.
        beside: Folder of a command's own outputs, which is left out.
    """
    for root in roots:
        if root.is_dir():
            yield from _inside(root, None if beside is None else beside.absolute())
        else:
            yield str(root)


def _inside(folder: Path, beside: Path | None) -> Iterator[str]:
    with os.scandir(folder) as entries:
        found = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries if not entry.name.startswith("."))
    for name, is_folder in found:
        path = folder / name
        if is_folder and path.absolute() != beside:
            yield from _inside(path, beside)
        elif not is_folder and may_hold_scans(path):
            yield str(path)


def check_roots(roots: Sequence[Path]) -> None:
    """Refuse what is not there, and files that would be taken twice.

    Raises:
        SourceError: A path does not exist.
        UsageError: A path lies inside another, or is given twice.
    """
    places = [root.resolve() for root in roots]
    for root, place in zip(roots, places, strict=True):
        if not root.exists():
            raise SourceError(f"{root}: no such file or folder. Give files of scans, or folders that hold them.")
        if sum(place == other or other in place.parents for other in places) > 1:
            raise UsageError(f"{root}: given twice, or inside of another folder that is given. Give each once.")
