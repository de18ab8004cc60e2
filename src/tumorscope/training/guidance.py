"""How strongly outlines tell a network where to look while it learns; the terms themselves are in `outline_loss`."""

from dataclasses import dataclass

from tumorscope.errors import RecipeError


@dataclass(frozen=True, slots=True)
class Guidance:
    """Weights of the terms that outlines add to the loss; 0 leaves a term out.

    Attributes:
        peak: Of minus the logarithm of the share of the true class's map, after a softmax over its cells, that lies inside the
            outline; a cell counts by how much of it the tumour fills.
        cells: Of the cross-entropy of every cell: tumour of its class where the tumour fills it, none anywhere else and nowhere in
            an image without a tumour. The rim of an outline is left to the network.
    """

    peak: float = 0.0
    cells: float = 0.0

    def __post_init__(self) -> None:
        for name in ("peak", "cells"):
            if not 0 <= getattr(self, name) <= 100:
                raise RecipeError(f"guidance.{name} = {getattr(self, name)}: allowed are 0 to 100.")

    def __bool__(self) -> bool:
        return bool(self.peak or self.cells)
