"""The folder of an audit: audit.json, pairs.csv, manifest.csv and the page audit.html."""

import csv
import io
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tumorscope import DISCLAIMER, __version__
from tumorscope.apps.audit_pictures import picture_sections
from tumorscope.apps.audit_tables import audit_tables
from tumorscope.apps.carried_masks import carried_content, carry_masks
from tumorscope.apps.console import Reporter
from tumorscope.data.audit.audit import NEIGHBOUR_INSIDE, Audit, audit, outside_of
from tumorscope.data.audit.files import FILE_FLAGS
from tumorscope.data.audit.frames import TRANSFORMS
from tumorscope.data.audit.provenance import SourceTable, source_table, with_sources_of
from tumorscope.data.audit.twins import COPY, KINDS, NEIGHBOUR, NEIGHBOUR_LIKENESS, NUMBERED_LIKENESS, TWIN, TWIN_LIKENESS, Pairs
from tumorscope.labels import UNSTATED_TUMOUR
from tumorscope.manifest import Manifest, Record, write_manifest
from tumorscope.reporting.audit_report import AuditPage, write_audit_page
from tumorscope.storage import write_atomically

AUDIT_FILE = "audit.json"
PAIRS_FILE = "pairs.csv"
PAGE_FILE = "audit.html"
MANIFEST_FILE = "manifest.csv"
AGAINST_FILE = "against.json"
AGAINST_PAIRS_FILE = "against_pairs.csv"
EXTERNAL_FILE = "external_manifest.csv"
SCHEMA_VERSION = 1


def audit_into(
    manifest: Manifest, folder: Path, reporter: Reporter, *, source: str, synthetic: bool = False, join_neighbours: bool = False
) -> Audit:
    """Audit a data set and store what was found; arguments as for `audit` and `write_audit`.

    Raises:
        DecodeError: An image has vanished or changed since it was indexed.
        OutputError: The folder cannot be written.
    """
    with reporter.counting("audit") as progress:
        found = audit(manifest, join_neighbours=join_neighbours, progress=progress)
    write_audit(found, folder, reporter, source=source, synthetic=synthetic, join_neighbours=join_neighbours)
    return found


def write_audit(
    found: Audit, folder: Path, reporter: Reporter, *, source: str, synthetic: bool = False, join_neighbours: bool = False
) -> None:
    """Store an audit, `audit.json` last, and say what was found.

    Args:
        found: What there is to store.
        folder: Gets the files.
        reporter: Told what was found.
        source: What to call the data set on the page.
        synthetic: Whether the images are the built-in phantoms.
        join_neighbours: Whether likely neighbours were joined into one group.

    Raises:
        DecodeError: An image has vanished or changed since it was indexed.
        OutputError: The folder cannot be written.
    """
    write_pairs(found.pairs, found.manifest, folder / PAIRS_FILE)
    write_manifest(found.manifest, folder / MANIFEST_FILE)
    content = audit_content(found, join_neighbours=join_neighbours)
    page = AuditPage(
        source=source,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        sentences=audit_sentences(found),
        content=content,
        sections=picture_sections(found),
        synthetic=synthetic,
    )
    write_audit_page(page, folder / PAGE_FILE)
    write_atomically(folder / AUDIT_FILE, json.dumps(content, indent=1) + "\n")
    for sentence in audit_sentences(found):
        reporter.say(f"  {sentence}")


def audit_against(found: Audit, other: Manifest, folder: Path, reporter: Reporter, *, name: str, masks: bool = False) -> Audit:
    """Say which images of another set are in an audited set; store the pairs, and a manifest of the rest.

    Likely neighbours stay in the rest, flagged: that they are one patient's is not certain.

    Args:
        found: The audit of the set that a model is trained on.
        other: The set that claims to be external to it.
        folder: Gets `against_pairs.csv`, `against.json` and, unless everything is inside, `external_manifest.csv`.
        reporter: Told what was found.
        name: What to call the other set.
        masks: Whether images without an outline get that of their twin; what became of each is in `carried_masks.csv` then.

    Returns:
        The audit, with sources that the other set tells, and with outlines where asked for.

    Raises:
        DecodeError: An image has vanished or changed since it was indexed.
        OutputError: The folder cannot be written.
    """
    manifest = found.manifest
    with reporter.counting("compare the sets") as progress:
        inside, rest, pairs = outside_of(manifest, other, progress=progress)
    both = pairs_table(pairs, [record.path for record in manifest] + [record.path for record in other])
    write_atomically(folder / AGAINST_PAIRS_FILE, both)
    if rest is not None:
        write_manifest(rest, folder / EXTERNAL_FILE)
    left = "nothing is left" if rest is None else f"the other {len(rest):,} are in {EXTERNAL_FILE}"
    share = f"{len(inside):,} of {len(other):,} images of the other set ({len(inside) / len(other):.1%})"
    reporter.say(f"  {share} are in this one; {left}.")
    if masks:
        found = carry_masks(found, other, pairs, folder, reporter, name=name)
    content = {
        "schema_version": SCHEMA_VERSION,
        "disclaimer": DISCLAIMER,
        "tumorscope": __version__,
        **_against_content(inside, other, rest),
        "masks": carried_content(found.carried, manifest) if masks else None,
        "data_fingerprint": manifest.data_fingerprint,
        "other_data_fingerprint": other.data_fingerprint,
    }
    write_atomically(folder / AGAINST_FILE, json.dumps(content, indent=1) + "\n")
    sourced = with_sources_of(found.manifest, other, pairs, name=name)
    sources = source_table(sourced)
    return replace(found, manifest=sourced, sources=sources, styles=found.styles if sources is None else None)


def _against_content(inside: Sequence[Record], other: Manifest, rest: Manifest | None) -> dict[str, Any]:
    return {
        "images": len(other),
        "images_per_label": _per_label(other),
        "inside": len(inside),
        "inside_per_label": dict(Counter(record.label for record in inside)),
        "neighbours": 0 if rest is None else sum(NEIGHBOUR_INSIDE in record.flags for record in rest),
    }


def _per_label(manifest: Manifest) -> dict[str, int]:
    return manifest.counts() | ({UNSTATED_TUMOUR: manifest.unstated} if manifest.unstated else {})


def write_pairs(pairs: Pairs, manifest: Manifest, path: Path) -> None:
    """Write `pairs_table` of pairs within one manifest."""
    write_atomically(path, pairs_table(pairs, [record.path for record in manifest]))


def pairs_table(pairs: Pairs, paths: Sequence[str]) -> str:
    """Return `a, b, kind, transform, similarity` as CSV: the paths of two images and what turns a into b."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("a", "b", "kind", "transform", "similarity"))
    columns = (pairs.a.tolist(), pairs.b.tolist(), pairs.kind.tolist(), pairs.transform.tolist(), pairs.similarity.tolist())
    for a, b, kind, transform, similarity in zip(*columns, strict=True):
        writer.writerow((paths[a], paths[b], KINDS[kind], TRANSFORMS[transform], f"{similarity:.4f}"))
    return text.getvalue()


def audit_content(found: Audit, *, join_neighbours: bool) -> dict[str, Any]:
    """Return the content of `audit.json`."""
    manifest, leaks, shortcut = found.manifest, found.leaks, found.shortcut
    sizes = Counter(record.group for record in manifest)
    return {
        "schema_version": SCHEMA_VERSION,
        "disclaimer": DISCLAIMER,
        "tumorscope": __version__,
        "data_fingerprint": manifest.data_fingerprint,
        "sentences": list(audit_sentences(found)),
        "images": len(manifest),
        "images_per_label": _per_label(manifest),
        "pairs": {kind: len(found.pairs.of_kind(kind)) for kind in KINDS},
        "exact_copies": len(found.pairs.of_kind(COPY)),
        "groups": {
            "count": len(sizes),
            "largest": max(sizes.values()),
            "know_patients": manifest.knows_patients,
            "join_neighbours": join_neighbours,
        },
        "leaks": None if leaks is None else {**asdict(leaks), "share_in_training": leaks.share_in_training},
        "label_conflicts": [[manifest.records[row].path for row in rows] for rows in found.conflicts],
        "flags": dict(Counter(flag for record in manifest for flag in record.flags)),
        "broken": [asdict(image) for image in manifest.broken],
        "sources": None if found.sources is None else _sources_content(found.sources),
        "styles": None if found.styles is None else _sources_content(found.styles),
        "shortcut": None if shortcut is None else {"sentence": shortcut.sentence, **asdict(shortcut)},
        "tables": audit_tables(found),
        "thresholds": {TWIN: TWIN_LIKENESS, NEIGHBOUR: NEIGHBOUR_LIKENESS, "numbered_neighbour": NUMBERED_LIKENESS},
        "versions": {name: version(name) for name in ("faiss-cpu", "numpy", "opencv-python-headless", "pillow", "scikit-learn")},
        "notes": list(manifest.notes),
    }


def _sources_content(table: SourceTable) -> dict[str, Any]:
    return {
        "counts": {source: dict(row) for source, row in table.counts.items()},
        "share_told": table.share_told,
        "tumour_share_told": table.tumour_share_told,
        "with_second_source": list(table.with_second_source),
        "without_second_source": list(table.without_second_source),
        "sentences": list(table.sentences),
    }


def audit_sentences(found: Audit) -> tuple[str, ...]:
    """Return what a user must know of an audit, the worst first."""
    manifest = found.manifest
    sentences = []
    if found.leaks is not None:
        test, twins = sum(found.leaks.images.values()), sum(found.leaks.images.values()) - sum(found.leaks.twin_free.values())
        sentences.append(
            f"{twins:,} of {test:,} test images ({twins / test:.0%}) show the same slice as a training image."
            if twins
            else f"None of the {test:,} test images shows the same slice as a training image."
        )
    sentences += found.sources.sentences if found.sources is not None else ()
    if found.shortcut is not None:
        sentences.append(found.shortcut.sentence)
    slices = len({record.group for record in manifest})
    copies, twins = len(found.pairs.of_kind(COPY)), len(found.pairs.of_kind(TWIN))
    what = "groups of patients and slices" if manifest.knows_patients else "different slices"
    sentences.append(
        f"{len(manifest):,} images hold {slices:,} {what}: {copies:,} exact {'copy' if copies == 1 else 'copies'}, {twins:,} "
        f"{'pair' if twins == 1 else 'pairs'} of twins."
    )
    near = len(found.pairs.of_kind(NEIGHBOUR))
    if near:
        pairs = "pair is" if near == 1 else "pairs are"
        sentences.append(
            f"{near:,} more {pairs} very likely neighbouring slices of one patient, or one slice in an extreme contrast."
        )
    if found.conflicts:
        slices_bear = "slice bears" if len(found.conflicts) == 1 else "slices bear"
        sentences.append(f"{len(found.conflicts):,} {slices_bear} different labels on different images.")
    if manifest.broken:
        faults = Counter(image.fault for image in manifest.broken)
        named = ", ".join(f"{count:,} x {fault}" for fault, count in sorted(faults.items()))
        images = "image" if len(manifest.broken) == 1 else "images"
        sentences.append(
            f"{len(manifest.broken):,} {images} cannot be read and {'was' if images == 'image' else 'were'} left out: {named}."
        )
    flags = Counter(flag for record in manifest for flag in record.flags if flag in FILE_FLAGS)
    if flags:
        sentences.append(f"Odd files: {', '.join(f'{count:,} x {flag}' for flag, count in sorted(flags.items()))}.")
    return tuple(sentences)
