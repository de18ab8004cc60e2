"""What may be changed at random in training images; the changing itself is in `dataset`."""

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
    """

    flip: float = 0.0
    rotation_deg: float = 0.0
    zoom: tuple[float, float] = (1.0, 1.0)
    shift: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0

    def __post_init__(self) -> None:
        shares = {"flip": self.flip, "shift": self.shift, "brightness": self.brightness, "contrast": self.contrast}
        for name, value in shares.items():
            if not 0 <= value <= 1:
                raise RecipeError(f"augmentation.{name} = {value}: allowed are 0 to 1.")
        if not 0 <= self.rotation_deg <= 180:
            raise RecipeError(f"augmentation.rotation_deg = {self.rotation_deg}: allowed are 0 to 180 degrees.")
        if not 0.1 <= self.zoom[0] <= self.zoom[1] <= 10:
            raise RecipeError(f"augmentation.zoom = {list(self.zoom)}: give [smallest, largest] between 0.1 and 10.")
