"""Charts of how a model stands corruptions. Series differ by marker and line style as well as by colour."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from tumorscope.data.corruptions import CORRUPTIONS
from tumorscope.evaluation.robustness import CLEAN
from tumorscope.reporting.figures import INK, chart_axes

SERIES: dict[str, tuple[str, str, str, str]] = {
    "accuracy": ("accuracy", "#0072b2", "o", "-"),
    "tumour_sensitivity": ("tumour sensitivity", "#d55e00", "s", "--"),
    "refusal_rate": ("refused", "#5b6875", "^", ":"),
}
COLUMNS = 4


def robustness_curves(rows: Sequence[Mapping[str, Any]], *, title: str) -> Figure:
    """Draw accuracy, tumour sensitivity and, where known, the share refused against strength; a small panel per corruption.

    Strength 0 is the scans as they are. All panels share one scale; bands are 95 % intervals.

    Args:
        rows: What `robustness_table` returned, with at least one corruption; means are left out.
        title: Name of the model.
    """
    clean = next(row for row in rows if row["corruption"] == CLEAN[0])
    names = list(dict.fromkeys(row["corruption"] for row in rows if row["strength"]))
    lines = math.ceil(len(names) / COLUMNS)
    figure = Figure(figsize=(9.4, 1.95 * lines + 0.9), layout="constrained")
    figure.suptitle(title, fontsize=11, color=INK, parse_math=False)
    for place, name in enumerate(names):
        axes = chart_axes(figure, (lines, COLUMNS, place + 1))
        _panel(axes, [clean, *(row for row in rows if row["corruption"] == name and row["strength"])])
        axes.set_title(
            CORRUPTIONS[name].title if name in CORRUPTIONS else name, loc="left", fontsize=9, color=INK, parse_math=False
        )
        axes.tick_params(labelbottom=place + COLUMNS >= len(names), labelleft=place % COLUMNS == 0)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower left", ncols=len(labels), fontsize=8, frameon=False, labelcolor=INK)
    figure.supxlabel("strength of the corruption; 0: the scan as it is", fontsize=9, color=INK)
    return figure


def _panel(axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    rows = sorted(rows, key=lambda row: int(row["strength"]))
    strengths = [row["strength"] for row in rows]
    for name, (words, colour, marker, style) in SERIES.items():
        values = _numbers(rows, name)
        if all(map(math.isnan, values)):
            continue
        axes.plot(strengths, values, style, marker=marker, ms=3.5, lw=1.5, color=colour, label=words)
        axes.fill_between(strengths, _numbers(rows, f"{name}_low"), _numbers(rows, f"{name}_high"), color=colour, alpha=0.13, lw=0)
    axes.set(ylim=(-0.03, 1.03), xlim=(-0.3, 5.3), xticks=range(6))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))


def _numbers(rows: Sequence[Mapping[str, Any]], name: str) -> list[float]:
    return [math.nan if row.get(name) is None else float(row[name]) for row in rows]
