"""A folder of DICOM files to series: their slices in geometric order, from headers alone, decoded when they are asked for."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tumorscope.data.dicom import read_slices
from tumorscope.data.dicom_frames import count_frames
from tumorscope.data.dicom_header import dicom_refusals, numbers, of_frame, read_header, salted
from tumorscope.data.limits import refuse_no_file
from tumorscope.data.slice_choice import SliceChoice
from tumorscope.errors import DecodeError
from tumorscope.scan import Scan

if TYPE_CHECKING:
    from pydicom import Dataset

# Cosine of the angle between two slices that still count as parallel: one degree.
_PARALLEL = 0.99985
_SAME_PLACE_MM = 0.01
_ALL = SliceChoice()


@dataclass(frozen=True, slots=True)
class Slice:
    """One frame of one file of a series, not decoded yet.

    Attributes:
        path: Of the file.
        index: Of the frame in it, from 0.
        number: InstanceNumber of the file; None where it has none.
        position_mm: Of its first pixel, in the patient's coordinates; None where it is unknown.
        normal: Unit vector across the slice; None where its orientation is unknown.
    """

    path: Path
    index: int
    number: int | None
    position_mm: tuple[float, ...] | None
    normal: tuple[float, ...] | None


@dataclass(frozen=True, slots=True)
class Series:
    """Slices of one series in one orientation.

    Attributes:
        name: Salted digest of SeriesInstanceUID; without a salt `series-` and a number in the order of file names.
        group: Salted digest of PatientID; empty without a salt.
        slices: In geometric order, else in that of their numbers.
        notes: What is odd about it, in sentences.
    """

    name: str
    group: str
    slices: tuple[Slice, ...]
    notes: tuple[str, ...]

    def scans(self, *, choice: SliceChoice = _ALL, salt: bytes | None = None) -> Iterator[Scan]:
        """Yield the series' slices in order, `choice` counting along the series; raises DecodeError as `open_dicom`."""
        for path, indices in self.parts(choice=choice):
            yield from read_slices(path, indices, salt=salt)

    def parts(self, *, choice: SliceChoice = _ALL) -> Iterator[tuple[Path, tuple[int, ...]]]:
        """Yield files in the order of their slices, each with its wanted frames.

        A file whose frames lie between those of others comes several times.

        Raises:
            DecodeError: The series has fewer slices than `choice` needs.
        """
        wanted = (self.slices[place] for place in choice.of(len(self.slices), where=self.name))
        for path, pieces in groupby(wanted, key=attrgetter("path")):
            yield path, tuple(piece.index for piece in pieces)


@dataclass(frozen=True, slots=True)
class Opened:
    """What lies in a folder.

    Attributes:
        series: In the order of their first file's name.
        refused: Files that are no part of a series, each with the reason.
    """

    series: tuple[Series, ...]
    refused: tuple[tuple[Path, DecodeError], ...]


@dataclass(frozen=True, slots=True)
class _File:
    """What is kept of a header while series are put together."""

    uid: str
    instance: str
    patient: str
    slices: list[Slice] = field(default_factory=list)


def open_series(folder: Path, *, allow_any: bool = False, salt: bytes | None = None) -> Opened:
    """Put the DICOM files of a folder and its folders together as series; no pixel is decoded.

    Slices are ordered by their position along the normal of their orientation. Where a slice of a series has none, all are ordered
    by InstanceNumber, and the series says so. A series in several orientations, such as a localiser, becomes one for each. The
    second of two files of the same instance is refused as a duplicate; links are refused.

    Args:
        folder: Searched to any depth, hidden files left out.
        allow_any: Let other modalities than MR and colours through.
        salt: As for `open_dicom`.

    Raises:
        DecodeError: There is no such folder.

    Source:
        DICOM PS3.3, C.7.6.2.1.1
    """
    if not folder.is_dir():
        raise DecodeError(f"{folder}: no such folder.", fault="missing")
    files: list[_File] = []
    refused: list[tuple[Path, DecodeError]] = []
    seen: dict[str, Path] = {}
    for path in _files(folder):
        try:
            file = _read(path, allow_any=allow_any)
            if file.instance in seen:
                raise DecodeError(f"{path}: the same image as {seen[file.instance]}, by its SOPInstanceUID.", fault="duplicate")
        except DecodeError as error:
            refused.append((path, error))
            continue
        if file.instance:
            seen[file.instance] = path
        files.append(file)
    return Opened(tuple(_series(files, salt)), tuple(refused))


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if not hidden and (path.is_symlink() or not path.is_dir()):
            yield path


def _read(path: Path, *, allow_any: bool) -> _File:
    refuse_no_file(path)
    dataset = read_header(path, allow_any=allow_any)
    with dicom_refusals(path):
        count = count_frames(dataset, str(path))
        number = dataset.get("InstanceNumber")
        file = _File(
            uid=str(dataset.get("SeriesInstanceUID") or ""),
            instance=str(dataset.get("SOPInstanceUID") or ""),
            patient=str(dataset.get("PatientID") or ""),
        )
        for index in range(count):
            position, normal = _place(dataset, index)
            file.slices.append(Slice(path, index, None if number is None else int(number), position, normal))
    return file


def _place(dataset: "Dataset", index: int) -> tuple[tuple[float, ...] | None, tuple[float, ...] | None]:
    position = numbers(of_frame(dataset, index, "PlanePositionSequence").get("ImagePositionPatient"))
    axes = numbers(of_frame(dataset, index, "PlaneOrientationSequence").get("ImageOrientationPatient"))
    known = len(position) == 3 and bool(np.isfinite(position).all())
    normal = np.cross(axes[:3], axes[3:]) if len(axes) == 6 and np.isfinite(axes).all() else np.zeros(3)
    length = float(np.linalg.norm(normal))
    return (
        tuple(position) if known else None,
        tuple((normal / length).tolist()) if 0.5 < length < 2 else None,
    )


def _series(files: Sequence[_File], salt: bytes | None) -> Iterator[Series]:
    by_uid: dict[str, list[_File]] = defaultdict(list)
    for file in files:
        by_uid[file.uid].append(file)
    for count, (uid, members) in enumerate(by_uid.items(), start=1):
        name = salted("series", uid, salt) or f"series-{count}"
        patients = {file.patient.strip() for file in members}
        notes = [f"Files of {len(patients)} patients share this series; they are told apart by nothing else."] * (len(patients) > 1)
        stacks = _stacks([piece for file in members for piece in file.slices])
        if len(stacks) > 1:
            notes.append(f"Mixed orientation: {len(stacks)} orientations, each given as a series.")
        for part, stack in enumerate(stacks, start=1):
            ordered, more = _ordered(stack)
            yield Series(
                name=name if len(stacks) == 1 else f"{name}-{part}",
                group=salted("patient", members[0].patient, salt),
                slices=tuple(ordered),
                notes=(*notes, *more),
            )


def _stacks(slices: Iterable[Slice]) -> list[list[Slice]]:
    """Return slices by orientation, those without one by themselves."""
    stacks: list[list[Slice]] = []
    for piece in slices:
        for stack in stacks:
            if _parallel(piece.normal, stack[0].normal):
                stack.append(piece)
                break
        else:
            stacks.append([piece])
    return stacks


def _parallel(one: tuple[float, ...] | None, other: tuple[float, ...] | None) -> bool:
    if one is None or other is None:
        return one is other
    return float(np.dot(one, other)) >= _PARALLEL


def _ordered(stack: Sequence[Slice]) -> tuple[list[Slice], list[str]]:
    """Return slices in order, and what is odd about it."""
    places = _places(stack)
    if places is None:
        lacking = sum(piece.number is None for piece in stack)
        what = f"; {lacking} slices have no number, and come last by their names" if lacking else ""
        note = f"Ordered by InstanceNumber, since slices have no position or orientation{what}."
        return sorted(stack, key=_by_number), [note] if len(stack) > 1 else []
    order = sorted(range(len(stack)), key=lambda row: (places[row], *_by_number(stack[row])))
    repeated = sum(count > 1 for count in Counter(places).values())
    notes = [f"{repeated} positions hold several slices, as echoes, times or diffusion weights do."] if repeated else []
    return [stack[row] for row in order], notes


def _places(stack: Sequence[Slice]) -> list[int] | None:
    """Return positions along the normal in steps too small to matter, so that equal ones are equal; None where one is unknown."""
    normal = stack[0].normal
    positions = [piece.position_mm for piece in stack if piece.position_mm is not None]
    if normal is None or len(positions) < len(stack):
        return None
    return [round(float(np.dot(position, normal)) / _SAME_PLACE_MM) for position in positions]


def _by_number(piece: Slice) -> tuple[bool, int, str, int]:
    return piece.number is None, piece.number or 0, str(piece.path), piece.index
