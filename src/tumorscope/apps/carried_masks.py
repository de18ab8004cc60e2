"""Outlines carried over from another set: the table of an audit, its counts and its sentence."""

import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tumorscope.apps.console import Reporter
from tumorscope.data.audit.audit import Audit
from tumorscope.data.audit.carrying import (
    ALIGNED,
    CARRIED,
    OTHER_LABEL,
    OUTCOMES,
    OUTSIDE,
    UNLIKE,
    UNREADABLE,
    Carried,
    carry_outlines,
    with_carried,
)
from tumorscope.data.audit.frames import TRANSFORMS
from tumorscope.data.audit.twins import Pairs
from tumorscope.labels import NO_TUMOUR
from tumorscope.manifest import Manifest
from tumorscope.storage import write_atomically

CARRIED_FILE = "carried_masks.csv"


def carry_masks(found: Audit, other: Manifest, between: Pairs, folder: Path, reporter: Reporter, *, name: str) -> Audit:
    """Give the images of an audited set the outlines that another set has of their slices, and say how many got one.

    Args:
        found: The audit of the set.
        other: The set with outlines.
        between: The pairs of both, as `outside_of` returns them.
        folder: Gets `carried_masks.csv`.
        reporter: Told what became of the outlines.
        name: What to call the other set.

    Returns:
        The audit, its manifest with the outlines.

    Raises:
        DecodeError: An image has vanished or changed since it was indexed.
        OutputError: The folder cannot be written.
    """
    with reporter.counting("carry outlines over") as progress:
        carried = carry_outlines(found.manifest, other, between=between, within=found.pairs, progress=progress)
    write_atomically(folder / CARRIED_FILE, _table(carried, found.manifest))
    reporter.say(f"  {_sentence(carried, found.manifest, other)}")
    return replace(found, manifest=with_carried(found.manifest, carried, name=name), carried=carried)


def carried_content(carried: Sequence[Carried], manifest: Manifest) -> dict[str, Any]:
    """Return the part of `against.json` about outlines; `manifest` is the set's, before it got any or after."""
    counts = Counter(one.outcome for one in carried)
    labels = Counter(manifest.records[one.row].label for one in carried if one.outcome == CARRIED)
    return {
        "tumour_images_without_outline": _without_outline(manifest, carried),
        **{outcome: counts[outcome] for outcome in OUTCOMES},
        "carried_per_label": dict(labels),
        "correlation_needed": ALIGNED,
    }


def _without_outline(manifest: Manifest, carried: Sequence[Carried]) -> int:
    """Images with a tumour that had no outline before."""
    given = {one.row for one in carried if one.outcome == CARRIED}
    return sum(record.label != NO_TUMOUR and (not record.mask or row in given) for row, record in enumerate(manifest))


def _table(carried: Sequence[Carried], manifest: Manifest) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("path", "other", "transform", "correlation", "outcome"))
    for one in carried:
        correlation = "" if one.correlation is None else f"{one.correlation:.4f}"
        writer.writerow((manifest.records[one.row].path, one.other, TRANSFORMS[one.transform], correlation, one.outcome))
    return text.getvalue()


def _sentence(carried: Sequence[Carried], manifest: Manifest, other: Manifest) -> str:
    if not any(record.mask for record in other):
        return "No image of the other set has an outline, so none was carried over."
    counts = Counter(one.outcome for one in carried)
    why = {
        UNLIKE: "could not be aligned well enough",
        OTHER_LABEL: "bear another label",
        OUTSIDE: "have their tumour outside of the image",
        UNREADABLE: "have a mask that cannot be read",
    }
    others = ", ".join(f"{counts[outcome]:,} {words}" for outcome, words in why.items() if counts[outcome] or outcome == UNLIKE)
    got = f"{counts[CARRIED]:,} of {_without_outline(manifest, carried):,} tumour images without an outline got that of a twin"
    return f"{got}; of the other twins, {others} ({CARRIED_FILE})."
