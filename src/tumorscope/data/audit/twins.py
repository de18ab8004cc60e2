"""Which images show the same slice: copies, twins under every flip and turn, and likely neighbours."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import faiss
import numpy as np

from tumorscope.data.audit.alignment import likeness
from tumorscope.data.audit.frames import FRAME_SIZE, INVERSE, TRANSFORMS, transformed
from tumorscope.errors import ManifestError

COPY, TWIN, NEIGHBOUR = "copy", "twin", "neighbour"
KINDS = (COPY, TWIN, NEIGHBOUR)

TWIN_LIKENESS = 0.955
"""Detail likeness from which two images count as one slice.

Among 3,064 different slices of 233 patients (Cheng 2017) no two reach it: the most alike, of 29,832 compared, have 0.954. Of
slices that were turned, rescaled by 0.5 to 2, cropped, recompressed at JPEG quality 30 to 95 and given another gamma (0.7 to 1.4),
99 % have 0.987 or more.

Looked at by eye in Nickparvar's set: 28 pairs without a tumour drawn from 0.955 to 0.97, and both pairs with one below 0.985, are
all one slice each. Of 28 pairs with a tumour drawn from 0.91 to 0.955 none is. Of 52 pairs without one drawn from 0.92 to 0.955
all are one slice, sharpened or binarised until little detail is left: such pairs are missed and count as neighbours. They part 68
of the 1,996 images without a tumour from the group of their slice.
"""

NEIGHBOUR_LIKENESS = 0.86
"""Detail likeness from which two images very likely come from one acquisition.

In the same set a fifth of the consecutive slices reach it, and of the pairs that do, 19 in 20 are no further than eight slices
apart; most of the others are one patient's too, scanned again.
"""

NUMBERED_LIKENESS = 0.5
"""The same for two files that are numbered one after the other: of random pairs of patients one in ten thousand reaches it."""

_SEARCH_SIZE = 8
_NEAREST = 5
_ALIKE_ENOUGH = 0.6
_AT_ONCE = 4096

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Pairs of images that show one slice, or slices next to each other.

    Attributes:
        a: Rows of the first images in their manifest, int64, shape (pairs,).
        b: Rows of the second images, likewise; the row is never that of `a`.
        kind: Positions in `KINDS`, int8, shape (pairs,).
        transform: What turns a into b, positions in `TRANSFORMS`, int8, shape (pairs,).
        similarity: Detail likeness, float32, shape (pairs,), 0 to 1; 1 for copies.
    """

    a: np.ndarray
    b: np.ndarray
    kind: np.ndarray
    transform: np.ndarray
    similarity: np.ndarray

    def __post_init__(self) -> None:
        lengths = {len(array) for array in (self.a, self.b, self.kind, self.transform, self.similarity)}
        if len(lengths) > 1:
            raise ManifestError(f"pairs of images with columns of different lengths ({sorted(lengths)}).")
        if (self.a == self.b).any():
            raise ManifestError("a pair joins an image with itself.")

    def __len__(self) -> int:
        return len(self.a)

    def of_kind(self, *kinds: str) -> "Pairs":
        """Return the pairs of some kinds."""
        return self.where(np.isin(self.kind, [KINDS.index(kind) for kind in kinds]))

    def where(self, keep: np.ndarray) -> "Pairs":
        """Return the pairs for which `keep`, bool, shape (pairs,), is true."""
        return Pairs(self.a[keep], self.b[keep], self.kind[keep], self.transform[keep], self.similarity[keep])

    @classmethod
    def joined(cls, parts: Sequence["Pairs"]) -> "Pairs":
        """Return all pairs of several."""
        columns = ("a", "b", "kind", "transform", "similarity")
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in columns))


def find_pairs(
    frames: np.ndarray,
    digests: Sequence[str],
    *,
    numbered: tuple[np.ndarray, np.ndarray] | None = None,
    progress: Progress | None = None,
) -> Pairs:
    """Return every pair of images that show the same slice, and likely neighbours.

    Equal pixels are found by digest. Of the rest, the nearest few of every image under each of the eight transforms are looked up
    in an index of strongly reduced frames, and then compared in detail. Copies are joined to the first of their kind only, so
    a thousand copies make 999 pairs; twins and neighbours are given between first copies.

    Args:
        frames: `frame` of every image, uint8, shape (n, FRAME_SIZE, FRAME_SIZE).
        digests: `Scan.sha256` of every image.
        numbered: Rows of images and of those that follow them by number; less likeness makes these neighbours.
        progress: Called with (done, all) now and then.

    Returns:
        Pairs, copies first, then by rising rows.
    """
    _refuse_lengths(frames, digests)
    first = _first_rows(digests)
    later = np.flatnonzero(first != np.arange(len(first)))
    alike = _compared(frames, np.unique(first), progress=progress)
    following = _following(frames, first, numbered)
    return Pairs.joined([_copies(first[later], later), _best_of_each(Pairs.joined([alike, following]))])


def find_pairs_between(frames: np.ndarray, digests: Sequence[str], *, base: int, progress: Progress | None = None) -> Pairs:
    """Return the pairs of two data sets: every `a` from the first `base` images, every `b` from the rest.

    Args:
        frames: As for `find_pairs`, of both sets, one after the other.
        digests: Likewise.
        base: Images of the first set.
        progress: Called with (done, all) now and then.

    Returns:
        Pairs; of equal images of a set only the first stands for twins and neighbours, while copies are given for every `b`.
    """
    _refuse_lengths(frames, digests)
    first_base, first_rest = _first_rows(digests[:base]), base + _first_rows(digests[base:])
    row_of = dict(zip(reversed(digests[:base]), range(base - 1, -1, -1), strict=True))
    equal = [(row_of[digest], row) for row, digest in enumerate(digests[base:], start=base) if digest in row_of]
    copied = np.array(equal, dtype=np.int64).reshape(-1, 2)
    different = np.setdiff1d(np.concatenate([first_base, first_rest]), copied[:, 1])
    count = int((different < base).sum())
    return Pairs.joined([_copies(copied[:, 0], copied[:, 1]), _compared(frames, different, base=count, progress=progress)])


def _refuse_lengths(frames: np.ndarray, digests: Sequence[str]) -> None:
    if len(frames) != len(digests):
        raise ManifestError(f"{len(frames)} frames and {len(digests)} digests do not fit together.")


def _following(frames: np.ndarray, first: np.ndarray, numbered: tuple[np.ndarray, np.ndarray] | None) -> Pairs:
    """Neighbours by number, between first copies."""
    a, b = (np.zeros(0, dtype=np.int64),) * 2 if numbered is None else (first[numbered[0]], first[numbered[1]])
    a, b = np.minimum(a, b)[a != b], np.maximum(a, b)[a != b]
    identity = np.zeros(len(a), dtype=np.int8)
    similarity = likeness(frames, a, b, identity)
    kept = similarity >= NUMBERED_LIKENESS
    return Pairs(a[kept], b[kept], _kinds(similarity[kept]), identity[kept], similarity[kept])


def _compared(frames: np.ndarray, rows: np.ndarray, *, base: int | None = None, progress: Progress | None = None) -> Pairs:
    """Twins and neighbours among some rows, or between the first `base` of them and the others."""
    chosen = frames[rows]
    a, b, transform = candidates(chosen, base=base, progress=progress)
    similarity = likeness(chosen, a, b, transform, progress=progress)
    kept = similarity >= NEIGHBOUR_LIKENESS
    alike = _best_of_each(Pairs(a[kept], b[kept], _kinds(similarity[kept]), transform[kept], similarity[kept]))
    return Pairs(rows[alike.a], rows[alike.b], alike.kind, alike.transform, alike.similarity)


def _kinds(similarity: np.ndarray) -> np.ndarray:
    return np.where(similarity >= TWIN_LIKENESS, KINDS.index(TWIN), KINDS.index(NEIGHBOUR)).astype(np.int8)


def _first_rows(digests: Sequence[str]) -> np.ndarray:
    """For every image the first row with the same pixels."""
    first: dict[str, int] = {}
    return np.array([first.setdefault(digest, row) for row, digest in enumerate(digests)], dtype=np.int64)


def _copies(first: np.ndarray, later: np.ndarray) -> Pairs:
    count = len(later)
    kind, identity = np.full(count, KINDS.index(COPY), dtype=np.int8), np.zeros(count, dtype=np.int8)
    return Pairs(first, later, kind, identity, np.ones(count, dtype=np.float32))


def candidates(
    frames: np.ndarray, *, base: int | None = None, progress: Progress | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return pairs worth a comparison in detail: coarsely alike, and among each other's nearest under some transform.

    Args:
        frames: uint8, shape (n, FRAME_SIZE, FRAME_SIZE).
        base: Look up only what follows the first so many frames, and only among these; None looks up all among all.
        progress: Called with (done, all) now and then.

    Returns:
        Rows a, rows b (a before b) and transforms from a to b, each int64 or int8, shape (pairs,), no pair twice.
    """
    vectors = _Reduced(frames)
    index = faiss.IndexFlatIP(_SEARCH_SIZE * _SEARCH_SIZE)
    index.add(vectors.under(0, slice(0, base)))
    found: list[np.ndarray] = [np.empty(0, dtype=np.int64)]
    starts = range(base or 0, len(frames), _AT_ONCE)
    for block, start in enumerate(starts):
        found += [_found(index, vectors, start, transform, len(frames)) for transform in range(len(TRANSFORMS))]
        if progress is not None:
            progress(block + 1, len(starts))
    keys = np.unique(np.concatenate(found))
    pair, way = np.divmod(keys, len(TRANSFORMS))
    a, b = np.divmod(pair, len(frames))
    return a, b, way.astype(np.int8)


def _found(index: faiss.Index, vectors: "_Reduced", start: int, transform: int, count: int) -> np.ndarray:
    """Pairs found for one block of queries under one transform, each as one number: (a, b, transform) in that order."""
    similarity, found = index.search(vectors.under(transform, slice(start, start + _AT_ONCE)), min(_NEAREST, index.ntotal))
    query = start + np.repeat(np.arange(len(found)), found.shape[1])
    other, alike = found.ravel(), similarity.ravel()
    keep = (other != query) & (other >= 0) & (alike > _ALIKE_ENOUGH)
    query, other = query[keep], other[keep]
    swapped = query > other
    way = np.where(swapped, INVERSE[transform], transform)
    keys: np.ndarray = (np.minimum(query, other) * count + np.maximum(query, other)) * len(TRANSFORMS) + way
    return keys


class _Reduced:
    """Frames as short unit vectors, less the mean of all, under any transform."""

    def __init__(self, frames: np.ndarray) -> None:
        cell = FRAME_SIZE // _SEARCH_SIZE
        shape = (len(frames), _SEARCH_SIZE, cell, _SEARCH_SIZE, cell)
        self._small = frames.reshape(shape).mean(axis=(2, 4), dtype=np.float32)
        self._mean = np.zeros((1, _SEARCH_SIZE * _SEARCH_SIZE), dtype=np.float32)
        plain = [self._unit(transformed(self._small, transform)).mean(axis=0) for transform in range(len(TRANSFORMS))]
        self._mean = np.mean(plain, axis=0, keepdims=True)

    def under(self, transform: int, rows: slice) -> np.ndarray:
        """Return float32, shape (rows, 64)."""
        centred = self._unit(transformed(self._small[rows], transform)) - self._mean
        return np.ascontiguousarray(_normalised(centred))

    def _unit(self, small: np.ndarray) -> np.ndarray:
        flat = small.reshape(len(small), -1)
        return _normalised(flat - flat.mean(axis=1, keepdims=True))


def _normalised(vectors: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    result: np.ndarray = np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 1e-6)
    return result


def _best_of_each(pairs: Pairs) -> Pairs:
    """Keep the best transform of every two images."""
    order = np.lexsort((-pairs.similarity, pairs.b, pairs.a))
    a, b = pairs.a[order], pairs.b[order]
    new = np.ones(len(order), dtype=bool)
    new[1:] = (a[1:] != a[:-1]) | (b[1:] != b[:-1])
    keep = np.zeros(len(order), dtype=bool)
    keep[order[new]] = True
    best = pairs.where(keep)
    rows = np.lexsort((best.b, best.a))
    return Pairs(best.a[rows], best.b[rows], best.kind[rows], best.transform[rows], best.similarity[rows])
