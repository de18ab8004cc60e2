"""Which series a command is about: the DICOM files of folders, put together by their headers."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tumorscope.data.dicom import read_slices
from tumorscope.data.dicom_series import Series, open_series
from tumorscope.data.opening import may_hold_scans
from tumorscope.errors import DecodeError, UsageError
from tumorscope.streaming import ScanSource, StreamChoices


@dataclass(frozen=True, slots=True)
class SeriesSource:
    """The wanted slices of one series, not decoded yet.

    Attributes:
        path: `FOLDER#series-1`, the number in the order of file names.
        parts: Files in the order of their slices; one with several frames may come more than once.
        slices: Number of slices in all parts.
        notes: What is odd about the series, in sentences.
    """

    path: str
    parts: tuple[ScanSource, ...]
    slices: int
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SeriesFolders:
    """What lies in folders.

    Attributes:
        series: In the order of folders and of first file names.
        refused: Paths that are no part of a series, each with the reason; files that cannot hold scans are left out.
        sha256: Digest of which slices of which files make the series.
    """

    series: tuple[SeriesSource, ...]
    refused: tuple[tuple[str, str], ...]
    sha256: str


def series_of(roots: Sequence[Path], choices: StreamChoices, *, beside: Path) -> SeriesFolders:
    """Put the DICOM files of folders together as series; headers of all files are read, and no pixel is decoded.

    Args:
        roots: Folders.
        choices: Which slices, counted along each series, and whether other modalities than MR are let through.
        beside: Folder of a command's own outputs, which is left out.

    Raises:
        UsageError: A root is no folder.
    """
    series: list[SeriesSource] = []
    refused: list[tuple[str, str]] = []
    digest = hashlib.sha256()
    for root in roots:
        if not root.is_dir():
            raise UsageError(f"{root}: --series takes folders of DICOM files. Give the folder that this file lies in.")
        opened = open_series(root, allow_any=choices.allow_any)
        refused += [(str(path), _line(error)) for path, error in opened.refused if _is_told(path, beside.absolute())]
        for one in opened.series:
            path = f"{root}#{one.name}"
            digest.update(repr((path, [(str(piece.path), piece.index) for piece in one.slices])).encode("utf-8", "surrogatepass"))
            try:
                series.append(_source(path, one, choices))
            except DecodeError as error:
                refused.append((path, _line(error)))
    return SeriesFolders(tuple(series), tuple(refused), digest.hexdigest())


def _is_told(path: Path, beside: Path) -> bool:
    return beside not in path.absolute().parents and may_hold_scans(path)


def _source(path: str, series: Series, choices: StreamChoices) -> SeriesSource:
    parts = tuple(series.parts(choice=choices.slices))
    sources = tuple(ScanSource(str(file), partial(read_slices, file, indices, salt=None)) for file, indices in parts)
    return SeriesSource(path, sources, sum(len(indices) for _, indices in parts), series.notes)


def _line(error: DecodeError) -> str:
    return " ".join(str(error).split())
