"""The tables on the page of an audit: sources, shortcuts, files, and what was left out."""

from collections.abc import Mapping
from typing import Any

from tumorscope.data.audit.audit import Audit
from tumorscope.data.audit.provenance import SourceTable
from tumorscope.data.audit.statistics import PERCENTILES, ClassStatistics, class_statistics
from tumorscope.labels import LABELS, display_name

Table = dict[str, Any]
_DIFFERENCES = 12
_BROKEN = 50
_MOST_FREQUENT = 3


def audit_tables(found: Audit) -> dict[str, Table]:
    """Return title to `words`, `columns` and `rows` of text, for everything that there is to show."""
    tables = {
        "Classes against sources": None if found.sources is None else _sources(found.sources, found.sources.sentences),
        "Styles that may be sources": None if found.styles is None else _sources(found.styles, _ABOUT_STYLES, what="Style"),
        "What gives the class away": None if found.shortcut is None else _shortcut(found),
        "Files": _files(class_statistics(found.manifest.records, found.facts)),
        "Left out": _broken(found) if found.manifest.broken else None,
    }
    return {title: table for title, table in tables.items() if table is not None}


_ABOUT_STYLES = (
    "No collection is known for these images. Clusters of size, framing, intensity and compression are a proposal to look at, not "
    "a finding: where somebody brought all images to one size, they may be no more than a way of storing.",
)


def _sources(table: SourceTable, words: tuple[str, ...], *, what: str = "Source") -> Table:
    rows = [[source, *(f"{row[label]:,}" for label in LABELS)] for source, row in table.counts.items()]
    return {"words": " ".join(words), "columns": [what, *(display_name(label) for label in LABELS)], "rows": rows}


def _shortcut(found: Audit) -> Table:
    assert found.shortcut is not None
    shortcut = found.shortcut
    rows = [
        [
            one.feature,
            f"{shortcut.single[one.feature]:.2f}" if one.feature in shortcut.single else "",
            f"{one.what}, {display_name(one.label)}",
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
            display_name(one.label),
            one.split or "not split",
            f"{one.images:,}",
            _frequent(one.sizes),
            _frequent(one.modes),
            *(_measured(one.measured[name][PERCENTILES.index(50)]) for name in measured),
        ]
        for one in statistics
    ]
    columns = ["Class", "split", "images", "rows x columns", "stored as", *measured]
    return {
        "words": "Of every measurement the median. What differs between classes may be learned instead of the tumour.",
        "columns": columns,
        "rows": rows,
    }


def _measured(value: float) -> str:
    """Three figures, but never more than three decimals: a share of 0.00002 is none to a reader."""
    return f"{value:.3g}" if value >= 0.1 else f"{value:.3f}".rstrip("0").rstrip(".")


def _frequent(counts: Mapping[str, int]) -> str:
    # Spaces that do not break, so that a count stays beside what it counts.
    shown = [f"{name} ({count:,})".replace(" ", "\N{NO-BREAK SPACE}") for name, count in list(counts.items())[:_MOST_FREQUENT]]
    return ", ".join(shown) + (f", {len(counts) - _MOST_FREQUENT} more" if len(counts) > _MOST_FREQUENT else "")


def _broken(found: Audit) -> Table:
    broken = found.manifest.broken
    rows = [[image.path, display_name(image.label), image.fault, image.reason] for image in broken[:_BROKEN]]
    shown = f" The first {_BROKEN} are shown, all are in audit.json." if len(broken) > _BROKEN else ""
    return {
        "words": f"{len(broken):,} {'image' if len(broken) == 1 else 'images'} cannot be read.{shown}",
        "columns": ["File", "Class", "fault", "reason"],
        "rows": rows,
    }
