"""One self-contained HTML page, and the figures as PNG, from a finished study."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tumorscope import DISCLAIMER, __version__
from tumorscope.errors import OutputError
from tumorscope.labels import LABELS, label_info
from tumorscope.reporting import figures, heatmap_figures, report_tables
from tumorscope.reporting.pages import page_environment
from tumorscope.reporting.pictures import Artist, Picture, add_layers, artist, write_pictures
from tumorscope.reporting.published import published_table
from tumorscope.reporting.study import ExplainedScan, ModelResult, Study
from tumorscope.storage import write_atomically

SHARED = ""
"""Key of the folder for figures that belong to no single model."""


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
        write_pictures(drawn, figures_folders[name], numbered=("mistake_*.png", "grad_cam_*.png"))
    write_atomically(path, page)


def draw_pictures(study: Study) -> StudyPictures:
    """Draw every figure of a study once."""
    hand = artist(synthetic=study.synthetic)
    models = tuple(_model_pictures(study, model, hand) for model in study.models)
    return StudyPictures(_class_counts(study, hand), _augmentation(study, hand), models)


def _class_counts(study: Study, hand: Artist) -> Picture | None:
    if not study.counts:
        return None
    splits = "; ".join(
        f"{split}: " + ", ".join(f"{label_info(label).display_name} {counts.get(label, 0):,}" for label in LABELS)
        for split, counts in study.counts.items()
    )
    return hand.draw(
        "class_counts",
        figures.class_counts(study.counts),
        alt=f"Bar chart of images per class. {splits}.",
        caption="Images per class and split.",
    )


def _augmentation(study: Study, hand: Artist) -> Picture | None:
    if study.augmentation is None:
        return None
    return hand.draw(
        "augmentation",
        heatmap_figures.augmentation(study.augmentation),
        alt="A training scan beside its flipped copies, its rotated copies and copies with the recipe's full augmentation.",
        caption="Top: the scan and its mirror image. Below: random rotations, then everything the recipe does at once.",
    )


def _model_pictures(study: Study, model: ModelResult, hand: Artist) -> ModelPictures:
    right = [scan for scan in model.examples if scan.correct]
    wrong = [scan for scan in model.examples if not scan.correct]
    return ModelPictures(
        name=model.name,
        title=model.title,
        learning_curves=_learning_curves(study, model, hand),
        confusion_matrix=_confusion_matrix(model, hand),
        roc_curves=_roc_curves(model, hand),
        precision_recall_curves=_precision_recall_curves(model, hand),
        correct=_panels(right, "grad_cam_correct", hand),
        incorrect=_panels(wrong, "grad_cam_incorrect", hand),
        mistakes=tuple(
            hand.panel(f"mistake_{rank:02d}", [scan], caption=f"Mistake {rank}")
            for rank, scan in enumerate(model.mistakes, start=1)
        ),
    )


def _learning_curves(study: Study, model: ModelResult, hand: Artist) -> Picture | None:
    if not model.history:
        return None
    last = model.history[-1]
    origin = f", starting from {model.started_from}" if model.started_from else ""
    return hand.draw(
        "learning_curves",
        figures.learning_curves(model.history, title=model.title, best_epoch=model.best_epoch),
        alt=(
            f"Loss and accuracy of {model.title} over {len(model.history)} epochs. In the last one training loss "
            f"{report_tables.number(last.get('train_loss'))}, validation loss {report_tables.number(last.get('validation_loss'))}, "
            f"validation accuracy {report_tables.number(last.get('validation_accuracy'))}."
        ),
        caption=f"Loss and accuracy of {model.title} over the epochs{', first fold' if study.folds else ''}{origin}.",
    )


def _confusion_matrix(model: ModelResult, hand: Artist) -> Picture | None:
    matrix = model.metrics["confusion_matrix"]
    if matrix is None:
        return None
    names = [label_info(label).display_name for label in LABELS]
    rows = "; ".join(
        f"{name}: " + ", ".join(f"{count:,} as {other}" for other, count in zip(names, row, strict=True))
        for name, row in zip(names, matrix, strict=True)
    )
    return hand.draw(
        "confusion_matrix",
        figures.confusion_matrix(matrix, title=model.title),
        alt=f"Confusion matrix of {model.title}. {rows}.",
        caption=f"{model.title}: number of scans, and share of the row.",
    )


def _roc_curves(model: ModelResult, hand: Artist) -> Picture | None:
    curves, areas = model.curves.get("roc"), model.metrics.get("roc_auc") or {}
    if not curves:
        return None
    return hand.draw(
        "roc_curves",
        figures.roc_curves(curves, areas, title=f"{model.title}: ROC"),
        alt=f"ROC curves of {model.title}. Area under the curve: {_listed(areas)}.",
        caption=f"{model.title}: each class against the rest, with the area under its curve.",
    )


def _precision_recall_curves(model: ModelResult, hand: Artist) -> Picture | None:
    curves, areas = model.curves.get("pr"), model.metrics.get("average_precision") or {}
    if not curves:
        return None
    return hand.draw(
        "precision_recall_curves",
        figures.precision_recall_curves(curves, areas, title=f"{model.title}: precision and recall"),
        alt=f"Precision-recall curves of {model.title}. Average precision: {_listed(areas)}.",
        caption=f"{model.title}: each class against the rest, with its average precision.",
    )


def _listed(areas: Mapping[str, float | None]) -> str:
    names = {label: label_info(label).display_name for label in LABELS} | {"tumour": "any tumour"}
    return ", ".join(f"{name} {report_tables.number(areas.get(key))}" for key, name in names.items())


def _panels(scans: Sequence[ExplainedScan], name: str, hand: Artist) -> tuple[Picture, ...]:
    """One panel per class that has examples."""
    by_label = {label: [scan for scan in scans if scan.label == label] for label in LABELS}
    return tuple(
        hand.panel(f"{name}_{label}", own, caption=report_tables.class_title(label)) for label, own in by_label.items() if own
    )


def _page(study: Study, pictures: StudyPictures) -> str:
    environment = page_environment()
    environment.filters |= {"duration": report_tables.duration, "number": report_tables.number}
    add_layers(environment, (picture for model in pictures.models for picture in model.all()))
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
