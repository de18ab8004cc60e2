"""Where the weights of a training start: random, ImageNet's, a file's, or a trained model's with all that it has seen."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tumorscope.errors import BundleError
from tumorscope.models.bundle import load_bundle
from tumorscope.models.bundle_files import BUNDLE_FILE, WEIGHTS_FILE, read_bundle_json
from tumorscope.models.network import Classifier, initialise, started_from
from tumorscope.models.shipped import BUNDLED, shipped_folder


@dataclass(frozen=True, slots=True)
class Start:
    """Where the weights of a network start.

    Attributes:
        sentence: The same in words; equal for equal weights, wherever they lie.
        ancestor: What a bundle remembers of the trained model that it started from: network, recipe (its name), weights_sha256,
            created, started_from, seen (images), images {source: {label: n}} and its own ancestor; None where there is none.
        seen: Digests of the images that the ancestor, and its ancestors, were trained on, as in `Bundle.trained_on`.
    """

    sentence: str
    ancestor: Mapping[str, Any] | None = None
    seen: frozenset[str] = frozenset()


def find_start(name: str, init: str) -> Start:
    """Return where a network would start, without loading any weights.

    Args:
        name: One of `NETWORKS`.
        init: `bundled` or a model's folder for the weights of a trained model, feature extractor and head; otherwise as for
            `initialise`. A CNN starts from the bundle of a CNN alone and is otherwise trained from scratch.

    Raises:
        BundleError: There is no such model, or its weights are those of another network.
    """
    folder = bundle_folder(init)
    if folder is None:
        return Start(started_from(name, init))
    content = read_bundle_json(folder)
    if content["network"] != name:
        if name == "cnn":
            return Start(started_from(name, init))
        raise BundleError(
            f"--init {init}: the weights of a {content['network']}, which a {name} cannot start from. Take --models "
            f"{content['network']}, or --init imagenet or none."
        )
    what = "the bundled model" if init == BUNDLED else "a trained model"
    recipe = content["recipe"].get("name", "unknown")
    sentence = f"{what} ({name}, recipe {recipe}, weights {content['weights_sha256'][:12]})"
    return Start(sentence, _remembered(content), frozenset(content["trained_on"]))


def start_network(network: Classifier, init: str) -> Start:
    """Load starting weights into a network, in place; arguments and errors as for `find_start` and `initialise`.

    The network keeps its own output stride and dropout: the weights of a bundle fit whatever stride they were trained at. Of a head
    that sees more channels, or fewer, what both know is taken; channels new to it start without a say.
    """
    start = find_start(network.name, init)
    folder = bundle_folder(init)
    if start.ancestor is not None and folder is not None:
        own = network.state_dict()
        state = load_bundle(folder).network.state_dict()
        network.load_state_dict({key: _fitted(value, own[key]) for key, value in state.items()})
    elif folder is None:
        initialise(network, init)
    return start


def _fitted(weights: Tensor, like: Tensor) -> Tensor:
    """Return weights of the shape of others, cut or filled with 0 along the channels they read."""
    if weights.shape == like.shape:
        return weights
    fitted, channels = torch.zeros_like(like), min(weights.shape[1], like.shape[1])
    fitted[:, :channels] = weights[:, :channels]
    return fitted


def bundle_folder(init: str) -> Path | None:
    """Return the folder of the trained model that `init` names, or None where it names none.

    The weights file of a bundle stands for the bundle, so that what the model has seen is never left behind.

    Raises:
        BundleError: The folder holds no model, or this installation holds no bundled one.
    """
    if init == BUNDLED:
        return shipped_folder()
    path = Path(init)
    if init in ("imagenet", "none"):
        return None
    if path.is_dir():
        if not (path / BUNDLE_FILE).is_file():
            raise BundleError(
                f"{path}: a folder without {BUNDLE_FILE}. --init takes a finished model's folder, as RUN/mobilenet_v2."
            )
        return path
    return path.parent if path.name == WEIGHTS_FILE and (path.parent / BUNDLE_FILE).is_file() else None


def _remembered(content: Mapping[str, Any]) -> dict[str, Any]:
    training = content["training"]
    return {
        "network": content["network"],
        "recipe": content["recipe"].get("name", "unknown"),
        "weights_sha256": content["weights_sha256"],
        "created": content["created"],
        "started_from": training.get("started_from"),
        "seen": len(content["trained_on"]),
        "images": training.get("images"),
        "ancestor": training.get("ancestor"),
    }
