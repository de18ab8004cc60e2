"""A scan and its maps as layers of a page, so that a reader can fade the map; nothing here draws a figure.

The scan is stored once per page, however often it is shown. A map is stored as one byte per pixel with the colours beside it, which
is a quarter of what red, green, blue and opacity would take.
"""

import hashlib
import io
from dataclasses import dataclass

import numpy as np
from contourpy import contour_generator
from PIL import Image

from tumorscope.explanation.attention import peak_of
from tumorscope.labels import LABELS, label_info
from tumorscope.overlay import STRONGEST_ALPHA, png_address
from tumorscope.reporting.heatmap_figures import answer_words, overlay_colours
from tumorscope.reporting.report_tables import percent
from tumorscope.reporting.study import ExplainedScan, FourMaps

SCAN_PX = 256
"""Longer side of a scan on a page in pixels; a smaller scan stays as it is."""
MAP_PX = 128
"""Longer side of a map on a page in pixels; maps are smooth."""
DEFAULT_OPACITY = round(100 * STRONGEST_ALPHA)
"""Where the slider starts, in per cent: the opacity at which the PNG files are drawn."""


@dataclass(frozen=True, slots=True)
class Base:
    """The lowest layer, shared by all views of one scan.

    Attributes:
        key: Digest of pixels and outline, unique on a page.
        rows: Height of the scan's own grid in pixels, in which outlines and peaks are given.
        columns: Width likewise.
        address: The scan as a `data:` address, at most `SCAN_PX` on its longer side.
        outline: Border of the mask as the path of an SVG, empty where no tumour is outlined.
    """

    key: str
    rows: int
    columns: int
    address: str
    outline: str


@dataclass(frozen=True, slots=True)
class Layer:
    """One map: what it is of, what it shows in words, its `data:` address, and the cross at its peak as the path of an SVG."""

    title: str
    words: str
    address: str
    cross: str


@dataclass(frozen=True, slots=True)
class View:
    """One scan with its maps, which share a scale from 0 to `highest`."""

    base: Base
    title: str
    layers: tuple[Layer, ...]
    highest: str
    note: str = ""


def scan_view(scan: ExplainedScan, *, note: str = "") -> View:
    """Return a scan with the map of the model's answer."""
    highest = float(scan.heatmap.max())
    truth, answer = label_info(scan.label).display_name, label_info(scan.predicted).display_name
    words = f"Scan and its Grad-CAM, truth {truth}, answer {answer} with probability {scan.probability:.3f}, {_peak(scan.heatmap)}"
    layer = Layer("", words, map_address(scan.heatmap, highest), _cross(scan.heatmap))
    return View(_base(scan.pixels, scan.mask), answer_words(scan), (layer,), f"{highest:.3g}", note)


def four_map_view(scan: FourMaps) -> View:
    """Return a scan with the maps of all labels; what is faint in one is faint in all."""
    highest = float(scan.heatmaps.max())
    layers = []
    for label, heatmap, probability in zip(LABELS, scan.heatmaps, scan.probabilities, strict=True):
        name = label_info(label).display_name
        words = f"Scan and its Grad-CAM of {name}, probability {probability:.3f}, {_peak(heatmap)}"
        role = ", the answer" if label == scan.predicted else ""
        layers.append(Layer(f"{name}, {percent(float(probability))}{role}", words, map_address(heatmap, highest), _cross(heatmap)))
    return View(_base(scan.pixels, scan.mask), f"Truth: {label_info(scan.label).display_name}", tuple(layers), f"{highest:.3g}")


def map_address(heatmap: np.ndarray, highest: float) -> str:
    """Return a map as a `data:` address: a palette of colours whose opacity rises from nothing at 0 to full at `highest`.

    Args:
        heatmap: Raw map, float, shape (rows, columns), at least 0.
        highest: Value of the strongest colour; 0 only for a map of zeros.
    """
    relative = heatmap.astype(np.float32) / highest if highest > 0 else np.zeros(heatmap.shape, dtype=np.float32)
    resized = Image.fromarray(relative).resize(_size(heatmap.shape, MAP_PX), Image.Resampling.BILINEAR)
    levels = (np.clip(np.asarray(resized), 0, 1) * 255).round().astype(np.uint8)
    return _indexed(levels, opaque=False)


def scale_address() -> str:
    """Return the colours from 0 to the highest value, left to right and opaque, as a `data:` address."""
    return _indexed(np.arange(256, dtype=np.uint8)[None], opaque=True)


def outline_path(mask: np.ndarray) -> str:
    """Return the border half-way between inside and outside as the path of an SVG, in pixels from the upper left corner.

    The frame of zeros closes the line where the tumour touches the edge of the picture.

    Args:
        mask: bool, shape (rows, columns).
    """
    lines = contour_generator(z=np.pad(mask.astype(np.float64), 1)).lines(0.5)
    return "".join(_line_path(np.asarray(line) - 0.5) for line in lines)


def _line_path(points: np.ndarray) -> str:
    """A line as its first point and the steps from there; x and y, shape (n, 2)."""
    steps = " ".join(f"{x:g} {y:g}" for x, y in np.diff(points, axis=0))
    return f"M{points[0, 0]:g} {points[0, 1]:g}l{steps}"


def _base(pixels: np.ndarray, mask: np.ndarray | None) -> Base:
    rows, columns = pixels.shape
    outline = "" if mask is None else outline_path(mask)
    digest = hashlib.sha256(f"{rows} {columns} {outline}".encode() + pixels.tobytes()).hexdigest()[:12]
    image = Image.fromarray(pixels)
    size = _size(pixels.shape, SCAN_PX)
    return Base(digest, rows, columns, _address(image if size == image.size else image.resize(size)), outline)


def _size(shape: tuple[int, ...], longest: int) -> tuple[int, int]:
    """Width and height with the longer side at most `longest`."""
    factor = min(1.0, longest / max(shape))
    return max(1, round(shape[1] * factor)), max(1, round(shape[0] * factor))


def _indexed(levels: np.ndarray, *, opaque: bool) -> str:
    """A picture of 256 levels in the colours of the maps."""
    colours = np.round(overlay_colours(np.arange(256.0)[None])[0] * 255).astype(np.uint8)
    image = Image.fromarray(levels)
    image.putpalette(colours[:, :3].tobytes())
    return _address(image) if opaque else _address(image, transparency=bytes(range(256)))


def _address(image: Image.Image, **options: bytes) -> str:
    stream = io.BytesIO()
    image.save(stream, "PNG", optimize=True, **options)
    return png_address(stream.getvalue())


def _cross(heatmap: np.ndarray) -> str:
    """Two strokes through the middle of the highest pixel, none for a map that is the same everywhere."""
    peak = peak_of(heatmap)
    if peak is None:
        return ""
    arm = 0.03 * max(heatmap.shape)
    row, column = (place + 0.5 for place in peak)
    return f"M{column - arm:g} {row:g}h{2 * arm:g}M{column:g} {row - arm:g}v{2 * arm:g}"


def _peak(heatmap: np.ndarray) -> str:
    peak = peak_of(heatmap)
    return "the map is the same everywhere" if peak is None else f"the map is highest at row {peak[0]}, column {peak[1]}"
