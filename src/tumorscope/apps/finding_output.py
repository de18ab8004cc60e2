"""Findings as a file that is written while they come, and that a killed run goes on with: JSON Lines, CSV, Parquet."""

import csv
import io
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO, Any

from tumorscope.apps.finding_records import FLAT_COLUMNS, Answered, flat_record, in_tables, records_of
from tumorscope.errors import OutputError, UsageError
from tumorscope.storage import output_error, remove_torn, write_atomically

SUFFIXES = (".jsonl", ".csv", ".parquet")
_ROWS_AT_ONCE = 1000


@dataclass(slots=True)
class FindingOutput:
    """A file of records that grows.

    Attributes:
        path: Where the result will be.
        done: Files, as they were given, or series, whose records were there already; not the last one of a killed run, which may be
            cut short.
        failed: How many of their records tell of an error.
    """

    path: Path
    done: set[str] = field(default_factory=set)
    failed: int = 0
    _file: IO[bytes] | None = None

    def write(self, answered: Answered) -> None:
        """Add the records of one file or series; whatever ends the program later, they are there.

        Raises:
            OutputError: The disk is full or the place cannot be written any more.
        """
        assert self._file is not None
        table = self.path.suffix == ".csv"
        encode = _csv_line if table else _json_line
        try:
            self._file.write(b"".join(encode(record) for record in records_of(answered) if in_tables(record) or not table))
            self._file.flush()
        except OSError as error:
            raise output_error(self.path, error, option="-o") from error


@contextmanager
def open_output(path: Path, stamp: Mapping[str, Any], *, series: bool = False) -> Iterator[FindingOutput]:
    """Open an output, or go on with one that an earlier run left; a Parquet file appears at the end, its journal goes last.

    Beside it lies `NAME.run.json`, which says which model and options its records come from.

    Args:
        path: Its suffix, one of `SUFFIXES`, chooses the format.
        stamp: What the records depend on: model, versions and options, as JSON values.
        series: Whether records are of series, each of which ends with its summary. A CSV, which has none, is then begun anew.

    Raises:
        UsageError: The suffix is unknown, Parquet needs a package that is not there, or the output has other origins.
        OutputError: The place cannot be written.
    """
    refuse_output(path)
    finished = _refuse_foreign(path, stamp)
    remove_torn(path.parent, _stamp_path(path).name)
    journal, output = _journal(path), FindingOutput(path)
    kept = _series_again(journal, output) if series else _read_again(journal, output, finished=finished)
    _write_stamp(path, stamp, finished=False)
    with _opened(journal, kept) as file:
        output._file = file
        if path.suffix == ".csv" and not file.tell():
            file.write(_csv_row(FLAT_COLUMNS))
        yield output
    if journal != path:
        _write_parquet(journal, path, stamp)
    _write_stamp(path, stamp, finished=True)
    if journal != path:
        journal.unlink()


def _write_stamp(path: Path, stamp: Mapping[str, Any], *, finished: bool) -> None:
    write_atomically(_stamp_path(path), json.dumps({**stamp, "finished": finished}, indent=1) + "\n")


def _opened(path: Path, kept: int) -> IO[bytes]:
    """Open a file for writing behind its first `kept` bytes."""
    try:
        file = path.open("r+b" if path.exists() else "w+b")
        file.truncate(kept)
        file.seek(kept)
    except OSError as error:
        raise output_error(path, error, option="-o") from error
    return file


def refuse_output(path: Path) -> None:
    """Raise when an output cannot be of the kind that its suffix says; errors as for `open_output`."""
    if path.suffix not in SUFFIXES:
        raise UsageError(f"-o {path}: unknown kind of output. Known: {', '.join(SUFFIXES)}.")
    if path.suffix == ".parquet":
        try:
            import pyarrow  # noqa: F401
        except ImportError:
            raise UsageError(f"-o {path}: Parquet needs `pip install 'tumorscope[parquet]'`. Or take .csv or .jsonl.") from None


def _stamp_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.run.json")


def _journal(path: Path) -> Path:
    return path.with_name(f"{path.name}.part.jsonl") if path.suffix == ".parquet" else path


def _refuse_foreign(path: Path, stamp: Mapping[str, Any]) -> bool:
    """Refuse an output of other origins; return whether the one that is there was finished."""
    stored = _stamp_path(path)
    if path.suffix == ".parquet" and path.exists() and not _journal(path).exists():
        raise UsageError(f"{path}: is there and finished. Choose another -o, or remove it.")
    if not path.exists() and not _journal(path).exists():
        return False
    try:
        before = json.loads(stored.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise UsageError(
            f"{path}: there is such a file, and no {stored.name} to say which model it is of. Choose another -o."
        ) from None
    differing = [key for key in stamp if before.get(key) != json.loads(json.dumps(stamp[key]))]
    if differing:
        raise UsageError(
            f"{path}: was begun with another {' and '.join(differing)}. Take the same model and options, or another -o."
        )
    return bool(before.get("finished"))


def _read_again(path: Path, output: FindingOutput, *, finished: bool) -> int:
    """Fill in what is there already, and return how many bytes of it are kept: unless it was finished, all but the last file's."""
    if not path.exists():
        return 0
    last: str | None = None
    start = failed = 0
    with path.open("rb") as file:
        for offset, record in _csv_records(file) if path.suffix == ".csv" else _json_records(file):
            name = _file_of(record["path"])
            if name != last:
                output.done |= set() if last is None else {last}
                output.failed += failed
                last, start, failed = name, offset, 0
            failed += bool(record.get("error"))
    if finished and last is not None:
        output.done.add(last)
        output.failed += failed
        return path.stat().st_size
    return start


def _series_again(path: Path, output: FindingOutput) -> int:
    """Likewise for series: kept is all up to the last summary, and errors of files that are in no series."""
    if not path.exists() or path.suffix == ".csv":
        return 0
    kept = failed = 0
    inside = False
    with path.open("rb") as file:
        for _, record in _json_records(file):
            failed += "error" in record
            inside = "summary" not in record and (inside or "error" not in record)
            if not inside:
                output.done.add(record["path"])
                output.failed += failed
                failed = 0
                kept = file.tell()
    return kept


def _json_records(file: IO[bytes]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield records with the byte at which they start; a torn last line is left out."""
    offset = 0
    for line in file:
        if not line.endswith(b"\n"):
            return
        try:
            yield offset, json.loads(line)
        except ValueError as error:
            raise OutputError(f"{file.name}: byte {offset} is no record ({error}). Choose another -o, or remove it.") from error
        offset += len(line)


def _csv_records(file: IO[bytes]) -> Iterator[tuple[int, dict[str, str]]]:
    """Likewise; a row may have line breaks inside quotes."""
    taken = 0

    def lines() -> Iterator[str]:
        nonlocal taken
        for line in file:
            if line.endswith(b"\n"):
                taken += len(line)
                yield line.decode("utf-8", "surrogateescape")

    rows = csv.reader(lines())
    next(rows, None)
    offset = taken
    for row in rows:
        if len(row) == len(FLAT_COLUMNS):
            yield offset, dict(zip(FLAT_COLUMNS, row, strict=True))
        offset = taken


def _file_of(path: str) -> str:
    """The file of a record's path, which may name an item of a file behind a `#`."""
    file, _, item = path.rpartition("#")
    return file if item and file and not Path(path).exists() and Path(file).exists() else path


def _json_line(record: Mapping[str, Any]) -> bytes:
    return json.dumps(record, allow_nan=False, separators=(",", ":")).encode() + b"\n"


def _csv_line(record: Mapping[str, Any]) -> bytes:
    return _csv_row(_cell(value) for value in flat_record(record).values())


def _csv_row(cells: Any) -> bytes:  # noqa: ANN401
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue().encode("utf-8", "surrogateescape")


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else repr(value) if isinstance(value, float) else str(value)


def _write_parquet(journal: Path, path: Path, stamp: Mapping[str, Any]) -> None:
    """Turn finished records into a Parquet file, a row group at a time, and rename it when it is whole."""
    import pyarrow as pa
    from pyarrow import parquet

    kinds = {str: pa.string(), float: pa.float64(), bool: pa.bool_(), int: pa.int64()}
    schema = pa.schema([(name, kinds[kind]) for name, kind in FLAT_COLUMNS.items()], metadata={"tumorscope": json.dumps(stamp)})
    temporary = path.with_name(f"{path.name}.part")
    try:
        with journal.open("rb") as file, parquet.ParquetWriter(temporary, schema) as writer:
            rows = (flat_record(record) for _, record in _json_records(file) if in_tables(record))
            while group := list(islice(rows, _ROWS_AT_ONCE)):
                writer.write_table(pa.Table.from_pylist(group, schema=schema))
        temporary.replace(path)
    except OSError as error:
        raise output_error(path, error, option="-o") from error
    finally:
        temporary.unlink(missing_ok=True)
