"""The model that comes with the package: a bundle among its files, found without a network."""

from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from tumorscope.errors import BundleError

if TYPE_CHECKING:
    from tumorscope.models.bundle import Bundle

BUNDLED = "bundled"
"""What commands and `load` call the shipped model, and the folder that it lies in."""

MOST_BYTES = 10_000_000
"""What the folder may weigh: every installation carries it."""


def shipped_folder() -> Path:
    """Return the folder of the shipped bundle.

    Raises:
        BundleError: This installation holds none.
    """
    place = resources.files("tumorscope.models").joinpath(BUNDLED)
    if not isinstance(place, Path) or not (place / "bundle.json").is_file():
        raise BundleError(
            "this installation of Tumorscope holds no bundled model. Take imagenet, none, or the folder of a model of your own; "
            "or install a release that carries one."
        )
    return place


def model_folder(model: str | Path) -> Path:
    """Return the folder of a model: the shipped one for `bundled`, else the folder that is given; raises as `shipped_folder`."""
    return shipped_folder() if str(model) == BUNDLED else Path(model)


def shipped_bundle() -> "Bundle":
    """Return the shipped model.

    Raises:
        BundleError: This installation holds none, or its files were altered.
    """
    from tumorscope.models.bundle import load_bundle  # loads torch, which saying that there is a model must not wait for

    return load_bundle(shipped_folder())
