"""What a network says of images before anything is made of it; numpy only."""

from dataclasses import dataclass

import numpy as np

from tumorscope.data.first_look import FirstLook
from tumorscope.errors import EvaluationError


@dataclass(frozen=True, slots=True, eq=False)
class Answered:
    """What a network said of some images.

    Attributes:
        features: Pooled features before the head, float32, shape (n, channels), finite.
        logits: float32, shape (n, 4), finite.
        label_index: Positions in `LABELS`, int64, shape (n,); -1 where unknown.
        split: Where the images come from, for messages and for what is stored.
        looks: What each of the pictures tells; none at all where nobody asks for them.
        groups: Patient, or cluster of copies, of every image, empty where unknown; none at all where nobody asks for them.
    """

    features: np.ndarray
    logits: np.ndarray
    label_index: np.ndarray
    split: str
    groups: tuple[str, ...] = ()
    looks: tuple[FirstLook, ...] = ()

    def __post_init__(self) -> None:
        if self.features.ndim != 2 or not len(self.features) == len(self.logits) == len(self.label_index):
            raise EvaluationError(
                f"{self.split}: features {self.features.shape}, logits {self.logits.shape} and {len(self.label_index)} labels do "
                "not belong to the same images. Take all of them from one pass."
            )
        for name, column in (("groups", self.groups), ("first looks", self.looks)):
            if column and len(column) != len(self.logits):
                raise EvaluationError(f"{self.split}: {len(column)} {name} for {len(self.logits)} images.")
        if not np.isfinite(self.features).all() or not np.isfinite(self.logits).all():
            raise EvaluationError(f"{self.split}: features or logits hold NaN or infinity. Check the pixels and the weights.")

    def __len__(self) -> int:
        return len(self.logits)

    def where(self, rows: np.ndarray) -> "Answered":
        """Return some rows, given as positions, int64, shape (m,)."""
        chosen = rows.tolist()
        groups, looks = (tuple(column[row] for row in chosen) if column else () for column in (self.groups, self.looks))
        return Answered(self.features[rows], self.logits[rows], self.label_index[rows], self.split, groups, looks)

    @property
    def look_numbers(self) -> np.ndarray:
        """The numbers of all first looks, float32, shape (n, 20)."""
        return np.stack([look.numbers for look in self.looks])
