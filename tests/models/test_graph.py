"""The ONNX graph of a bundle: the weights are the bundle's own bytes, and the batch is free."""

import hashlib
import json

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from torch import nn

from tumorscope.errors import BundleError
from tumorscope.models.bundle import load_bundle, make_graph, save_bundle
from tumorscope.models.bundle_files import GRAPH_FILE, KNOWN_NETWORKS, WEIGHTS_FILE, read_bundle_json, read_graph
from tumorscope.models.graph import network_graph
from tumorscope.models.network import NETWORKS
from tumorscope.models.shipped import shipped_folder


@pytest.fixture
def bundle(untrained):
    return untrained("mobilenet_v2", output_stride=16)


def test_initialisers_are_the_trained_parameters_byte_for_byte_and_lie_in_the_weights_file(bundle, tmp_path):
    save_bundle(bundle, tmp_path)
    outside = {
        tensor.name
        for tensor in onnx.load(tmp_path / GRAPH_FILE, load_external_data=False).graph.initializer
        if tensor.external_data
    }
    state = {name: value for name, value in bundle.network.state_dict().items() if not name.endswith("num_batches_tracked")}
    assert outside == set(state)
    assert (tmp_path / GRAPH_FILE).stat().st_size < 100_000
    for tensor in onnx.load(tmp_path / GRAPH_FILE).graph.initializer:
        if tensor.name in state:
            assert numpy_helper.to_array(tensor).tobytes() == state[tensor.name].numpy().tobytes()


def test_the_graph_is_sound_and_its_batch_axis_is_free(bundle, tmp_path):
    save_bundle(bundle, tmp_path)
    onnx.checker.check_model(str(tmp_path / GRAPH_FILE), full_check=True)
    graph = onnx.load(tmp_path / GRAPH_FILE, load_external_data=False).graph
    assert [value.type.tensor_type.shape.dim[0].dim_param for value in (*graph.input, *graph.output)] == ["n"] * 4
    assert [value.name for value in graph.output] == ["logits", "maps", "features"]


def test_the_same_network_gives_the_same_file(bundle, tmp_path):
    for place in ("a", "b"):
        save_bundle(bundle, tmp_path / place)
    assert (tmp_path / "a" / GRAPH_FILE).read_bytes() == (tmp_path / "b" / GRAPH_FILE).read_bytes()


def test_a_layer_that_is_not_known_is_named(bundle):
    bundle.network.features.add_module("odd", nn.Softplus())
    with pytest.raises(TypeError, match="Softplus"):
        network_graph(bundle.network, bundle.preprocessing, _weights(bundle))


def _weights(bundle):
    from safetensors.torch import save

    return save(bundle.network.state_dict())


@pytest.mark.parametrize("name", [GRAPH_FILE, WEIGHTS_FILE])
def test_an_altered_file_is_refused(bundle, tmp_path, name):
    save_bundle(bundle, tmp_path)
    content = bytearray((tmp_path / name).read_bytes())
    content[-1] ^= 1
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BundleError, match="not the file"):
        read_graph(tmp_path, read_bundle_json(tmp_path))


def test_a_missing_graph_is_named(bundle, tmp_path):
    save_bundle(bundle, tmp_path)
    (tmp_path / GRAPH_FILE).unlink()
    with pytest.raises(BundleError, match=r"network\.onnx cannot be read"):
        read_graph(tmp_path, read_bundle_json(tmp_path))


def test_a_bundle_of_before_has_its_graph_made(bundle, tmp_path):
    save_bundle(bundle, tmp_path)
    stored = read_graph(tmp_path, read_bundle_json(tmp_path))
    content = read_bundle_json(tmp_path)
    del content["graph"]
    (tmp_path / "bundle.json").write_text(json.dumps(content))
    (tmp_path / GRAPH_FILE).unlink()
    assert read_graph(tmp_path, read_bundle_json(tmp_path)) is None
    made = make_graph(tmp_path, content)
    assert (made.stride, made.start) == (stored.stride, stored.start) == (16, 0)
    first = onnx.load_model_from_string(made.source).graph.initializer[0]
    assert (
        np.array_equal(numpy_helper.to_array(first), next(bundle.network.parameters()).detach().numpy())
        or first.name == "channel_axis"
    )


def test_the_shipped_graph_is_what_its_bundle_would_be_saved_with():
    folder = shipped_folder()
    bundle = load_bundle(folder)
    made = network_graph(bundle.network, bundle.preprocessing, (folder / WEIGHTS_FILE).read_bytes())
    assert made == (folder / GRAPH_FILE).read_bytes()
    assert read_bundle_json(folder)["graph"]["sha256"] == hashlib.sha256(made).hexdigest()


def test_the_known_networks_are_those_that_can_be_built():
    assert KNOWN_NETWORKS == NETWORKS
