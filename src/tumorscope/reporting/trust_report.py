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
from tumorscope.reporting.robustness_figures import robustness_curves
from tumorscope.reporting.study import MODEL_TITLES
from tumorscope.storage import write_atomically

OWN_FIGURES = ("promises.png", "robustness.png")
"""Every name that this page's figures can have."""


@dataclass(frozen=True, slots=True, eq=False)
class TrustedModel:
    """What came of one model's promises.

    Attributes:
        name: The model as commands spell it.
        content: Content of `trust.json`.
        external: External set to what `external_trust` returned of it.
        robustness: Content of `robustness.json`, or None when no corruption was tried.
        refusal: Content of `refusal.json`, or None when nothing is refused.
    """

    name: str
    content: Mapping[str, Any]
    external: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    robustness: Mapping[str, Any] | None = None
    refusal: Mapping[str, Any] | None = None

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
        write_pictures(tuple(pictures.values()), figures_folders[name], numbered=OWN_FIGURES)
    write_atomically(path, text)


def _charts(model: TrustedModel, *, synthetic: bool) -> dict[str, Picture]:
    hand, measured = artist(synthetic=synthetic), model.content["all"]
    error = value_at(measured, "calibration", "after", "top_label", "equal_mass", "ece")
    promises = hand.draw(
        "promises",
        trust_figures.promises(measured, title=f"{model.title}, all test images"),
        alt=f"Reliability diagram, decision curve and risk against coverage of {model.title}. Calibration error {number(error)}.",
        caption=f"{model.title}: lines on dots are 95 % intervals that take images as independent.",
    )
    if model.robustness is None:
        return {"promises": promises}
    rows = model.robustness["rows"]
    mean = next((row for row in rows if row["corruption"] == "all"), rows[-1])
    robustness = hand.draw(
        "robustness",
        robustness_curves(rows, title=f"{model.title}, {model.robustness['images']} test images"),
        alt=f"Accuracy and tumour sensitivity of {model.title} under corruptions; means {number(mean['accuracy'])} and "
        f"{number(mean['tumour_sensitivity'])}.",
        caption=f"{model.title}: strength 0 is the scan as it is; bands are 95 % intervals.",
    )
    return {"promises": promises, "robustness": robustness}


def _render(page: TrustPage, drawn: Mapping[str, Mapping[str, Picture]]) -> str:
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
