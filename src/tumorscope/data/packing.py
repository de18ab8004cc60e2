"""A Manifest to NPZ files that `npz_source` reads back."""

import os
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy_format

from tumorscope.data.decode import decode_record
from tumorscope.data.npz_source import npz_files
from tumorscope.errors import DataError, OutputError
from tumorscope.manifest import SPLITS, Manifest, Record
from tumorscope.scan import Scan
from tumorscope.storage import output_error


def pack_npz(manifest: Manifest, folder: Path, *, progress: Callable[[int, int], None] | None = None) -> tuple[Path, ...]:
    """Write the images of a manifest as NPZ files, one per split (`data.npz` without splits), and return their paths.

    Each holds `images` (n, rows, columns) as decoded, `labels` as names, `paths`, and `groups` where known. Reading them back gives
    the same data fingerprint. Masks, sources and folds are not packed.

    Raises:
        DataError: The images of a split differ in size or type, since an NPZ array holds only equal ones; or only some images
            have a split.
        OutputError: The folder cannot be written, or holds other NPZ files, which would be read as parts of the set.
    """
    splits = [split for split in ("", *SPLITS) if any(record.split == split for record in manifest)]
    if "" in splits and len(splits) > 1:
        raise DataError(f"{manifest.root}: some images have a split and some have none. Run `tumorscope split` before packing.")
    paths = tuple(folder / f"{split or 'data'}.npz" for split in splits)
    others = [file.name for file in npz_files(folder) if file not in paths] if folder.is_dir() else []
    if others:
        raise OutputError(f"{folder}: holds {others[0]}, which would be read as a part of this set. Choose an empty folder.")
    done = 0

    def counted(records: Sequence[Record]) -> Iterator[Scan]:
        nonlocal done
        for record in records:
            yield decode_record(manifest, record)
            done += 1
            if progress is not None:
                progress(done, len(manifest))

    for split, path in zip(splits, paths, strict=True):
        records = [record for record in manifest if record.split == split]
        _write_archive(path, counted(records), records)
    return paths


def _write_archive(path: Path, scans: Iterator[Scan], records: Sequence[Record]) -> None:
    """Write image after image under a temporary name, then rename."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
            with _member(archive, "images") as content:
                _write_images(content, scans, len(records))
            for key, array in _columns(records).items():
                with _member(archive, key) as content:
                    npy_format.write_array(content, array, allow_pickle=False)
        temporary.replace(path)
    except OSError as error:
        raise output_error(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _member(archive: zipfile.ZipFile, key: str) -> IO[bytes]:
    """Open an array for writing; with a fixed date, so that the same images give the same file."""
    info = zipfile.ZipInfo(f"{key}.npy")
    info.compress_type = zipfile.ZIP_DEFLATED
    return archive.open(info, "w", force_zip64=True)


def _write_images(content: IO[bytes], scans: Iterator[Scan], count: int) -> None:
    first: Scan | None = None
    for scan in scans:
        if first is None:
            first = scan
            header = npy_format.header_data_from_array_1_0(scan.pixels) | {"shape": (count, *scan.shape)}
            npy_format.write_array_header_1_0(content, header)
        if (scan.shape, scan.pixels.dtype) != (first.shape, first.pixels.dtype):
            raise DataError(
                f"{scan.origin}: {scan.shape} {scan.pixels.dtype}, but {first.origin} is {first.shape} {first.pixels.dtype}. An "
                "NPZ array holds images of one size and type: bring them to one size first, or keep the folder."
            )
        content.write(scan.pixels.data)


def _columns(records: Sequence[Record]) -> dict[str, np.ndarray]:
    columns = {"labels": np.array([record.label for record in records]), "paths": np.array([record.path for record in records])}
    if any(record.group for record in records):
        columns["groups"] = np.array([record.group for record in records])
    return columns
