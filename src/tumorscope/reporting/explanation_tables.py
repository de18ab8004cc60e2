"""The tables of measured heatmaps: the content of `explanation.json` put into rows, nothing computed but verdicts.

A cell of that file is `{"value", "interval", "n"}`; a metric is a cell with `baselines`, `per_class` and the like. Every entry may
be missing or None and then shows as an en dash, or its row is left out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tumorscope.explanation.summary import SIZES
from tumorscope.labels import LABELS
from tumorscope.reporting.report_tables import DASH, Cell, Line, Row, class_title, number, percent, value_at

Unit = Literal["share", "score", "change", "px", "mm"]
Models = Sequence[tuple[str, Mapping[str, Any]]]


@dataclass(frozen=True, slots=True)
class Measure:
    """How one metric is shown: its name in a table, what it means, its unit, and whether more is better."""

    title: str
    note: str = ""
    unit: Unit = "score"
    more_is_better: bool = True


LOCALISATION = {
    "pointing_game": Measure("Peak inside the outline", "pointing game, share of scans", "share"),
    "pointing_game_15px": Measure("Peak within 15 pixels of it", "at 224 pixels, share of scans", "share"),
    "energy_inside": Measure("Share of the map inside", "energy inside, mean", "share"),
    "mask_share": Measure("Share of the picture inside", "what an even map would score", "share"),
    "dice": Measure("Dice", "of the thresholded map"),
    "iou": Measure("Intersection over union", "of the thresholded map"),
    "pixel_average_precision": Measure("Average precision of pixels", "no threshold needed"),
    "peak_distance_px": Measure("Peak to the outline, pixels", "less is better", "px", more_is_better=False),
    "peak_distance_mm": Measure("Peak to the outline, mm", "less is better", "mm", more_is_better=False),
}
ORDER = {
    "deletion_auc": Measure("Deletion, blurred", "less is better", more_is_better=False),
    "insertion_auc": Measure("Insertion, blurred", "more is better"),
    "deletion_auc_mean_fill": Measure("Deletion, mean fill", "less is better", more_is_better=False),
    "insertion_auc_mean_fill": Measure("Insertion, mean fill", "more is better"),
}
REMOVAL = {
    "tumour_inpainted_drop": Measure("Tumour painted over", "drop of the probability of the answer", "change"),
    "tumour_blurred_drop": Measure("Tumour blurred", "drop of the probability of the answer", "change"),
}
UNSEEN = {
    "centred_gaussian": "Centred spot",
    "brightest_region": "Brightest region",
    "edges": "Edges",
    "random_network": "Untrained network",
}
"""Baselines that know nothing of what this network learned."""
FEATURES = {
    "energy_inside": "Share of the map inside the outline",
    "concentration": "Concentration",
    "centre_distance": "Distance from the middle",
    "entropy": "Entropy",
    "confidence": "Confidence",
    "confidence_and_label": "Confidence and label",
    "attention": "Map and label",
    "together": "Confidence, label and map",
}
LOCALISATION_COLUMNS = ("Measure", "The map", "Drawn as usual", *UNSEEN.values(), "Baselines beaten")
ORDER_COLUMNS = ("Curve", "The map", "Random order", "From the centre", "Baselines beaten")
REMOVAL_COLUMNS = ("Taken away", "Tumour", "As much elsewhere", "Scans")
GROUP_COLUMNS = (
    "Scans",
    "Outlined",
    *(LOCALISATION[name].title for name in ("pointing_game", "pointing_game_15px", "energy_inside")),
)
RANDOM_COLUMNS = ("Replaced, from the head downwards", "Rank correlation", "Structural similarity")
STABILITY_COLUMNS = ("Against", "Rank correlation", "Peaks apart, pixels", "Same answer", "Peak inside the outline")
FEATURE_COLUMNS = ("Feature", "Right answers", "Wrong answers", "Difference", "p")
AUROC_COLUMNS = ("Told by", "ROC area")


def cell_text(cell: Mapping[str, Any] | None, unit: Unit) -> str:
    """Return a value in its unit, or an en dash."""
    value = value_at(cell, "value")
    if value is None:
        return DASH
    if unit == "share":
        return percent(value).replace("-", "−")
    if unit in ("px", "mm"):
        return f"{value:,.1f}"
    return number(value).replace("-", "−")


def interval_text(cell: Mapping[str, Any] | None, unit: Unit) -> str:
    """Return the interval of a cell in its unit without the unit's name, or nothing where there is none."""
    bounds = value_at(cell, "interval")
    if value_at(cell, "value") is None or bounds is None or any(bound is None for bound in bounds):
        return ""
    low, high = (cell_text({"value": bound}, unit).removesuffix(" %") for bound in bounds)
    return f"{low} to {high}" if unit == "change" or "−" in low else f"{low}–{high}"


def table_cell(cell: Mapping[str, Any] | None, unit: Unit = "score", *, strong: bool = False) -> Cell:
    """Return a cell of `explanation.json` as one of a table."""
    return Cell(cell_text(cell, unit), interval_text(cell, unit), strong=strong)


def standing(metric: Mapping[str, Any] | None, baseline: Mapping[str, Any] | None, *, more_is_better: bool) -> str | None:
    """Return how a map stands to one baseline: `beats`, `ties` or `loses`; None where a number or the interval is missing.

    It ties where the baseline lies within the interval of the map, bounds included: then the numbers do not tell them apart.
    """
    bounds, other = value_at(metric, "interval"), value_at(baseline, "value")
    if other is None or value_at(metric, "value") is None or bounds is None or any(bound is None for bound in bounds):
        return None
    low, high = bounds
    if low <= other <= high:
        return "ties"
    return "beats" if (other < low) == more_is_better else "loses"


def standings(metric: Mapping[str, Any] | None, names: Sequence[str], *, more_is_better: bool) -> dict[str, str]:
    """Return how a map stands to every baseline that it can be compared with."""
    found = {name: standing(metric, value_at(metric, "baselines", name), more_is_better=more_is_better) for name in names}
    return {name: result for name, result in found.items() if result is not None}


def localisation_rows(models: Models) -> tuple[Row, ...]:
    """Return where the maps fall: one row per metric that any model has, one line per model.

    Args:
        models: Title and content of `explanation.json` of each.
    """
    return _metric_rows(models, LOCALISATION, before=("drawn_as_usual",), rivals=tuple(UNSEEN))


def order_rows(models: Models) -> tuple[Row, ...]:
    """Return the areas under the deletion and insertion curves beside those of other orders."""
    return _metric_rows(models, ORDER, before=(), rivals=("random_order", "centre"))


def removal_rows(models: Models) -> tuple[Row, ...]:
    """Return how far the answer's probability falls without the tumour, and without as much elsewhere."""
    rows = []
    for name, measure in REMOVAL.items():
        lines = [
            Line(title, (table_cell(metric, "change", strong=True), table_cell(elsewhere, "change"), _count(metric)))
            for title, metric in _having(models, name)
            for elsewhere in [value_at(metric, "baselines", "elsewhere")]
        ]
        rows.append(Row(measure.title, measure.note, tuple(lines)))
    return _filled(rows)


def group_rows(models: Models) -> tuple[Row, ...]:
    """Return pointing games and energy by class, plane, size of the tumour, and right and wrong answers."""
    plan = [("All", ())] + [(title, path) for title, path in groups([value_at(content, "pointing_game") for _, content in models])]
    rows = []
    for title, path in plan:
        lines = []
        for model, content in models:
            cells = [value_at(content, name, *path) for name in ("pointing_game", "pointing_game_15px", "energy_inside")]
            if any(cell is not None for cell in cells):
                shown = (table_cell(cell, "share", strong=position == 0) for position, cell in enumerate(cells))
                lines.append(Line(model, (_count(cells[0]), *shown)))
        rows.append(Row(title, "", tuple(lines)))
    return _filled(rows)


def groups(metrics: Sequence[Mapping[str, Any] | None]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return title and place of every group of scans for which one of the metrics has a cell, in the order of a table."""
    plan: list[tuple[str, tuple[str, ...]]]
    plan = [(class_or_name(label), ("per_class", label)) for label in _keys(metrics, "per_class", first=LABELS)]
    plan += [(_capital(plane), ("per_plane", plane)) for plane in _keys(metrics, "per_plane")]
    plan += [(f"{_capital(size)} tumours", ("per_size", size)) for size in _keys(metrics, "per_size", first=SIZES)]
    plan += [("Right answers", ("correct",)), ("Wrong answers", ("incorrect",))]
    return tuple((title, path) for title, path in plan if any(value_at(metric, *path, "value") is not None for metric in metrics))


def method_table(models: Models) -> tuple[tuple[str, ...], tuple[Row, ...]]:
    """Return columns and rows of other methods beside this map, for the metrics and methods that any model has."""
    measures = LOCALISATION | ORDER
    used = [name for name in measures if any(value_at(content, name, "methods") for _, content in models)]
    methods = dict.fromkeys(method for name in used for _, content in models for method in value_at(content, name, "methods") or {})
    rows = []
    for method in (None, *methods) if used else ():
        lines = []
        for model, content in models:
            cells = [value_at(content, name, *(("methods", method) if method else ())) for name in used]
            if any(cell is not None for cell in cells):
                shown = [table_cell(cell, measures[name].unit) for name, cell in zip(used, cells, strict=True)]
                lines.append(Line(model, tuple(shown)))
        rows.append(Row(method_title(method) if method else "Grad-CAM, this map", "", tuple(lines)))
    return ("Method", *(measures[name].title for name in used)), _filled(rows)


def random_rows(content: Mapping[str, Any]) -> tuple[Row, ...]:
    """Return how alike the map stays to itself while weights are replaced by random ones, layer by layer."""
    layers = value_at(content, "randomisation", "layers") or ()
    return tuple(
        Row(
            str(layer.get("layer")),
            "",
            (Line("", (table_cell(layer.get("rank_correlation")), table_cell(layer.get("structural_similarity")))),),
        )
        for layer in layers
    )


def stability_rows(models: Models) -> tuple[Row, ...]:
    """Return how alike the maps stay under small changes of the scan, and between two trainings."""
    rows = []
    for name, title in (("flip", "Mirrored scan"), ("rotation", "Scan turned a little"), ("noise", "Scan with noise")):
        found = [(model, cells) for model, content in models if (cells := value_at(content, "stability", name))]
        rows.append(Row(title, "", tuple(Line(model, _stability_cells(cells)) for model, cells in found)))
    repeated = [(model, cells) for model, content in models if (cells := value_at(content, "repeatability"))]
    for against in dict.fromkeys(cells.get("against") for _, cells in repeated):
        lines = [Line(model, _stability_cells(cells)) for model, cells in repeated if cells.get("against") == against]
        rows.append(Row(_capital(against or "another training"), "", tuple(lines)))
    return _filled(rows)


def feature_rows(models: Models) -> tuple[Row, ...]:
    """Return which features of the map differ between right and wrong answers."""
    names = dict.fromkeys(name for _, content in models for name in value_at(content, "correct_and_incorrect", "features") or {})
    rows = []
    for name in names:
        lines = []
        for model, content in models:
            if found := value_at(content, "correct_and_incorrect", "features", name):
                parts = [table_cell(found.get(part), "change") for part in ("correct", "incorrect", "difference")]
                lines.append(Line(model, (*parts, Cell(p_text(found.get("p_value"))))))
        rows.append(Row(feature_title(name), "", tuple(lines)))
    return _filled(rows)


def auroc_rows(models: Models) -> tuple[Row, ...]:
    """Return how well confidence, the map, and both together tell that an answer is wrong."""
    names = dict.fromkeys(name for _, content in models for name in value_at(content, "correct_and_incorrect", "auroc") or {})
    rows = []
    for name in names:
        found = [(model, value_at(content, "correct_and_incorrect", "auroc", name)) for model, content in models]
        rows.append(Row(feature_title(name), "", tuple(Line(model, (table_cell(cell),)) for model, cell in found if cell)))
    return _filled(rows)


def extent(content: Mapping[str, Any]) -> str:
    """Return on how many scans the numbers rest, in one sentence."""
    images, outlined, known = (value_at(content, name) for name in ("images_count", "with_mask", "groups"))
    if images is None:
        return "How many scans were measured was not recorded."
    said = f"{images:,} scan{'' if images == 1 else 's'}"
    said += "" if outlined is None else f", {outlined:,} with an outline of the tumour"
    said += "" if known is None else f", in {known:,} group{'' if known == 1 else 's'}; intervals resample groups"
    return f"{said}."


def p_text(p_value: float | None) -> str:
    """Return a p-value; a small one as a bound."""
    return DASH if p_value is None else "<0.001" if p_value < 0.001 else number(p_value)


def class_or_name(label: str) -> str:
    """Return the title of a label, or of a class that is none of `LABELS`."""
    return class_title(label) if label in LABELS else _capital(label)


def method_title(name: str) -> str:
    """Return what people call a method."""
    titles = {"grad_cam_pp": "Grad-CAM++", "layer_cam": "LayerCAM", "hires_cam": "HiResCAM", "score_cam": "Score-CAM"}
    return titles.get(name, _capital(name))


def feature_title(name: str) -> str:
    """Return what people call a feature of a map."""
    return FEATURES.get(name, _capital(name))


def _metric_rows(
    models: Models, measures: Mapping[str, Measure], *, before: tuple[str, ...], rivals: tuple[str, ...]
) -> tuple[Row, ...]:
    rows = []
    for name, measure in measures.items():
        lines = []
        for title, metric in _having(models, name):
            others = [table_cell(value_at(metric, "baselines", other), measure.unit) for other in (*before, *rivals)]
            results = standings(metric, rivals, more_is_better=measure.more_is_better)
            beaten = f"{sum(result == 'beats' for result in results.values())} of {len(results)}" if results else DASH
            lines.append(Line(title, (table_cell(metric, measure.unit, strong=True), *others, Cell(beaten))))
        rows.append(Row(measure.title, measure.note, tuple(lines)))
    return _filled(rows)


def _having(models: Models, name: str) -> list[tuple[str, Mapping[str, Any]]]:
    """Models whose metric has a value."""
    return [(title, content[name]) for title, content in models if value_at(content, name, "value") is not None]


def _stability_cells(cells: Mapping[str, Any]) -> tuple[Cell, ...]:
    units: tuple[tuple[str, Unit], ...]
    units = (("rank_correlation", "score"), ("peak_distance_px", "px"), ("same_answer", "share"), ("pointing_game", "share"))
    return tuple(table_cell(cells.get(name), unit) for name, unit in units)


def _keys(metrics: Sequence[Mapping[str, Any] | None], name: str, *, first: Sequence[str] = ()) -> list[str]:
    found = dict.fromkeys(key for metric in metrics for key in value_at(metric, name) or {})
    return [key for key in first if key in found] + [key for key in found if key not in first]


def _filled(rows: Sequence[Row]) -> tuple[Row, ...]:
    return tuple(row for row in rows if row.lines)


def _count(cell: Mapping[str, Any] | None) -> Cell:
    count = value_at(cell, "n")
    return Cell(DASH if count is None else f"{count:,}")


def _capital(name: str) -> str:
    words = name.replace("_", " ")
    return words[:1].upper() + words[1:]
