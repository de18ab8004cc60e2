"""The synthetic set as files: pictures, masks and a manifest."""

import io
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tumorscope.data.phantom.atlas import load_atlas
from tumorscope.data.phantom.other_scanner import by_other_scanner
from tumorscope.data.phantom.patient import check_arguments, phantom_patient
from tumorscope.errors import DataError, OutputError
from tumorscope.labels import LABELS, NO_TUMOUR
from tumorscope.manifest import Manifest, Record, read_manifest, write_manifest
from tumorscope.scan import Scan
from tumorscope.storage import output_error, write_atomically

SYNTHETIC_NOTICE = "Synthetic: Tumorscope phantom, not a patient. A program drew it on the MNI152 templates."
SOURCE = "phantom"
PHANTOM_VERSION = 1
"""Goes up whenever the same arguments would give other pixels."""

OTHER_SOURCE = "phantom-other-scanner"
Scanners = Literal["one", "confounded", "swapped"]

_TEST_SHARE = 0.2
_ARGUMENTS_FILE = "phantom.json"
_MANIFEST_FILE = "manifest.csv"
_FOLDERS = {"train": "Training", "test": "Testing"}
_MASK_FOLDER = "masks"


@dataclass(frozen=True, slots=True)
class _Order:
    patients_per_label: int
    slices_per_patient: int
    image_size: int
    seed: int
    scanners: Scanners = "one"

    def source(self, label: str) -> str:
        """Which of the two scanners draws a label; with one scanner, the set's own name."""
        if self.scanners == "one":
            return SOURCE
        return OTHER_SOURCE if (label == NO_TUMOUR) == (self.scanners == "confounded") else SOURCE

    def is_test(self, number: int) -> bool:
        """Whether a patient is in the test split: every fifth, so that planes and places are spread over both."""
        tests = max(1, round(_TEST_SHARE * self.patients_per_label))
        return (number + 1) * tests // self.patients_per_label > number * tests // self.patients_per_label


def write_phantom(
    folder: Path,
    *,
    patients_per_label: int = 60,
    slices_per_patient: int = 5,
    image_size: int = 224,
    seed: int = 0,
    scanners: Scanners = "one",
    progress: Callable[[int, int], None] | None = None,
) -> Manifest:
    """Write the synthetic set as PNG files and a manifest, or return it at once where it already stands complete.

    `Training/LABEL/` and `Testing/LABEL/` hold the slices, by patient, `masks/` the tumours. The manifest is written last, so
    a set that was interrupted is drawn again by the next call.

    Args:
        folder: Where; made when missing. Nothing else may call itself a data set there.
        patients_per_label: At least 2; a fifth of them, at least one, is the test split.
        slices_per_patient: At least 1.
        image_size: Rows and columns, 64 to 1024 pixels.
        seed: The same arguments give the same pixels.
        scanners: `one` for all; `confounded` draws scans without a tumour by another scanner than all others, so that the class
            gives away its source; `swapped` the other way round, which shows what a model learned from `confounded` really knows.
        progress: Called with the patients done and the patients in all.

    Returns:
        The manifest as read back, with `SYNTHETIC_NOTICE` among its notes.

    Raises:
        DataError: An argument is outside of what is allowed.
        OutputError: The folder holds something else, or cannot be written.
    """
    if patients_per_label < 2:
        raise DataError(f"phantom: {patients_per_label} patients per label. At least 2: one to train on and one to test on.")
    check_arguments(LABELS[0], seed=seed, number=0, slices=slices_per_patient, image_size=image_size)
    order = _Order(patients_per_label, slices_per_patient, image_size, seed, scanners)
    try:
        _claim(folder, order)
        if not _is_complete(folder):
            records = _write_pictures(folder, order, progress)
            write_manifest(Manifest(root=folder, records=records), folder / _MANIFEST_FILE)
    except OSError as error:
        raise output_error(folder, error) from error
    return replace(read_manifest(folder / _MANIFEST_FILE), notes=(SYNTHETIC_NOTICE,))


def _claim(folder: Path, order: _Order) -> None:
    """Leave the arguments in the folder, or refuse when something else is there."""
    path = folder / _ARGUMENTS_FILE
    arguments = {key: value for key, value in asdict(order).items() if (key, value) != ("scanners", "one")}
    wanted = json.dumps({"notice": SYNTHETIC_NOTICE, "version": PHANTOM_VERSION, **arguments}, indent=1)
    if path.exists():
        if path.read_text(encoding="utf-8") != wanted:
            raise OutputError(
                f"{folder}: holds a synthetic set that was drawn with other arguments ({_ARGUMENTS_FILE} names them). "
                "Delete the folder, or choose another one."
            )
        return
    found = [name for name in (*_FOLDERS.values(), _MASK_FOLDER, _MANIFEST_FILE) if (folder / name).exists()]
    if found:
        raise OutputError(f"{folder}: already holds {', '.join(found)} of another data set. Choose an empty folder.")
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(path, wanted)


def _is_complete(folder: Path) -> bool:
    path = folder / _MANIFEST_FILE
    if not path.exists():
        return False
    manifest = read_manifest(path)
    return all(manifest.locate(name).is_file() for record in manifest for name in (record.path, record.mask) if name)


def _write_pictures(folder: Path, order: _Order, progress: Callable[[int, int], None] | None) -> tuple[Record, ...]:
    """Draw and write every patient; threads suffice, because the drawing spends its time outside of the interpreter."""
    (folder / _MANIFEST_FILE).unlink(missing_ok=True)
    for name in (_MASK_FOLDER, *(f"{part}/{label}" for part in _FOLDERS.values() for label in LABELS)):
        (folder / name).mkdir(parents=True, exist_ok=True)
    load_atlas()
    patients = [(label, number) for label in LABELS for number in range(order.patients_per_label)]
    records: list[Record] = []
    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
        for done, written in enumerate(pool.map(lambda patient: _write_patient(folder, order, *patient), patients), start=1):
            records.extend(written)
            if progress:
                progress(done, len(patients))
    return tuple(records)


def _write_patient(folder: Path, order: _Order, label: str, number: int) -> list[Record]:
    slices = phantom_patient(label, seed=order.seed, number=number, slices=order.slices_per_patient, image_size=order.image_size)
    split = "test" if order.is_test(number) else "train"
    records = []
    source = order.source(label)
    for index, plain in enumerate(slices):
        drawn = by_other_scanner(plain) if source == OTHER_SOURCE else plain
        name = f"{drawn.group}-{index}.png"
        path, mask = f"{_FOLDERS[split]}/{label}/{name}", f"{_MASK_FOLDER}/{name}" if drawn.mask.any() else ""
        write_atomically(folder / path, _png(drawn.pixels), sync=False)
        if mask:
            write_atomically(folder / mask, _png(np.where(drawn.mask, 255, 0).astype(np.uint8)), sync=False)
        sha256 = Scan(pixels=drawn.pixels, origin=path).sha256
        records.append(Record(path=path, label=label, sha256=sha256, group=drawn.group, split=split, source=source, mask=mask))
    return records


def _png(pixels: np.ndarray) -> bytes:
    """Encode a grey picture with the notice inside."""
    text = PngInfo()
    text.add_text("Comment", SYNTHETIC_NOTICE)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", pnginfo=text, compress_level=4)
    return buffer.getvalue()
