"""MATLAB files in the layout of Cheng's set to a Manifest: patients become groups, `cvind` becomes folds."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tumorscope.data.decode import picture_warnings_off
from tumorscope.data.limits import MAX_PIXELS
from tumorscope.data.matlab import MATLAB_SUFFIX, MatlabSlice, read_folds, read_slice
from tumorscope.errors import DecodeError, SourceError
from tumorscope.manifest import Manifest, Record

SOURCE_NAME = "cheng"
LABEL_NUMBERS = {1: "meningioma", 2: "glioma", 3: "pituitary"}

_FOLD_FILE = "cvind.mat"
_UNFIT = "a tumorMask of another size than the image"
_MASKS = ("tumorMask", "tumorBorder", "no outline", _UNFIT)


def read_matlab_source(path: Path) -> Manifest:
    """Return the manifest of one MATLAB file or of a folder of them; digests are not filled in yet.

    Files may lie in the folder or one level deeper, as the parts of Cheng's set are unpacked. The file of an image is also the
    path of its mask.

    Raises:
        SourceError: Most files cannot be read, or hold no image and label in Cheng's layout; names the first.
    """
    files = matlab_files(path)
    root = path if path.is_dir() else path.parent
    folds, fold_notes = _folds(path, files)
    records: list[Record] = []
    masks: dict[str, list[str]] = {kind: [] for kind in _MASKS}
    refused: list[str] = []
    with picture_warnings_off():
        for file in files:
            name = file.relative_to(root).as_posix()
            try:
                record, kind = _record(file, name, folds.get(file))
            except DecodeError as error:
                refused.append(str(error))
            else:
                records.append(record)
                masks[kind].append(name)
    if files == [path] and refused:
        raise SourceError(refused[0])
    if 2 * len(refused) > len(files) or not records:
        raise SourceError(f"{path}: {len(refused)} of {len(files)} MATLAB files cannot be read. The first: {refused[0]}")
    notes = [*_told(records, masks), *fold_notes, *_left_out(refused, len(files)), *_beside(path)]
    return Manifest(root=root, records=tuple(records), notes=tuple(notes))


def matlab_files(path: Path) -> list[Path]:
    """Return one MATLAB file as it is, or those in a folder and in the folders in it: 2 before 10, and without `cvind.mat`.

    A folder that holds `cvind.mat` alone has it.
    """
    if path.is_file():
        return [path]
    found = _all_files(path)
    return [file for file in found if not _is_fold_file(file)] or found


def _all_files(folder: Path) -> list[Path]:
    entries = [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
    inner = [file for entry in entries if entry.is_dir() for file in entry.iterdir() if not file.name.startswith(".")]
    return sorted((file for file in (*entries, *inner) if file.suffix.lower() == MATLAB_SUFFIX and file.is_file()), key=_order)


def _order(file: Path) -> tuple[list[tuple[int, str]], str]:
    pieces = re.split(r"(\d+)", f"{file.parent.name}/{file.name}")
    return [(int(piece), "") if piece.isdecimal() else (-1, piece) for piece in pieces], str(file)


def _is_fold_file(file: Path) -> bool:
    return file.name.lower() == _FOLD_FILE


def _record(file: Path, name: str, fold: int | None) -> tuple[Record, str]:
    """Return the record of one file, and where its mask comes from."""
    content = read_slice(file, max_pixels=MAX_PIXELS)
    if content.label not in LABEL_NUMBERS:
        given = "missing or not a whole number" if content.label is None else str(content.label)
        raise DecodeError(f"{file}: the label in cjdata is {given}. Known: {_spelled_labels()}.")
    kind = _mask_kind(content)
    record = Record(
        path=name,
        label=LABEL_NUMBERS[content.label],
        group=f"{SOURCE_NAME}:{content.patient}" if content.patient else "",
        fold=fold,
        source=SOURCE_NAME,
        mask=name if kind.startswith("tumor") else "",
    )
    return record, kind


def _mask_kind(content: MatlabSlice) -> str:
    if content.mask is not None:
        return "tumorMask" if content.mask.shape == content.image.shape else _UNFIT
    return "tumorBorder" if content.outline else "no outline"


def _spelled_labels() -> str:
    return ", ".join(f"{number} = {label}" for number, label in LABEL_NUMBERS.items())


def _folds(path: Path, files: Sequence[Path]) -> tuple[dict[Path, int], list[str]]:
    """Return the fold of every file from a `cvind.mat` among them, counted from 0, and what was decided."""
    found = [file for file in _all_files(path) if _is_fold_file(file)] if path.is_dir() else []
    if not found or found == list(files):
        return {}, []
    try:
        folds = read_folds(found[0], max_pixels=MAX_PIXELS)
    except DecodeError as error:
        return {}, [f"{_FOLD_FILE} was not taken. {error}"]
    numbers = {int(file.stem): file for file in files if file.stem.isdecimal()}
    if len(files) != len(folds) or sorted(numbers) != list(range(1, len(folds) + 1)):
        return {}, [
            f"{_FOLD_FILE} was not taken: it holds {len(folds)} folds, so the images have to be 1.mat to {len(folds)}.mat; "
            f"here are {len(files)} files."
        ]
    note = f"{_FOLD_FILE}: {len(set(folds.tolist()))} folds taken, counted from 0."
    return {file: int(folds[number - 1]) - 1 for number, file in numbers.items()}, [note]


def _told(records: Sequence[Record], masks: dict[str, list[str]]) -> list[str]:
    patients = {record.group for record in records if record.group}
    counted = ", ".join(f"{len(names)} x {kind}" for kind, names in masks.items() if names)
    notes = [
        f"MATLAB files in Cheng's layout: {len(records)} images, labels {_spelled_labels()}; {len(patients)} patients by PID, "
        f"which are the groups; masks: {counted}."
    ]
    without = [record.path for record in records if not record.group]
    if without:
        notes.append(f"No PID, so no group: {_named(without)}.")
    if masks[_UNFIT]:
        notes.append(f"Taken without a mask, since it has another size than the image: {_named(masks[_UNFIT])}.")
    return notes


def _left_out(refused: Sequence[str], count: int) -> list[str]:
    more = f" And {len(refused) - 5} more." if len(refused) > 5 else ""
    return [f"Left out {len(refused)} of {count} MATLAB files: {' '.join(refused[:5])}{more}"] if refused else []


def _beside(path: Path) -> list[str]:
    if not path.is_dir():
        return []
    others = Counter(
        entry.suffix or entry.name
        for entry in path.iterdir()
        if entry.is_file() and not entry.name.startswith(".") and entry.suffix.lower() != MATLAB_SUFFIX
    )
    kinds = ", ".join(f"{count} x {kind}" for kind, count in sorted(others.items()))
    return [f"Ignored beside the MATLAB files: {kinds}."] if kinds else []


def _named(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
