"""The results of a model card, and the card put together: tables with intervals, and where the model fails, in sentences."""

from collections.abc import Mapping, Sequence
from typing import Any

from tumorscope.labels import LABELS, NO_TUMOUR, label_info
from tumorscope.reporting.model_card import CardModel, Evidence, ancestry_section, data_section, training_section, use_section
from tumorscope.reporting.report_tables import EXTERNAL, interval, number, value_at

_GROUPS = {"patient": "patients", "slice": "clusters of copies of one slice; whose patient is not known", "image": "single images"}
_MAPS = {
    "pointing_game": "peak inside the tumour",
    "pointing_game_15px": "peak within 15 pixels of it",
    "energy_inside": "share of the map inside",
    "tumour_inpainted_drop": "probability lost when the tumour is painted over",
}
_HALVES = ("choosing", "final")


def model_card(model: CardModel, evidence: Sequence[Evidence]) -> str:
    """Return the card of a model as Markdown; without evidence it says that nothing is known of how good the model is."""
    parts = [
        [f"# Model card: {model.title}"],
        use_section(),
        data_section(model),
        ancestry_section(model),
        training_section(model),
        ["## Evaluation", "", *_evaluation(evidence)],
        ["## Where it fails", "", *_failures(evidence)],
    ]
    return "\n".join(line for part in parts for line in [*part, ""]).rstrip() + "\n"


def _evaluation(evidence: Sequence[Evidence]) -> list[str]:
    if not evidence:
        return ["No evaluation was given for this card, so **nothing is known of how well the model does**."]
    methods = list(dict.fromkeys(value_at(one.metrics, "intervals", "method") for one in evidence if not one.external))
    lines = [
        "Numbers are shares between 0 and 1 with 95 % intervals in brackets. The intervals resample groups of images that belong "
        "together, not single images.",
        *(f"{method}" for method in methods if method),
    ]
    for one in evidence:
        lines += ["", f"### {one.run}: {one.test}", "", *_about(one), ""]
        lines += _external_table(one.metrics) if one.external else _own_table(one.metrics)
        lines += _parts("source", one.by_source) + _parts("plane", one.by_plane) + _maps(one.explanation)
    return lines


def _about(one: Evidence) -> list[str]:
    who = "this very model" if one.own else "a sister model" if one.models == 1 else f"{one.models} sister models"
    lines = [
        f"{one.images:,} images in {one.groups:,} groups ({_GROUPS[one.grouped_by]}), answered by {who}"
        + ("." if one.own else f": the same recipe and start (seed {one.seed}), trained without the images that they answer."),
    ]
    if one.seen:
        lines.append(
            f"The model of this card has seen {one.seen:,} of these {one.images:,} images in training, so **the numbers come from "
            "its sister models alone**; on these images it cannot be tested any more."
        )
    else:
        lines.append("The model of this card has seen none of them.")
    if one.grouped_by == "image":
        lines.append("No groups are known: copies and neighbouring slices of one patient may stand on both sides of the split.")
    return [*lines, *one.notes]


def _own_table(metrics: Mapping[str, Any]) -> list[str]:
    rows: list[tuple[str, tuple[str, ...]]] = [
        *((f"Recall {label_info(label).display_name}", ("per_class", label, "recall")) for label in LABELS),
        ("Recall, mean of the classes", ("macro", "recall")),
        ("Accuracy", ("accuracy",)),
        ("Tumours found, of whatever class", ("tumour_sensitivity",)),
        ("Free of tumour recognised", ("tumour_specificity",)),
        ("ROC area, tumour against none", ("roc_auc", "tumour")),
    ]
    lines = ["| | model | images | look-up of the most similar training image |", "|---|---|---:|---|"]
    for title, keys in rows:
        support = value_at(metrics, "per_class", keys[1], "support") if keys[0] == "per_class" else None
        lines.append(
            f"| {title} | {_value(metrics, *keys)} | {'' if support is None else f'{support:,}'} | "
            f"{number(value_at(metrics, 'lookup_baseline', *keys))} |"
        )
    return lines


def _external_table(metrics: Mapping[str, Any]) -> list[str]:
    halves = [half for half in _HALVES if value_at(metrics, "halves", half)]
    parts = [metrics, *(metrics["halves"][half] for half in halves)]
    lines = [
        "| | all | " + "".join(f"half for {'choosing' if half == 'choosing' else 'the final figure'} | " for half in halves),
        "|---|---|" + "---|" * len(halves),
        f"| Images | {' | '.join(format(part['n'], ',') for part in parts)} |",
    ]
    for key, title in EXTERNAL.items():
        lines.append(f"| {title} | {' | '.join(_external_value(part, key) for part in parts)} |")
    lines += [
        f"| Recall {label_info(label).display_name} | {' | '.join(number(part['recall'].get(label)) for part in parts)} |"
        for label in LABELS
        if label in metrics["recall"]
    ]
    return lines + _external_maps(metrics.get("heatmaps"), halves)


def _external_maps(heatmaps: Mapping[str, Any] | None, halves: Sequence[str]) -> list[str]:
    """Where the maps of the answers point in scans whose outline is known, a column for each of the parts of the table above."""
    if not heatmaps:
        return []
    parts = [heatmaps, *(value_at(heatmaps, "halves", half) for half in halves)]
    counts = [format(value_at(part, "n") or 0, ",") for part in parts]
    rows = [
        f"| Heatmap: {_MAPS[key]} | {' | '.join(number(value_at(part, 'answer', key)) for part in parts)} |"
        for key in ("pointing_game", "pointing_game_15px")
    ]
    return [f"| Scans with an outline | {' | '.join(counts)} |", *rows]


def _external_value(part: Mapping[str, Any], key: str) -> str:
    value = part[key]["value"] if isinstance(part[key], Mapping) else part[key]
    return _with_bounds(value, value_at(part, "intervals", key))


def _parts(kind: str, cells: Mapping[str, Mapping[str, Any]]) -> list[str]:
    if not cells:
        return []
    rows = [f"| {name or 'unknown'} | {_cell(cell)} | {cell['n']:,} |" for name, cell in cells.items()]
    return ["", f"| {kind} | answered rightly | images |", "|---|---|---:|", *rows]


def _maps(explanation: Mapping[str, Any] | None) -> list[str]:
    tables = {title: explanation.get(key) for key, title in _MAPS.items()} if explanation else {}
    rows = [
        f"| {title} | {_cell(table)} | {table['n']:,} | {number(value_at(table, 'baselines', 'centred_gaussian', 'value'))} |"
        for title, table in tables.items()
        if table
    ]
    return ["", "| its heatmaps | | images | a centred spot |", "|---|---|---:|---|", *rows] if rows else []


def _failures(evidence: Sequence[Evidence]) -> list[str]:
    lines = [f"- {one.run}, {one.test}: {sentence}" for one in evidence for sentence in _failures_of(one)]
    return [
        *(lines or ["Not measured."]),
        "",
        "Whatever is not in the tables above was not tested: other scanners, sequences, countries, ages and diseases among it.",
    ]


def _failures_of(one: Evidence) -> list[str]:
    found = _external_failures(one.metrics) if one.external else _own_failures(one.metrics)
    for kind, cells in (("source", one.by_source), ("plane", one.by_plane)):
        if len(cells) > 1:
            name, cell = next(iter(cells.items()))
            found.append(
                f"The lowest share of right answers by {kind} is that of {name or 'unknown'}: {_cell(cell)} of {cell['n']:,}."
            )
    return found


def _own_failures(metrics: Mapping[str, Any]) -> list[str]:
    recalls = {label: value_at(metrics, "per_class", label, "recall") for label in LABELS}
    known = {label: recall for label, recall in recalls.items() if recall is not None}
    sentences = []
    if known:
        worst = min(known, key=lambda label: known[label])
        support = metrics["per_class"][worst]["support"]
        sentences.append(
            f"The lowest recall is that of {label_info(worst).display_name}: {_value(metrics, 'per_class', worst, 'recall')} of "
            f"{support:,} images."
        )
    tumours = sum(metrics["per_class"][label]["support"] for label in LABELS if label != NO_TUMOUR)
    healthy = metrics["per_class"][NO_TUMOUR]["support"]
    matrix = metrics["confusion_matrix"]
    none = LABELS.index(NO_TUMOUR)
    sentences.append(
        f"It calls {metrics['missed_tumours']:,} of {tumours:,} tumours free of tumour, and finds a tumour in "
        f"{healthy - matrix[none][none]:,} of {healthy:,} images without one."
    )
    wrong = [(matrix[a][b], a, b) for a in range(len(LABELS)) for b in range(len(LABELS)) if a != b]
    count, truth, called = max(wrong, key=lambda item: item[0])
    if count:
        names = [label_info(label).display_name for label in LABELS]
        sentences.append(
            f"The most frequent mistake: {names[truth]} called {names[called]}, {count:,} of {sum(matrix[truth]):,} images."
        )
    return sentences


def _external_failures(metrics: Mapping[str, Any]) -> list[str]:
    tumours = sum(count for label, count in metrics["labels"].items() if label != NO_TUMOUR)
    healthy = metrics["labels"].get(NO_TUMOUR, 0)
    sentences = [
        f"It calls {metrics['missed_tumours']:,} of {tumours:,} tumours free of tumour, and finds a tumour in "
        f"{metrics['false_alarms']:,} of {healthy:,} images without one."
    ]
    by_source = {name: part for name, part in metrics["sources"].items() if part["tumour_sensitivity"] is not None}
    if len(by_source) > 1:
        worst = min(by_source, key=lambda name: by_source[name]["tumour_sensitivity"])
        part = by_source[worst]
        shown = sum(count for label, count in part["labels"].items() if label != NO_TUMOUR)
        sentences.append(
            f"It finds the fewest tumours in the source {worst}: {number(part['tumour_sensitivity'])} of {shown:,}, "
            f"{part['missed_tumours']:,} missed."
        )
    return sentences


def _value(metrics: Mapping[str, Any], *keys: str) -> str:
    return _with_bounds(value_at(metrics, *keys), value_at(metrics, "intervals", *keys))


def _cell(cell: Mapping[str, Any]) -> str:
    return _with_bounds(cell["value"], cell["interval"])


def _with_bounds(value: float | None, bounds: Sequence[float] | None) -> str:
    shown = interval(bounds) if value is not None else ""
    return f"{number(value)} ({shown})" if shown else number(value)
