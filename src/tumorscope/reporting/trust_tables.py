"""The tables of the page “How far can you trust it?”: finished numbers put into cells."""

from collections.abc import Mapping, Sequence
from typing import Any

from tumorscope.data.corruptions import CORRUPTIONS
from tumorscope.labels import LABELS, TUMOUR_LABELS
from tumorscope.reporting.report_tables import DASH, Cell, Line, Row, class_title, interval, number, percent, value_at

TOLD_APART = 0.98
"""Area under the ROC curve below which a set stands out as not told from familiar scans."""

DROP = 0.05
"""Loss of tumours found that stands out."""

Models = Sequence[tuple[str, Mapping[str, Any]]]

PROMISE_COLUMNS = (
    "Prediction sets",
    "hold the truth",
    "theory allows",
    "by patient or slice",
    "labels on average",
    "one label",
    "none",
)
CLASS_COLUMNS = ("Sets that hold the truth", "promised", *(class_title(label) for label in LABELS))
CALIBRATION_COLUMNS = ("Probabilities", "ECE, equal mass", "by chance alone", "ECE, equal width", "Brier score", "log loss")
OPERATING_COLUMNS = ("Operating point", "threshold", "promised", "tumours found", "no tumour recognised")
LABEL_POINT_COLUMNS = ("Threshold by class", "threshold", "promised recall", "recall", "specificity")
SELECTIVE_COLUMNS = (
    "Without the least sure",
    "right on all",
    "surest 95 %",
    "surest 90 %",
    "surest 80 %",
    "AURC",
    "above the best AURC",
)
PART_COLUMNS = (
    "Images",
    "n",
    "groups",
    "right",
    "tumours found",
    "at the operating point",
    "no tumour recognised",
    "sets hold the truth",
    "refused",
)
UNFAMILIAR_COLUMNS = ("Images of another kind", "n", "refused", "AUROC", "AUPR", "FPR at 95 % TPR")
EXTERNAL_COLUMNS = (
    "Scans from elsewhere",
    "n",
    "tumours found",
    "no tumour recognised",
    "sets hold the truth",
    "labels on average",
    "ECE",
    "refused",
    "wrong answers refused",
    "tumours found of those kept",
)
ROBUSTNESS_COLUMNS = ("Corruption", "right", "tumours found", "no tumour recognised", "ECE", "refused", "right among those kept")
ROBUSTNESS_MEASURES = ("accuracy", "tumour_sensitivity", "tumour_specificity", "ece", "refusal_rate", "accuracy_of_kept")
ALL, NEW = "all test images", "new slices"


def parts_of(content: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the measured parts of a model's test set by what they are called."""
    named = [(ALL, content.get("all")), (NEW, content.get("twin_free"))]
    return [(name, part) for name, part in named if part]


def promise_rows(models: Models) -> tuple[Row, ...]:
    """Return what the prediction sets of every level came to."""
    rows = []
    keys = [(row["promised"], row["conditional"]) for _, content in models for row in value_at(content, "all", "sets") or ()]
    for level, conditional in dict.fromkeys(keys):
        lines = tuple(
            Line(_who(title, part), _promise_cells(found))
            for title, content in models
            for part, measured in parts_of(content)
            for found in measured["sets"]
            if (found["promised"], found["conditional"]) == (level, conditional)
        )
        rows.append(Row(percent(level), "promised for every class" if conditional else "promised for all images together", lines))
    return tuple(rows)


def class_rows(models: Models) -> tuple[Row, ...]:
    """Return the coverage of every class under every promise, of all test images."""
    return tuple(
        Row(
            "by class" if found["conditional"] else "all together",
            "",
            (Line(title, (Cell(percent(found["promised"])), *(_coverage_of(found, label) for label in LABELS))),),
        )
        for title, content in models
        for found in value_at(content, "all", "sets") or ()
    )


def calibration_rows(models: Models) -> tuple[Row, ...]:
    """Return the errors of the probabilities before and after calibration."""
    rows = []
    for when in ("before", "after"):
        lines = tuple(
            Line(_who(title, part), _calibration_cells(measured["calibration"][when]))
            for title, content in models
            for part, measured in parts_of(content)
        )
        rows.append(Row(f"{when} calibration", "", lines))
    return tuple(rows)


def label_error_rows(models: Models) -> tuple[Row, ...]:
    """Return the calibration error of every class's own probability, after calibration."""
    return tuple(
        Row(
            class_title(label),
            "its own probability against the rest",
            tuple(
                Line(_who(title, part), _label_cells(value_at(measured, "calibration", "after", "per_label", label)))
                for title, content in models
                for part, measured in parts_of(content)
            ),
        )
        for label in LABELS
    )


def operating_rows(models: Models) -> tuple[Row, ...]:
    """Return what the operating points came to."""
    rows = []
    for title, content in models:
        lines = []
        for part, measured in parts_of(content):
            found = measured.get("operating_point")
            if found:
                lines.append(
                    Line(
                        _who("", part),
                        (*_point_cells(_points(content)), *(_share(found[name]) for name in ("sensitivity", "specificity"))),
                    )
                )
        rows.append(Row(title, "", tuple(lines)))
    return tuple(row for row in rows if row.lines)


def label_point_rows(models: Models) -> tuple[Row, ...]:
    """Return what it takes to promise the recall of one tumour class: its own threshold, and what that came to."""
    rows = []
    for label in TUMOUR_LABELS:
        lines = [
            Line(
                _who(title, part),
                (*_point_cells(_points(content, label)), *(_share(found[name]) for name in ("sensitivity", "specificity"))),
            )
            for title, content in models
            for part, measured in parts_of(content)
            if (found := value_at(measured, "label_points", label))
        ]
        rows.append(Row(class_title(label), "its own probability against the rest", tuple(lines)))
    return tuple(row for row in rows if row.lines)


def selective_rows(models: Models) -> tuple[Row, ...]:
    """Return the accuracy of what remains when the least sure answers are left to a person."""
    return tuple(
        Row(
            title,
            "",
            tuple(Line(_who("", part), _selective_cells(measured["selective"])) for part, measured in parts_of(content)),
        )
        for title, content in models
    )


def subgroup_table(content: Mapping[str, Any]) -> tuple[Row, ...]:
    """Return the measures of every part of one model's test images."""
    return tuple(
        Row(
            row["part"],
            "; ".join(note for note in ("" if row["by"] == "all" else row["by"], row["remark"]) if note),
            (
                Line(
                    "",
                    (
                        Cell(f"{row['n']:,}"),
                        Cell(f"{row['groups']:,}"),
                        *(
                            _share(row[name])
                            for name in (
                                *("accuracy", "tumour_sensitivity", "found_at_operating_point"),
                                *("tumour_specificity", "coverage", "refused"),
                            )
                        ),
                    ),
                ),
            ),
        )
        for row in value_at(content, "all", "subgroups") or ()
    )


def external_rows(title: str, found: Mapping[str, Any]) -> tuple[Row, ...]:
    """Return what became of one model's promises on a set of scans from elsewhere: in all, by source, in the final half."""
    parts = [(title, "all scans", found), *((name, "source", part) for name, part in (found.get("sources") or {}).items())]
    final = value_at(found, "halves", "final")
    parts += [("final half", "chose nothing", final)] if final else []
    return tuple(
        Row(
            name,
            note,
            (
                Line(
                    "",
                    (
                        Cell(f"{part['n']:,.0f}"),
                        _plain(part["sensitivity"]),
                        _plain(part["specificity"]),
                        _plain(part["coverage"]),
                        Cell(number(part["set_size"], digits=2)),
                        Cell(number(part["ece"])),
                        _plain(part["refused"]),
                        _plain(part["wrong_refused"]),
                        _plain(part["sensitivity_kept"]),
                    ),
                ),
            ),
        )
        for name, note, part in parts
    )


def unfamiliar_rows(content: Mapping[str, Any]) -> tuple[Row, ...]:
    """Return how each set of unfamiliar images is told from the test images, the far ones first."""
    ordered = sorted(content["sets"].items(), key=lambda item: item[1]["distance"])
    return tuple(
        Row(
            name,
            f"{found['distance']}: {found['made']}",
            (
                Line(
                    "",
                    (
                        Cell(f"{found['n']:,}"),
                        Cell(percent(found["refused"])),
                        Cell(number(found["auroc"]), strong=found["auroc"] < TOLD_APART),
                        Cell(number(found["aupr"])),
                        Cell(percent(found["fpr_at_95_tpr"])),
                    ),
                ),
            ),
        )
        for name, found in ordered
    )


def robustness_rows(content: Mapping[str, Any]) -> tuple[Row, ...]:
    """Return a row for every corruption with strengths 1, 3, 5 and the mean, the scans as they are first."""
    of_name: dict[str, list[Mapping[str, Any]]] = {}
    for row in content["rows"]:
        of_name.setdefault(row["corruption"], []).append(row)
    return tuple(
        Row(
            CORRUPTIONS[name].title if name in CORRUPTIONS else {"clean": "as they are", "all": "mean of all"}.get(name, name),
            "",
            tuple(Line(_strength(row), _robustness_cells(row)) for row in rows if row["strength"] in (0, 1, 3, 5, None)),
        )
        for name, rows in of_name.items()
    )


def _strength(row: Mapping[str, Any]) -> str:
    return {None: "mean", 0: ""}.get(row["strength"], f"strength {row['strength']}")


def _robustness_cells(row: Mapping[str, Any]) -> tuple[Cell, ...]:
    cells = []
    for name in ROBUSTNESS_MEASURES:
        value, change = row[name], row.get(f"{name}_change")
        moved = "" if change is None or row["strength"] == 0 else f"{change:+.3f}".replace("-", "−")
        text = DASH if value is None else number(value) if name == "ece" else percent(value)
        cells.append(Cell(text, moved, strong=name == "tumour_sensitivity" and change is not None and change < -DROP))
    return tuple(cells)


def _who(title: str, part: str) -> str:
    return ", ".join(name for name in (title, part) if name)


def _plain(share: float | None) -> Cell:
    return Cell(DASH if share is None else percent(share))


def _share(found: Mapping[str, Any] | None) -> Cell:
    if not found or found.get("value") is None:
        return Cell(DASH)
    return Cell(percent(found["value"]), interval(found.get("interval")))


def _promise_cells(found: Mapping[str, Any]) -> tuple[Cell, ...]:
    band = found.get("band")
    coverage = found["coverage"]
    outside = band is not None and not band[0] <= coverage["by_image"]["value"] <= band[1]
    return (
        Cell(percent(coverage["by_image"]["value"]), interval(coverage["by_image"]["interval"]), strong=outside),
        Cell(interval(band) if band else DASH),
        _share(coverage["by_group"]),
        Cell(number(found["size"]["by_image"]["value"], digits=2)),
        _plain(found["singletons"]),
        _plain(found["empty"]),
    )


def _coverage_of(found: Mapping[str, Any], label: str) -> Cell:
    part = value_at(found, "per_label", label)
    return _share(value_at(part, "coverage", "by_image")) if part else Cell(DASH)


def _calibration_cells(found: Mapping[str, Any]) -> tuple[Cell, ...]:
    mass, width = (found["top_label"][name] for name in ("equal_mass", "equal_width"))
    return (
        Cell(number(mass["ece"]), interval(mass["interval"])),
        Cell(number(mass["expected_if_calibrated"])),
        Cell(number(width["ece"]), interval(width["interval"])),
        *(Cell(number(found[name]["value"]), interval(found[name]["interval"])) for name in ("brier", "log_loss")),
    )


def _label_cells(found: Mapping[str, Any] | None) -> tuple[Cell, ...]:
    if not found:
        return tuple(Cell(DASH) for _ in CALIBRATION_COLUMNS[1:])
    mass, width = found["equal_mass"], found["equal_width"]
    return (
        Cell(number(mass["ece"]), interval(mass["interval"])),
        Cell(number(mass["expected_if_calibrated"])),
        Cell(number(width["ece"]), interval(width["interval"])),
        *(Cell(number(found[name]["value"])) for name in ("brier", "log_loss")),
    )


def _points(content: Mapping[str, Any], label: str | None = None) -> list[Mapping[str, Any]]:
    """Return the operating points of a model, or of those of all folds: for any tumour, or for a label."""
    keys = ("operating_point",) if label is None else ("label_points", label)
    return [point for part in content.get("folds") or [content] if (point := value_at(part, *keys))]


def _point_cells(points: Sequence[Mapping[str, Any]]) -> tuple[Cell, ...]:
    if not points:
        return Cell(DASH), Cell(DASH)
    thresholds = [point["threshold"] for point in points]
    promised = min(point["target"] if point["guaranteed"] else point["reachable_target"] for point in points)
    low, high = number(min(thresholds)), number(max(thresholds))
    return Cell(low if low == high else f"{low}–{high}"), Cell(f"at least {percent(promised)}")


def _selective_cells(found: Mapping[str, Any]) -> tuple[Cell, ...]:
    right = 1 - found["risk"]["value"]
    at = found["accuracy_at"]
    return (
        Cell(percent(right)),
        *(_share(at.get(share)) for share in ("0.95", "0.9", "0.8")),
        *(Cell(number(found[name]["value"], digits=4)) for name in ("aurc", "excess_aurc")),
    )
