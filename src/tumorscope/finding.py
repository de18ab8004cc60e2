"""Finding: all that is said about one scan, in memory and as JSON."""

import base64
import html
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tumorscope import DISCLAIMER
from tumorscope.errors import FindingError
from tumorscope.finding_schema import SCHEMA_VERSION, FindingJson, MapJson, checked_finding
from tumorscope.labels import LABELS, label_info


@dataclass(frozen=True, slots=True)
class ModelStamp:
    """Which model answered.

    Attributes:
        name: Of the network.
        weights_sha256: Digest of the weights file.
        data_fingerprint: Of the manifest that it was trained from.
        calibrated: Whether its probabilities were fitted on images that no training had seen.
    """

    name: str
    weights_sha256: str
    data_fingerprint: str
    calibrated: bool


@dataclass(frozen=True, slots=True)
class Heatmap:
    """Where a model looked.

    Attributes:
        method: How the map was made.
        label: The label that it explains, one of `LABELS`.
        highest: Its highest raw value, at least 0, no unit.
        peak: Centre of its highest cell, row and column in pixels of the scan; None for a map that is the same everywhere.
        values: Raw map on the scan's own grid, float32, shape (rows, columns), at least 0; None where nobody asked for it.
        picture: The scan at 8 bits, uint8, same shape, to draw the map on; never in JSON.
    """

    method: str
    label: str
    highest: float
    peak: tuple[float, float] | None
    values: np.ndarray | None = field(default=None, compare=False, repr=False)
    picture: np.ndarray | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Finding:
    """All that is said about one scan. Two findings are equal when all is but the arrays of their maps.

    Attributes:
        path: File of the scan, or item of a file, as it was given.
        sha256: Digest of the scan's type, shape and pixels.
        shape: Rows and columns of the scan.
        spacing_mm: Distance between pixel centres along rows and columns, or None when unknown.
        probabilities: Label to probability, 0 to 1, summing to 1, in the order of `LABELS`.
        prediction_set: Labels that cannot be ruled out; None where the model is not calibrated.
        recommended: The label at the model's operating point.
        familiarity: How much the scan looks like what the model knows, at most 1; below 0 it is refused; None where the model
            cannot tell.
        refusal: Why the model declines to answer; None where it does not.
        heatmap: Where the model looked for the recommended label.
        model: Which model answered.
        preprocessing: What the scan went through, as `Preprocessing.to_json` has it.
        framing: Part of the scan that the network was shown: top, left, rows, columns.
        versions: Of what the answer depends on.
        warnings: What a reader should know, in sentences.
        files: Files written beside this one, by kind: `overlay`, `raw`, `page`.
    """

    path: str
    sha256: str
    shape: tuple[int, int]
    spacing_mm: tuple[float, float] | None
    probabilities: Mapping[str, float]
    prediction_set: tuple[str, ...] | None
    recommended: str
    familiarity: float | None
    refusal: str | None
    heatmap: Heatmap
    model: ModelStamp
    preprocessing: Mapping[str, Any]
    framing: Mapping[str, int]
    versions: Mapping[str, str]
    warnings: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        values = self.probabilities.values()
        if tuple(self.probabilities) != LABELS or not all(0 <= value <= 1 for value in values):
            raise FindingError(
                f"{self.path}: probabilities {dict(self.probabilities)}; four from 0 to 1 are needed: {', '.join(LABELS)}."
            )
        if not math.isclose(sum(values), 1, abs_tol=1e-6):
            raise FindingError(f"{self.path}: probabilities that sum to {sum(values)}; 1 is needed.")
        if self.familiarity is not None and not math.isfinite(self.familiarity):
            raise FindingError(f"{self.path}: a familiarity of {self.familiarity}. The scan's features are no numbers.")
        for label in (self.recommended, self.heatmap.label, *(self.prediction_set or ())):
            if label not in LABELS:
                raise FindingError(f"{self.path}: unknown label {label!r}. Allowed: {', '.join(LABELS)}.")
        if self.heatmap.values is not None and self.heatmap.values.shape != self.shape:
            raise FindingError(f"{self.path}: a heatmap of shape {self.heatmap.values.shape} for a scan of {self.shape}.")

    @property
    def most_probable(self) -> str:
        """The label with the highest probability, the first of equals."""
        return max(self.probabilities, key=self.probabilities.__getitem__)

    @property
    def refused(self) -> bool:
        """Whether the model declines to answer."""
        return self.refusal is not None

    def to_json(self, *, with_heatmap: bool = False) -> FindingJson:
        """Return all that is said as plain JSON values.

        Args:
            with_heatmap: Also the values of the map, where they are known: four thirds of four bytes for every pixel.
        """
        return {
            "schema_version": SCHEMA_VERSION,
            "disclaimer": DISCLAIMER,
            "path": self.path,
            "sha256": self.sha256,
            "shape": self.shape,
            "spacing_mm": self.spacing_mm,
            "probabilities": dict(self.probabilities),
            "most_probable": self.most_probable,
            "prediction_set": None if self.prediction_set is None else list(self.prediction_set),
            "recommended": self.recommended,
            "familiarity": self.familiarity,
            "refused": self.refused,
            "refusal": self.refusal,
            "heatmap": _map_json(self.heatmap, with_values=with_heatmap),
            "model": {
                "name": self.model.name,
                "weights_sha256": self.model.weights_sha256,
                "data_fingerprint": self.model.data_fingerprint,
                "calibrated": self.model.calibrated,
            },
            "preprocessing": dict(self.preprocessing),
            "framing": dict(self.framing),
            "versions": dict(self.versions),
            "warnings": list(self.warnings),
            "files": dict(self.files),
        }

    @classmethod
    def from_json(cls, content: object) -> "Finding":
        """Return the finding that `to_json` wrote, equal to it; its map has values where they were asked for.

        Args:
            content: Parsed JSON.

        Raises:
            FindingError: It is of another version, or not what `finding_schema` describes.
        """
        known = checked_finding(content)
        shape = known["shape"]
        return cls(
            path=known["path"],
            sha256=known["sha256"],
            shape=shape,
            spacing_mm=known["spacing_mm"],
            probabilities={label: known["probabilities"][label] for label in LABELS if label in known["probabilities"]},
            prediction_set=None if known["prediction_set"] is None else tuple(known["prediction_set"]),
            recommended=known["recommended"],
            familiarity=known["familiarity"],
            refusal=known["refusal"],
            heatmap=_map_of(known["heatmap"], shape),
            model=ModelStamp(**known["model"]),
            preprocessing=known["preprocessing"],
            framing=known["framing"],
            versions=known["versions"],
            warnings=tuple(known["warnings"]),
            files=known["files"],
        )

    def __str__(self) -> str:
        """The finding as it is printed."""
        rows, columns = self.shape
        lines = [f"{self.path} ({rows} x {columns} pixels)"]
        lines += [f"  {label_info(label).display_name:<18}{value:.3f}" for label, value in self.probabilities.items()]
        return "\n".join([*lines, *self.sentences()])

    def _repr_html_(self) -> str:
        """The finding as a notebook shows it: text and bars in the page's own colour, so that they are seen on light and dark."""
        answer, *others = self.sentences()
        pictures = "".join(_figure(caption, address) for caption, address in self._pictures())
        rows = "".join(_row(label_info(label).display_name, value) for label, value in self.probabilities.items())
        sentences = "".join(f'<p style="margin:.2em 0">{html.escape(sentence)}</p>' for sentence in others)
        return (
            f'<div class="tumorscope-finding"><p>{html.escape(self.path)}<br><b>{html.escape(answer)}</b></p>'
            f'<div style="display:flex;flex-wrap:wrap;gap:1em;align-items:flex-start;margin:1em 0">{pictures}'
            '<table style="margin:0"><tr><th style="text-align:left">label</th><th colspan="2">probability</th></tr>'
            f"{rows}</table></div>{sentences}<p><b>{html.escape(DISCLAIMER)}</b></p></div>"
        )

    def sentences(self) -> tuple[str, ...]:
        """Return in words what is said beside the probabilities, the answer first."""
        name = label_info(self.recommended).display_name
        answer = f"Refused: {self.refusal}." if self.refused else f"Answer: {name}, {self.probabilities[self.recommended]:.3f}."
        sure = () if self.prediction_set is None else (f"Cannot be ruled out: {_names(self.prediction_set)}.",)
        plain = () if self.model.calibrated else ("The model is not calibrated: its probabilities are no frequencies.",)
        where = () if self.heatmap.peak is None else (_peak_sentence(self.heatmap),)
        return (answer, *sure, *where, *plain, *self.warnings)

    def _pictures(self) -> list[tuple[str, str]]:
        picture, values = self.heatmap.picture, self.heatmap.values
        if picture is None or values is None:
            return []
        from tumorscope.overlay import overlay_png, png, png_address

        name = label_info(self.heatmap.label).display_name
        drawn = (("The scan", png(picture)), (f"Its Grad-CAM of {name}", overlay_png(picture, values)))
        return [(alt, png_address(content)) for alt, content in drawn]


def _map_json(heatmap: Heatmap, *, with_values: bool) -> MapJson:
    content: MapJson = {
        "method": heatmap.method,
        "label": heatmap.label,
        "highest": heatmap.highest,
        "peak": heatmap.peak,
    }
    if with_values and heatmap.values is not None:
        content["values"] = base64.b64encode(heatmap.values.astype("<f4").tobytes()).decode("ascii")
    return content


def _map_of(content: MapJson, shape: tuple[int, int]) -> Heatmap:
    values = None
    if "values" in content:
        try:
            values = np.frombuffer(base64.b64decode(content["values"], validate=True), dtype="<f4").reshape(shape)
        except ValueError as error:
            raise FindingError(f"not a finding: the values of its heatmap are not {shape[0]} x {shape[1]} floats.") from error
    return Heatmap(content["method"], content["label"], content["highest"], content["peak"], values)


def _names(labels: tuple[str, ...]) -> str:
    return ", ".join(label_info(label).display_name for label in labels) or "nothing"


def _figure(caption: str, address: str) -> str:
    said = html.escape(caption)
    return f'<figure style="margin:0"><img alt="{said}" src="{address}" width="256"><figcaption>{said}</figcaption></figure>'


def _row(name: str, value: float) -> str:
    bar = f'<div style="width:{value:.1%};height:.7em;background:currentColor;opacity:.6"></div>'
    return (
        f'<tr><td style="text-align:left">{html.escape(name)}</td><td style="text-align:right">{value:.3f}</td>'
        f'<td style="width:8em">{bar}</td></tr>'
    )


def _peak_sentence(heatmap: Heatmap) -> str:
    row, column = heatmap.peak or (0.0, 0.0)
    return f"It looked most at row {row:.0f}, column {column:.0f} of the scan ({heatmap.method})."
