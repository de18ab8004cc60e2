"""NPZ files to a Manifest: images and labels under the key names that people use."""

import zipfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tumorscope.data.arrays import BROKEN_ARCHIVE, npz_array, read_npy_header
from tumorscope.errors import DecodeError, SourceError
from tumorscope.labels import LABELS, find_label, parse_label
from tumorscope.manifest import SPLIT_WORDS, SPLITS, Manifest, Record

IMAGE_KEYS = ("images", "image", "x", "data", "imgs", "arr_0")
LABEL_KEYS = ("labels", "label", "y", "targets", "target", "classes", "class", "arr_1")
NAME_KEYS = ("label_names", "class_names", "classes", "categories", "class_labels")
GROUP_KEYS = ("groups", "group", "patients", "patient_ids")
MASK_KEYS = ("masks", "mask", "tumor_masks", "tumour_masks")


@dataclass(frozen=True, slots=True)
class _Member:
    """Shape and type of one array of an archive, read without its content."""

    shape: tuple[int, ...]
    dtype: np.dtype


@dataclass(frozen=True, slots=True)
class _Order:
    """The labels that integers stand for, and who says so."""

    labels: tuple[str, ...]
    who: str
    assumed: bool = False


def read_npz_source(path: Path, class_order: tuple[str, ...] | None) -> Manifest:
    """Return the manifest of one NPZ file, of it and its sibling, or of a folder of them; digests are not filled in yet.

    A file named for one split is joined by its siblings named for the others (`train.npz` and `test.npz`); a file may also hold
    several splits under keys such as `x_train` and `x_test`.

    Raises:
        SourceError: A file cannot be read, or lacks images or labels that fit together; names file and key.
    """
    root = path if path.is_dir() else path.parent
    files = _files(path)
    beside = [file.name for file in npz_files(path) if file not in files] if path.is_dir() else []
    records: list[Record] = []
    notes = [f"Ignored beside the NPZ files named for a split: {', '.join(beside[:5])}."] if beside else []
    for file, split in files.items():
        found, note = _read_file(file, split, class_order)
        records += found
        notes += note
    return Manifest(root=root, records=tuple(records), notes=tuple(notes))


def npz_files(folder: Path) -> list[Path]:
    """Return the archives of a folder in the order of names, hidden ones left out."""
    return sorted(file for file in folder.iterdir() if file.suffix.lower() == ".npz" and not file.name.startswith("."))


def _files(path: Path) -> dict[Path, str]:
    """Return the archives to read, each with the split that its name says."""
    candidates = npz_files(path) if path.is_dir() else [path]
    named = {file: split for file in candidates if (split := _split_of(file.stem))}
    if path in named:
        stem = _without_split(path.stem)
        siblings = [file for file in npz_files(path.parent) if _without_split(file.stem) == stem]
        named = {file: split for file in siblings if (split := _split_of(file.stem))}
    twice = [split for split, count in Counter(named.values()).items() if count > 1]
    if twice:
        files = ", ".join(file.name for file, split in named.items() if split == twice[0])
        raise SourceError(f"{path}: several files for the {twice[0]} split ({files}). Keep one of them there.")
    if named:
        return named
    if len(candidates) > 1:
        raise SourceError(f"{path}: {len(candidates)} NPZ files, none named for train or test. Give one of them by its path.")
    return {candidates[0]: ""}


def _split_of(name: str) -> str:
    """Return the one split that a file's name says; none when it says two."""
    words = name.lower().replace("-", "_").replace(".", "_").split("_")
    meant = {SPLIT_WORDS[word] for word in words if word in SPLIT_WORDS}
    return meant.pop() if len(meant) == 1 else ""


def _without_split(name: str) -> str:
    words = name.lower().replace("-", "_").replace(".", "_").split("_")
    return "_".join(word for word in words if word not in SPLIT_WORDS)


def _read_file(file: Path, split: str, class_order: tuple[str, ...] | None) -> tuple[list[Record], list[str]]:
    members = _members(file)
    pairs = _pairs(file, members)
    order = _class_names(file, members, class_order, taken={key for pair in pairs for key in pair[:2]})
    records: list[Record] = []
    notes: list[str] = []
    for images, labels, own_split in pairs:
        count = _refuse_images(file, images, members[images])
        names, how = _labels(file, labels, members[labels], count, order=order)
        side = own_split or split
        masks = _masks(file, members, images, own_split)
        records += _records(file, images, names, split=side, groups=_groups(file, members, own_split, count), masks=masks)
        notes.append(
            f"{file.name} ({side or 'no split'}): images from the key {images!r} {members[images].shape}, "
            f"labels from {labels!r}, {how}{f', masks from {masks!r}' if masks else ''}."
        )
    return records, notes


def _members(file: Path) -> dict[str, _Member]:
    """Return what an archive holds, from the headers alone."""
    members = {}
    try:
        with zipfile.ZipFile(file) as archive:
            for name in archive.namelist():
                if name.endswith(".npy"):
                    with archive.open(name) as content:
                        shape, _, dtype = read_npy_header(content)
                    members[name.removesuffix(".npy")] = _Member(shape, dtype)
    except BROKEN_ARCHIVE as error:
        raise SourceError(f"{file}: not an NPZ archive that can be read ({error}). Write it with numpy.savez.") from error
    if not members:
        raise SourceError(f"{file}: an archive without arrays. Needed: images (n, rows, columns) and labels (n).")
    return members


def _pairs(file: Path, members: Mapping[str, _Member]) -> list[tuple[str, str, str]]:
    """Return (image key, label key, split) for every split that an archive holds."""
    pairs = []
    for split in ("", *SPLITS):
        images = _find(members, IMAGE_KEYS, split)
        if images is None:
            continue
        labels = _find(members, LABEL_KEYS, split)
        if labels is None:
            raise SourceError(
                f"{file}: images under {images!r} but no labels; it holds {', '.join(members)}. "
                f"Known label keys: {', '.join(LABEL_KEYS)}."
            )
        pairs.append((images, labels, split))
    if not pairs:
        raise SourceError(f"{file}: no images; it holds {', '.join(members)}. Known image keys: {', '.join(IMAGE_KEYS)}.")
    return pairs


def _find(members: Mapping[str, _Member], bases: Sequence[str], split: str) -> str | None:
    """Return the first key that is one of the base names, with a split's word before or behind it where one is asked for."""
    words = [word for word, meant in SPLIT_WORDS.items() if meant == split]
    joined = [f for base in bases for word in words for f in (f"{base}_{word}", f"{word}_{base}", f"{base}{word}", f"{word}{base}")]
    wanted = joined if split else bases
    by_lower = {key.lower(): key for key in reversed(list(members))}
    return next((by_lower[name] for name in wanted if name in by_lower), None)


def _refuse_images(file: Path, key: str, member: _Member) -> int:
    """Return the number of images, or raise when an array holds none."""
    if member.dtype.hasobject:
        raise SourceError(
            f"{file}: {key!r} holds Python objects, which are not loaded since they can run code. Save one numeric array."
        )
    good = len(member.shape) == 3 or (len(member.shape) == 4 and (member.shape[3] in (1, 3) or member.shape[1] in (1, 3)))
    if not good or member.dtype.kind not in "buif" or 0 in member.shape:
        raise SourceError(
            f"{file}: {key!r} is {member.dtype} of shape {member.shape}; needed: numbers of shape (n, rows, columns) or "
            "(n, rows, columns, 3)."
        )
    try:
        npz_array(file, key)
    except DecodeError as error:
        raise SourceError(str(error)) from error
    return member.shape[0]


def _class_names(file: Path, members: Mapping[str, _Member], class_order: tuple[str, ...] | None, *, taken: set[str]) -> _Order:
    """Return the labels that integers stand for, asked for, else the file's own, else assumed."""
    if class_order is not None:
        if sorted(class_order) != sorted(LABELS):
            raise SourceError(f"--classes {','.join(class_order)}: give each of {', '.join(LABELS)} once.")
        return _Order(class_order, "in the order that was asked for")
    key = next((key for key in members if key.lower() in NAME_KEYS and key not in taken), None)
    if key is None:
        return _Order(LABELS, "in the order assumed where a file does not say (`--classes` changes it)", assumed=True)
    where = f"{file}, key {key!r}"
    if members[key].dtype.kind not in "US":
        raise SourceError(f"{where}: class names of type {members[key].dtype}. Save them as plain strings, or give --classes.")
    names = _texts(_array(file, key))
    if len(names) != len(LABELS) or {find_label(name) for name in names} != set(LABELS):
        raise SourceError(f"{where}: {len(names)} class names ({', '.join(names[:8])}); needed: each of {', '.join(LABELS)} once.")
    return _Order(tuple(parse_label(name, where=where) for name in names), f"in the order of the file's own {key!r}")


def _array(file: Path, key: str) -> np.ndarray:
    try:
        with np.load(file, allow_pickle=False) as archive:
            array: np.ndarray = archive[key]
    except BROKEN_ARCHIVE as error:
        raise SourceError(f"{file}: cannot read {key!r} ({error}). Save it as a plain numeric or string array.") from error
    return array


def _texts(array: np.ndarray) -> list[str]:
    return [item.decode("utf-8", "replace") if isinstance(item, bytes) else str(item) for item in array.ravel().tolist()]


def _labels(file: Path, key: str, member: _Member, count: int, *, order: _Order) -> tuple[list[str], str]:
    where = f"{file}, key {key!r}"
    if member.dtype.hasobject:
        raise SourceError(f"{where}: holds Python objects, which are not loaded since they can run code. Save integers or strings.")
    if len(member.shape) not in (1, 2) or member.dtype.kind not in "buifUS":
        raise SourceError(f"{where}: {member.dtype} of shape {member.shape}; needed: integers, names or one-hot rows.")
    if member.shape[0] != count:
        raise SourceError(f"{where}: {member.shape[0]} labels for {count} images. Both need the same length.")
    array = _array(file, key)
    array = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
    if array.dtype.kind in "US" and array.ndim == 1:
        return [parse_label(text, where=where) for text in _texts(array)], "which are names"
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise SourceError(f"{where}: labels hold NaN or infinity. Needed: one of {len(LABELS)} classes for every image.")
    if array.ndim == 2:
        return _one_hot(where, array, order.labels), f"one-hot, {_spelled(order.labels, 0)} {order.who}"
    numbers, first = _integers(where, array, assumed=order.assumed)
    return [order.labels[number - first] for number in numbers], f"integers, {_spelled(order.labels, first)} {order.who}"


def _spelled(order: Sequence[str], first: int) -> str:
    return ", ".join(f"{number} = {label}" for number, label in enumerate(order, start=first))


def _one_hot(where: str, array: np.ndarray, order: Sequence[str]) -> list[str]:
    if array.shape[1] != len(LABELS):
        raise SourceError(
            f"{where}: one-hot labels of {array.shape[1]} classes; needed are the {len(LABELS)}: {', '.join(LABELS)}."
        )
    if not np.isin(array, (0, 1)).all() or (array.sum(axis=1) != 1).any():
        raise SourceError(f"{where}: rows that are not one-hot. Every row needs a single 1.")
    return [order[number] for number in array.argmax(axis=1).tolist()]


def _integers(where: str, array: np.ndarray, *, assumed: bool) -> tuple[list[int], int]:
    """Return whole numbers and the one that stands for the first class, 0 or 1; a guess is refused."""
    if (array != np.rint(array)).any():
        raise SourceError(f"{where}: {array.dtype} that are not whole; needed: integers, names or one-hot rows.")
    found = np.unique(array)
    last = len(LABELS)
    spelled = ", ".join(str(int(number)) for number in found[:8])
    if len(found) > last or found[0] < 0 or found[-1] > last:
        raise SourceError(f"{where}: {len(found)} classes ({spelled}); needed are the {last}, numbered 0 to 3 or 1 to 4.")
    if (0 in found) == (last in found):
        raise SourceError(f"{where}: classes {spelled} can be counted from 0 or from 1. Save the labels as names.")
    if assumed and len(found) < last:
        raise SourceError(
            f"{where}: only classes {spelled} of {last}, and nothing says what they stand for. Give --classes with all "
            f"{last} names in order, or save the labels as names."
        )
    return array.astype(np.int64).tolist(), int(last in found)


def _groups(file: Path, members: Mapping[str, _Member], split: str, count: int) -> list[str]:
    """Return the group of every image, empty where the archive holds none."""
    key = _find(members, GROUP_KEYS, split)
    if key is None:
        return [""] * count
    if members[key].dtype.kind not in "buiUS" or members[key].shape != (count,):
        member = members[key]
        raise SourceError(f"{file}, key {key!r}: {member.dtype} of shape {member.shape}; needed: one number or name per image.")
    return _texts(_array(file, key))


def _masks(file: Path, members: Mapping[str, _Member], images: str, split: str) -> str | None:
    """Return the key of the masks of a split's images, or None where the archive holds none."""
    key = _find(members, MASK_KEYS, split)
    if key is None:
        return None
    if _refuse_images(file, key, members[key]) and _size(members[key]) != _size(members[images]):
        raise SourceError(
            f"{file}, key {key!r}: masks of shape {members[key].shape} for images of shape {members[images].shape}. Every image "
            "needs one mask with its rows and columns, all 0 where there is no tumour."
        )
    return key


def _size(member: _Member) -> tuple[int, ...]:
    """Return (n, rows, columns) of images with or without channels, first or last."""
    if len(member.shape) == 3 or member.shape[3] in (1, 3):
        return member.shape[:3]
    return (member.shape[0], *member.shape[2:])


def _records(file: Path, key: str, labels: Sequence[str], *, split: str, groups: Sequence[str], masks: str | None) -> list[Record]:
    return [
        Record(
            path=f"{file.name}#{key}:{row}",
            label=label,
            split=split,
            group=group,
            mask=f"{file.name}#{masks}:{row}" if masks else "",
        )
        for row, (label, group) in enumerate(zip(labels, groups, strict=True))
    ]
