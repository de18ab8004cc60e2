"""What is written of a file: a record for every finding, and one for what went wrong; as JSON, and flat for tables."""

from collections.abc import Mapping
from typing import Any

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


def records_of(answer: FileAnswer) -> list[dict[str, Any]]:
    """Return the records of one file as JSON values; what went wrong is `{path, error}`."""
    records: list[dict[str, Any]] = [dict(finding.to_json()) for finding in answer.findings]
    return records if answer.error is None else [*records, {"path": answer.path, "error": answer.error}]


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
