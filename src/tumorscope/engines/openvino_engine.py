"""The usual engine: OpenVINO on the CPU, many single images at once. It sends nothing anywhere and keeps no cache."""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from tumorscope.engines.engine import Answers, processors

_TELEMETRY = "openvino_telemetry"


class OpenVinoEngine:
    """A network compiled for single images, of which one per processor is worked on at a time.

    Single images keep their activations in a processor's own cache, and leave no remainder of a batch. Lower precision is not
    used: the shipped model changes its answer for 1.6 % of 1,311 scans in bfloat16, for 9.3 % in INT8 (`benchmarks/precision.py`).

    Args:
        source: ONNX file, or its content with weights inside.
        threads: Processors to use, all by default.
    """

    def __init__(self, source: Path | bytes, *, threads: int | None = None) -> None:
        openvino = load_openvino()
        threads = threads or processors()
        model = openvino.Core().read_model(str(source) if isinstance(source, Path) else source)
        size = model.input(0).partial_shape[2].get_length()
        model.reshape({0: [1, size, size]})
        settings = {
            "INFERENCE_PRECISION_HINT": "f32",
            "NUM_STREAMS": threads,
            "INFERENCE_NUM_THREADS": threads,
            "ENABLE_CPU_PINNING": False,
        }
        compiled = openvino.Core().compile_model(model, "CPU", settings)
        self._queue = openvino.AsyncInferQueue(compiled, threads)
        self._queue.set_callback(_keep)
        self._shapes = {name: tuple(compiled.output(name).shape)[1:] for name in Answers._fields}
        self.version = f"openvino {openvino.__version__.split('-')[0]}"

    def infer(self, grids: np.ndarray) -> Answers:
        """See `Engine.infer`."""
        answers = Answers(*(np.empty((len(grids), *self._shapes[name]), dtype=np.float32) for name in Answers._fields))
        for row in range(len(grids)):
            self._queue.start_async({0: grids[row : row + 1]}, (answers, row))
        self._queue.wait_all()
        return answers


def _keep(request: Any, place: tuple[Answers, int]) -> None:  # noqa: ANN401
    answers, row = place
    for name in Answers._fields:
        getattr(answers, name)[row] = request.get_tensor(name).data[0]


def load_openvino() -> ModuleType:
    """Import OpenVINO without its usage statistics, whose import alone would write an identifier into the user's home."""
    with _hidden(_TELEMETRY):
        return importlib.import_module("openvino")


@contextmanager
def _hidden(name: str) -> Iterator[None]:
    """Let nothing import a package that was not imported before; OpenVINO then takes the stand-in that it carries."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[name]
