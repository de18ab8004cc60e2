"""Charts of measured heatmaps. Series differ by marker or line style as well as by colour."""

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from tumorscope.reporting.explanation_tables import UNSEEN, cell_text, groups
from tumorscope.reporting.figures import INK, MUTED, chart_axes
from tumorscope.reporting.report_tables import number, value_at

MAP, RIVAL, OTHER = "#0072b2", "#d55e00", "#009e73"
ORDER_STYLES: dict[str, tuple[str, str, Any]] = {
    "map": ("order of the map", MAP, "-"),
    "random_order": ("random order", RIVAL, (0, (6, 2))),
    "centre": ("from the centre", OTHER, (0, (2, 1.2))),
}
FILLS = {"blurred": "blurred", "mean": "filled with the mean"}


def pointing_game(metric: Mapping[str, Any], *, title: str) -> Figure:
    """Draw the pointing game as dots with their intervals: all scans, baselines below, then every group of scans.

    Args:
        metric: The entry `pointing_game` of `explanation.json`; what has no value is left out.
        title: Name of the model.
    """
    baselines = {"drawn_as_usual": "drawn as usual"} | {name: words.lower() for name, words in UNSEEN.items()}
    rivals = [(words, value_at(metric, "baselines", name)) for name, words in baselines.items()]
    parts = [("all", "the map, all scans", metric), *(("baselines", words, cell) for words, cell in rivals)]
    parts += [(path[0].removeprefix("in"), words, value_at(metric, *path)) for words, path in groups([metric])]
    shown = [part for part in parts if value_at(part[2], "value") is not None]
    steps = [0.0] + [1.0 if before[0] == after[0] else 1.6 for before, after in pairwise(shown)]
    places = list(accumulate(steps))
    figure = Figure(figsize=(5.4, 0.27 * places[-1] + 1.6), layout="constrained")
    axes = chart_axes(figure)
    for place, (part, _, cell) in zip(places, shown, strict=True):
        _dot(axes, place, cell, rival=part == "baselines")
    best = max((value_at(metric, "baselines", name, "value") or 0 for name in UNSEEN), default=0)
    if best > 0:
        axes.axvline(best, color=RIVAL, lw=1, ls=":", zorder=0)
        axes.text(best, -0.75, " best baseline", color=RIVAL, fontsize=7.5, va="center")
    axes.set_yticks(places, [_counted(words, cell) for _, words, cell in shown])
    axes.set(ylim=(places[-1] + 0.6, -1.2), xlim=(-0.01, max(0.1, *(_upper(cell) for *_, cell in shown)) * 1.2))
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    axes.set_xlabel("scans whose map peaks inside the outline of the tumour")
    axes.set_title(title, fontsize=11, color=INK, parse_math=False, loc="left")
    axes.grid(visible=False, axis="y")
    return figure


def order_curves(curves: Mapping[str, Any], areas: Mapping[str, Any], *, title: str) -> Figure:
    """Draw deletion and insertion curves, one row per fill, the map against other orders of the pixels.

    Args:
        curves: `shares` of pixels changed, 0 to 1, and `deletion` and `insertion`: fill to order to mean probabilities.
        areas: Content of `explanation.json`, whose areas under the curves stand in the titles.
        title: Name of the model.
    """
    fills = [fill for fill in FILLS if any(value_at(curves, kind, fill) for kind in ("deletion", "insertion"))]
    figure = Figure(figsize=(7.6, 2.9 * max(1, len(fills)) + 0.5), layout="constrained")
    figure.suptitle(title, fontsize=11, color=INK, parse_math=False)
    for row, fill in enumerate(fills):
        for column, kind in enumerate(("deletion", "insertion")):
            if not value_at(curves, kind, fill):
                continue
            axes = chart_axes(figure, (len(fills), 2, 2 * row + column + 1))
            for order, (words, colour, style) in ORDER_STYLES.items():
                values = value_at(curves, kind, fill, order)
                if values:
                    axes.plot(curves["shares"], _gaps(values), color=colour, ls=style, lw=2 if order == "map" else 1.6, label=words)
            area = value_at(areas, f"{kind}_auc" + ("" if fill == "blurred" else "_mean_fill"), "value")
            verb = "taken away" if kind == "deletion" else "brought back"
            axes.set_title(f"{kind}, {FILLS[fill]}: area {number(area)}", fontsize=9, color=INK, loc="left")
            axes.set(
                ylim=(-0.02, 1.02), xlim=(-0.02, 1.02), xlabel=f"share of the pixels {verb}", ylabel="probability of the answer"
            )
            axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
            if axes.lines:
                axes.legend(fontsize=8, frameon=False, labelcolor=INK)
    return figure


def randomisation(layers: Sequence[Mapping[str, Any]], *, title: str) -> Figure:
    """Draw how alike the map stays to the real one while weights become random from the head downwards.

    Args:
        layers: Rows of `randomisation.layers` of `explanation.json`, at least one.
        title: Name of the model.
    """
    figure = Figure(figsize=(max(4.2, min(9.0, 1.6 + 0.42 * len(layers))), 3.9), layout="constrained")
    axes = chart_axes(figure)
    series = (("rank_correlation", "rank correlation", "o-", MAP), ("structural_similarity", "structural similarity", "s--", RIVAL))
    for name, words, style, colour in series:
        cells = [value_at(layer, name) for layer in layers]
        values = _gaps([value_at(cell, "value") for cell in cells])
        if all(map(math.isnan, values)):
            continue
        axes.plot(range(len(layers)), values, style, color=colour, ms=4.5, lw=1.6, label=words)
        for place, cell in enumerate(cells):
            low, high = _bounds(cell)
            axes.plot([place, place], [low, high], color=colour, lw=1.2, alpha=0.7)
    axes.axhline(0, color=MUTED, lw=0.8)
    axes.set_xticks(
        range(len(layers)), [str(layer.get("layer")) for layer in layers], rotation=60, ha="right", fontsize=7.5, parse_math=False
    )
    axes.set(ylim=(min(-0.1, axes.get_ylim()[0]), 1.05), ylabel="likeness to the real map (1: the same)")
    axes.set_xlabel("random from the head down to this layer")
    axes.set_title(title, fontsize=11, color=INK, parse_math=False)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8, frameon=False, labelcolor=INK)
    return figure


def _dot(axes: Axes, place: float, cell: Mapping[str, Any], *, rival: bool) -> None:
    low, high = _bounds(cell)
    colour = RIVAL if rival else MAP
    axes.plot([low, high], [place, place], color=colour, lw=1.6, solid_capstyle="butt")
    axes.plot([cell["value"]], [place], "s" if rival else "o", color=colour, ms=6.5, mfc="white" if rival else colour, mew=1.5)
    axes.annotate(
        cell_text(cell, "share"),
        (_upper(cell), place),
        xytext=(6, 0),
        textcoords="offset points",
        va="center",
        fontsize=8,
        color=INK,
    )


def _bounds(cell: Mapping[str, Any] | None) -> tuple[float, float]:
    """Interval of a cell; the value itself where there is none, not a number without a value."""
    value, bounds = value_at(cell, "value"), value_at(cell, "interval")
    if value is None:
        return math.nan, math.nan
    if bounds is None or any(bound is None for bound in bounds):
        return float(value), float(value)
    return float(bounds[0]), float(bounds[1])


def _upper(cell: Mapping[str, Any]) -> float:
    return max(float(cell["value"]), _bounds(cell)[1])


def _counted(words: str, cell: Mapping[str, Any]) -> str:
    count = value_at(cell, "n")
    return words[:1].upper() + words[1:] + ("" if count is None else f" (n {count:,})")


def _gaps(values: Sequence[float | None]) -> list[float]:
    return [math.nan if value is None else float(value) for value in values]
