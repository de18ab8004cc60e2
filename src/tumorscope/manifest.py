"""Record and Manifest: one row per image, in memory and as CSV."""

import csv
import hashlib
import io
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path

from tumorscope.errors import ManifestError
from tumorscope.labels import LABELS, UNSTATED_TUMOUR
from tumorscope.storage import write_atomically

CALIBRATION = "calibration"
SPLITS = ("train", "validation", CALIBRATION, "test")
"""What an image is for: to learn from, to choose the epoch, to fit what probabilities mean, to test; the third may be empty."""

SPLIT_WORDS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "calib": "calibration",
    "calibration": "calibration",
    "test": "test",
    "testing": "test",
}
"""What folders, files and columns call a split, in lower case, and the split that they mean."""

SLICE_GROUP = "slice-"
"""Beginning of the names of groups that hold the copies and twins of one slice, where no patient is known."""

COPY_IN_TRAIN, TWIN_IN_TRAIN = "copy_in_train", "twin_in_train"
NEIGHBOUR_IN_TRAIN, MATE_IN_TRAIN = "neighbour_in_train", "mate_in_train"
LEAK_FLAGS = (COPY_IN_TRAIN, TWIN_IN_TRAIN, NEIGHBOUR_IN_TRAIN, MATE_IN_TRAIN)
"""Flags of test images by what the given training split holds of theirs; a copy is a twin too, neighbours and mates count alone."""


_WITH_ITEMS = (".npz", ".nii", ".nii.gz", ".dcm", ".dicom", ".ima")


@dataclass(frozen=True, slots=True)
class Record:
    """One image of a data set.

    Attributes:
        path: File, relative to the manifest's root or absolute, with `/`; `file.npz#images:7` is item 7 of an array,
            `head.nii.gz#axial:12` a slice of a volume, `frames.dcm#3` a frame.
        label: One of `LABELS`, or `UNSTATED_TUMOUR` in sets that only test.
        sha256: Digest of the decoded pixels (`Scan.sha256`), empty until the image was decoded.
        group: Images that must stay on one side of a split (patient, else cluster of copies); empty when unknown.
        split: One of `SPLITS`, or empty when not yet split.
        fold: Number of the fold that tests this image, or None.
        source: The collection the picture comes from; empty when unknown.
        mask: Tumour mask: a path like `path`, or outlines as `x,y x,y ...` in pixels of the image (x is the column),
            several joined by ` | `; empty when there is none.
        flags: What is odd about the image, sorted words such as `unreadable`.
    """

    path: str
    label: str
    sha256: str = ""
    group: str = ""
    split: str = ""
    fold: int | None = None
    source: str = ""
    mask: str = ""
    flags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.path:
            raise ManifestError("a manifest row has an empty path. Every row needs the path of an image.")
        if self.label not in (*LABELS, UNSTATED_TUMOUR):
            raise ManifestError(f"{self.path}: unknown label {self.label!r}. Allowed: {', '.join(LABELS)}; {UNSTATED_TUMOUR}.")
        if self.split and self.split not in SPLITS:
            raise ManifestError(f"{self.path}: unknown split {self.split!r}. Allowed: {', '.join(SPLITS)}, or empty.")
        if self.fold is not None and self.fold < 0:
            raise ManifestError(f"{self.path}: fold {self.fold}. Allowed: whole numbers from 0 on, or empty.")


@dataclass(frozen=True, slots=True)
class Broken:
    """An image of a source that cannot be decoded, and so is no record.

    Attributes:
        path: As a record's.
        label: As a record's.
        split: As a record's.
        fault: What is wrong, in one word: `DecodeError.fault`.
        reason: The same in a sentence.
    """

    path: str
    label: str
    split: str
    fault: str
    reason: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """The images of a data set in a fixed order.

    Attributes:
        root: Folder that relative paths start from.
        records: One per image; no path twice.
        notes: What was decided while reading the source, in sentences for the user.
        broken: Images that were left out since they cannot be decoded; known after indexing, not stored in the CSV.
    """

    root: Path
    records: tuple[Record, ...]
    notes: tuple[str, ...] = ()
    broken: tuple[Broken, ...] = ()

    def __post_init__(self) -> None:
        if not self.records:
            raise ManifestError(f"{self.root}: a manifest without images.")
        twice = [path for path, count in Counter(record.path for record in self.records).items() if count > 1]
        if twice:
            more = f" and {len(twice) - 1} other(s)" if len(twice) > 1 else ""
            raise ManifestError(f"{self.root}: more than one row has the path {twice[0]}{more}. Give every image one row.")

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records)

    def locate(self, path: str) -> Path:
        """Return where a record's `path` or path-like `mask` lies, without an archive's `#item`."""
        return self.root / split_item(path)[0]

    def where(self, keep: Callable[[Record], bool]) -> "Manifest":
        """Return the manifest of the records for which `keep` is true.

        Raises:
            ManifestError: None is left.
        """
        return replace(self, records=tuple(record for record in self.records if keep(record)))

    def in_split(self, split: str) -> "Manifest":
        """Return the records of one split; raises ManifestError when it has none."""
        if not any(record.split == split for record in self.records):
            raise ManifestError(f"{self.root}: no image is in the {split} split. Run `tumorscope split` first.")
        return self.where(lambda record: record.split == split)

    @property
    def unstated(self) -> int:
        """Number of images with a tumour of unstated type."""
        return sum(record.label == UNSTATED_TUMOUR for record in self.records)

    @property
    def knows_patients(self) -> bool:
        """Whether any group is more than the copies of one slice: a patient, or whatever else the source keeps together."""
        return any(record.group and not record.group.startswith(SLICE_GROUP) for record in self.records)

    def with_records(self, records: Iterable[Record], *, note: str | None = None) -> "Manifest":
        """Return the manifest with other records and, where given, one more note."""
        return replace(self, records=tuple(records), notes=self.notes + ((note,) if note else ()))

    def counts(self, split: str | None = None) -> dict[str, int]:
        """Return images per label in the order of `LABELS`, of one split or of all."""
        counter = Counter(record.label for record in self.records if split is None or record.split == split)
        return {label: counter[label] for label in LABELS}

    def counts_by_source(self) -> dict[str, dict[str, int]]:
        """Return images per label of every source that has any, the unknown source under an empty name."""
        sources = dict.fromkeys(sorted(record.source for record in self.records))
        return {name: replace(self, records=tuple(r for r in self.records if r.source == name)).counts() for name in sources}

    @property
    def data_fingerprint(self) -> str:
        """Hex digest of all pixels and labels; blind to paths, order and container, so a packed set keeps it."""
        return self._digest(lambda record: (record.label,))

    @property
    def split_fingerprint(self) -> str:
        """Hex digest of all pixels, labels, splits and folds: equal only when the same images stand on the same sides."""
        return self._digest(lambda record: (record.label, record.split, str(record.fold)))

    def _digest(self, what: Callable[[Record], tuple[str, ...]]) -> str:
        missing = next((record.path for record in self.records if not record.sha256), None)
        if missing:
            raise ManifestError(f"{missing}: no sha256, so the data cannot be fingerprinted. Run `tumorscope index` on the source.")
        lines = sorted("\t".join((record.sha256, *what(record))) for record in self.records)
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


COLUMNS = tuple(field.name for field in fields(Record))


def write_manifest(manifest: Manifest, path: Path) -> Manifest:
    """Write a manifest as CSV and return it as it will be read back.

    Paths below the CSV's own folder are written relative to it, so that the folder can be moved; others are written absolute.

    Raises:
        ManifestError: A file name is not Unicode, so that no CSV can hold it.
        OutputError: The place cannot be written.
    """
    folder = path.resolve().parent

    def portable(text: str) -> str:
        if not text or is_outline(text):
            return text
        absolute = (manifest.root / text).absolute()
        return absolute.relative_to(folder).as_posix() if absolute.is_relative_to(folder) else absolute.as_posix()

    records = tuple(replace(record, path=portable(record.path), mask=portable(record.mask)) for record in manifest)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for record in records:
        writer.writerow(_to_cell(getattr(record, name)) for name in COLUMNS)
    write_atomically(path, _utf8(text.getvalue(), path))
    return replace(manifest, root=folder, records=records)


def read_manifest(path: Path) -> Manifest:
    """Read a manifest that `write_manifest` wrote.

    Raises:
        ManifestError: The file is missing, lacks a column or holds a row that no manifest may hold; names file and row.
    """
    if not path.is_file():
        raise ManifestError(f"{path}: no such manifest. Make one with `tumorscope index SOURCE -o {path.name}`.")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            columns, rows = reader.fieldnames or (), list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise ManifestError(f"{path}: not a CSV in UTF-8 ({error}). Make one with `tumorscope index SOURCE`.") from error
    missing = [name for name in ("path", "label", "sha256") if name not in columns]
    if missing:
        raise ManifestError(
            f"{path}: no column {', '.join(missing)}: not a manifest. Make one with `tumorscope index {path.name}`."
        )
    if not rows:
        raise ManifestError(f"{path}: a manifest without images. Make one with `tumorscope index SOURCE`.")
    records = tuple(_from_row(row, where=f"{path}, row {number}") for number, row in enumerate(rows, start=2))
    return Manifest(root=path.resolve().parent, records=records)


def split_item(path: str) -> tuple[str, str]:
    """Return the file of a record's path and what is meant inside it, empty where that is all of it.

    That is `KEY:ROW` of an NPZ archive, `PLANE:SLICE` of a NIfTI volume, or the number of a frame of a DICOM file, from 0.
    """
    file, _, item = path.rpartition("#")
    return (file, item) if file.lower().endswith(_WITH_ITEMS) and item.rpartition(":")[2].isdecimal() else (path, "")


def is_outline(mask: str) -> bool:
    """Whether a mask cell holds outlines (`x,y x,y ...`) and not the path of a file."""
    return "," in mask and not any(character.isalpha() for character in mask)


def _to_cell(value: object) -> str:
    if isinstance(value, tuple):
        return " ".join(value)
    return "" if value is None else str(value)


def _utf8(text: str, path: Path) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        line = text[text.rfind("\n", 0, error.start) + 1 :].split("\n", 1)[0]
        raise ManifestError(f"{path}: the file name {line.split(',')[0]!r} is not Unicode. Rename the file.") from error


def _from_row(row: dict[str, str], *, where: str) -> Record:
    values = {name: row.get(name) or "" for name in COLUMNS}
    if values["fold"] and not values["fold"].isdecimal():
        raise ManifestError(f"{where}: fold {values['fold']!r} is not a whole number from 0 on.")
    try:
        return Record(
            path=values["path"],
            label=values["label"],
            sha256=values["sha256"],
            group=values["group"],
            split=values["split"],
            fold=int(values["fold"]) if values["fold"] else None,
            source=values["source"],
            mask=values["mask"],
            flags=tuple(values["flags"].split()),
        )
    except ManifestError as error:
        raise ManifestError(f"{where}: {error}") from None
