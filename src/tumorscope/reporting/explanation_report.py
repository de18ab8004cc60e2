"""The page of measured heatmaps: what the maps of every model show, in sentences, tables, charts and pictures picked by rule."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tumorscope import DISCLAIMER, __version__
from tumorscope.errors import EvaluationError, OutputError
from tumorscope.labels import LABELS, label_info
from tumorscope.reporting import explanation_figures, explanation_sentences, explanation_tables, heatmap_figures
from tumorscope.reporting.pages import page_environment
from tumorscope.reporting.pictures import Artist, Picture, add_layers, artist, write_pictures
from tumorscope.reporting.report_tables import class_title, number, value_at
from tumorscope.reporting.study import MODEL_TITLES, ExplainedScan, FourMaps
from tumorscope.storage import write_atomically

OWN_FIGURES = ("pointing_game.png", "order_curves.png", "randomisation.png", "explained_*.png", "four_maps.png")
"""Every name that this page's figures can have."""


@dataclass(frozen=True, slots=True, eq=False)
class CaptionedScan:
    """One explained scan and why it is shown, such as `median: 12.0 % of the map inside the outline`."""

    scan: ExplainedScan
    caption: str


@dataclass(frozen=True, slots=True, eq=False)
class ExplainedModel:
    """What was measured of one model's heatmaps.

    Attributes:
        name: The model as commands spell it.
        content: Content of `explanation.json`; every entry may be None or missing.
        panels: The best, the median and the worst scan of every class, picked by rule, in the order in which they are shown.
        all_labels: One scan with the maps of all labels, or None.
    """

    name: str
    content: Mapping[str, Any]
    panels: tuple[CaptionedScan, ...] = ()
    all_labels: FourMaps | None = None

    @property
    def title(self) -> str:
        """What people call the model."""
        return MODEL_TITLES.get(self.name, self.name)


@dataclass(frozen=True, slots=True, eq=False)
class ExplanationPage:
    """Everything that the page says.

    Attributes:
        title: Name of the page.
        created: When, ISO 8601.
        split: Whose scans were measured: `train`, `validation` or `test`.
        headline: Sentences that a reader must know before any number.
        models: At least one, no name twice.
        synthetic: Whether the scans are made up.
    """

    title: str
    created: str
    split: str
    headline: tuple[str, ...]
    models: tuple[ExplainedModel, ...]
    synthetic: bool = False

    def __post_init__(self) -> None:
        names = [model.name for model in self.models]
        if not names or len(set(names)) != len(names):
            raise EvaluationError(f"{self.title}: models {names}; the page needs at least one model and no name twice.")


@dataclass(frozen=True, slots=True)
class ModelCharts:
    """The figures of one model; None where there was nothing to draw."""

    title: str
    pointing_game: Picture | None
    order_curves: Picture | None
    randomisation: Picture | None
    panels: tuple[Picture, ...]
    four_maps: Picture | None

    def all(self) -> tuple[Picture, ...]:
        """Every figure there is."""
        charts = (self.pointing_game, self.order_curves, self.randomisation, self.four_maps)
        return (*(chart for chart in charts if chart is not None), *self.panels)


def render_explanation_page(page: ExplanationPage) -> str:
    """Return the page as one HTML text without a single outside link."""
    return _render(page, _draw(page))


def write_explanation_page(page: ExplanationPage, path: Path, figures_folders: Mapping[str, Path]) -> None:
    """Write the page and its figures; everything is drawn before the first file is written, and the page comes last.

    Args:
        page: What to say.
        path: The HTML file.
        figures_folders: Model name to the folder of its PNG files; figures of an earlier page that this one lacks are removed.

    Raises:
        OutputError: A folder is missing from the mapping, or a place cannot be written.
    """
    missing = [model.name for model in page.models if model.name not in figures_folders]
    if missing:
        raise OutputError(f"{path}: no figure folder is given for {missing[0]!r}. Name one for every model.")
    charts = _draw(page)
    text = _render(page, charts)
    for model, drawn in zip(page.models, charts, strict=True):
        write_pictures(drawn.all(), figures_folders[model.name], numbered=OWN_FIGURES)
    write_atomically(path, text)


def _draw(page: ExplanationPage) -> tuple[ModelCharts, ...]:
    hand = artist(synthetic=page.synthetic)
    return tuple(
        ModelCharts(
            model.title,
            _pointing_game(model, hand),
            _order_curves(model, hand),
            _randomisation(model, hand),
            tuple(_panels(model, hand)),
            _four_maps(model, hand),
        )
        for model in page.models
    )


def _pointing_game(model: ExplainedModel, hand: Artist) -> Picture | None:
    metric = model.content.get("pointing_game")
    if value_at(metric, "value") is None:
        return None
    assert metric is not None
    parts = [(title, value_at(metric, *path)) for title, path in explanation_tables.groups([metric])]
    listed = ", ".join(f"{title} {explanation_tables.cell_text(cell, 'share')}" for title, cell in parts)
    return hand.draw(
        "pointing_game",
        explanation_figures.pointing_game(metric, title=model.title),
        alt=f"Pointing game of {model.title}: {explanation_tables.cell_text(metric, 'share')} of all scans. {listed}.",
        caption=f"{model.title}: dots are the map, hollow squares the baselines, lines 95 % intervals.",
    )


def _order_curves(model: ExplainedModel, hand: Artist) -> Picture | None:
    curves = model.content.get("curves")
    if not value_at(curves, "shares"):
        return None
    assert curves is not None
    areas = ", ".join(
        f"{measure.title} {number(value_at(model.content, name, 'value'))}" for name, measure in explanation_tables.ORDER.items()
    )
    return hand.draw(
        "order_curves",
        explanation_figures.order_curves(curves, model.content, title=model.title),
        alt=f"Deletion and insertion curves of {model.title}. Areas: {areas}.",
        caption=f"{model.title}: a good map lets the deletion curve fall early and the insertion curve rise early.",
    )


def _randomisation(model: ExplainedModel, hand: Artist) -> Picture | None:
    layers = value_at(model.content, "randomisation", "layers")
    if not layers:
        return None
    listed = ", ".join(f"{layer.get('layer')} {number(value_at(layer, 'rank_correlation', 'value'))}" for layer in layers)
    return hand.draw(
        "randomisation",
        explanation_figures.randomisation(layers, title=model.title),
        alt=f"Likeness of the maps of {model.title} to the real ones under random weights. Rank correlation: {listed}.",
        caption=f"{model.title}: weights become random from the head (left) downwards.",
    )


def _panels(model: ExplainedModel, hand: Artist) -> Iterator[Picture]:
    """One panel per class that has scans."""
    for label in LABELS:
        own = [entry for entry in model.panels if entry.scan.label == label]
        if own:
            scans, notes = [entry.scan for entry in own], [entry.caption for entry in own]
            yield hand.panel(f"explained_{label}", scans, caption=class_title(label), notes=notes)


def _four_maps(model: ExplainedModel, hand: Artist) -> Picture | None:
    scan = model.all_labels
    if scan is None:
        return None
    answer = label_info(scan.predicted).display_name
    return hand.four_maps("four_maps", scan, caption=f"{model.title}: maps of all labels for one scan, answer {answer}")


def _render(page: ExplanationPage, charts: Sequence[ModelCharts]) -> str:
    environment = page_environment()
    add_layers(environment, (picture for drawn in charts for picture in drawn.all()))
    return environment.get_template("explanation_report.html.j2").render(
        page=page,
        charts=charts,
        models=[(model.title, model.content) for model in page.models],
        threshold_sentence=explanation_sentences.threshold_sentence,
        heatmap_legend=heatmap_figures.LEGEND,
        disclaimer=DISCLAIMER,
        version=__version__,
    )
