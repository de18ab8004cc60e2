"""The tables and sentences of the study report: finished numbers put into words, none computed but by counting."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tumorscope.labels import LABELS, NO_TUMOUR, TUMOUR_LABELS, label_index, label_info
from tumorscope.reporting.published import published_table
from tumorscope.reporting.study import MODEL_TITLES, ModelResult, Study

DASH = "–"
SCORES = ("recall", "precision", "f1")
ATTENTION = {
    "energy_inside": "share of the map inside the outline",
    "mask_share": "share of the picture inside the outline",
    "pointing_game": "highest point inside the outline",
    "concentration": "concentration",
    "centre_distance": "centre of mass from the middle",
}
LOOKUP_TITLE = "Look-up baseline"


@dataclass(frozen=True, slots=True)
class Cell:
    """One number of a table: its text, its interval (may be empty), how many columns it spans, whether it stands out."""

    text: str
    interval: str = ""
    span: int = 1
    strong: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """Numbers of one origin: `this run`, or the name of a publication."""

    who: str
    cells: tuple[Cell, ...]
    published: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table, or several that share a heading."""

    title: str
    note: str
    lines: tuple[Line, ...]


def value_at(tree: Mapping[str, Any] | None, *keys: str) -> Any:  # noqa: ANN401  what stands in a JSON tree
    """Return what stands under nested keys, or None when any of them is missing or None."""
    value: Any = tree
    for key in keys:
        if value is None:
            return None
        value = value.get(key)
    return value


def number(value: float | None, *, digits: int = 3) -> str:
    """Return a number with fixed digits, or an en dash where it is undefined; what is not quite 1 never reads as 1."""
    if value is None or math.isnan(value):
        return DASH
    text = f"{value:,.{digits}f}"
    return f">{1 - 10**-digits:.{digits}f}" if value < 1 and float(text.replace(",", "")) == 1 else text


def percent(share: float) -> str:
    """Return a share as per cent with one digit; what is not quite everything never reads as everything."""
    text = f"{share:.1%}".replace("%", " %")
    return ">99.9 %" if share < 1 and text == "100.0 %" else text


def interval(bounds: Sequence[float | None] | None, *, signed: bool = False) -> str:
    """Return `low–high` (`low to high` where they bear signs), or nothing where there is no interval."""
    if bounds is None or any(bound is None or math.isnan(bound) for bound in bounds):
        return ""
    low, high = (f"{bound:+.3f}".replace("-", "−") if signed else number(bound) for bound in bounds if bound is not None)
    if signed:
        return f"{low} to {high}"
    return low if low == high and low.startswith(">") else f"{low}–{high}"


def duration(seconds: float) -> str:
    """Return a run time in the two largest of hours, minutes and seconds."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    hours, rest = divmod(round(seconds), 3600)
    minutes, left = divmod(rest, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {left} s" if minutes else f"{left} s"


def class_title(label: str) -> str:
    """Return a label's display name with a capital."""
    name = label_info(label).display_name
    return name[0].upper() + name[1:]


def comparison_rows(study: Study) -> tuple[Row, ...]:
    """Return the table of the student report: classes, then accuracy and averages, every model in columns of `SCORES`."""
    published = published_table(study.published_key) if study.published_key else None
    apart = has_twin_free(study)
    supports = study.models[0].metrics["per_class"]
    plan: list[tuple[str, str, tuple[str, ...]]]
    plan = [(class_title(label), _scans(value_at(supports, label, "support")), ("per_class", label)) for label in LABELS]
    plan += [("Accuracy", "", ("accuracy",)), ("Macro average", "classes count alike", ("macro",))]
    plan += [("Weighted average", "scans count alike", ("weighted",))]
    rows = []
    for title, note, keys in plan:
        lines = [Line("this run", tuple(cell for metrics in _columns(study) for cell in _cells(metrics, keys, twin_free=apart)))]
        if published:
            printed = [published.models.get(model.name) for model in study.models] + [None] * (study.lookup is not None)
            cells = tuple(cell for metrics in printed for cell in _cells(metrics, keys, digits=2, twin_free=apart))
            lines.append(Line(published.name, cells, published=True))
        rows.append(Row(title, note, tuple(lines)))
    return tuple(rows)


def has_twin_free(study: Study) -> bool:
    """Whether some test images have a twin in training, so that the others are measured by themselves too."""
    return any(value_at(metrics, "twin_free") is not None for metrics in _columns(study))


def column_titles(study: Study) -> tuple[str, ...]:
    """Return the heading of every model of the comparison table, the look-up baseline last."""
    return tuple(model.title for model in study.models) + ((LOOKUP_TITLE,) if study.lookup is not None else ())


def tumour_rows(study: Study) -> tuple[Row, ...]:
    """Return one row per model: sensitivity, missed tumours, specificity, false alarms; another one for images without a twin."""
    rows = []
    named = list(zip(column_titles(study), _columns(study), strict=True))
    lines = [(title, "", metrics) for title, metrics in named]
    lines += [(title, "slices not in training", metrics["twin_free"]) for title, metrics in named if metrics.get("twin_free")]
    for title, note, metrics in lines:
        tumours, alarms, healthy = tumour_counts(metrics)
        missed = metrics.get("missed_tumours")
        cells = (
            _cell(metrics, ("tumour_sensitivity",), strong=True),
            Cell(_of(missed, tumours), strong=True),
            _cell(metrics, ("tumour_specificity",)),
            Cell(_of(alarms, healthy)),
        )
        rows.append(Row(title, note, (Line("", cells),)))
    return tuple(rows)


def tumour_counts(metrics: Mapping[str, Any]) -> tuple[int | None, int | None, int | None]:
    """Return tumour scans, false alarms and scans without a tumour, as the confusion matrix counts them."""
    matrix = metrics["confusion_matrix"]
    if matrix is None:
        return None, None, None
    tumours = sum(sum(matrix[label_index(label)]) for label in TUMOUR_LABELS)
    none = label_index(NO_TUMOUR)
    return tumours, sum(matrix[none]) - matrix[none][none], sum(matrix[none])


def model_sentences(study: Study) -> tuple[str, ...]:
    """Return what a reader must know of every model, in one sentence each."""
    return tuple(_sentence(model) for model in study.models)


def further_rows(study: Study) -> tuple[Row, ...]:
    """Return areas under the curves and errors of the probabilities, one column per model."""
    plan = (
        ("ROC area, mean of the classes", "1 is perfect, 0.5 is chance", ("roc_auc", "macro")),
        ("ROC area, any tumour against none", "", ("roc_auc", "tumour")),
        ("Average precision, mean of the classes", "1 is perfect", ("average_precision", "macro")),
        ("Average precision, any tumour against none", "", ("average_precision", "tumour")),
        ("Log loss", "0 is perfect", ("log_loss",)),
        ("Brier score", "0 is perfect, 2 the worst", ("brier",)),
    )
    metrics = [model.metrics for model in study.models]
    return tuple(Row(title, note, (Line("", tuple(_cell(one, keys) for one in metrics)),)) for title, note, keys in plan)


EXTERNAL = {
    "tumour_sensitivity": "Tumours found",
    "tumour_specificity": "Free of tumour recognised",
    "roc_auc": "ROC area, tumour against none",
    "sensitivity_at_specificity": "Tumours found at specificity 0.90",
}


def external_rows(found: Mapping[str, Mapping[str, Any]]) -> tuple[Row, ...]:
    """Return one row per model for a whole external set, then one per model and source."""
    rows = []
    for name, metrics in found.items():
        labels = ", ".join(f"{label} {count:,}" for label, count in metrics["labels"].items())
        rows.append(Row(external_title(name), f"all: {labels}", (Line("", _external_cells(metrics)),)))
    for source in dict.fromkeys(source for metrics in found.values() for source in metrics["sources"]):
        for name, metrics in found.items():
            part = metrics["sources"][source]
            labels = ", ".join(f"{label} {count:,}" for label, count in part["labels"].items())
            rows.append(Row(external_title(name), f"{source}: {labels}", (Line("", _external_cells(part)),)))
    return tuple(rows)


def external_title(name: str) -> str:
    """Return what people call a model, or the look-up."""
    return MODEL_TITLES.get(name, LOOKUP_TITLE)


def _external_cells(metrics: Mapping[str, Any]) -> tuple[Cell, ...]:
    cells = []
    for name in EXTERNAL:
        value = metrics[name]["value"] if name == "sensitivity_at_specificity" else metrics[name]
        bounds = interval(value_at(metrics, "intervals", name)) if value is not None else ""
        cells.append(Cell(number(value), bounds, strong=name == "tumour_sensitivity"))
    return tuple(cells)


def external_sentences(found: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
    """Return where the maps of each model's answers point in an external set's outlined scans, none where it has none."""
    sentences = []
    for name, metrics in found.items():
        maps = metrics.get("heatmaps")
        if maps:
            inside, near, energy = (number(maps["answer"][key]) for key in ("pointing_game", "pointing_game_15px", "energy_inside"))
            sentences.append(
                f"Of {_count(maps['n'])} scans with an outline the map of {external_title(name)}'s answer has its peak inside the "
                f"tumour in a share of {inside}, within 15 pixels of 224 in {near}; the share of the map inside is {energy}."
            )
    return tuple(sentences)


def paired_sentences(study: Study) -> tuple[str, ...]:
    """Return the paired comparison in sentences, none where it was not made."""
    if study.paired is None:
        return ()
    paired = study.paired
    a, b = (MODEL_TITLES.get(paired[side], paired[side]) for side in ("a", "b"))
    p_value = paired.get("p_value")
    shown = DASH if p_value is None else "below 0.001" if p_value < 0.001 else number(p_value)
    sentences = [
        f"On the same test scans, only {a} was right on {_count(paired['a_only'])} and only {b} on {_count(paired['b_only'])}; "
        f"were both equally good, a difference at least this large would arise with probability {shown} (McNemar's test)."
    ]
    for name, difference in (paired.get("differences") or {}).items():
        sentences.append(_difference(name, difference, a=a, b=b))
    return tuple(sentences)


def attention_rows(study: Study) -> tuple[Row, ...]:
    """Return how attention differs between right and wrong answers, for models where it was compared."""
    rows = []
    for model in study.models:
        for group, title in (("correct", "right answers"), ("incorrect", "wrong answers")):
            values = value_at(model.attention, group)
            if values is not None:
                cells = [Cell(_count(values.get("n"))), *(Cell(number(values.get(name))) for name in ATTENTION)]
                rows.append(Row(model.title, title, (Line("", tuple(cells)),)))
    return tuple(rows)


def _columns(study: Study) -> Iterator[Mapping[str, Any]]:
    yield from (model.metrics for model in study.models)
    if study.lookup is not None:
        yield study.lookup


def _cells(
    metrics: Mapping[str, Any] | None, keys: tuple[str, ...], *, digits: int = 3, twin_free: bool = False
) -> tuple[Cell, ...]:
    """One cell over all columns of a model for the accuracy, else one per score; then recall or accuracy without twins."""
    part = value_at(metrics, "twin_free")
    if keys == ("accuracy",):
        cells = [_cell(metrics, keys, digits=digits, span=len(SCORES))]
    else:
        cells = [_cell(metrics, (*keys, score), digits=digits, strong=score == "recall") for score in SCORES]
    if twin_free:
        cells.append(_cell(part, keys if keys == ("accuracy",) else (*keys, "recall"), digits=digits))
    return tuple(cells)


def _cell(
    metrics: Mapping[str, Any] | None, keys: tuple[str, ...], *, digits: int = 3, span: int = 1, strong: bool = False
) -> Cell:
    value = value_at(metrics, *keys)
    bounds = interval(value_at(metrics, "intervals", *keys)) if value is not None else ""
    return Cell(number(value, digits=digits), bounds, span, strong)


def _sentence(model: ModelResult) -> str:
    metrics = model.metrics
    total = len(model.predictions)
    cell = _cell(metrics, ("accuracy",))
    accuracy = f"accuracy {cell.text}" + (f", 95 % interval {cell.interval}" if cell.interval else "")
    matrix = metrics["confusion_matrix"]
    if matrix is None:
        return f"{model.title} was tested on {total:,} scans: {accuracy}."
    right = sum(matrix[i][i] for i in range(len(LABELS)))
    tumours, alarms, healthy = tumour_counts(metrics)
    return (
        f"{model.title} named the right class for {right:,} of {total:,} test scans ({accuracy}). It missed "
        f"{_of(metrics.get('missed_tumours'), tumours)} tumours, and saw a tumour in {_of(alarms, healthy)} scans without one."
    )


def _difference(name: str, difference: Mapping[str, Any], *, a: str, b: str) -> str:
    value = difference.get("value")
    bounds = interval(difference.get("interval"), signed=True)
    shown = DASH if value is None else f"{value:+.3f}".replace("-", "−")
    what = name.replace("_", " ")
    return f"{what[0].upper()}{what[1:]}, {a} minus {b}: {shown}" + (f" (95 % interval {bounds})." if bounds else ".")


def _scans(count: int | None) -> str:
    return "" if count is None else f"{count:,} test scan{'' if count == 1 else 's'}"


def _count(value: int | None) -> str:
    return DASH if value is None else f"{value:,}"


def _of(part: int | None, whole: int | None) -> str:
    return _count(part) if whole is None else f"{_count(part)} of {whole:,}"
