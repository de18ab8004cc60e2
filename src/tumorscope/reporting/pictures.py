"""One figure, drawn once for the page and for its PNG file."""

import base64
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment
from markupsafe import Markup
from matplotlib.figure import Figure

from tumorscope.reporting import figures, heatmap_figures
from tumorscope.reporting.layers import DEFAULT_OPACITY, View, four_map_view, scale_address, scan_view
from tumorscope.reporting.study import ExplainedScan, FourMaps

MARKS = "cross: highest value · cyan line: outline of the tumour, where known"


@dataclass(frozen=True, slots=True)
class Picture:
    """One figure.

    Attributes:
        name: File name without suffix.
        png: Content of the PNG file.
        alt: What it shows, for readers who cannot see it.
        caption: What stands below it.
        paths: Images shown, as their manifest spells them.
        views: The scans with their maps in layers, which a page shows instead of the PNG; none for a chart.
    """

    name: str
    png: bytes
    alt: str
    caption: str
    paths: tuple[str, ...] = ()
    views: tuple[View, ...] = ()

    @property
    def address(self) -> str:
        """The picture as a `data:` address."""
        return figures.png_data_uri(self.png)


@dataclass(frozen=True, slots=True)
class Artist:
    """Turns figures into pictures, each with the line that must travel with it."""

    line: str

    def draw(self, name: str, figure: Figure, *, alt: str, caption: str) -> Picture:
        """Return a chart."""
        figures.stamp(figure, self.line)
        return Picture(name, figures.png_bytes(figure), alt, caption)

    def panel(self, name: str, scans: Sequence[ExplainedScan], *, caption: str, notes: Sequence[str] = ()) -> Picture:
        """Return scans beside themselves with their Grad-CAM laid over; `notes` stand above them, one each or none at all."""
        figure = heatmap_figures.grad_cam_panel(scans, notes)
        figures.stamp(figure, f"{MARKS}\n{self.line}")
        titles = notes or [""] * len(scans)
        views = tuple(scan_view(scan, note=note) for scan, note in zip(scans, titles, strict=True))
        alt = "; ".join(view.layers[0].words for view in views) + "."
        return Picture(name, figures.png_bytes(figure), alt, caption, tuple(scan.path for scan in scans), views)

    def four_maps(self, name: str, scan: FourMaps, *, caption: str) -> Picture:
        """Return one scan with the maps of all labels on a common scale."""
        figure = heatmap_figures.four_maps(scan)
        figures.stamp(figure, f"{MARKS}\n{self.line}")
        view = four_map_view(scan)
        alt = "; ".join(layer.words for layer in view.layers) + "."
        return Picture(name, figures.png_bytes(figure), alt, caption, (scan.path,), (view,))


def artist(*, synthetic: bool) -> Artist:
    """Return who draws the figures of one page."""
    return Artist("Tumorscope · research software, not a medical device" + (" · synthetic data" if synthetic else ""))


def add_layers(environment: Environment, pictures: Iterable[Picture]) -> None:
    """Hand the templates of a page what its layered pictures share: every scan once, the scale, and the script of the sliders.

    The security policy of the page names the script by its digest, so that nothing else can run there, whatever was smuggled in.

    Source:
        Content Security Policy Level 3, section 2.3.1 (hash-source), https://www.w3.org/TR/CSP3/
    """
    script = environment.get_template("opacity.js").render()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    environment.globals |= {
        "bases": tuple({view.base.key: view.base for picture in pictures for view in picture.views}.values()),
        "default_opacity": DEFAULT_OPACITY,
        "scale_address": scale_address(),
        "script": Markup(script),
        "script_source": Markup(f"'sha256-{digest}'"),
    }


def write_pictures(pictures: Sequence[Picture], folder: Path, *, numbered: Sequence[str] = ()) -> None:
    """Write PNG files, and remove those of an earlier page that match a pattern of `numbered` and are not among them.

    Raises:
        OutputError: The place cannot be written.
    """
    for picture in pictures:
        figures.save_png(picture.png, folder / f"{picture.name}.png")
    keep = {f"{picture.name}.png" for picture in pictures}
    for pattern in numbered:
        for path in folder.glob(pattern):
            if path.name not in keep:
                path.unlink()
