"""What may be changed at random in training images; the changing itself is in `dataset`, `intensity` and `lesions`."""

from dataclasses import dataclass

from tumorscope.errors import RecipeError


@dataclass(frozen=True, slots=True)
class Augmentation:
    """Random changes of training images, drawn for each image by itself. All at rest by default.

    Attributes:
        flip: Probability of a left-right flip.
        rotation_deg: Largest turn to either side in degrees.
        zoom: Smallest and largest factor of size.
        shift: Largest shift along each axis as a share of the image size.
        brightness: Largest change added to intensities of the range 0 to 1.
        contrast: Largest relative change of intensities.
        gamma: Largest exponent of intensities, 1 or more; as often its inverse.
        curve: Probability that intensities go through a random curve that need not be monotone, instead of the exponent: what is
            bright in one sequence is dark in another.
        bias_field: Strength of a slow change of brightness over the image, as a standard deviation of its logarithm.
        coarse: Probability of a lower resolution, brought back to the image's size.
        recoloured: Probability that an outlined tumour gets another contrast to the tissue around it (`data.lesions`); what tells
            its type may then be gone, so that it counts as one of unstated type.
        drawn: Probability that a lesion is drawn into a scan without a tumour, which then counts as one of unstated type.
        noise: Largest standard deviation of noise added to intensities of the range 0 to 1; a third of the images get some.
    """

    flip: float = 0.0
    rotation_deg: float = 0.0
    zoom: tuple[float, float] = (1.0, 1.0)
    shift: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    gamma: float = 1.0
    curve: float = 0.0
    bias_field: float = 0.0
    coarse: float = 0.0
    recoloured: float = 0.0
    drawn: float = 0.0
    noise: float = 0.0

    def __post_init__(self) -> None:
        shares = ("flip", "shift", "brightness", "contrast", "curve", "bias_field", "coarse", "recoloured", "drawn", "noise")
        for name in shares:
            if not 0 <= getattr(self, name) <= 1:
                raise RecipeError(f"augmentation.{name} = {getattr(self, name)}: allowed are 0 to 1.")
        if not 0 <= self.rotation_deg <= 180:
            raise RecipeError(f"augmentation.rotation_deg = {self.rotation_deg}: allowed are 0 to 180 degrees.")
        if not 0.1 <= self.zoom[0] <= self.zoom[1] <= 10:
            raise RecipeError(f"augmentation.zoom = {list(self.zoom)}: give [smallest, largest] between 0.1 and 10.")
        if not 1 <= self.gamma <= 5:
            raise RecipeError(f"augmentation.gamma = {self.gamma}: allowed are 1 to 5.")
