"""Engine: a network that answers for grids, whatever runs it."""

import os
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from tumorscope.errors import BundleError, UsageError
from tumorscope.models.bundle_files import GRAPH_FILE, Graph, read_graph

ENGINES = ("openvino", "onnxruntime", "torch")
"""What can run a network, the usual one first; `torch` takes a GPU where there is one."""


class Answers(NamedTuple):
    """What a network says of n grids, and where it looked.

    Attributes:
        logits: float32, shape (n, 4), in the order of `LABELS`.
        maps: Raw Grad-CAM of every label, float32, shape (n, 4, rows, columns), at least 0.
        features: What the head saw, float32, shape (n, channels).
    """

    logits: np.ndarray
    maps: np.ndarray
    features: np.ndarray


class Engine(Protocol):
    """A network at rest, in float32.

    Attributes:
        version: Name and version of what runs it.
    """

    version: str

    def infer(self, grids: np.ndarray) -> Answers:
        """Return answers for grids, uint8, shape (n, size, size), n at least 1; not for several threads at once."""
        ...


def open_engine(name: str, folder: Path, content: dict[str, Any], *, threads: int | None = None) -> tuple[Engine, Graph]:
    """Return an engine with the network of a bundle, and where the cells of its maps lie.

    Args:
        name: One of `ENGINES`.
        folder: Of the bundle.
        content: What its JSON file says.
        threads: Processors to use, all by default.

    Raises:
        UsageError: There is no such engine, or its library is not installed.
        BundleError: The bundle's files were altered, or hold no graph and torch is not there to make one.
    """
    if name not in ENGINES:
        raise UsageError(f"engine {name!r}. Known: {', '.join(ENGINES)}.")
    graph = find_graph(folder, content)
    try:
        return _opened(name, folder, graph, threads), graph
    except ImportError as error:
        raise UsageError(
            f"engine {name}: {error.name} is not installed. Install it, or take another of {', '.join(ENGINES)}."
        ) from error


def processors() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _opened(name: str, folder: Path, graph: Graph, threads: int | None) -> Engine:
    if name == "torch":
        from tumorscope.engines.torch_engine import TorchEngine

        return TorchEngine(folder)
    if name == "onnxruntime":
        from tumorscope.engines.onnxruntime_engine import OnnxRuntimeEngine

        return OnnxRuntimeEngine(graph.source, threads=threads)
    from tumorscope.engines.openvino_engine import OpenVinoEngine

    return OpenVinoEngine(graph.source, threads=threads)


def find_graph(folder: Path, content: dict[str, Any]) -> Graph:
    """Return the network of a bundle for engines; one of before, which holds none, has it made with torch.

    Raises:
        BundleError: As for `open_engine`.
    """
    stored = read_graph(folder, content)
    if stored is not None:
        return stored
    try:
        from tumorscope.models.bundle import make_graph
    except ImportError as error:
        raise BundleError(
            f"{folder}: a bundle without {GRAPH_FILE}, as earlier versions wrote them, and {error.name} is not installed to make "
            "it. Predict where torch is installed, or save the model with this version."
        ) from error
    return make_graph(folder, content)
