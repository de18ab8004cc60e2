"""Recipe: every choice of a training, frozen, from TOML; unknown keys are refused."""

import tomllib
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from tumorscope.data.augmentation import Augmentation
from tumorscope.data.preprocess import Preprocessing
from tumorscope.errors import RecipeError
from tumorscope.labels import LABELS, NO_TUMOUR
from tumorscope.training.guidance import Guidance

PROMISED_LEVELS = (0.90, 0.95, 0.99)
"""Of prediction sets."""


class NetworkRecipe(BaseModel):
    """How one network is trained.

    Attributes:
        epochs: Passes over the training images, at most.
        batch_size: Images per step.
        optimizer: `adam` or `adamw` of torch.
        learning_rate: Constant start of `step`, or peak of `one_cycle`.
        weight_decay: Of the optimizer.
        schedule: `step` multiplies the rate by `step_factor` every `step_epochs`; `one_cycle` warms up over `warmup_share` of
            all steps and falls by a cosine to nearly nothing.
        clip_norm: Gradients are scaled down to this length where they are longer; None leaves them. Without normalisation layers
            it is what makes a high learning rate safe.
        label_smoothing: Share of probability spread evenly over all labels in the loss.
        dropout: Share of head inputs dropped.
        patience_epochs: Training stops when validation loss has not improved for so many epochs; None trains to the end.
        sizes: Training resolution: pairs of (share of all epochs, pixels) in order, the shares rising to 1; empty trains at the
            full image size. Validation and test always use the full size.
        output_stride: One of the network's `OUTPUT_STRIDES`; None takes its usual one.
        joined: Whether MobileNetV2 comes to an output stride of 16 by joining its last feature map with a finer one, and not by
            dilation: `models.network.JoinedFeatures`.
        keep: Weights of the `best` epoch (highest validation accuracy, among equals lowest validation loss), or of the `last` one:
            where the rate falls to nothing the last epochs differ by little, and a few validation images cannot tell them apart.
        frozen_blocks: First blocks of the feature extractor that keep the weights they start from; the statistics of their
            normalisation follow the images. None do where weights start at random.
        balanced: Whether every class is drawn equally often in training, whatever its number of images; the counterfactual scans
            come on top, mostly without a tumour.
        guidance: What outlines add to the loss, where images have one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int = Field(ge=1, le=1000)
    batch_size: int = Field(default=32, ge=2, le=1024)
    optimizer: Literal["adam", "adamw"] = "adamw"
    learning_rate: float = Field(gt=0, le=1)
    weight_decay: float = Field(default=0.0, ge=0, le=1)
    schedule: Literal["step", "one_cycle"] = "one_cycle"
    step_epochs: int = Field(default=7, ge=1)
    step_factor: float = Field(default=0.1, gt=0, le=1)
    warmup_share: float = Field(default=0.2, gt=0, lt=1)
    clip_norm: float | None = Field(default=None, gt=0)
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    dropout: float = Field(default=0.2, ge=0, lt=1)
    patience_epochs: int | None = Field(default=None, ge=1)
    sizes: tuple[tuple[float, int], ...] = ()
    output_stride: int | None = None
    joined: bool = False
    keep: Literal["best", "last"] = "best"
    frozen_blocks: int = Field(default=0, ge=0, le=18)
    balanced: bool = False
    guidance: Guidance = Guidance()

    @model_validator(mode="after")
    def _stops_where_it_keeps(self) -> "NetworkRecipe":
        if self.keep == "last" and self.patience_epochs is not None:
            raise ValueError('keep = "last" with patience_epochs would keep the last of the epochs that were no better')
        return self

    def size_at(self, epoch: int, *, image_size: int) -> int:
        """Return the training resolution in pixels of one epoch, counted from 0."""
        for share, size in self.sizes:
            if (epoch + 1) / self.epochs <= share + 1e-9:
                return min(size, image_size)
        return image_size


class Promises(BaseModel):
    """What a calibrated model promises, and what its errors cost.

    Attributes:
        level: Share of prediction sets that hold the truth: 0.90, 0.95 or 0.99.
        conditional: Whether that share is promised for every class by itself.
        sensitivity: Share of tumours found at the operating point.
        confidence: How sure that promise is, 0 to 1: the share of calibrations that keep it.
        kept: Share of familiar images that are not refused.
        cost_missed_tumour: Of a tumour called no tumour.
        cost_false_alarm: Of no tumour called a tumour.
        cost_wrong_type: Of a tumour called another type.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    level: float = 0.95
    conditional: bool = False
    sensitivity: float = Field(default=0.99, gt=0.5, lt=1)
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    kept: float = Field(default=0.95, gt=0.5, lt=1)
    cost_missed_tumour: float = Field(default=10.0, ge=0)
    cost_false_alarm: float = Field(default=1.0, ge=0)
    cost_wrong_type: float = Field(default=2.0, ge=0)

    @field_validator("level")
    @classmethod
    def _is_a_level(cls, level: float) -> float:
        if level not in PROMISED_LEVELS:
            raise ValueError(f"allowed are {', '.join(map(str, PROMISED_LEVELS))}")
        return level

    @property
    def costs(self) -> tuple[tuple[float, ...], ...]:
        """Cost of every answer (columns) under every truth (rows), in the order of `LABELS`."""
        return tuple(tuple(self._cost(truth, answer) for answer in LABELS) for truth in LABELS)

    def _cost(self, truth: str, answer: str) -> float:
        if truth == answer:
            return 0.0
        if NO_TUMOUR in (truth, answer):
            return self.cost_missed_tumour if answer == NO_TUMOUR else self.cost_false_alarm
        return self.cost_wrong_type


class Recipe(BaseModel):
    """Every choice of a training, for all networks of a run.

    Attributes:
        name: What it is called in reports.
        seed: Of the split, the weights, the order and the augmentation.
        precision: `float32`, or `bfloat16`: mixed precision where the device has it in hardware, else float32.
        validation_share: Part of the training images that draws the curves of validation, and chooses the epoch where `keep` is
            `best`.
        calibration_share: Part of the training images that fits what probabilities mean and that nothing else sees; 0 for none.
        test_share: Part of all images held out where the data have no test split of their own.
        preprocessing: What happens to every scan before the network.
        augmentation: What happens to training images only.
        counterfactual_share: Part of every epoch that is counterfactual scans (`data.counterfactual`), made of the training images
            where some have outlines.
        mobilenet_v2: How MobileNetV2 is trained.
        cnn: How the CNN is trained.
        promises: What a calibrated model of the run promises.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1)
    seed: int = Field(default=0, ge=0, lt=2**31)
    precision: Literal["float32", "bfloat16"] = "float32"
    validation_share: float = Field(default=0.1, gt=0, lt=0.5)
    calibration_share: float = Field(default=0.0, ge=0, lt=0.5)
    test_share: float = Field(default=0.2, gt=0, lt=0.5)
    preprocessing: Preprocessing = Preprocessing()
    augmentation: Augmentation = Augmentation()
    counterfactual_share: float = Field(default=0.0, ge=0, le=0.9)
    mobilenet_v2: NetworkRecipe
    cnn: NetworkRecipe
    promises: Promises = Promises()

    @model_validator(mode="after")
    def _can_be_joined(self) -> "Recipe":
        if self.cnn.joined or (self.mobilenet_v2.joined and self.mobilenet_v2.output_stride != 16):
            raise ValueError("joined = true: only mobilenet_v2 can, with output_stride = 16")
        return self

    @property
    def wants_outlines(self) -> bool:
        """Whether any choice makes use of tumour outlines."""
        return bool(self.counterfactual_share or self.augmentation.recoloured or self.mobilenet_v2.guidance or self.cnn.guidance)

    def network(self, name: str) -> NetworkRecipe:
        """Return how the network of that name is trained."""
        recipe: NetworkRecipe = getattr(self, name)
        return recipe

    def to_toml(self) -> str:
        """Return the recipe as TOML that `parse_recipe` reads back to an equal one."""
        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True))

    def changed(self, *, epochs: int | None = None, image_size: int | None = None, seed: int | None = None) -> "Recipe":
        """Return the recipe with some choices replaced, as the command line's options ask.

        Raises:
            RecipeError: A value is not allowed.
        """
        values = self.model_dump(mode="json", exclude_none=True)
        if seed is not None:
            values["seed"] = seed
        if image_size is not None:
            values["preprocessing"]["image_size"] = image_size
        if epochs is not None:
            for name in ("mobilenet_v2", "cnn"):
                values[name]["epochs"] = epochs
        return _validated(values, where="options")


def shipped_recipes() -> tuple[str, ...]:
    """Return the names of the recipes that come with the package."""
    files = resources.files("tumorscope.training").joinpath("recipes").iterdir()
    return tuple(sorted(file.name.removesuffix(".toml") for file in files if file.name.endswith(".toml")))


def load_recipe(name_or_path: str) -> Recipe:
    """Return a shipped recipe by name, or one read from a TOML file.

    Raises:
        RecipeError: No such recipe, not TOML, an unknown key, or a value out of range.
    """
    if name_or_path in shipped_recipes():
        text = resources.files("tumorscope.training").joinpath("recipes", f"{name_or_path}.toml").read_text(encoding="utf-8")
        return parse_recipe(text, where=name_or_path)
    path = Path(name_or_path)
    if not path.is_file():
        raise RecipeError(f"{name_or_path}: no such recipe. Shipped: {', '.join(shipped_recipes())}; or give a TOML file.")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise RecipeError(f"{path}: not a text file. A recipe is TOML in UTF-8.") from None
    return parse_recipe(text, where=str(path))


def parse_recipe(text: str, *, where: str) -> Recipe:
    """Return the recipe that a TOML text says.

    Args:
        text: TOML.
        where: What to name in an error.

    Raises:
        RecipeError: Not TOML, an unknown key, or a value out of range.
    """
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{where}: not valid TOML ({error}).") from error
    return _validated(values, where=where)


def problems_of(error: ValidationError) -> str:
    """Return what is wrong with values, the first three things, for a user."""
    return "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()[:3])


def _validated(values: dict[str, Any], *, where: str) -> Recipe:
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise RecipeError(
            f"{where}: {problems_of(error)}. `tumorscope info --recipes` shows the shipped recipes to start from."
        ) from error
