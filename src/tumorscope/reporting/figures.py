"""Charts of finished results, one function per figure, and figures to PNG.

Everything goes through matplotlib's object interface: no global state, no display. Series differ by line style or hatching as
well as by colour (the palette of Okabe and Ito, which colour-blind readers can tell apart).
"""

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tumorscope import DISCLAIMER, __version__
from tumorscope.labels import LABELS, label_info
from tumorscope.overlay import png_address
from tumorscope.reporting.report_tables import DASH, number, percent
from tumorscope.storage import write_atomically

DrawStyle = Literal["default", "steps-post"]

DPI = 110
INK = "#1b2733"
MUTED = "#5b6875"
GRID = "#e3e8ee"
SPLIT_STYLES = {
    "train": ("#0072b2", ""),
    "validation": ("#56b4e9", "///"),
    "calibration": ("#009e73", "\\\\\\"),
    "test": ("#e69f00", ".."),
}
OTHER_SPLIT_STYLE = ("#999999", "xx")
CURVE_STYLES: dict[str, tuple[str, Any]] = {
    "glioma": ("#0072b2", "-"),
    "meningioma": ("#d55e00", (0, (6, 2))),
    "notumor": ("#009e73", (0, (5, 1.5, 1, 1.5))),
    "pituitary": ("#cc79a7", (0, (2, 1.2))),
    "tumour": ("#000000", (0, (1, 1))),
}
TRAIN_COLOUR, VALIDATION_COLOUR = "#0072b2", "#d55e00"
ZOOM_FROM_AREA = 0.9


def png_bytes(figure: Figure) -> bytes:
    """Draw a figure and return it as a PNG file; equal figures give equal bytes."""
    buffer = io.BytesIO()
    metadata = {"Software": f"Tumorscope {__version__}", "Disclaimer": DISCLAIMER}
    figure.savefig(buffer, format="png", dpi=DPI, facecolor="white", metadata=metadata)
    return buffer.getvalue()


def save_png(figure: Figure | bytes, path: Path) -> None:
    """Write a figure as PNG by temporary name, so that a reader never meets half a file.

    Args:
        figure: A figure, or what `png_bytes` returned for it.
        path: The PNG file; its folder is made when missing.

    Raises:
        OutputError: The place cannot be written.
    """
    write_atomically(path, figure if isinstance(figure, bytes) else png_bytes(figure))


def png_data_uri(figure: Figure | bytes) -> str:
    """Return a figure, or its PNG bytes, as a `data:` address that a page can embed."""
    content = figure if isinstance(figure, bytes) else png_bytes(figure)
    return png_address(content)


def stamp(figure: Figure, text: str) -> None:
    """Print a small line below a figure, for what must travel with the picture."""
    figure.supxlabel(text, x=0.99, ha="right", fontsize=6.5, color=MUTED, parse_math=False)


def class_counts(counts: Mapping[str, Mapping[str, int]]) -> Figure:
    """Draw the images per class of every split as bars.

    Args:
        counts: Split to label to number of images; a label that is missing counts as none.
    """
    figure = Figure(figsize=(7.6, 3.6), layout="constrained")
    axes = chart_axes(figure)
    width = 0.8 / max(1, len(counts))
    for position, (split, per_label) in enumerate(counts.items()):
        colour, hatch = SPLIT_STYLES.get(split, OTHER_SPLIT_STYLE)
        places = np.arange(len(LABELS)) + (position - (len(counts) - 1) / 2) * width
        values = [per_label.get(label, 0) for label in LABELS]
        name = {"train": "training"}.get(split, split)
        bars = axes.bar(places, values, width * 0.92, color=colour, hatch=hatch, edgecolor="white", linewidth=0.5, label=name)
        axes.bar_label(bars, labels=[f"{value:,}" for value in values], fontsize=8, color=INK, padding=2)
    axes.set_xticks(np.arange(len(LABELS)), [label_info(label).display_name for label in LABELS])
    axes.set_ylabel("images")
    axes.margins(y=0.12)
    axes.grid(visible=False, axis="x")
    if counts:
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.14), ncols=len(counts), fontsize=8, frameon=False, labelcolor=INK)
    return figure


def learning_curves(history: Sequence[Mapping[str, Any]], *, title: str, best_epoch: int | None = None) -> Figure:
    """Draw loss and accuracy over the epochs, for training and validation.

    Args:
        history: One row per epoch: epoch, train_loss, validation_loss, train_accuracy, validation_accuracy; None leaves a gap.
        title: Name of the model.
        best_epoch: Epoch whose weights were kept; without it the highest validation accuracy is marked, and called so.
    """
    figure = Figure(figsize=(7.6, 3.3), layout="constrained")
    figure.suptitle(title, fontsize=11, color=INK, parse_math=False)
    epochs = [int(row["epoch"]) for row in history]
    mark = _best_mark(history, best_epoch)
    for position, quantity in enumerate(("loss", "accuracy")):
        axes = chart_axes(figure, (1, 2, position + 1))
        axes.plot(epochs, _column(history, f"train_{quantity}"), "o-", ms=3.5, color=TRAIN_COLOUR, label="training")
        axes.plot(epochs, _column(history, f"validation_{quantity}"), "s--", ms=3.5, color=VALIDATION_COLOUR, label="validation")
        if mark is not None:
            axes.axvline(mark[0], color=MUTED, lw=1.2, ls=":", label=mark[1])
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.set_xlabel("epoch")
        axes.set_ylabel(quantity)
        axes.legend(fontsize=8, frameon=False, labelcolor=INK)
    return figure


def confusion_matrix(matrix: Sequence[Sequence[int]], *, title: str) -> Figure:
    """Draw a confusion matrix with counts and the share of each row.

    Args:
        matrix: Counts, shape (4, 4): rows are the truth, columns the answer, both in the order of `LABELS`.
        title: Name of the model.
    """
    counts = np.asarray(matrix, dtype=np.int64)
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    figure = Figure(figsize=(5.2, 4.5), layout="constrained")
    axes = chart_axes(figure)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1.15, aspect="auto")
    for (row, column), count in np.ndenumerate(counts):
        share = percent(float(shares[row, column])) if totals[row, 0] else DASH
        colour = "white" if shares[row, column] > 0.6 else INK
        weight = "bold" if row == column else "normal"
        axes.text(column, row - 0.1, f"{count:,}", ha="center", va="center", fontsize=12, color=colour, weight=weight)
        axes.text(column, row + 0.2, share, ha="center", va="center", fontsize=8, color=colour)
    names = [label_info(label).display_name.replace(" ", "\n") for label in LABELS]
    axes.set_xticks(range(len(LABELS)), names)
    axes.set_yticks(range(len(LABELS)), names)
    axes.set_xlabel("answer of the model")
    axes.set_ylabel("truth")
    axes.set_title(title, fontsize=11, color=INK, parse_math=False)
    axes.grid(visible=False)
    return figure


def roc_curves(curves: Mapping[str, Any], areas: Mapping[str, float | None], *, title: str) -> Figure:
    """Draw one-versus-rest ROC curves with their areas.

    Args:
        curves: Label or `tumour` to (false positive rate, true positive rate), each 0 to 1.
        areas: The same keys to the area under the curve, None where undefined.
        title: Name of the model.
    """
    figure = Figure(figsize=(5.2, 5.2), layout="constrained")
    axes = chart_axes(figure)
    axes.plot([0, 1], [0, 1], color="#b5bec8", lw=1, label="_chance")
    _draw_curves(axes, curves, areas, drawstyle="default")
    _frame_curves(axes, title)
    axes.set_xlabel("false alarms: share of the other scans given this answer")
    axes.set_ylabel("found: share of the scans of this class (recall)")
    if _all_good(areas, curves):
        _draw_curves(_zoom(axes, (0.44, 0.09, 0.5, 0.5), xlim=(-0.01, 0.2)), curves, areas, drawstyle="default")
    return figure


def precision_recall_curves(curves: Mapping[str, Any], areas: Mapping[str, float | None], *, title: str) -> Figure:
    """Draw one-versus-rest precision-recall curves with their average precision.

    Args:
        curves: Label or `tumour` to (recall, precision), each 0 to 1, in the order of falling recall.
        areas: The same keys to the average precision, None where undefined.
        title: Name of the model.
    """
    figure = Figure(figsize=(5.2, 5.2), layout="constrained")
    axes = chart_axes(figure)
    _draw_curves(axes, curves, areas, drawstyle="steps-post")
    _frame_curves(axes, title)
    axes.set_xlabel("recall: share of the scans of this class that is found")
    axes.set_ylabel("precision: share of these answers that is right")
    if _all_good(areas, curves):
        _draw_curves(_zoom(axes, (0.1, 0.09, 0.5, 0.5), xlim=(0.8, 1.01)), curves, areas, drawstyle="steps-post")
    return figure


def _draw_curves(axes: Axes, curves: Mapping[str, Any], areas: Mapping[str, float | None], *, drawstyle: DrawStyle) -> None:
    for key, (colour, line_style) in CURVE_STYLES.items():
        if curves.get(key) is None:
            continue
        x, y = curves[key]
        name = "any tumour" if key == "tumour" else label_info(key).display_name
        text = f"{name}: {number(areas.get(key))}"
        axes.plot(x, y, color=colour, ls=line_style, lw=2.2 if key == "tumour" else 1.7, label=text, drawstyle=drawstyle)


def _frame_curves(axes: Axes, title: str) -> None:
    """Show the whole unit square, with the legend below it, where no curve runs."""
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.set_title(title, fontsize=11, color=INK, parse_math=False)
    handles, names = axes.get_legend_handles_labels()
    if handles:
        axes.legend(
            handles, names, loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=2, fontsize=8, frameon=False, labelcolor=INK
        )


def _all_good(areas: Mapping[str, float | None], curves: Mapping[str, Any]) -> bool:
    """Whether every curve hugs its corner, so that the rest of the square is free for a magnified view."""
    drawn = [areas.get(key) for key in CURVE_STYLES if curves.get(key) is not None]
    return bool(drawn) and all(area is not None and area >= ZOOM_FROM_AREA for area in drawn)


def _zoom(axes: Axes, place: tuple[float, float, float, float], *, xlim: tuple[float, float]) -> Axes:
    inset = axes.inset_axes(place, xlim=xlim, ylim=(0.8, 1.01))
    inset.tick_params(labelsize=7, colors=MUTED)
    inset.grid(color=GRID, lw=0.7)
    inset.set_title("the outlined corner, magnified", fontsize=7, color=MUTED, pad=2)
    inset.set(xticks=np.linspace(xlim[0] if xlim[0] > 0 else 0, min(xlim[1], 1), 3), yticks=(0.8, 0.9, 1.0))
    for connector in axes.indicate_inset_zoom(inset, edgecolor=MUTED).connectors or ():
        connector.set_visible(False)
    return inset


def chart_axes(figure: Figure, place: tuple[int, int, int] = (1, 1, 1)) -> Axes:
    """Add axes in the style of all charts; `place` is rows, columns and position as matplotlib counts them."""
    axes = figure.add_subplot(*place)
    axes.set_axisbelow(True)
    axes.grid(color=GRID, lw=0.8)
    axes.tick_params(labelsize=8.5, colors=INK, length=0)
    axes.xaxis.label.set(fontsize=9, color=INK)
    axes.yaxis.label.set(fontsize=9, color=INK)
    for spine in axes.spines.values():
        spine.set_color("#c5ced8")
    return axes


def _best_mark(history: Sequence[Mapping[str, Any]], best_epoch: int | None) -> tuple[int, str] | None:
    """Epoch to mark and what to call it."""
    if best_epoch is not None:
        return best_epoch, f"kept: epoch {best_epoch}"
    validated = [row for row in history if row.get("validation_accuracy") is not None]
    if not validated:
        return None
    epoch = int(max(validated, key=lambda row: float(row["validation_accuracy"]))["epoch"])
    return epoch, f"highest validation accuracy: epoch {epoch}"


def _column(history: Sequence[Mapping[str, Any]], name: str) -> list[float]:
    return [math.nan if row.get(name) is None else float(row[name]) for row in history]
