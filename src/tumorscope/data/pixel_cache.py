"""PixelCache: every image of a manifest, and where wanted its outline, on the network's grid; decoded once, memory-mapped."""

import hashlib
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tumorscope.data.decode import decode_record, mask_version, read_mask
from tumorscope.data.preprocess import Preprocessing
from tumorscope.errors import DecodeError, ManifestError
from tumorscope.labels import LABELS
from tumorscope.manifest import Manifest, Record
from tumorscope.scan import Scan
from tumorscope.storage import output_error

AT_ONCE = 512


@dataclass(frozen=True, slots=True, eq=False)
class PixelCache:
    """A manifest with its decoded, preprocessed images.

    Attributes:
        manifest: The images, in the order of `grids`.
        grids: uint8, shape (n, image_size, image_size); may be a read-only memory map.
        preprocessing: What made the grids.
    """

    manifest: Manifest
    grids: np.ndarray
    preprocessing: Preprocessing

    def __post_init__(self) -> None:
        size = self.preprocessing.image_size
        if self.grids.shape != (len(self.manifest), size, size) or self.grids.dtype != np.uint8:
            raise ManifestError(
                f"{len(self.manifest)} images of {size} pixels, but a pixel cache of {self.grids.dtype} {self.grids.shape}."
            )

    @property
    def label_index(self) -> np.ndarray:
        """Labels as positions in `LABELS`, int64, shape (n,); -1 for a tumour of unstated type."""
        numbers = {label: number for number, label in enumerate(LABELS)}
        return np.array([numbers.get(record.label, -1) for record in self.manifest], dtype=np.int64)

    def rows(self, split: str) -> np.ndarray:
        """Positions of the images of one split, int64."""
        return np.array([i for i, record in enumerate(self.manifest) if record.split == split], dtype=np.int64)

    def with_manifest(self, manifest: Manifest) -> "PixelCache":
        """Return the cache for a manifest over the same images, in another order, or fewer of them."""
        if [record.sha256 for record in manifest] == [record.sha256 for record in self.manifest]:
            return PixelCache(manifest, self.grids, self.preprocessing)
        where = {record.sha256: i for i, record in enumerate(self.manifest)}
        missing = next((record.path for record in manifest if record.sha256 not in where), None)
        if missing is not None:
            raise ManifestError(f"{missing} is not in the pixel cache. Build the cache for its manifest.")
        return PixelCache(manifest, self.grids[[where[record.sha256] for record in manifest]], self.preprocessing)


def build_pixel_cache(
    manifest: Manifest, preprocessing: Preprocessing, folder: Path, *, progress: Callable[[int, int], None] | None = None
) -> PixelCache:
    """Decode every image once into a memory-mapped file, or open the file that an earlier call made.

    The file is named by what is in it (pixel digests and preprocessing), so the same images found in another folder or
    archive share it, and a changed image never meets an old cache.

    Args:
        manifest: Images with their `sha256`.
        preprocessing: How they are brought onto the network's grid.
        folder: Where the cache file lies; made when missing.
        progress: Called with (done, all) now and then.

    Raises:
        DecodeError: An image cannot be read.
        ManifestError: An image's pixels are no longer the ones that were indexed.
        OutputError: The file cannot be written, or the disk is full.
    """
    path = folder / f"pixels-{_key(manifest, preprocessing)}.npy"

    def grid(record: Record) -> bytes:
        return preprocessing.grid(_decode_unchanged(manifest, record)).tobytes()

    if not path.is_file():
        _write(path, "|u1", grid, manifest=manifest, size=preprocessing.image_size, progress=progress)
    return PixelCache(manifest, np.load(path, mmap_mode="r"), preprocessing)


def build_mask_cache(
    manifest: Manifest, preprocessing: Preprocessing, folder: Path, *, progress: Callable[[int, int], None] | None = None
) -> np.ndarray:
    """Return the tumour outlines of a manifest on the network's grid, drawn once into a memory-mapped file as the pixels are.

    An outline that cannot be read, or that is drawn for another size than its image's, is one that is not there:
    `explanation.outlines` names such.

    Args:
        manifest: Images with their `sha256`.
        preprocessing: How they are brought onto the network's grid.
        folder: Where the file lies; made when missing.
        progress: Called with (done, all) now and then.

    Returns:
        bool, shape (n, image_size, image_size), all false for an image without an outline; a read-only memory map.

    Raises:
        OutputError: The file cannot be written, or the disk is full.
    """
    path = folder / f"masks-{_key(manifest, preprocessing, masks=True)}.npy"

    def mask(record: Record) -> bytes:
        try:
            return outline_on_grid(manifest, record, preprocessing)[0].tobytes()
        except DecodeError:
            return bytes(preprocessing.image_size**2)

    if not path.is_file():
        _write(path, "|b1", mask, manifest=manifest, size=preprocessing.image_size, progress=progress)
    masks: np.ndarray = np.load(path, mmap_mode="r")
    return masks


def outline_on_grid(manifest: Manifest, record: Record, preprocessing: Preprocessing) -> tuple[np.ndarray, Scan]:
    """Return the outline of a record, bool, shape (image_size, image_size), and the scan that it was drawn on.

    Raises:
        DecodeError: Scan or outline cannot be read, or there is none.
    """
    if not record.mask:
        raise DecodeError(f"{record.path}: no tumour outline. Give one in the manifest's column `mask`.")
    scan = decode_record(manifest, record)
    mask = read_mask(manifest, record, scan.shape)
    assert mask is not None
    return preprocessing.grid_mask(mask, preprocessing.framing(scan)), scan


def _key(manifest: Manifest, preprocessing: Preprocessing, *, masks: bool = False) -> str:
    geometry = {key: value for key, value in preprocessing.to_json().items() if key not in ("mean", "std")}
    digest = hashlib.sha256(json.dumps(geometry, sort_keys=True).encode())
    for record in manifest:
        digest.update(record.sha256.encode())
        if masks:
            digest.update(f"\t{mask_version(manifest, record)}\n".encode())
    return digest.hexdigest()[:16]


def _write(
    path: Path,
    descr: str,
    content_of: Callable[[Record], bytes],
    *,
    manifest: Manifest,
    size: int,
    progress: Callable[[int, int], None] | None,
) -> None:
    """Write array after array; not through a memory map, where a full disk would end the process without a word."""
    header = {"descr": descr, "fortran_order": False, "shape": (len(manifest), size, size)}
    temporary = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file, ThreadPoolExecutor(os.cpu_count()) as pool:
            np.lib.format.write_array_header_1_0(file, header)
            for first in range(0, len(manifest), AT_ONCE):
                for row, content in enumerate(pool.map(content_of, manifest.records[first : first + AT_ONCE]), start=first + 1):
                    file.write(content)
                    if progress is not None:
                        progress(row, len(manifest))
        temporary.replace(path)
    except OSError as error:
        raise output_error(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def _decode_unchanged(manifest: Manifest, record: Record) -> Scan:
    scan = decode_record(manifest, record)
    if scan.sha256 != record.sha256:
        raise ManifestError(f"{record.path}: the pixels changed since the manifest was made. Run `tumorscope index` again.")
    return scan
