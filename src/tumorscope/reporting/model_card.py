"""The model card: what a trained model is, made from what, how good where, and where it fails. Nouns in, Markdown out.

Every number comes from a bundle or from a finished evaluation; none is written here.

Source:
    Mitchell et al. 2019, Model cards for model reporting, https://arxiv.org/abs/1810.03993
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tumorscope import DISCLAIMER
from tumorscope.data.public_sets import UNKNOWN_LICENCE, set_of_source
from tumorscope.errors import EvaluationError
from tumorscope.labels import LABELS, label_info
from tumorscope.reporting.report_tables import value_at
from tumorscope.reporting.study import MODEL_TITLES

PHANTOM = "phantom"
"""Beginning of the names of the sources of the built-in set."""

_NO_NETWORK = "random weights"


@dataclass(frozen=True, slots=True, eq=False)
class CardModel:
    """The model that a card is about.

    Attributes:
        content: Of its `bundle.json`.
        images: Source to label to the number of images of its training and validation, an empty source being unknown; None where
            nothing recorded them.
    """

    content: Mapping[str, Any]
    images: Mapping[str, Mapping[str, int]] | None = None

    @property
    def title(self) -> str:
        """What people call the model."""
        name = self.content["network"]
        return f"{MODEL_TITLES.get(name, name)}, recipe {self.content['recipe'].get('name', 'unknown')}"


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """The results of one test set, answered by models that had not seen it.

    Attributes:
        run: Name of the run.
        test: What it was tested on, such as `its test images` or `the external set NAME`.
        images: How many.
        groups: Groups among them that the intervals resample.
        grouped_by: What a group is: `patient`, `slice` with its copies, or `image` where nothing is known.
        models: How many models answered: one for every fold.
        own: Whether the card's model itself answered.
        seen: How many of the images the card's model was trained on.
        metrics: Content of `metrics.json`, or of an external set's metrics.
        external: Which of the two.
        by_source: Source to {value, interval, n}, the share of right answers; may be empty.
        by_plane: Plane to the same.
        explanation: Content of `explanation.json`, or None where the maps were not measured.
        seed: Of the run.
        notes: What a reader must know of it, in sentences.
    """

    run: str
    test: str
    images: int
    groups: int
    grouped_by: str
    models: int
    own: bool
    seen: int
    metrics: Mapping[str, Any]
    external: bool = False
    by_source: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    by_plane: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    explanation: Mapping[str, Any] | None = None
    seed: int = 0
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.own and self.seen:
            raise EvaluationError(
                f"{self.run}: {self.seen} of its {self.images} images were in the training of this very model. Give results of "
                "models that had not seen them."
            )


def data_section(model: CardModel) -> list[str]:
    """Return how many images of each class and source trained the model, and under what licences."""
    lines = ["## Training data", ""]
    lines += _images(model.images, seen=len(model.content["trained_on"]))
    ancestor = model.content["training"].get("ancestor")
    while ancestor:
        start = f"{MODEL_TITLES.get(ancestor['network'], ancestor['network'])}, recipe {ancestor['recipe']}"
        lines += ["", f"It started from a trained model ({start}, weights {ancestor['weights_sha256'][:12]}), which had seen:", ""]
        lines += _images(ancestor["images"], seen=ancestor["seen"])
        ancestor = ancestor["ancestor"]
    lines += [
        "",
        f"Fingerprint of pixels and labels: `{model.content['data_fingerprint']}`; with the split: "
        f"`{model.content['split_fingerprint']}`.",
    ]
    return [*lines, *_licences(model)]


def _images(images: Mapping[str, Mapping[str, int]] | None, *, seen: int) -> list[str]:
    if images is None:
        return [f"{seen:,} different images; their classes and sources were not recorded."]
    names = [label_info(label).display_name for label in LABELS]
    rows = [f"| {source or 'not stated'} | {_counts(counts)} |" for source, counts in images.items()]
    together = {label: sum(counts.get(label, 0) for counts in images.values()) for label in LABELS}
    return [
        f"| source | {' | '.join(names)} | all |",
        f"|---|{'---:|' * (len(LABELS) + 1)}",
        *rows,
        f"| **all** | {_counts(together)} |",
        "",
        "Images for training and for validation, copies among them.",
    ]


def _counts(counts: Mapping[str, int]) -> str:
    return " | ".join(f"{count:,}" for count in (*(counts.get(label, 0) for label in LABELS), sum(counts.values())))


def _sources(model: CardModel) -> list[str]:
    """Sources of the model's images and of its ancestors', each once."""
    found, training = list(model.images or {}), model.content["training"]
    while training.get("ancestor"):
        training = training["ancestor"]
        found += list(training.get("images") or {})
    return list(dict.fromkeys(found))


def _licences(model: CardModel) -> list[str]:
    lines = ["", "### Licences and attribution", ""]
    for source in _sources(model):
        public = set_of_source(source) if source else None
        if public is not None:
            lines.append(f"- **{source}**: {public.title} (`{public.name}`), {public.page}")
            lines += [f"  - Licence: {public.licence}", f"  - Cite: {public.citation}"]
            lines += [f"  - {caveat}" for caveat in public.caveats]
        elif source.startswith(PHANTOM):
            lines.append(f"- **{source}**: the built-in synthetic set, drawn on the MNI152 templates of the nilearn package")
        else:
            named = source or "images that name no source"
            lines.append(f"- **{named}**: licence {UNKNOWN_LICENCE.partition(':')[0]}; whoever passes the model on has to know it.")
    return lines if len(lines) > 3 else [*lines, "Not recorded."]


def ancestry_section(model: CardModel) -> list[str]:
    """Return where the weights come from, down to the first training."""
    training: Mapping[str, Any] = model.content["training"]
    starts = [training.get("started_from") or "unknown weights"]
    while training.get("ancestor"):
        training = training["ancestor"]
        starts.append(training.get("started_from") or "unknown weights")
    lines = ["## Ancestry of the weights", "", f"Started from {', which started from '.join(starts)}."]
    first = starts[-1]
    if "imagenet" in first.lower():
        where = "MobileNetV2 1.0 trained on ImageNet-1k"
        if "torchvision" in first:
            where += ", the weights `MobileNet_V2_Weights.IMAGENET1K_V1` that torchvision publishes under the BSD 3-Clause licence"
        lines += [
            "",
            f"That is {where}. ImageNet's images are given to researchers for non-commercial research and education only. Whether "
            "that reaches weights which were trained on them is not settled; no image of ImageNet is part of this model. Cite: "
            "Deng et al. 2009, ImageNet: a large-scale hierarchical image database; Sandler et al. 2018, MobileNetV2.",
        ]
    if first.startswith("weights from"):
        lines += ["", "The licence of that file is not recorded here; whoever passes the model on has to know it."]
    elif first.startswith(_NO_NETWORK):
        lines += ["", "No weights of others are part of it."]
    return lines


def training_section(model: CardModel) -> list[str]:
    """Return how it was trained."""
    content, recipe = model.content, model.content["recipe"]
    training, choice = content["training"], recipe.get(content["network"], {})
    facts = {
        "recipe": recipe.get("name"),
        "seed": recipe.get("seed"),
        "epochs trained": training.get("epochs"),
        "epoch kept": training.get("best_epoch"),
        "optimizer": choice.get("optimizer"),
        "highest learning rate": choice.get("learning_rate"),
        "images per step": choice.get("batch_size"),
        "images per class": "drawn equally often, edited ones added" if choice.get("balanced") else "as they come",
        "image size in pixels": value_at(content, "preprocessing", "image_size"),
        "framing": value_at(content, "preprocessing", "frame"),
        "output stride in pixels": content.get("output_stride"),
        "reached by": "joining two feature maps" if content.get("joined") else None,
        "share of counterfactual scans": recipe.get("counterfactual_share"),
        "guided by tumour outlines": "yes" if any(choice.get("guidance", {}).values()) else "no",
        "created": content["created"],
        "weights (SHA-256)": f"`{content['weights_sha256']}`",
        "made with": ", ".join(f"{name} {version}" for name, version in content.get("versions", {}).items()),
    }
    rows = [f"| {name} | {value} |" for name, value in facts.items() if value not in (None, "")]
    fitted = (content.get("calibration") or {}).get("fitted_on", {})
    calibrated = " ".join([f"Its probabilities are {'calibrated' if fitted else 'not calibrated'}.", *fitted.get("sentences", ())])
    return ["## How it was trained", "", "| | |", "|---|---|", *rows, "", calibrated, "The bundle holds the whole recipe."]


def use_section() -> list[str]:
    """Return what the model is, is for and is not for."""
    labels = ", ".join(label_info(label).display_name for label in LABELS)
    return [
        f"**{DISCLAIMER}**",
        "",
        f"A network that gives one slice of a head MRI one of four answers ({labels}), with probabilities and a map of where it "
        "looked.",
        "",
        "## Intended use",
        "",
        "Research and teaching: comparing ways to train, starting weights for a training on data of one's own, and studying where "
        "such networks look and fail.",
        "",
        "**Out of scope:** any decision about a patient; screening; volumes as a whole, CT, other organs; tumours that are none of "
        "the three classes, since a metastasis or a lymphoma can only get a wrong answer; whatever the tables below do not test.",
    ]
