"""The pictures on the page of an audit: which pairs are shown, by rule, and how they are cut and turned."""

from collections.abc import Sequence

import cv2
import numpy as np

from tumorscope.data.audit.audit import Audit
from tumorscope.data.audit.carrying import ALIGNED, CARRIED, Carried
from tumorscope.data.audit.files import COLOUR, FILE_FLAGS, OVERLAY
from tumorscope.data.audit.frames import TRANSFORMS, content_box, transformed
from tumorscope.data.audit.twins import NEIGHBOUR, TWIN, Pairs
from tumorscope.data.decode import decode_in_colour, decode_record, parse_outlines
from tumorscope.data.preprocess import Preprocessing
from tumorscope.labels import LABELS, UNSTATED_TUMOUR, display_name
from tumorscope.manifest import Manifest, Record, split_item
from tumorscope.reporting.audit_report import PictureRow, Section

_PER_LABEL = 4
_PAIRS = 12
_CONFLICTS = 12
_MOST_IN_A_ROW = 3
_STRANGE = 6
_OUTLINES = 12
_OUTLINE_COLOUR = (255, 210, 0)


def picture_sections(found: Audit) -> tuple[Section, ...]:
    """Return pairs and contradicting labels in pictures."""
    manifest = found.manifest
    across = _across_splits(manifest, found.pairs.of_kind(TWIN))
    leaking = [
        index
        for label in (*LABELS, UNSTATED_TUMOUR)
        for index in _least_alike(across, _of_label(manifest, across, label), _PER_LABEL)
    ]
    sections = [
        Section(
            "test-twins",
            "Test images beside their twins in training",
            f"Of every class the {_PER_LABEL} pairs that are least alike, so all others are clearer. The first picture is turned "
            "onto the second; both are cut to their content.",
            tuple(_pair(manifest, across, index) for index in leaking),
        )
        if found.leaks is not None
        else None,
        _pairs_section(manifest, found.pairs.of_kind(TWIN), "twins", "Twins", "least alike"),
        _pairs_section(manifest, found.pairs.of_kind(NEIGHBOUR), "neighbours", "Likely neighbours", "most alike"),
        Section(
            "labels",
            "One slice, different labels",
            "Somebody has to look: at most one of these labels is right. Nothing was changed."
            + (f" The first {_CONFLICTS} of {len(found.conflicts):,} are shown." if len(found.conflicts) > _CONFLICTS else ""),
            tuple(_conflict(manifest, rows) for rows in found.conflicts[:_CONFLICTS]),
        ),
        _strange(manifest),
        _carried_section(found) if found.carried else None,
    ]
    return tuple(section for section in sections if section is not None)


def _strange(manifest: Manifest) -> Section:
    rows = []
    for flag in FILE_FLAGS:
        having = [row for row, record in enumerate(manifest) if flag in record.flags]
        for start in range(0, min(len(having), _STRANGE), _MOST_IN_A_ROW):
            shown = having[start : min(start + _MOST_IN_A_ROW, _STRANGE)]
            rows.append(
                PictureRow(
                    pictures=tuple(_odd_picture(manifest, row, flag) for row in shown),
                    paths=tuple(record.path for record in _records(manifest, shown)),
                    caption=f"{flag}: {', '.join(_labels(manifest, shown))}",
                )
            )
    words = f"The first {_STRANGE} of every kind. Warnings, nothing was left out: text, for instance, may give the source away."
    return Section("strange", "Odd files", words, tuple(rows))


def _carried_section(found: Audit) -> Section:
    given = [one for one in found.carried if one.outcome == CARRIED]
    worst = sorted(given, key=lambda one: (one.correlation or 0.0, one.row))[:_OUTLINES]
    rows = []
    for start in range(0, len(worst), _MOST_IN_A_ROW):
        shown = worst[start : start + _MOST_IN_A_ROW]
        labels = _labels(found.manifest, [one.row for one in shown])
        rows.append(
            PictureRow(
                pictures=tuple(_outlined(found.manifest, one) for one in shown),
                paths=tuple(found.manifest.records[one.row].path for one in shown),
                caption=", ".join(f"{label} {one.correlation or 0:.3f}" for label, one in zip(labels, shown, strict=True)),
            )
        )
    which = f" The {_OUTLINES} that fit their twin least are shown." if len(given) > _OUTLINES else ""
    words = f"{len(given):,} outlines were drawn on another picture of the slice; what fits it less than {ALIGNED} got none.{which}"
    return Section("carried", "Outlines of twins", words, tuple(rows))


def _outlined(manifest: Manifest, one: Carried) -> np.ndarray:
    """The content of a scan in colour, with the outline that it got."""
    pixels = _picture(manifest, one.row, cut=False)
    coloured = np.stack([pixels] * 3, axis=-1)
    for points in parse_outlines(one.mask, where=manifest.records[one.row].path):
        cv2.polylines(coloured, [np.rint(points).astype(np.int32)], isClosed=True, color=_OUTLINE_COLOUR)
    top, bottom, left, right = content_box(pixels)
    return coloured[top:bottom, left:right]


def _pairs_section(manifest: Manifest, pairs: Pairs, name: str, title: str, which: str) -> Section:
    order = np.argsort(pairs.similarity, kind="stable")
    chosen = order[:_PAIRS] if which == "least alike" else order[::-1][:_PAIRS]
    shown = f" The {_PAIRS} that are {which} are shown, where a mistake would be likeliest." if len(pairs) > _PAIRS else ""
    words = f"{len(pairs):,} {'pair' if len(pairs) == 1 else 'pairs'}.{shown}"
    return Section(name, title, words, tuple(_pair(manifest, pairs, int(index)) for index in chosen))


def _across_splits(manifest: Manifest, pairs: Pairs) -> Pairs:
    test = np.array([record.split == "test" for record in manifest])
    return pairs.where(test[pairs.a] != test[pairs.b])


def _of_label(manifest: Manifest, pairs: Pairs, label: str) -> np.ndarray:
    return np.array([manifest.records[row].label == label for row in pairs.a.tolist()], dtype=bool)


def _least_alike(pairs: Pairs, keep: np.ndarray, count: int) -> list[int]:
    order = np.argsort(pairs.similarity, kind="stable")
    return [int(index) for index in order if keep[index]][:count]


def _pair(manifest: Manifest, pairs: Pairs, index: int) -> PictureRow:
    a, b, transform = int(pairs.a[index]), int(pairs.b[index]), int(pairs.transform[index])
    names = [f"{display_name(r.label)}{f' ({r.split})' if r.split else ''}" for r in _records(manifest, (a, b))]
    return PictureRow(
        pictures=(_picture(manifest, a, transform=transform), _picture(manifest, b)),
        paths=tuple(record.path for record in _records(manifest, (a, b))),
        caption=f"{pairs.similarity[index]:.3f}, {TRANSFORMS[transform]}; {names[0]} and {names[1]}",
    )


def _conflict(manifest: Manifest, rows: Sequence[int]) -> PictureRow:
    by_label = {manifest.records[row].label: row for row in reversed(rows)}
    shown = sorted(by_label.values())[:_MOST_IN_A_ROW]
    return PictureRow(
        pictures=tuple(_picture(manifest, row) for row in shown),
        paths=tuple(record.path for record in _records(manifest, shown)),
        caption=f"{len(rows)} images of one slice: {' and '.join(_labels(manifest, shown))}",
    )


def _records(manifest: Manifest, rows: Sequence[int]) -> list[Record]:
    return [manifest.records[row] for row in rows]


def _labels(manifest: Manifest, rows: Sequence[int]) -> list[str]:
    return [display_name(record.label) for record in _records(manifest, rows)]


def _odd_picture(manifest: Manifest, row: int, flag: str) -> np.ndarray:
    """The whole picture; with its colour where that is what is odd about it. Colour in an NPZ file is shown as grey."""
    path = manifest.records[row].path
    if flag in (COLOUR, OVERLAY) and not split_item(path)[1]:
        return decode_in_colour(manifest.locate(path))
    return _picture(manifest, row, cut=False)


def _picture(manifest: Manifest, row: int, *, transform: int = 0, cut: bool = True) -> np.ndarray:
    pixels = Preprocessing().eight_bit(decode_record(manifest, manifest.records[row]).pixels)
    if not cut:
        return pixels
    top, bottom, left, right = content_box(pixels)
    return np.ascontiguousarray(transformed(pixels[top:bottom, left:right], transform))
