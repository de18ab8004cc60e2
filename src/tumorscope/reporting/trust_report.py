"""The page “How far can you trust it?”: what every model promises and what came of it, sentences first."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tumorscope import DISCLAIMER, __version__
from tumorscope.errors import EvaluationError
from tumorscope.reporting import trust_figures, trust_sentences, trust_tables
from tumorscope.reporting.pages import page_environment
from tumorscope.reporting.pictures import Picture, artist, write_pictures
from tumorscope.reporting.report_tables import number, value_at
from tumorscope.reporting.study import MODEL_TITLES
from tumorscope.storage import write_atomically

OWN_FIGURES = ("promises.png",)
"""Every name that this page's figures can have."""


@dataclass(frozen=True, slots=True, eq=False)
class TrustedModel:
    """What came of one model's promises.

    Attributes:
        name: The model as commands spell it.
        content: Content of `trust.json`.
        external: External set to what `external_trust` returned of it.
    """

    name: str
    content: Mapping[str, Any]
    external: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """What people call the model."""
        return MODEL_TITLES.get(self.name, self.name)


@dataclass(frozen=True, slots=True, eq=False)
class TrustPage:
    """Everything that the page says.

    Attributes:
        created: When, ISO 8601.
        models: At least one, no name twice.
        synthetic: Whether the scans are made up.
    """

    created: str
    models: tuple[TrustedModel, ...]
    synthetic: bool = False

    def __post_init__(self) -> None:
        names = [model.name for model in self.models]
        if not names or len(set(names)) != len(names):
            raise EvaluationError(f"models {names}; the page needs at least one model and no name twice.")


def write_trust_page(page: TrustPage, path: Path, figures_folders: Mapping[str, Path]) -> None:
    """Write the page and its figures; everything is drawn before the first file is written, and the page comes last.

    Args:
        page: What to say.
        path: The HTML file.
        figures_folders: Model name to the folder of its PNG files.

    Raises:
        OutputError: A place cannot be written.
    """
    drawn = {model.name: _charts(model, synthetic=page.synthetic) for model in page.models}
    text = _render(page, drawn)
    for name, pictures in drawn.items():
        write_pictures(pictures, figures_folders[name], numbered=OWN_FIGURES)
    write_atomically(path, text)


def _charts(model: TrustedModel, *, synthetic: bool) -> tuple[Picture, ...]:
    measured = model.content["all"]
    error = value_at(measured, "calibration", "after", "top_label", "equal_mass", "ece")
    picture = artist(synthetic=synthetic).draw(
        "promises",
        trust_figures.promises(measured, title=f"{model.title}, all test images"),
        alt=f"Reliability diagram, decision curve and risk against coverage of {model.title}. Calibration error {number(error)}.",
        caption=f"{model.title}: lines on dots are 95 % intervals that take images as independent.",
    )
    return (picture,)


def _render(page: TrustPage, drawn: Mapping[str, tuple[Picture, ...]]) -> str:
    environment = page_environment()
    return environment.get_template("trust_report.html.j2").render(
        page=page,
        drawn=drawn,
        models=[(model.title, model.content) for model in page.models],
        tables=trust_tables,
        sentences=trust_sentences,
        disclaimer=DISCLAIMER,
        version=__version__,
    )
