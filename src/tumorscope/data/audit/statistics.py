"""Size, storage and intensity of the images of every class in every split, side by side."""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from tumorscope.data.audit.files import FileFacts
from tumorscope.errors import ManifestError
from tumorscope.labels import LABELS, UNSTATED_TUMOUR
from tumorscope.manifest import SPLITS, Record

PERCENTILES = (5, 50, 95)

_MEASURED: Mapping[str, Callable[[FileFacts], float]] = MappingProxyType(
    {
        "mean grey": lambda facts: facts.look.mean,
        "grey deviation": lambda facts: facts.look.std,
        "near-black share": lambda facts: facts.look.dark_share,
        "near-white share": lambda facts: facts.look.white_share,
        "widest margin": lambda facts: max(facts.look.margins),
        "background noise": lambda facts: facts.look.background_noise,
        "sharpness": lambda facts: facts.look.sharpness,
    }
)


@dataclass(frozen=True, slots=True)
class ClassStatistics:
    """The images of one class in one split.

    Attributes:
        label: One of `LABELS`, or `UNSTATED_TUMOUR`.
        split: One of `SPLITS`, or empty.
        images: How many.
        sizes: `ROWSxCOLUMNS` to images, the most frequent first.
        modes: Format and mode, such as `JPEG RGB`, to images, the most frequent first.
        measured: Name of a measurement to its values at `PERCENTILES`.
    """

    label: str
    split: str
    images: int
    sizes: Mapping[str, int]
    modes: Mapping[str, int]
    measured: Mapping[str, tuple[float, ...]]


def class_statistics(records: Sequence[Record], facts: Sequence[FileFacts]) -> tuple[ClassStatistics, ...]:
    """Return the statistics of every class in every split that has images, in the order of `LABELS`, then of `SPLITS`.

    Args:
        records: Images with their label and split.
        facts: Of the same images in the same order.

    Raises:
        ManifestError: There are not as many facts as images.
    """
    if len(records) != len(facts):
        raise ManifestError(f"{len(records)} images but facts of {len(facts)}. Give the facts of every image, in order.")
    members: dict[tuple[str, str], list[FileFacts]] = defaultdict(list)
    for record, fact in zip(records, facts, strict=True):
        members[record.label, record.split].append(fact)
    order = [(label, split) for label in (*LABELS, UNSTATED_TUMOUR) for split in (*SPLITS, "")]
    return tuple(_statistics(*key, members[key]) for key in order if key in members)


def _statistics(label: str, split: str, facts: Sequence[FileFacts]) -> ClassStatistics:
    def counted(words: Sequence[str]) -> dict[str, int]:
        return dict(Counter(words).most_common())

    return ClassStatistics(
        label=label,
        split=split,
        images=len(facts),
        sizes=counted([f"{fact.rows}x{fact.columns}" for fact in facts]),
        modes=counted([f"{fact.stored.file_format} {fact.stored.mode}" for fact in facts]),
        measured={
            name: tuple(np.percentile([value(fact) for fact in facts], PERCENTILES).tolist()) for name, value in _MEASURED.items()
        },
    )
