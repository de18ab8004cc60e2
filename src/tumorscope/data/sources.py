"""A folder, NPZ or MATLAB files or a CSV to a Manifest: every layout that people keep such scans in."""

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from tumorscope.data.decode import IMAGE_SUFFIXES, decode_record, is_dicom, is_nifti, picture_warnings_off
from tumorscope.data.dicom import DICOM_SUFFIXES
from tumorscope.data.home import installation_salt
from tumorscope.data.matlab import MATLAB_SUFFIX
from tumorscope.data.matlab_source import matlab_files, read_matlab_source
from tumorscope.data.nifti import NIFTI_SUFFIXES
from tumorscope.data.npz_source import read_npz_source
from tumorscope.data.table_source import read_table_source
from tumorscope.errors import DecodeError, SourceError
from tumorscope.labels import LABELS, find_label, parse_label
from tumorscope.manifest import SPLIT_WORDS, Broken, Manifest, Record, split_item
from tumorscope.scan import Scan

Progress = Callable[[int, int], None]
Seen = Callable[[Manifest, Record, Scan], None]

LAYOUTS = (
    "a folder of class folders, a folder with Training and Testing, NPZ files, Cheng's MATLAB files, or a CSV with the columns "
    "path and label"
)
# Of the Brain Imaging Data Structure: letters and digits after `sub-`, at the beginning of a name.
_SUBJECT = re.compile(r"(?:^|/)(sub-[A-Za-z0-9]+)")
_SUFFIXES = IMAGE_SUFFIXES | DICOM_SUFFIXES | set(NIFTI_SUFFIXES)
_IGNORED = frozenset({"__macosx", "thumbs.db", "desktop.ini"})
_TEST_COUNTS = {"nickparvar": {"glioma": 300, "meningioma": 306, "notumor": 405, "pituitary": 300}}


def index_source(
    path: Path, *, class_order: tuple[str, ...] | None = None, seen: Seen | None = None, progress: Progress | None = None
) -> Manifest:
    """Return the manifest of a data set, every image decoded once.

    An image that cannot be decoded is left out, named in the notes and kept as `Manifest.broken`. The notes also say what was
    taken for what.

    Args:
        path: A folder, an NPZ or MATLAB file, or a CSV.
        class_order: Labels that the integers of an NPZ stand for, in order; None takes the file's own names, else `LABELS`.
        seen: Called with every image that was decoded, its record complete, so that who needs pixels need not decode again; in
            several threads at once. An image for which it raises DecodeError counts as broken.
        progress: Called with (done, all) now and then.

    Raises:
        SourceError: The path is not a data set, or most of its images are broken.
    """
    if not path.exists():
        raise SourceError(f"{path}: no such file or folder. Give {LAYOUTS}.")
    manifest = _read(path.resolve(), class_order)
    if class_order is not None and not any(split_item(record.path)[1] for record in manifest):
        raise SourceError(f"{path}: --classes says what integers in NPZ files stand for; these labels are names. Leave it out.")
    return _decoded(_with_subjects(manifest), seen, progress)


def _with_subjects(manifest: Manifest) -> Manifest:
    """Take patients from BIDS names, `sub-LABEL` in a folder or file name, for images that have no group."""
    subjects = [_SUBJECT.search(record.path) for record in manifest]
    records = [
        replace(record, group=found[1]) if found and not record.group else record
        for record, found in zip(manifest, subjects, strict=True)
    ]
    taken = {record.group for record, found in zip(records, subjects, strict=True) if found}
    return manifest.with_records(records, note=f"Patients were taken from BIDS names: {len(taken)} subjects." if taken else None)


def recognise(manifest: Manifest) -> str | None:
    """Return the name of the public data set whose published test split this is, judged by its test images per class."""
    counts = manifest.counts("test")
    return next((name for name, known in _TEST_COUNTS.items() if known == counts), None)


def _read(path: Path, class_order: tuple[str, ...] | None) -> Manifest:
    if path.is_file():
        if path.suffix.lower() == ".npz":
            return read_npz_source(path, class_order)
        if path.suffix.lower() == ".csv":
            return read_table_source(path)
        if path.suffix.lower() == MATLAB_SUFFIX:
            return read_matlab_source(path)
        raise SourceError(f"{path}: neither an NPZ, a MATLAB nor a CSV file. Give {LAYOUTS}.")
    entries = visible(path)
    folders = [entry for entry in entries if entry.is_dir()]
    splits = [folder for folder in folders if folder.name.lower() in SPLIT_WORDS]
    if splits:
        classes = [folder.name for folder in folders if find_label(folder.name)]
        if classes:
            raise SourceError(
                f"{path}: holds the class folder {classes[0]} beside the split folder {splits[0].name}, so the split of "
                f"{classes[0]} is unclear. Move the class folders into the split folders, or the split folders elsewhere."
            )
        return _split_folders(path, splits, entries)
    if any(find_label(folder.name) for folder in folders):
        return _class_folders(path, entries)
    if any(entry.suffix.lower() == ".npz" for entry in entries):
        return read_npz_source(path, class_order)
    if matlab_files(path):
        return read_matlab_source(path)
    if len(folders) == 1 and not folders[0].is_symlink() and not any(entry.is_file() and _is_image(entry) for entry in entries):
        inner = _read(folders[0], class_order)
        return replace(inner, notes=(f"Went into the only folder, {folders[0].name}.", *inner.notes))
    raise SourceError(f"{path}: {_what_is_there(entries)}. Give {LAYOUTS}. Class folders: {', '.join(LABELS)}.")


def _what_is_there(entries: Sequence[Path]) -> str:
    images = sum(entry.is_file() and _is_image(entry) for entry in entries)
    if images:
        return f"holds {images} images but no class folders, so nothing says their labels"
    tables = [entry.name for entry in entries if entry.suffix.lower() == ".csv"]
    if tables:
        return f"a folder with the CSV {tables[0]}, which has to be given by its own path"
    folders = [entry.name for entry in entries if entry.is_dir()]
    if folders:
        return f"its folders ({', '.join(folders[:5])}) are neither classes nor splits"
    return "an empty folder" if not entries else "no images, class folders, NPZ or MATLAB files"


def visible(folder: Path) -> list[Path]:
    """Return what a folder holds in the order of names, without hidden files and what operating systems leave behind."""
    entries = (entry for entry in folder.iterdir() if not entry.name.startswith(".") and entry.name.lower() not in _IGNORED)
    return sorted(entries, key=lambda entry: entry.name)


def _split_folders(root: Path, splits: Sequence[Path], entries: Sequence[Path]) -> Manifest:
    others = [entry.name for entry in entries if entry not in splits]
    records: list[Record] = []
    notes = [f"Ignored beside the split folders: {', '.join(others[:5])}."] if others else []
    for folder in splits:
        split = SPLIT_WORDS[folder.name.lower()]
        found, skipped = _images_of_classes(root, folder, split=split)
        records += found
        notes += [f"{folder.name} is the {split} split: {_counted(found)}.", *skipped]
    if not records:
        raise SourceError(f"{root}: no images in {', '.join(folder.name for folder in splits)}. Give {LAYOUTS}.")
    return Manifest(root=root, records=tuple(records), notes=tuple(notes))


def _class_folders(root: Path, entries: Sequence[Path]) -> Manifest:
    stray = [entry.name for entry in entries if entry.is_file()]
    records, skipped = _images_of_classes(root, root, split="")
    if not records:
        raise SourceError(f"{root}: its class folders hold no images ({', '.join(sorted(_SUFFIXES))}).")
    notes = [f"Class folders without a split: {_counted(records)}.", *skipped]
    notes += [f"Ignored beside the class folders: {', '.join(stray[:5])}."] if stray else []
    return Manifest(root=root, records=tuple(records), notes=tuple(notes))


def _images_of_classes(root: Path, folder: Path, *, split: str) -> tuple[list[Record], list[str]]:
    records, others = [], Counter[str]()
    entries = visible(folder)
    seen = {entry.resolve() for entry in entries if entry.is_dir() and not entry.is_symlink()}
    for entry in entries:
        if not entry.is_dir():
            others[entry.suffix or entry.name] += folder != root
            continue
        label = parse_label(entry.name, where=str(entry))
        for file in _files_of_class(root, entry, seen):
            if _is_image(file):
                records.append(Record(path=file.relative_to(root).as_posix(), label=label, split=split))
            else:
                others["link within the set" if file.is_dir() else file.suffix or file.name] += 1
    found = {kind: count for kind, count in others.items() if count}
    notes = (
        [f"Ignored in {folder.name}: {', '.join(f'{count} x {kind}' for kind, count in sorted(found.items()))}."] if found else []
    )
    return records, notes


def _files_of_class(root: Path, folder: Path, seen: set[Path]) -> Iterator[Path]:
    """Yield the files of a class folder; a link to a folder that is read anyway is yielded itself, so that nothing counts twice."""
    if folder.is_symlink() and folder.resolve() in seen:
        yield folder
        return
    seen.add(folder.resolve())
    for entry in visible(folder):
        target = entry.resolve() if entry.is_symlink() else None
        leads_back = target is not None and (target.is_relative_to(root) or root.is_relative_to(target))
        if entry.is_dir() and not leads_back:
            yield from _files_of_class(root, entry, seen)
        else:
            yield entry


def _is_image(path: Path) -> bool:
    return (path.suffix.lower() in IMAGE_SUFFIXES or is_dicom(path) or is_nifti(path)) and not path.is_dir()


def _counted(records: Sequence[Record]) -> str:
    counts = Counter(record.label for record in records)
    return ", ".join(f"{label} {counts[label]}" for label in LABELS)


def _decoded(manifest: Manifest, seen: Seen | None, progress: Progress | None) -> Manifest:
    """Fill in every pixel digest; leave out and name what cannot be decoded."""

    dicom = {record.path for record in manifest if is_dicom(manifest.locate(record.path))}
    salt = installation_salt() if dicom else None

    def digest(record: Record) -> Record | Broken:
        try:
            scan = decode_record(manifest, record, salt=salt)
            complete = replace(record, sha256=scan.sha256, group=record.group or scan.group)
            if seen is not None:
                seen(manifest, complete, scan)
            return complete
        except DecodeError as error:
            return Broken(record.path, record.label, record.split, error.fault, str(error))

    records: list[Record] = []
    broken: list[Broken] = []
    with picture_warnings_off(), ThreadPoolExecutor(os.cpu_count()) as pool:
        for done, result in enumerate(pool.map(digest, manifest.records), start=1):
            if isinstance(result, Record):
                records.append(result)
            else:
                broken.append(result)
            if progress is not None:
                progress(done, len(manifest))
    if 2 * len(broken) > len(manifest):
        raise SourceError(f"{manifest.root}: {len(broken)} of {len(manifest)} images cannot be read. The first: {broken[0].reason}")
    more = f" And {len(broken) - 5} more." if len(broken) > 5 else ""
    reasons = " ".join(image.reason for image in broken[:5])
    notes = [f"Left out {len(broken)} of {len(manifest)} images that cannot be read: {reasons}{more}"] if broken else []
    named = {record.path for record in manifest if record.group}
    patients = {record.group for record in records if record.path in dicom - named and record.group}
    notes += [f"Patients were taken from the PatientID of DICOM files, as salted digests: {len(patients)}."] if patients else []
    return replace(manifest, records=tuple(records), notes=(*manifest.notes, *notes), broken=tuple(broken))
