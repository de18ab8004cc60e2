"""Outlines of tumours carried over from another set that shows the same slices."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tumorscope.data.audit.frames import INVERSE, followed_by
from tumorscope.data.audit.registration import Registration, register
from tumorscope.data.audit.threads import in_threads
from tumorscope.data.audit.twins import COPY, TWIN, Pairs
from tumorscope.data.decode import decode_record, draw_outlines, parse_outlines, read_mask
from tumorscope.data.outlines import clip_outline, trace_outlines, write_outlines
from tumorscope.data.preprocess import Preprocessing
from tumorscope.errors import DecodeError
from tumorscope.labels import NO_TUMOUR, UNSTATED_TUMOUR
from tumorscope.manifest import Manifest, Record, is_outline
from tumorscope.scan import Scan

CARRIED, UNLIKE, OTHER_LABEL, OUTSIDE, UNREADABLE = "carried", "unlike", "other_label", "outside", "unreadable"
OUTCOMES = (CARRIED, UNLIKE, OTHER_LABEL, OUTSIDE, UNREADABLE)
"""Carried; not aligned well enough; the twin's label differs; the tumour lies outside of this image; the twin's mask is broken."""

CARRIED_MASK = "carried_mask"
"""Flag of an image whose outline was drawn on another picture of its slice."""

ALIGNED = 0.95
"""Correlation of fine detail from which an outline is carried.

Of 3,064 slices (Cheng 2017) no two that follow one another reach 0.932 once aligned, and none its own mirror image 0.928. Of 5,619
twins of them, turned, cut at the margins or into the head, rescaled by 0.4 to 1 and recompressed, the least has 0.968; outlines
carried over to these share 0.99 (median; 5th percentile 0.97) of their area with the true ones. See `benchmarks/carrying.py`.
"""

Turned = dict[str, int]


@dataclass(frozen=True, slots=True)
class Carried:
    """What became of the outline that another set has of an image's slice.

    Attributes:
        row: The image, by row of its manifest.
        other: Path of the other set's image.
        transform: What turns the other image onto this one, position in `TRANSFORMS`.
        correlation: Of the fine detail of both once aligned, at most 1; None where they were not compared.
        outcome: One of `OUTCOMES`.
        mask: Outlines in pixels of this image as `Record.mask` has them; empty unless carried.
    """

    row: int
    other: str
    transform: int
    correlation: float | None
    outcome: str
    mask: str = ""


def carry_outlines(
    manifest: Manifest, other: Manifest, *, between: Pairs, within: Pairs, progress: Callable[[int, int], None] | None = None
) -> tuple[Carried, ...]:
    """Return the outlines of another set as they lie on the images of a set that have none.

    The twin that correlates best gives its outline. None is given to an image without tumour, or by one whose label differs; a
    tumour of unstated type is of any. Parts outside of an image are cut off.

    Args:
        manifest: Images, some without a mask.
        other: Another set, some of it with masks: outlines, or pictures and MATLAB files, which are traced.
        between: `find_pairs_between` of the two sets, `b` counted on from the rows of the manifest.
        within: `find_pairs` of the manifest, so that a twin's twin counts as well.
        progress: Called with (done, all) now and then.

    Returns:
        One for every image without a mask whose slice has one in the other set, by rising rows.

    Raises:
        DecodeError: An image has vanished or changed since it was indexed.
    """
    masked = defaultdict(list)
    for record in other:
        if record.mask and record.label != NO_TUMOUR:
            masked[record.sha256].append(record)
    twins = _twins_of_slices(manifest, other, between, within)
    wanted = []
    for row, record in enumerate(manifest):
        found = {} if record.mask else twins.get(record.sha256, {})
        givers = [(giver, transform) for digest, transform in found.items() for giver in masked[digest]]
        if givers:
            wanted.append((row, givers))
    return tuple(in_threads(lambda n: _carried(manifest, other, *wanted[n]), len(wanted), progress))


def with_carried(manifest: Manifest, carried: Iterable[Carried], *, name: str) -> Manifest:
    """Return the manifest with the outlines that were carried, their images flagged `CARRIED_MASK`.

    Args:
        manifest: The one that `carry_outlines` was given.
        carried: What it returned.
        name: What to call the other set in the note.
    """
    records = list(manifest.records)
    given = [one for one in carried if one.outcome == CARRIED]
    for one in given:
        flags = tuple(sorted({*records[one.row].flags, CARRIED_MASK}))
        records[one.row] = replace(records[one.row], mask=one.mask, flags=flags)
    note = f"The outlines of {len(given):,} images were carried over from {name}, which shows the same slices."
    return manifest.with_records(records, note=note if given else None)


def _twins_of_slices(manifest: Manifest, other: Manifest, between: Pairs, within: Pairs) -> dict[str, Turned]:
    """For every digest of the set, digests of the other set that show the slice, each with what turns it onto the set's image.

    Pairs are given for the first of equal images only, and for the nearest few: twins of twins make up for the rest.
    """
    direct: dict[str, Turned] = defaultdict(dict)
    for a, b, transform in _rows(between.of_kind(COPY, TWIN)):
        digest = other.records[b - len(manifest)].sha256
        direct[manifest.records[a].sha256].setdefault(digest, INVERSE[transform])
    found = defaultdict(dict, {digest: dict(turned) for digest, turned in direct.items()})
    for a, b, transform in _rows(within.of_kind(TWIN)):
        first, second = manifest.records[a].sha256, manifest.records[b].sha256
        for here, there, onto_here in ((first, second, INVERSE[transform]), (second, first, transform)):
            for digest, onto_there in direct.get(there, {}).items():
                found[here].setdefault(digest, followed_by(onto_there, onto_here))
    return found


def _rows(pairs: Pairs) -> Iterable[tuple[int, int, int]]:
    return zip(pairs.a.tolist(), pairs.b.tolist(), pairs.transform.tolist(), strict=True)


def _carried(manifest: Manifest, other: Manifest, row: int, givers: Sequence[tuple[Record, int]]) -> Carried:
    record = manifest.records[row]
    of_its_label = [(giver, transform) for giver, transform in givers if _one_label(record.label, giver.label)]
    if not of_its_label:
        return Carried(row, givers[0][0].path, givers[0][1], None, OTHER_LABEL)
    scan = decode_record(manifest, record)
    tried = [_by_one(scan, other, giver, transform, row=row) for giver, transform in of_its_label]
    return max(tried, key=lambda one: (one.outcome == CARRIED, one.outcome != UNREADABLE, one.correlation or 0.0))


def _one_label(label: str, other: str) -> bool:
    return NO_TUMOUR not in (label, other) and (label == other or UNSTATED_TUMOUR in (label, other))


def _by_one(scan: Scan, other: Manifest, giver: Record, transform: int, *, row: int) -> Carried:
    """What becomes of the outline of one image of the other set on a scan."""
    theirs = decode_record(other, giver)
    try:
        outlines = _outlines(other, giver, theirs.shape)
    except DecodeError:
        return Carried(row, giver.path, transform, None, UNREADABLE)
    found = _aligned(theirs, scan, transform)
    if found.correlation < ALIGNED:
        return Carried(row, giver.path, transform, found.correlation, UNLIKE)
    clipped = [clip_outline(found.moved(points), scan.shape) for points in outlines]
    mask = write_outlines(points for points in clipped if _holds_a_pixel(points, scan.shape))
    return Carried(row, giver.path, transform, found.correlation, CARRIED if mask else OUTSIDE, mask)


def _outlines(manifest: Manifest, record: Record, shape: tuple[int, int]) -> list[np.ndarray]:
    if is_outline(record.mask):
        return [np.array(points) for points in parse_outlines(record.mask, where=record.path)]
    mask = read_mask(manifest, record, shape)
    assert mask is not None
    return trace_outlines(mask)


def _aligned(theirs: Scan, scan: Scan, transform: int) -> Registration:
    if theirs.sha256 == scan.sha256:
        return Registration(np.eye(2, 3), 1.0)
    eight_bit = Preprocessing().eight_bit
    return register(eight_bit(theirs.pixels), eight_bit(scan.pixels), transform)


def _holds_a_pixel(points: np.ndarray, shape: tuple[int, int]) -> bool:
    return len(points) >= 3 and bool(draw_outlines(write_outlines([points]), shape, where="outline").any())
