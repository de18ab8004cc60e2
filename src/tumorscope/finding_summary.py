"""SliceSummary: what the findings of a volume's or series' slices come to, counted and not diagnosed."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tumorscope import DISCLAIMER
from tumorscope.errors import FindingError
from tumorscope.finding import Finding
from tumorscope.labels import LABELS, TUMOUR_LABELS, label_info

SUMMARY_VERSION = 1
NOTE = "This is a summary of slices, each answered for by itself, and no volumetric diagnosis."


@dataclass(frozen=True, slots=True)
class SuspiciousSlice:
    """The slice that looks most like one with a tumour.

    Attributes:
        index: Its place among the slices of the summary, from 0.
        path: Of its finding.
        tumour_probability: Of the three tumours together, 0 to 1.
        recommended: Its label at the model's operating point.
        refused: Whether the model declines to answer for it, as for all the others.
    """

    index: int
    path: str
    tumour_probability: float
    recommended: str
    refused: bool

    def __post_init__(self) -> None:
        if self.recommended not in LABELS:
            raise FindingError(f"{self.path}: unknown label {self.recommended!r}. Allowed: {', '.join(LABELS)}.")
        if not 0 <= self.tumour_probability <= 1:
            raise FindingError(f"{self.path}: a tumour probability of {self.tumour_probability}; 0 to 1 is allowed.")


@dataclass(frozen=True, slots=True)
class SliceSummary:
    """How many slices say what.

    Attributes:
        slices: Number of slices that were answered for or refused, at least 1.
        recommended: Label to number of slices that are not refused and recommend it, in the order of `LABELS`.
        refused: Number of slices that the model declines to answer for; with those of `recommended` all slices.
        unread: Number of slices that could not be read, and of which nothing is known.
        most_suspicious: The highest tumour probability among slices that are not refused; among all where all are.
        notes: What is odd about the series, in sentences.
    """

    slices: int
    recommended: Mapping[str, int]
    refused: int
    most_suspicious: SuspiciousSlice
    unread: int = 0
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        counts = (*self.recommended.values(), self.refused, self.unread)
        if tuple(self.recommended) != LABELS or min(counts) < 0:
            raise FindingError(f"a summary of {dict(self.recommended)}; a count from 0 is needed for each of {', '.join(LABELS)}.")
        if self.slices < 1 or sum(self.recommended.values()) + self.refused != self.slices:
            raise FindingError(
                f"a summary of {self.slices} slices, {sum(self.recommended.values())} with an answer and {self.refused} refused; "
                "at least one slice is needed, and each is one or the other."
            )
        if not 0 <= self.most_suspicious.index < self.slices:
            raise FindingError(f"a summary of {self.slices} slices that points at slice {self.most_suspicious.index}, from 0.")
        if self.most_suspicious.refused != (self.refused == self.slices):
            raise FindingError("a summary that points at a refused slice where others are not, or the other way round.")

    @classmethod
    def of(cls, findings: Sequence[Finding], *, unread: int = 0, notes: Sequence[str] = ()) -> "SliceSummary":
        """Return the summary of the findings of one volume or series.

        Args:
            findings: Of its slices, in their order, at least one.
            unread: Number of its slices that could not be read.
            notes: What is odd about the series, in sentences.

        Raises:
            FindingError: There is no finding.
        """
        if not findings:
            raise FindingError("a summary of no slices. Give the findings of at least one.")
        counts = Counter(finding.recommended for finding in findings if not finding.refused)
        return cls(
            slices=len(findings),
            recommended={label: counts[label] for label in LABELS},
            refused=sum(finding.refused for finding in findings),
            most_suspicious=_most_suspicious(findings),
            unread=unread,
            notes=tuple(notes),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the summary as plain JSON values."""
        return {
            "schema_version": SUMMARY_VERSION,
            "disclaimer": DISCLAIMER,
            "note": NOTE,
            "slices": self.slices,
            "recommended": dict(self.recommended),
            "refused": self.refused,
            "unread": self.unread,
            "most_suspicious": asdict(self.most_suspicious),
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        """The summary as it is printed."""
        return "\n".join(self.sentences())

    def sentences(self) -> tuple[str, ...]:
        """Return the summary in words."""
        counts = ", ".join(f"{count} {label_info(label).display_name}" for label, count in self.recommended.items())
        unread = f" {self.unread} more could not be read." if self.unread else ""
        most = self.most_suspicious
        answer = "refused" if most.refused else label_info(most.recommended).display_name
        return (
            f"{self.slices} slices: {counts}; {self.refused} refused.{unread}",
            f"Most suspicious slice: {most.path}, {answer}, tumour probability {most.tumour_probability:.3f}.",
            *self.notes,
            NOTE,
        )


def _most_suspicious(findings: Sequence[Finding]) -> SuspiciousSlice:
    answered = [index for index, finding in enumerate(findings) if not finding.refused]
    index = max(answered or range(len(findings)), key=lambda place: _tumour_probability(findings[place]))
    finding = findings[index]
    return SuspiciousSlice(index, finding.path, _tumour_probability(finding), finding.recommended, finding.refused)


def _tumour_probability(finding: Finding) -> float:
    return min(1.0, sum(finding.probabilities[label] for label in TUMOUR_LABELS))
