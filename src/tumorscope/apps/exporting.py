"""What `export` does: the network of a bundle as files for other programs."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tumorscope import DISCLAIMER
from tumorscope.engines.engine import find_graph
from tumorscope.errors import BundleError
from tumorscope.models.bundle_files import GRAPH_INPUT, Graph, read_bundle_json
from tumorscope.models.shipped import model_folder
from tumorscope.storage import refuse_closed_folder, write_atomically


def export_model(model: str, form: str, out: Path) -> list[Path]:
    """Write a network with its weights, and a JSON file that says what goes in and what comes out.

    Args:
        model: Folder of a bundle, or `bundled`.
        form: `onnx` or `openvino`.
        out: Folder for the files.

    Returns:
        The files.

    Raises:
        BundleError: The model cannot be loaded or trusted.
        OutputError: The folder cannot be written.
    """
    folder = model_folder(model)
    content = read_bundle_json(folder)
    refuse_closed_folder(out, option="-o")
    graph = find_graph(folder, content)
    network = _whole_graph(graph, folder)
    out.mkdir(parents=True, exist_ok=True)
    if form == "openvino":
        written = _write_openvino(network, out / f"{content['network']}.xml")
    else:
        written = [out / f"{content['network']}.onnx"]
        write_atomically(written[0], network)
    about = out / f"{content['network']}.json"
    write_atomically(about, json.dumps(_about(content, graph), indent=1) + "\n")
    return [*written, about]


def _whole_graph(graph: Graph, folder: Path) -> bytes:
    """The graph with its weights inside, free in the number of images."""
    import onnx

    # A path's weights lie in a file beside it, which is loaded too.
    model = onnx.load_model_from_string(graph.source) if isinstance(graph.source, bytes) else onnx.load(graph.source)
    ends = (*model.graph.input, *model.graph.output)
    fixed = [value.name for value in ends if not value.type.tensor_type.shape.dim[0].dim_param]
    if fixed:
        raise BundleError(f"{folder}: {', '.join(fixed)} with a fixed number of images. Save the model again with this version.")
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def _write_openvino(network: bytes, path: Path) -> list[Path]:
    from tumorscope.engines.openvino_engine import load_openvino

    openvino = load_openvino()
    openvino.save_model(openvino.Core().read_model(network), str(path), compress_to_fp16=False)
    return [path, path.with_suffix(".bin")]


def _about(content: Mapping[str, Any], graph: Graph) -> dict[str, Any]:
    size, labels = content["preprocessing"]["image_size"], content["labels"]
    return {
        "disclaimer": DISCLAIMER,
        "input": {
            GRAPH_INPUT: f"uint8, (n, {size}, {size}): grey scans after `preprocessing`, which the network then normalises itself"
        },
        "outputs": {
            "logits": f"float32, (n, {len(labels)}), in the order of `labels`",
            "maps": "raw Grad-CAM of every label, float32, (n, labels, rows, columns), at least 0",
            "features": "what the head saw, float32, (n, channels)",
        },
        "cells": {"stride": graph.stride, "start": graph.start},
        **{
            key: content.get(key)
            for key in ("network", "labels", "preprocessing", "calibration", "weights_sha256", "data_fingerprint")
        },
    }
