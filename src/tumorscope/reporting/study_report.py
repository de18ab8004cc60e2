"""One self-contained HTML page, and the figures as PNG, from a finished study."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from tumorscope import DISCLAIMER, __version__
from tumorscope.errors import OutputError
from tumorscope.labels import LABELS, label_info
from tumorscope.reporting import figures, heatmap_figures, report_tables
from tumorscope.reporting.pages import page_environment
from tumorscope.reporting.published import published_table
from tumorscope.reporting.study import ExplainedScan, ModelResult, Study
from tumorscope.storage import write_atomically

SHARED = ""
"""Key of the folder for figures that belong to no single model."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One figure, drawn once for the page and for its PNG file.

    Attributes:
        name: File name without suffix.
        png: Content of the PNG file.
        alt: What it shows, for readers who cannot see it.
        caption: What stands below it.
        paths: Images shown, as their manifest spells them.
    """

    name: str
    png: bytes
    alt: str
    caption: str
    paths: tuple[str, ...] = ()

    @property
    def address(self) -> str:
        """The picture as a `data:` address."""
        return figures.png_data_uri(self.png)


@dataclass(frozen=True, slots=True)
class ModelPictures:
    """The figures of one model; None where there was nothing to draw."""

    name: str
    title: str
    learning_curves: Picture | None
    confusion_matrix: Picture | None
    roc_curves: Picture | None
    precision_recall_curves: Picture | None
    correct: tuple[Picture, ...]
    incorrect: tuple[Picture, ...]
    mistakes: tuple[Picture, ...]

    def all(self) -> tuple[Picture, ...]:
        """Every figure there is."""
        charts = (self.learning_curves, self.confusion_matrix, self.roc_curves, self.precision_recall_curves)
        return (*(chart for chart in charts if chart is not None), *self.correct, *self.incorrect, *self.mistakes)


@dataclass(frozen=True, slots=True)
class StudyPictures:
    """The figures of a study."""

    class_counts: Picture | None
    augmentation: Picture | None
    models: tuple[ModelPictures, ...]

    def shared(self) -> tuple[Picture, ...]:
        """The figures that belong to no single model."""
        return tuple(picture for picture in (self.class_counts, self.augmentation) if picture is not None)


def render_report(study: Study) -> str:
    """Return the report as one HTML page without a single outside link."""
    return _page(study, draw_pictures(study))


def write_report(study: Study, path: Path, figures_folders: Mapping[str, Path]) -> None:
    """Write the report and its figures; everything is drawn before the first file is written, and the page comes last.

    Args:
        study: What to report.
        path: The HTML file.
        figures_folders: Where the PNG files go: model name to folder, and `SHARED` to the folder for the rest.

    Raises:
        OutputError: A folder is missing from the mapping, or a place cannot be written.
    """
    missing = [name for name in (SHARED, *(model.name for model in study.models)) if name not in figures_folders]
    if missing:
        raise OutputError(f"{path}: no figure folder is given for {missing[0]!r}. Name one for {SHARED!r} and one for every model.")
    pictures = draw_pictures(study)
    page = _page(study, pictures)
    for name, drawn in ((SHARED, pictures.shared()), *((model.name, model.all()) for model in pictures.models)):
        for picture in drawn:
            figures.save_png(picture.png, figures_folders[name] / f"{picture.name}.png")
        _remove_others(figures_folders[name], keep={f"{picture.name}.png" for picture in drawn})
    write_atomically(path, page)


def _remove_others(folder: Path, *, keep: set[str]) -> None:
    """Remove numbered figures of an earlier report, of which this one has fewer."""
    for pattern in ("mistake_*.png", "grad_cam_*.png"):
        for path in folder.glob(pattern):
            if path.name not in keep:
                path.unlink()


def draw_pictures(study: Study) -> StudyPictures:
    """Draw every figure of a study once."""
    artist = _Artist("Tumorscope · research software, not a medical device" + (" · synthetic data" if study.synthetic else ""))
    models = tuple(_model_pictures(study, model, artist) for model in study.models)
    return StudyPictures(_class_counts(study, artist), _augmentation(study, artist), models)


@dataclass(frozen=True, slots=True)
class _Artist:
    """Turns figures into pictures, each with the line that must travel with it."""

    line: str

    def draw(self, name: str, figure: Figure, *, alt: str, caption: str) -> Picture:
        figures.stamp(figure, self.line)
        return Picture(name, figures.png_bytes(figure), alt, caption)

    def panel(self, name: str, scans: Sequence[ExplainedScan], *, caption: str) -> Picture:
        figure = heatmap_figures.grad_cam_panel(scans)
        figures.stamp(figure, f"cross: highest value · cyan line: outline of the tumour, where known\n{self.line}")
        alt = "; ".join(_described(scan) for scan in scans) + "."
        return Picture(name, figures.png_bytes(figure), alt, caption, tuple(scan.path for scan in scans))


def _class_counts(study: Study, artist: _Artist) -> Picture | None:
    if not study.counts:
        return None
    splits = "; ".join(
        f"{split}: " + ", ".join(f"{label_info(label).display_name} {counts.get(label, 0):,}" for label in LABELS)
        for split, counts in study.counts.items()
    )
    return artist.draw(
        "class_counts",
        figures.class_counts(study.counts),
        alt=f"Bar chart of images per class. {splits}.",
        caption="Images per class and split.",
    )


def _augmentation(study: Study, artist: _Artist) -> Picture | None:
    if study.augmentation is None:
        return None
    return artist.draw(
        "augmentation",
        heatmap_figures.augmentation(study.augmentation),
        alt="A training scan beside its flipped copies, its rotated copies and copies with the recipe's full augmentation.",
        caption="Top: the scan and its mirror image. Below: random rotations, then everything the recipe does at once.",
    )


def _model_pictures(study: Study, model: ModelResult, artist: _Artist) -> ModelPictures:
    right = [scan for scan in model.examples if scan.correct]
    wrong = [scan for scan in model.examples if not scan.correct]
    return ModelPictures(
        name=model.name,
        title=model.title,
        learning_curves=_learning_curves(study, model, artist),
        confusion_matrix=_confusion_matrix(model, artist),
        roc_curves=_roc_curves(model, artist),
        precision_recall_curves=_precision_recall_curves(model, artist),
        correct=_panels(right, "grad_cam_correct", artist),
        incorrect=_panels(wrong, "grad_cam_incorrect", artist),
        mistakes=tuple(
            artist.panel(f"mistake_{rank:02d}", [scan], caption=f"Mistake {rank}")
            for rank, scan in enumerate(model.mistakes, start=1)
        ),
    )


def _learning_curves(study: Study, model: ModelResult, artist: _Artist) -> Picture | None:
    if not model.history:
        return None
    last = model.history[-1]
    return artist.draw(
        "learning_curves",
        figures.learning_curves(model.history, title=model.title, best_epoch=model.best_epoch),
        alt=(
            f"Loss and accuracy of {model.title} over {len(model.history)} epochs. In the last one training loss "
            f"{report_tables.number(last.get('train_loss'))}, validation loss {report_tables.number(last.get('validation_loss'))}, "
            f"validation accuracy {report_tables.number(last.get('validation_accuracy'))}."
        ),
        caption=f"Loss and accuracy of {model.title} over the epochs" + (", first fold." if study.folds else "."),
    )


def _confusion_matrix(model: ModelResult, artist: _Artist) -> Picture | None:
    matrix = model.metrics["confusion_matrix"]
    if matrix is None:
        return None
    names = [label_info(label).display_name for label in LABELS]
    rows = "; ".join(
        f"{name}: " + ", ".join(f"{count:,} as {other}" for other, count in zip(names, row, strict=True))
        for name, row in zip(names, matrix, strict=True)
    )
    return artist.draw(
        "confusion_matrix",
        figures.confusion_matrix(matrix, title=model.title),
        alt=f"Confusion matrix of {model.title}. {rows}.",
        caption=f"{model.title}: number of scans, and share of the row.",
    )


def _roc_curves(model: ModelResult, artist: _Artist) -> Picture | None:
    curves, areas = model.curves.get("roc"), model.metrics.get("roc_auc") or {}
    if not curves:
        return None
    return artist.draw(
        "roc_curves",
        figures.roc_curves(curves, areas, title=f"{model.title}: ROC"),
        alt=f"ROC curves of {model.title}. Area under the curve: {_listed(areas)}.",
        caption=f"{model.title}: each class against the rest, with the area under its curve.",
    )


def _precision_recall_curves(model: ModelResult, artist: _Artist) -> Picture | None:
    curves, areas = model.curves.get("pr"), model.metrics.get("average_precision") or {}
    if not curves:
        return None
    return artist.draw(
        "precision_recall_curves",
        figures.precision_recall_curves(curves, areas, title=f"{model.title}: precision and recall"),
        alt=f"Precision-recall curves of {model.title}. Average precision: {_listed(areas)}.",
        caption=f"{model.title}: each class against the rest, with its average precision.",
    )


def _listed(areas: Mapping[str, float | None]) -> str:
    names = {label: label_info(label).display_name for label in LABELS} | {"tumour": "any tumour"}
    return ", ".join(f"{name} {report_tables.number(areas.get(key))}" for key, name in names.items())


def _panels(scans: Sequence[ExplainedScan], name: str, artist: _Artist) -> tuple[Picture, ...]:
    """One panel per class that has examples."""
    by_label = {label: [scan for scan in scans if scan.label == label] for label in LABELS}
    return tuple(
        artist.panel(f"{name}_{label}", own, caption=report_tables.class_title(label)) for label, own in by_label.items() if own
    )


def _described(scan: ExplainedScan) -> str:
    """A scan and its Grad-CAM in words, with what can be read off the map."""
    peak = heatmap_figures.peak_of(scan.heatmap)
    where = "the map is the same everywhere" if peak is None else f"the map is highest at row {peak[0]}, column {peak[1]}"
    truth, answer = label_info(scan.label).display_name, label_info(scan.predicted).display_name
    return f"Scan and its Grad-CAM, truth {truth}, answer {answer} with probability {scan.probability:.3f}, {where}"


def _page(study: Study, pictures: StudyPictures) -> str:
    environment = page_environment()
    environment.filters |= {"duration": report_tables.duration, "number": report_tables.number}
    return environment.get_template("study_report.html.j2").render(
        study=study,
        pictures=pictures,
        tables=report_tables,
        published=published_table(study.published_key) if study.published_key else None,
        heatmap_legend=heatmap_figures.LEGEND,
        class_titles={label: report_tables.class_title(label) for label in LABELS},
        disclaimer=DISCLAIMER,
        version=__version__,
    )
