"""Whether a network may run in lower precision: labels, probabilities, recall and calibration beside float32, and the time of each.

    python benchmarks/precision.py MODEL --quantise-with SOURCE --test SOURCE [--images 300] [--out precision.json]

MODEL is the folder of a bundle, or `bundled`. INT8 is made by NNCF (extra `benchmarks`; left out without it) from images of the
first source, which should be ones the model was trained on; nothing is tuned on the second. The gate: the same label on 99.9 % of
the test images, no recall lower by more than 0.001, and a calibration error not higher by more than 0.002.
"""

import argparse
import json
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tumorscope import DISCLAIMER
from tumorscope.data.decode import decode_record
from tumorscope.data.preprocess import Preprocessing
from tumorscope.data.sources import index_source
from tumorscope.engines.engine import find_graph, processors
from tumorscope.engines.openvino_engine import load_openvino
from tumorscope.evaluation.reliability import expected_calibration_error
from tumorscope.labels import LABELS
from tumorscope.models.bundle_files import read_bundle_json
from tumorscope.models.decisions import scaled_probabilities
from tumorscope.models.shipped import model_folder
from tumorscope.storage import write_atomically

if TYPE_CHECKING:
    import openvino

SAME_LABEL, MORE_ECE = 0.999, 0.002
ROUNDS = 3


def grids_of(source: Path, preprocessing: Preprocessing, limit: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return images of a source on the network's grid, and their labels as positions in `LABELS`, -1 for any other."""
    manifest = index_source(source)
    records = tuple(record for record in manifest if record.split == "test") or manifest.records
    if limit is not None:
        records = tuple(records[row] for row in np.linspace(0, len(records) - 1, min(limit, len(records))).round().astype(int))
    grids = np.stack([preprocessing.grid(decode_record(manifest, record)) for record in records])
    return grids, np.array([LABELS.index(record.label) if record.label in LABELS else -1 for record in records])


def quantised(model: "openvino.Model", grids: np.ndarray) -> "openvino.Model":
    """Return a network in INT8, its ranges taken from images."""
    import nncf

    dataset = nncf.Dataset([grid[None] for grid in grids])
    settings = {"preset": nncf.QuantizationPreset.MIXED, "fast_bias_correction": False, "subset_size": len(grids)}
    return nncf.quantize(model, dataset, **settings)


def answered(model: "openvino.Model", hint: str, grids: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the logits of a network, and the milliseconds that an image takes at best."""
    library = load_openvino()
    streams = processors()
    settings = {"INFERENCE_PRECISION_HINT": hint, "NUM_STREAMS": streams, "INFERENCE_NUM_THREADS": streams}
    queue = library.AsyncInferQueue(library.Core().compile_model(model, "CPU", settings | {"ENABLE_CPU_PINNING": False}), streams)
    logits = np.empty((len(grids), len(LABELS)), dtype=np.float32)

    def keep(request: "openvino.InferRequest", row: int) -> None:
        logits[row] = request.get_tensor("logits").data[0]

    queue.set_callback(keep)
    seconds = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        for row in range(len(grids)):
            queue.start_async({0: grids[row : row + 1]}, row)
        queue.wait_all()
        seconds.append(time.perf_counter() - started)
    return logits, 1000 * min(seconds) / len(grids)


def compared(logits: np.ndarray, exact: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
    """Return what lower precision changes."""
    probabilities, reference = scaled_probabilities(logits, 1.0), scaled_probabilities(exact, 1.0)
    called, known = probabilities.argmax(axis=1), truth >= 0
    return {
        "same_label": float((called == reference.argmax(axis=1)).mean()),
        "largest_difference": float(np.abs(probabilities - reference).max()),
        "recall": {label: float((called[truth == i] == i).mean()) for i, label in enumerate(LABELS) if (truth == i).any()},
        "ece": expected_calibration_error(probabilities[known], truth[known]),
    }


def passes(found: dict[str, Any], exact: dict[str, Any]) -> bool:
    """Whether a precision may be used."""
    lost = max(exact["recall"][label] - recall for label, recall in found["recall"].items())
    return found["same_label"] >= SAME_LABEL and lost <= 1 - SAME_LABEL and found["ece"] <= exact["ece"] + MORE_ECE


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--quantise-with", type=Path, required=True)
    parser.add_argument("--test", type=Path, required=True)
    parser.add_argument("--images", type=int, default=300, help="that the ranges of INT8 are taken from")
    parser.add_argument("--out", type=Path, default=Path("precision.json"))
    given = parser.parse_args()
    folder = model_folder(given.model)
    content = read_bundle_json(folder)
    preprocessing, graph = Preprocessing.from_json(content["preprocessing"]), find_graph(folder, content)
    grids, truth = grids_of(given.test, preprocessing)
    library = load_openvino()

    def network() -> "openvino.Model":
        model = library.Core().read_model(graph.source if isinstance(graph.source, bytes) else str(graph.source))
        model.reshape({0: [1, *grids.shape[1:]]})
        return model

    variants = {"float32": (network(), "f32"), "bfloat16": (network(), "bf16")}
    if find_spec("nncf") is None:
        print("nncf is not installed, so INT8 is left out: pip install -e '.[benchmarks]'")
    else:
        known, _ = grids_of(given.quantise_with, preprocessing, given.images)
        variants["int8"] = (quantised(network(), known), "f32")
    exact, rows = None, {}
    for name, (model, hint) in variants.items():
        logits, milliseconds = answered(model, hint, grids)
        exact = logits if exact is None else exact
        rows[name] = compared(logits, exact, truth) | {"ms_per_image": milliseconds}
        rows[name]["passes"] = passes(rows[name], rows["float32"])
        print(f"{name}: {json.dumps(rows[name])}", flush=True)
    write_atomically(given.out, json.dumps({"disclaimer": DISCLAIMER, "images": len(grids), "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
