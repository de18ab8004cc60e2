"""A CSV with `path` and `label` to a Manifest."""

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from tumorscope.data.decode import parse_outlines
from tumorscope.errors import DecodeError, SourceError
from tumorscope.labels import parse_label
from tumorscope.manifest import COLUMNS, SPLIT_WORDS, Manifest, Record, is_outline

# A manifest is a table too; its digests are computed anew.
_TAKEN = (*(name for name in COLUMNS if name != "sha256"), "border")


def read_table_source(path: Path) -> Manifest:
    """Return the manifest of a CSV; digests are not filled in yet.

    Columns: `path` (relative to the CSV's folder, or absolute) and `label`; optionally `split`, `group`, `fold`, `source`, `mask`
    (a picture) and `border` (the mask as outlines).

    Raises:
        SourceError: A column or file is missing, or a cell has a value that no manifest may have; names the row.
    """
    rows, columns = _rows(path)
    records = tuple(_record(row, where=f"{path}, row {number}") for number, row in enumerate(rows, start=2))
    if not records:
        raise SourceError(f"{path}: no rows. Every image needs one, with the columns path and label.")
    _refuse_repeats(records, path)
    manifest = Manifest(root=path.parent, records=records)
    _refuse_missing_files(manifest, path)
    _refuse_missing_masks(manifest, path)
    taken = [name for name in columns if name in _TAKEN]
    unknown = [name for name in columns if name not in taken]
    notes = [f"{path.name}: {len(records)} rows, columns taken: {', '.join(taken)}."]
    notes += [f"{path.name}: columns ignored: {', '.join(unknown)}."] if unknown else []
    return Manifest(root=manifest.root, records=records, notes=tuple(notes))


def _rows(path: Path) -> tuple[list[dict[str | None, str | None]], list[str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            columns = [name.strip().lower() for name in (reader.fieldnames or [])]
            reader.fieldnames = columns
            rows = list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise SourceError(f"{path}: not a CSV in UTF-8 ({error}).") from error
    missing = [name for name in ("path", "label") if name not in columns]
    if missing:
        raise SourceError(
            f"{path}: no column {' and no column '.join(missing)}; it has {', '.join(columns) or 'none'}. Needed: path, label."
        )
    twice = [name for name, count in Counter(columns).items() if count > 1]
    if twice:
        raise SourceError(f"{path}: the column {twice[0]!r} stands there more than once. Keep one of them.")
    return rows, columns


def _record(row: Mapping[str | None, str | None], *, where: str) -> Record:
    if None in row:
        raise SourceError(f"{where}: more cells than columns. Put cells that hold commas in double quotes.")
    cells = {name: (row.get(name) or "").strip() for name in _TAKEN}
    if not cells["path"]:
        raise SourceError(f"{where}: an empty path. Every row needs the path of an image.")
    split = cells["split"].lower()
    if split and split not in SPLIT_WORDS:
        raise SourceError(f"{where}: unknown split {cells['split']!r}. Known: train, validation, test, or empty.")
    if cells["fold"] and not cells["fold"].isdecimal():
        raise SourceError(f"{where}: fold {cells['fold']!r} is not a whole number from 0 on.")
    return Record(
        path=cells["path"],
        label=parse_label(cells["label"], where=where),
        group=cells["group"],
        split=SPLIT_WORDS[split] if split else "",
        fold=int(cells["fold"]) if cells["fold"] else None,
        source=cells["source"],
        mask=cells["mask"] or cells["border"],
        flags=tuple(cells["flags"].split()),
    )


def _refuse_repeats(records: Sequence[Record], path: Path) -> None:
    first: dict[str, int] = {}
    for row, record in enumerate(records, start=2):
        if record.path in first:
            raise SourceError(f"{path}: rows {first[record.path]} and {row} have the path {record.path}. Give every image one row.")
        first[record.path] = row


def _refuse_missing_files(manifest: Manifest, path: Path) -> None:
    missing = [(row, record.path) for row, record in enumerate(manifest, start=2) if not manifest.locate(record.path).is_file()]
    if missing:
        named = ", ".join(f"row {row}: {name}" for row, name in missing[:3])
        raise SourceError(
            f"{path}: {len(missing)} of {len(manifest)} files do not exist ({named}). Paths are relative to the folder of the CSV, "
            f"{manifest.root}, or absolute."
        )


def _refuse_missing_masks(manifest: Manifest, path: Path) -> None:
    for row, record in enumerate(manifest, start=2):
        if is_outline(record.mask):
            try:
                parse_outlines(record.mask, where=f"{path}, row {row}")
            except DecodeError as error:
                raise SourceError(str(error)) from error
        elif record.mask and not manifest.locate(record.mask).is_file():
            raise SourceError(
                f"{path}, row {row}: the mask {record.mask[:80]!r} is neither an existing file nor outlines such as `1,1 5,1 3,4`. "
                f"Paths are relative to the folder of the CSV, {manifest.root}, or absolute."
            )
