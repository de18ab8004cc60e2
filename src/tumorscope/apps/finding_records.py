"""What is written of a file or series: findings, what went wrong, and a summary of slices; as JSON, and flat for tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tumorscope.finding import Finding
from tumorscope.finding_summary import SliceSummary
from tumorscope.labels import LABELS
from tumorscope.streaming import FileAnswer

FLAT_COLUMNS: Mapping[str, type] = {
    "path": str,
    "recommended": str,
    "most_probable": str,
    **{f"p_{label}": float for label in LABELS},
    "prediction_set": str,
    "familiarity": float,
    "refused": bool,
    "refusal": str,
    "peak_row": float,
    "peak_column": float,
    "heatmap_highest": float,
    "rows": int,
    "columns": int,
    "spacing_rows_mm": float,
    "spacing_columns_mm": float,
    "sha256": str,
    "network": str,
    "weights_sha256": str,
    "calibrated": bool,
    "files": str,
    "warnings": str,
    "error": str,
}
"""Columns of tables and what they hold; an empty cell where a record says nothing."""


@dataclass(frozen=True, slots=True)
class Answered:
    """What came of one file or one series.

    Attributes:
        path: Of the file, or `FOLDER#series-1`.
        findings: In the order of slices.
        errors: Paths and what went wrong with them, in sentences.
        summary: Of several slices; None where there are not, and of a file that could not be read to its end.
    """

    path: str
    findings: tuple[Finding, ...]
    errors: tuple[tuple[str, str], ...] = ()
    summary: SliceSummary | None = None


def answered_file(answer: FileAnswer) -> Answered:
    """Return what came of a file, with a summary where it has several slices."""
    if answer.error is not None:
        return Answered(answer.path, answer.findings, ((answer.path, answer.error),))
    summary = SliceSummary.of(answer.findings) if len(answer.findings) > 1 else None
    return Answered(answer.path, answer.findings, summary=summary)


def answered_series(path: str, parts: Sequence[FileAnswer], *, slices: int, notes: Sequence[str]) -> Answered:
    """Return what came of a series of `slices` slices; one of which no slice could be read is a single error."""
    findings = tuple(finding for part in parts for finding in part.findings)
    errors = tuple((part.path, part.error) for part in parts if part.error is not None)
    if not findings:
        first = errors[0][1] if errors else "it holds none."
        return Answered(path, (), ((path, f"{path}: none of its {slices} slices could be read; the first: {first}"),))
    return Answered(path, findings, errors, SliceSummary.of(findings, unread=slices - len(findings), notes=notes))


def records_of(answered: Answered) -> list[dict[str, Any]]:
    """Return records as JSON values: findings, then `{path, error}` of what went wrong, then `{path, summary}`."""
    records: list[dict[str, Any]] = [dict(finding.to_json()) for finding in answered.findings]
    records += [{"path": path, "error": error} for path, error in answered.errors]
    return records if answered.summary is None else [*records, {"path": answered.path, "summary": answered.summary.to_json()}]


def in_tables(record: Mapping[str, Any]) -> bool:
    """Return whether tables have a row for a record; they have none for a summary."""
    return "summary" not in record


def flat_record(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record as one row of a table, with the keys of `FLAT_COLUMNS`; None stands for an empty cell."""
    empty = dict.fromkeys(FLAT_COLUMNS)
    if "error" in record:
        return {**empty, "path": record["path"], "error": record["error"]}
    return {**empty, **_flat_finding(record)}


def _flat_finding(record: Mapping[str, Any]) -> dict[str, Any]:
    heatmap, model, members = record["heatmap"], record["model"], record["prediction_set"]
    peak, spacing = heatmap["peak"] or (None, None), record["spacing_mm"] or (None, None)
    same = ("path", "recommended", "most_probable", "familiarity", "refused", "refusal", "sha256")
    return {
        **{key: record[key] for key in same},
        **{f"p_{label}": record["probabilities"][label] for label in LABELS},
        "prediction_set": None if members is None else " ".join(members),
        "peak_row": peak[0],
        "peak_column": peak[1],
        "heatmap_highest": heatmap["highest"],
        "rows": record["shape"][0],
        "columns": record["shape"][1],
        "spacing_rows_mm": spacing[0],
        "spacing_columns_mm": spacing[1],
        "network": model["name"],
        "weights_sha256": model["weights_sha256"],
        "calibrated": model["calibrated"],
        "files": " ".join(record["files"].values()) or None,
        "warnings": " ".join(record["warnings"]) or None,
    }
