"""The tables on the page of an audit: sources, shortcuts, files, and what was left out."""

from collections.abc import Mapping
from typing import Any

from tumorscope.data.audit.audit import Audit
from tumorscope.data.audit.provenance import SourceTable
from tumorscope.data.audit.statistics import PERCENTILES, ClassStatistics, class_statistics
from tumorscope.labels import LABELS, label_info

Table = dict[str, Any]
_DIFFERENCES = 12
_BROKEN = 50
_MOST_FREQUENT = 3


def audit_tables(found: Audit) -> dict[str, Table]:
    """Return title to `words`, `columns` and `rows` of text, for everything that there is to show."""
    tables = {
        "Classes against sources": None if found.sources is None else _sources(found.sources, found.sources.sentences),
        "Styles that may be sources": None if found.styles is None else _sources(found.styles, _ABOUT_STYLES),
        "What gives the class away": None if found.shortcut is None else _shortcut(found),
        "Files": _files(class_statistics(found.manifest.records, found.facts)) if any(found.manifest.counts().values()) else None,
        "Left out": _broken(found) if found.manifest.broken else None,
    }
    return {title: table for title, table in tables.items() if table is not None}


_ABOUT_STYLES = (
    "No collection is known for these images. Clusters of size, framing, intensity and compression are a proposal to look at, not "
    "a finding: where somebody brought all images to one size, they may be no more than a way of storing.",
)


def _sources(table: SourceTable, words: tuple[str, ...]) -> Table:
    rows = [[source, *(f"{row[label]:,}" for label in LABELS)] for source, row in table.counts.items()]
    return {"words": " ".join(words), "columns": ["Source", *(label_info(label).display_name for label in LABELS)], "rows": rows}


def _shortcut(found: Audit) -> Table:
    assert found.shortcut is not None
    shortcut = found.shortcut
    rows = [
        [
            one.feature,
            f"{shortcut.single[one.feature]:.2f}" if one.feature in shortcut.single else "",
            f"{one.what}, {one.label}",
            f"{one.share:.0%}",
            f"{one.share_of_others:.0%}",
        ]
        for one in shortcut.differences[:_DIFFERENCES]
    ]
    words = (
        f"{shortcut.sentence} Measured by cross-validation over whole groups with a random forest; a network sees more than this. "
        "The second column is the balanced accuracy of the feature alone, the third the range and class that differ most."
    )
    return {"words": words, "columns": ["Feature", "alone", "most telling", "in that class", "in the others"], "rows": rows}


def _files(statistics: tuple[ClassStatistics, ...]) -> Table:
    measured = list(statistics[0].measured)
    rows = [
        [
            label_info(one.label).display_name,
            one.split or "not split",
            f"{one.images:,}",
            _frequent(one.sizes),
            _frequent(one.modes),
            *(f"{one.measured[name][PERCENTILES.index(50)]:.3g}" for name in measured),
        ]
        for one in statistics
    ]
    columns = ["Class", "split", "images", "rows x columns", "stored as", *measured]
    return {
        "words": "Of every measurement the median. What differs between classes may be learned instead of the tumour.",
        "columns": columns,
        "rows": rows,
    }


def _frequent(counts: Mapping[str, int]) -> str:
    shown = [f"{name} {count:,}" for name, count in list(counts.items())[:_MOST_FREQUENT]]
    return ", ".join(shown) + (f", {len(counts) - _MOST_FREQUENT} more" if len(counts) > _MOST_FREQUENT else "")


def _broken(found: Audit) -> Table:
    broken = found.manifest.broken
    rows = [[image.path, label_info(image.label).display_name, image.fault, image.reason] for image in broken[:_BROKEN]]
    return {"words": f"{len(broken):,} image(s) cannot be read.", "columns": ["File", "Class", "fault", "reason"], "rows": rows}
