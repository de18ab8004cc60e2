"""Pictures of scans: Grad-CAM panels, maps of all labels, augmentation. Colour has no meaning beyond the raw map."""

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps, patheffects
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from tumorscope.explanation.attention import peak_of
from tumorscope.labels import LABELS, label_info
from tumorscope.overlay import STRONGEST_ALPHA
from tumorscope.reporting.figures import INK, MUTED
from tumorscope.reporting.report_tables import percent
from tumorscope.reporting.study import AugmentationExamples, ExplainedScan, FourMaps

COLOURS = "inferno"
OUTLINE_COLOUR = "#00e5ff"
LEGEND = "Colour: raw Grad-CAM, more opaque where higher. Cross: highest value. Cyan line: outline of the tumour, where known."


def overlay_colours(heatmap: np.ndarray, *, highest: float | None = None) -> np.ndarray:
    """Return the colours that are laid over a scan; where the map is zero they are fully transparent.

    The map is divided by its own highest value for drawing only, so colours of two scans cannot be compared; a map that is
    zero everywhere stays invisible.

    Args:
        heatmap: Raw map, float, shape (rows, columns), at least 0.
        highest: Divide by this instead, for maps that share a scale; at least the map's highest value.

    Returns:
        float64, shape (rows, columns, 4): red, green, blue and opacity, each 0 to 1.
    """
    highest = float(heatmap.max()) if highest is None else highest
    relative = heatmap.astype(np.float64) / highest if highest > 0 else np.zeros(heatmap.shape)
    colours = np.array(colormaps[COLOURS](relative))
    colours[..., 3] = STRONGEST_ALPHA * relative
    return colours


def grad_cam_panel(examples: Sequence[ExplainedScan], notes: Sequence[str] = ()) -> Figure:
    """Draw scans, one per row, each beside itself with its Grad-CAM laid over.

    Args:
        examples: At least one.
        notes: What stands above each row, one per example, or none at all.
    """
    figure = Figure(figsize=(4.2, (2.15 if notes else 2.0) * len(examples) + 0.35), layout="constrained")
    grid = figure.subplots(len(examples), 2, squeeze=False)
    for (left, right), example, note in zip(grid, examples, notes or [""] * len(examples), strict=True):
        draw_scan(left, example.pixels)
        title = f"{note}\n{answer_words(example)}" if note else answer_words(example)
        left.set_title(title, loc="left", fontsize=9, color=INK, parse_math=False)
        draw_overlay(right, example.pixels, example.heatmap, example.mask)
        _scale_bar(figure, [right], float(example.heatmap.max()))
    return figure


def four_maps(scan: FourMaps) -> Figure:
    """Draw one scan beside the maps of all labels, whose colours can be compared: they share the scale at the right."""
    figure = Figure(figsize=(9.4, 2.8), layout="constrained")
    alone, *others = figure.subplots(1, 1 + len(LABELS))
    draw_scan(alone, scan.pixels)
    alone.set_title(f"truth:\n{label_info(scan.label).display_name}", loc="left", fontsize=9, color=INK)
    highest = float(scan.heatmaps.max())
    for axes, label, heatmap, probability in zip(others, LABELS, scan.heatmaps, scan.probabilities, strict=True):
        draw_overlay(axes, scan.pixels, heatmap, scan.mask, highest=highest)
        role = " (answer)" if label == scan.predicted else ""
        title = f"{label_info(label).display_name}\n{percent(float(probability))}{role}"
        axes.set_title(title, loc="left", fontsize=9, color=INK)
    _scale_bar(figure, others, highest)
    return figure


def augmentation(examples: AugmentationExamples) -> Figure:
    """Draw a scan and what training makes of it: flips on top, rotations below, then the recipe's full augmentation."""
    rows = [("flip", examples.flips), ("rotation", examples.rotations), ("full recipe", examples.combined)]
    rows = [(name, pictures) for name, pictures in rows if len(pictures)]
    columns = 1 + max((len(pictures) for _, pictures in rows), default=0)
    figure = Figure(figsize=(1.55 * columns + 0.3, 1.6 * max(1, len(rows)) + 0.3), layout="constrained")
    grid = figure.subplots(max(1, len(rows)), columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    draw_scan(grid[0, 0], examples.original)
    grid[0, 0].set_title("original", fontsize=9, color=INK)
    for line, (name, pictures) in zip(grid, rows, strict=bool(rows)):
        for axes, picture in zip(line[1:], pictures, strict=False):
            draw_scan(axes, picture)
        line[1].set_title(name, loc="left", fontsize=9, color=INK)
    return figure


def draw_scan(axes: Axes, pixels: np.ndarray) -> None:
    """Draw a scan, uint8, shape (rows, columns), without axes."""
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=255)
    axes.set_axis_off()


def answer_words(example: ExplainedScan) -> str:
    """Return whether the answer is right, what it is and how probable, in a few words."""
    truth, answer = label_info(example.label).display_name, label_info(example.predicted).display_name
    certainty = percent(example.probability)
    return f"Right: {truth}, {certainty}" if example.correct else f"Wrong: {truth} taken for {answer}, {certainty}"


def draw_overlay(
    axes: Axes, pixels: np.ndarray, heatmap: np.ndarray, mask: np.ndarray | None, *, highest: float | None = None
) -> None:
    """Draw a scan with its raw map, its highest place and the tumour's outline laid over; see `overlay_colours`."""
    draw_scan(axes, pixels)
    axes.imshow(overlay_colours(heatmap, highest=highest))
    _outline(axes, mask)
    _mark_peak(axes, heatmap)


def _outline(axes: Axes, mask: np.ndarray | None) -> None:
    """Draw the border of a mask; the frame of zeros closes the line where the tumour touches the edge of the picture."""
    if mask is None or not mask.any():
        return
    framed = np.pad(mask.astype(np.float64), 1)
    rows, columns = (np.arange(-1, size + 1) for size in mask.shape)
    lines = axes.contour(columns, rows, framed, levels=[0.5], colors=OUTLINE_COLOUR, linewidths=1.1)
    lines.set_path_effects([patheffects.withStroke(linewidth=2.2, foreground="black")])


def _mark_peak(axes: Axes, heatmap: np.ndarray) -> None:
    peak = peak_of(heatmap)
    if peak is None:
        return
    halo = [patheffects.withStroke(linewidth=3.2, foreground="black")]
    axes.plot(peak[1], peak[0], "+", color="white", ms=10, mew=1.6, path_effects=halo)


def _scale_bar(figure: Figure, axes: Sequence[Axes], highest: float) -> None:
    """Show which raw value each colour stands for."""
    colours = ScalarMappable(Normalize(0, highest or 1), COLOURS)
    ticks = {0.0: "0", highest: f"{highest:.3g}"}
    bar = figure.colorbar(colours, ax=axes, fraction=0.05, pad=0.03)
    bar.set_ticks(list(ticks), labels=list(ticks.values()))
    bar.ax.tick_params(labelsize=7, colors=MUTED, length=2)
    bar.outline.set_visible(False)
