"""What lies in a bundle's folder, read and checked without torch."""

import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tumorscope import __version__
from tumorscope.errors import BundleError
from tumorscope.labels import LABELS

SCHEMA_VERSION = 1
WEIGHTS_FILE = "model.safetensors"
BUNDLE_FILE = "bundle.json"
GRAPH_FILE = "network.onnx"
GRAPH_INPUT = "grids"

KNOWN_NETWORKS = ("mobilenet_v2", "cnn")
"""What `models.network` builds, for who must not wait for torch."""


@dataclass(frozen=True, slots=True, eq=False)
class Graph:
    """A network as an engine loads it.

    Attributes:
        source: ONNX file beside the weights that it points to, or the content of one that holds its weights.
        stride: Distance between the centres of the feature map's cells in pixels of the network's grid.
        start: Centre of the first cell in pixels of the network's grid.
    """

    source: Path | bytes
    stride: float
    start: float


def short_digest(sha256: str) -> str:
    """Return the part of a pixel digest that a bundle remembers."""
    return sha256[:16]


def read_bundle_json(folder: Path) -> dict[str, Any]:
    """Return the checked content of a bundle's JSON file.

    Raises:
        BundleError: It is missing, not JSON, or of a version or with labels this Tumorscope does not know.
    """
    path = folder / BUNDLE_FILE
    if not path.is_file():
        raise BundleError(f"{folder}: no {BUNDLE_FILE}, so no finished model. Finish its training with the command that began it.")
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BundleError(f"{path}: not readable as JSON ({error}). Restore the file.") from error
    if content.get("schema_version") != SCHEMA_VERSION:
        raise BundleError(
            f"{path}: schema version {content.get('schema_version')}; Tumorscope {__version__} reads {SCHEMA_VERSION}."
        )
    if content.get("labels") != list(LABELS) or content.get("network") not in KNOWN_NETWORKS:
        raise BundleError(
            f"{path}: network {content.get('network')} with labels {content.get('labels')} is not one that is known here."
        )
    return content


def read_weights(folder: Path, content: Mapping[str, Any]) -> bytes:
    """Return the weights file of a bundle, `content` being what its JSON file says.

    Raises:
        BundleError: It is missing, or not the file that the JSON file was written for.
    """
    return _read_checked(folder, WEIGHTS_FILE, content["weights_sha256"])


def read_graph(folder: Path, content: Mapping[str, Any]) -> Graph | None:
    """Return the network of a bundle for an engine, its weights and its graph checked; None in a bundle of before, without one.

    Raises:
        BundleError: A file is missing, or not the one that the JSON file was written for.
    """
    read_weights(folder, content)
    stored = content.get("graph")
    if stored is None:
        return None
    _read_checked(folder, GRAPH_FILE, stored["sha256"])
    return Graph(folder / GRAPH_FILE, stride=stored["cells"]["stride"], start=stored["cells"]["start"])


def _read_checked(folder: Path, name: str, sha256: str) -> bytes:
    try:
        content = (folder / name).read_bytes()
    except OSError as error:
        raise BundleError(f"{folder}: {name} cannot be read ({error.strerror}). Train again, or restore the file.") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise BundleError(f"{folder}: {name} is not the file that {BUNDLE_FILE} was written for. Restore both from one source.")
    return content


def library_versions() -> dict[str, str]:
    """Return the versions of what a result depends on."""
    from importlib import metadata  # the command line reads this module's constants and must not wait for it

    names = ("torch", "torchvision", "lightning", "kornia", "numpy", "scikit-learn", "pillow")
    return {"tumorscope": __version__, "python": platform.python_version(), **{name: metadata.version(name) for name in names}}
