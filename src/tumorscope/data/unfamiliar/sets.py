"""UnfamiliarSet: images of one kind that a model was not made for."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from tumorscope.errors import DataError

Distance = Literal["far", "near"]
FAR: Distance = "far"
NEAR: Distance = "near"


@dataclass(frozen=True, slots=True, eq=False)
class UnfamiliarSet:
    """Images of one kind that a model was not made for.

    Attributes:
        name: What tables call it.
        distance: `far`: nobody would take these for brain MRI of the usual kind; `near`: a head, but not as in training.
        made: How it was made, in one sentence.
        images: uint8, each of shape (rows, columns), of any size.
    """

    name: str
    distance: Distance
    made: str
    images: tuple[np.ndarray, ...]

    def __post_init__(self) -> None:
        if not self.images:
            raise DataError(f"unfamiliar set {self.name}: no images. Ask for at least 1.")
        wrong = [image for image in self.images if image.dtype != np.uint8 or image.ndim != 2 or 0 in image.shape]
        if wrong:
            raise DataError(
                f"unfamiliar set {self.name}: an image of {wrong[0].dtype} {wrong[0].shape}; needed are grey ones of uint8."
            )

    def __len__(self) -> int:
        return len(self.images)
