"""An engine for where OpenVINO is not: ONNX Runtime on the CPU, its usage statistics off."""

import importlib
import os
from pathlib import Path
from types import ModuleType

import numpy as np

from tumorscope.engines.engine import Answers

_AT_ONCE = 4


class OnnxRuntimeEngine:
    """A network of which a few images at a time are worked on.

    Args:
        source: ONNX file, or its content with weights inside.
        threads: Processors to use, all by default.
    """

    def __init__(self, source: Path | bytes, *, threads: int | None = None) -> None:
        onnxruntime = load_onnxruntime()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        given = str(source) if isinstance(source, Path) else source
        self._session = onnxruntime.InferenceSession(given, options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name
        self.version = f"onnxruntime {onnxruntime.__version__}"

    def infer(self, grids: np.ndarray) -> Answers:
        """See `Engine.infer`."""
        parts = [
            self._session.run(Answers._fields, {self._input: grids[first : first + _AT_ONCE]})
            for first in range(0, len(grids), _AT_ONCE)
        ]
        return Answers(*(np.concatenate(outputs) for outputs in zip(*parts, strict=True)))


def load_onnxruntime() -> ModuleType:
    """Import ONNX Runtime with its usage statistics off.

    Its import alone would write an identifier of the device into the user's cache and send it, and `disable_telemetry_events`
    comes too late for that; the environment variable is read before and stays set for the process.

    Source:
        ONNX Runtime's Privacy.md, "Disabling Telemetry", https://github.com/microsoft/onnxruntime/blob/main/docs/Privacy.md
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    onnxruntime = importlib.import_module("onnxruntime")
    onnxruntime.disable_telemetry_events()
    return onnxruntime
