"""From the training records of a manifest to counterfactual scans, one after the other."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from tumorscope.data.counterfactual.erasing import erase, place_elsewhere
from tumorscope.data.counterfactual.transplanting import transplant
from tumorscope.data.decode import decode_record, read_mask
from tumorscope.data.preprocess import Preprocessing
from tumorscope.errors import DataError, ManifestError, SplitError
from tumorscope.labels import NO_TUMOUR, TUMOUR_LABELS
from tumorscope.manifest import Manifest, Record

ERASED, TRANSPLANTED = "erased", "transplanted"
ERASED_ELSEWHERE, TRANSPLANTED_HEALTHY = "erased_elsewhere", "transplanted_healthy"
KINDS: tuple[str, ...] = (ERASED, TRANSPLANTED, ERASED_ELSEWHERE, TRANSPLANTED_HEALTHY)
"""What is done to a scan; the last two are controls that leave the label, so that an edit does not give away the class."""

SHARES: Mapping[str, float] = MappingProxyType({ERASED: 0.6, TRANSPLANTED: 0.2, ERASED_ELSEWHERE: 0.1, TRANSPLANTED_HEALTHY: 0.1})
"""How many of each kind, unless asked otherwise. Mostly scans without a tumour: what other sources show most of is false alarms."""

_ERASED_OF: Mapping[str, float] = MappingProxyType({"glioma": 0.2, "meningioma": 0.2, "pituitary": 0.6})
"""Whose tumours are erased, in parts: no set of scans without a tumour shows many a sella."""

_TRIES = 20


@dataclass(frozen=True, slots=True, eq=False)
class Counterfactual:
    """One edited scan.

    Attributes:
        pixels: uint8, shape (rows, columns).
        mask: bool, same shape: the tumour that the scan shows, all false where it shows none.
        label: One of `LABELS`.
        kind: One of `KINDS`.
        parents: Paths of the records it was made from, the scan that was edited first.
    """

    pixels: np.ndarray
    mask: np.ndarray
    label: str
    kind: str
    parents: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise DataError(f"counterfactual kind {self.kind!r}. Allowed: {', '.join(KINDS)}.")
        if self.mask.shape != self.pixels.shape:
            raise DataError(f"counterfactual: the mask has shape {self.mask.shape}, the scan {self.pixels.shape}. Both must agree.")
        if (self.label == NO_TUMOUR) == bool(self.mask.any()):
            raise DataError(f"counterfactual: labelled {self.label}, but its mask holds {int(self.mask.sum())} pixels of tumour.")


class Workshop:
    """The training records that counterfactual scans are made of, and the plan of what is made of which.

    Each scan depends on the seed and its own number alone, so that they can be made in any order and at once.
    """

    def __init__(self, manifest: Manifest, *, seed: int, shares: Mapping[str, float] = SHARES) -> None:
        _refuse_others(manifest)
        self.manifest = manifest
        self.seed = seed
        self.tumours = [record for record in manifest if record.mask and record.label in TUMOUR_LABELS]
        self.hosts = [record for record in manifest if record.label == NO_TUMOUR]
        self.kinds = [kind for kind in KINDS if shares.get(kind, 0) > 0]
        unknown = sorted(set(shares) - set(KINDS))
        if unknown or not self.kinds or min(shares.values()) < 0:
            raise DataError(f"shares of counterfactual scans {dict(shares)}. Allowed: numbers from 0 on for {', '.join(KINDS)}.")
        if not self.tumours:
            raise DataError(
                f"{manifest.root}: no training image has a tumour outline, and counterfactual scans are made from those."
            )
        if not self.hosts and {TRANSPLANTED, TRANSPLANTED_HEALTHY} & set(self.kinds):
            raise DataError(
                f"{manifest.root}: no training image without a tumour, so nothing can be transplanted. Ask for no such kinds."
            )
        weights = np.array([shares[kind] for kind in self.kinds])
        self.weights = weights / weights.sum()
        by_label = {label: [record for record in self.tumours if record.label == label] for label in TUMOUR_LABELS}
        self.by_label = {label: found for label, found in by_label.items() if found}

    def make(self, number: int) -> Counterfactual:
        """Return the counterfactual scan of a number from 0 on; pairs of records in which nothing has room are passed over.

        Where a kind has no room in many pairs, a tumour is erased instead, for which there is always room, if that is a kind asked
        for.

        Raises:
            DataError: Nothing had room in many pairs.
            DecodeError: A record cannot be read.
        """
        rng = np.random.default_rng((self.seed, number))
        kind = str(rng.choice(self.kinds, p=self.weights))
        made = self._made(kind, rng)
        if made is None and kind != ERASED and ERASED in self.kinds:
            made = self._made(ERASED, rng)
        if made is None:
            raise DataError(
                f"{self.manifest.root}: no room for a scan of kind {kind} in {_TRIES} pairs of images. Ask for none of "
                "that kind, or set counterfactual_share = 0 in the recipe."
            )
        return made

    def _made(self, kind: str, rng: np.random.Generator) -> Counterfactual | None:
        for _ in range(_TRIES):
            of_label = self.by_label[self._draw_label(kind, rng)]
            tumour = of_label[int(rng.integers(len(of_label)))]
            host = self.hosts[int(rng.integers(len(self.hosts)))] if self.hosts else tumour
            made = self._make(kind, tumour, host, seed=int(rng.integers(2**31)))
            if made is not None:
                return made
        return None

    def _draw_label(self, kind: str, rng: np.random.Generator) -> str:
        parts = np.array([_ERASED_OF[label] if kind == ERASED else 1.0 for label in self.by_label])
        return str(rng.choice(list(self.by_label), p=parts / parts.sum()))

    def _make(self, kind: str, tumour: Record, host: Record, *, seed: int) -> Counterfactual | None:
        """Return one edit of given records, or None where it has no room; the mask of an outline may be empty, too."""
        pixels, mask = self._read(tumour)
        if not mask.any():
            return None
        if kind == ERASED:
            return Counterfactual(erase(pixels, mask, seed=seed), np.zeros_like(mask), NO_TUMOUR, kind, (tumour.path,))
        place = mask if kind == TRANSPLANTED else place_elsewhere(mask, pixels, seed=seed)
        if place is None:
            return None
        if kind == ERASED_ELSEWHERE:
            return Counterfactual(erase(pixels, place, seed=seed, avoid=mask), mask, tumour.label, kind, (tumour.path,))
        healthy = kind == TRANSPLANTED_HEALTHY
        moved = transplant(pixels, place, self._read(host)[0], label=tumour.label, seed=seed, healthy=healthy)
        if moved is None:
            return None
        label, shown = (NO_TUMOUR, np.zeros_like(moved[1])) if healthy else (tumour.label, moved[1])
        return Counterfactual(moved[0], shown, label, kind, (host.path, tumour.path))

    def _read(self, record: Record) -> tuple[np.ndarray, np.ndarray]:
        scan = decode_record(self.manifest, record)
        mask = read_mask(self.manifest, record, scan.shape)
        return Preprocessing().eight_bit(scan.pixels), np.zeros(scan.shape, dtype=bool) if mask is None else mask


def counterfactuals(manifest: Manifest, *, seed: int, count: int, shares: Mapping[str, float] = SHARES) -> Iterator[Counterfactual]:
    """Yield counterfactual scans made of training images: tumours by class, hosts at random.

    Args:
        manifest: Training images only, as `in_split("train")` returns them, some with masks.
        seed: The same seed gives the same pixels.
        count: How many.
        shares: How many of each of `KINDS`, in any unit; kinds left out are not made.

    Raises:
        SplitError: An image is not in the training split.
        DataError: There is nothing to make them of, or nothing has room.
        DecodeError: An image cannot be read.
    """
    workshop = Workshop(manifest, seed=seed, shares=shares)
    return (workshop.make(number) for number in range(count))


def _refuse_others(manifest: Manifest) -> None:
    other = next((record for record in manifest if record.split != "train"), None)
    if other is not None:
        split = f"in the {other.split} split" if other.split else "in no split"
        raise SplitError(
            f"{other.path}: {split}. Counterfactual scans are made of training images alone; give `manifest.in_split('train')`."
        )


def parents_of(manifest: Manifest, made: Counterfactual) -> list[Record]:
    """Return the records that a scan was made from, the edited one first."""
    by_path = {record.path: record for record in manifest}
    missing = [path for path in made.parents if path not in by_path]
    if missing:
        raise ManifestError(f"{missing[0]} is not in the manifest that the counterfactual scan was made from.")
    return [by_path[path] for path in made.parents]
