"""Bundle: weights, labels, preprocessing, recipe and fingerprints of one trained model, saved and loaded safely."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from tumorscope import DISCLAIMER
from tumorscope.data.preprocess import Preprocessing
from tumorscope.errors import BundleError
from tumorscope.labels import LABELS
from tumorscope.models.bundle_files import (
    BUNDLE_FILE,
    GRAPH_FILE,
    SCHEMA_VERSION,
    WEIGHTS_FILE,
    Graph,
    library_versions,
    read_bundle_json,
    read_weights,
    short_digest,
)
from tumorscope.models.calibration import Calibration
from tumorscope.models.calibration_files import read_calibration
from tumorscope.models.graph import network_graph
from tumorscope.models.network import Classifier, build
from tumorscope.storage import write_atomically


@dataclass(frozen=True, slots=True, eq=False)
class Bundle:
    """One trained model and all that is needed to use it or to doubt it.

    Attributes:
        network: In evaluation mode, float32, on the CPU.
        preprocessing: What every scan goes through before it.
        recipe: The resolved recipe as plain values.
        training: What came of the training: best epoch, validation accuracy, seconds; where the weights started, the trained model
            that they were then (`ancestor`, see `models.starting.Start`), and the images by source and label.
        data_fingerprint: Of the manifest it was trained from.
        split_fingerprint: Likewise, with the splits.
        trained_on: First 16 hex digits of the pixel digest of every training and validation image, its ancestors' among them.
        created: When, as ISO 8601 text with zone.
        calibration: What makes probabilities, sets, a recommendation and a refusal of its logits; an unfitted one at first.
    """

    network: Classifier
    preprocessing: Preprocessing
    recipe: Mapping[str, Any]
    training: Mapping[str, Any]
    data_fingerprint: str
    split_fingerprint: str
    trained_on: frozenset[str]
    created: str
    calibration: Calibration = field(default_factory=Calibration)

    @property
    def name(self) -> str:
        """Name of the network."""
        return self.network.name

    def has_seen(self, sha256: str) -> bool:
        """Whether an image with this pixel digest was trained on or chose the epoch, here or in the model that it started from."""
        return short_digest(sha256) in self.trained_on


def save_bundle(bundle: Bundle, folder: Path) -> None:
    """Write weights, the graph that answers with them, and then `bundle.json`, which makes the folder a bundle.

    Raises:
        OutputError: The folder cannot be written.
    """
    weights = save_tensors({key: value.contiguous() for key, value in bundle.network.state_dict().items()})
    graph = network_graph(bundle.network, bundle.preprocessing, weights)
    content = {
        "schema_version": SCHEMA_VERSION,
        "disclaimer": DISCLAIMER,
        "network": bundle.name,
        "output_stride": bundle.network.output_stride,
        "joined": bundle.network.joined,
        "labels": list(LABELS),
        "preprocessing": bundle.preprocessing.to_json(),
        "calibration": None,
        "training": dict(bundle.training),
        "recipe": dict(bundle.recipe),
        "data_fingerprint": bundle.data_fingerprint,
        "split_fingerprint": bundle.split_fingerprint,
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
        "graph": {"sha256": hashlib.sha256(graph).hexdigest(), "cells": asdict(bundle.network.cell_grid())},
        "created": bundle.created,
        "versions": library_versions(),
        "trained_on": sorted(bundle.trained_on),
    }
    write_atomically(folder / WEIGHTS_FILE, weights)
    write_atomically(folder / GRAPH_FILE, graph)
    write_atomically(folder / BUNDLE_FILE, json.dumps(content, indent=1) + "\n")


def load_bundle(folder: Path, *, calibrated: bool = True) -> Bundle:
    """Read what `save_bundle` wrote.

    Args:
        folder: Of the bundle.
        calibrated: Whether its calibration is read too; without it a damaged one is in nobody's way.

    Raises:
        BundleError: A file is missing, altered, or of a version this Tumorscope does not know.
    """
    content = read_bundle_json(folder)
    weights = read_weights(folder, content)
    # Bundles of before name neither.
    network = build(content["network"], output_stride=content.get("output_stride"), joined=content.get("joined", False))
    try:
        network.load_state_dict(load_tensors(weights))
    except (RuntimeError, SafetensorError) as error:
        raise BundleError(f"{folder}: the weights do not fit {content['network']} ({str(error).splitlines()[0]}).") from error
    return Bundle(
        network=network.eval(),
        preprocessing=Preprocessing.from_json(content["preprocessing"]),
        recipe=content["recipe"],
        training=content["training"],
        data_fingerprint=content["data_fingerprint"],
        split_fingerprint=content["split_fingerprint"],
        trained_on=frozenset(content["trained_on"]),
        created=content["created"],
        calibration=read_calibration(folder, content) if calibrated else Calibration(),
    )


def make_graph(folder: Path, content: Mapping[str, Any]) -> Graph:
    """Return the network of a bundle with its weights inside, for bundles of before that hold no graph; raises as `load_bundle`.

    Args:
        folder: Of the bundle.
        content: Of its `bundle.json`.
    """
    bundle, weights = load_bundle(folder, calibrated=False), read_weights(folder, content)
    cells = bundle.network.cell_grid()
    graph = network_graph(bundle.network, bundle.preprocessing, weights, embed=True)
    return Graph(graph, stride=cells.stride, start=cells.start)
