"""Charts of a model's promises. Series differ by marker or line style as well as by colour."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from tumorscope.reporting.figures import GRID, INK, MUTED, chart_axes

AFTER, BEFORE, ALL = "#0072b2", "#d55e00", "#009e73"


def promises(measured: Mapping[str, Any], *, title: str) -> Figure:
    """Draw three charts side by side: reliability before and after calibration, decision curve, and risk against coverage.

    Args:
        measured: The entry `all` or `twin_free` of `trust.json`.
        title: Name of the model.
    """
    figure = Figure(figsize=(11.0, 3.7), layout="constrained")
    figure.suptitle(title, fontsize=11, color=INK, parse_math=False)
    _reliability(chart_axes(figure, (1, 3, 1)), measured["calibration"])
    _decision(chart_axes(figure, (1, 3, 2)), measured["decision_curve"])
    _selective(chart_axes(figure, (1, 3, 3)), measured["selective"])
    return figure


def _reliability(axes: Axes, found: Mapping[str, Any]) -> None:
    axes.plot([0, 1], [0, 1], color=MUTED, lw=1, ls=":", label="as sure as right")
    for when, colour, marker, face in (("before", BEFORE, "s", "white"), ("after", AFTER, "o", AFTER)):
        curve = found[when]["top_label"]["equal_mass"]["curve"]
        sure, right = ([point[name] for point in curve] for name in ("confidence", "accuracy"))
        below, above = ([abs(point["interval"][end] - point["accuracy"]) for point in curve] for end in (0, 1))
        bars = [below, above] if when == "after" else None
        axes.errorbar(
            sure,
            right,
            yerr=bars,
            color=colour,
            marker=marker,
            mfc=face,
            ms=4.5,
            lw=1.2,
            elinewidth=0.8,
            label=f"{when} calibration",
        )
    axes.set(xlim=(0.25, 1.02), ylim=(0, 1.03), xlabel="how sure it says it is", ylabel="how often it is right")
    _shares(axes, x=True)
    axes.set_title("Is it as right as it says?", fontsize=9.5, color=INK, loc="left")
    axes.legend(fontsize=7.5, frameon=False, loc="lower right")


def _decision(axes: Axes, found: Mapping[str, Sequence[float]]) -> None:
    places = found["thresholds"]
    for name, words, colour, style in (
        ("model", "as the model says", AFTER, "-"),
        ("treat_all", "every scan", BEFORE, (0, (6, 2))),
        ("treat_none", "no scan", MUTED, (0, (2, 1.2))),
    ):
        axes.plot(places, found[name], color=colour, ls=style, lw=1.8 if name == "model" else 1.4, label=words)
    highest = max(max(found["model"]), max(found["treat_all"]), 0.05)
    axes.set(xlim=(0, 1), ylim=(-0.1 * highest, 1.1 * highest), xlabel="probability from which one acts", ylabel="net benefit")
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    axes.set_title("Is acting on it worth it?", fontsize=9.5, color=INK, loc="left")
    axes.legend(fontsize=7.5, frameon=False, loc="lower left")


def _selective(axes: Axes, found: Mapping[str, Any]) -> None:
    curve = found["curve"]
    axes.plot(curve["coverage"], curve["risk"], color=AFTER, lw=1.8)
    axes.axhline(found["risk"]["value"], color=MUTED, lw=1, ls=":")
    axes.text(0.02, found["risk"]["value"], " all images", color=MUTED, fontsize=7.5, va="bottom")
    axes.set(
        xlim=(0, 1.01), ylim=(0, None), xlabel="share of images that it answers, surest first", ylabel="wrong answers among them"
    )
    _shares(axes, x=True)
    axes.grid(color=GRID)
    axes.set_title("What if the unsure ones go to a person?", fontsize=9.5, color=INK, loc="left")


def _shares(axes: Axes, *, x: bool) -> None:
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0 if axes.get_ylim()[1] > 0.1 else 1, symbol=" %"))
    if x:
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
