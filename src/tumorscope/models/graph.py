"""A trained network as an ONNX graph that answers for 8-bit grids: normalisation, logits, maps of every label, pooled features.

It is written layer by layer, nothing folded or rewritten, but that of joined features only what is read is doubled: their mean and
the maps, not 1280 channels. Weights lie where they are in the bundle: the graph names offsets in
`model.safetensors`, so they exist once, byte for byte the trained ones, and the graph itself takes some thirty kilobytes.
"""

import json
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torchvision.models.mobilenetv2 import InvertedResidual

from tumorscope import DISCLAIMER
from tumorscope.data.preprocess import Preprocessing
from tumorscope.labels import LABELS
from tumorscope.models.bundle_files import GRAPH_INPUT, WEIGHTS_FILE
from tumorscope.models.network import FINE_CHANNELS, LAST_STRIDE, Classifier, JoinedFeatures, doubled

_OPSET, _IR_VERSION = 17, 8
_SILENT = (nn.Dropout, nn.Identity)


def network_graph(network: Classifier, preprocessing: Preprocessing, weights: bytes, *, embed: bool = False) -> bytes:
    """Return a network as a serialised ONNX model whose batch axis is free.

    Its input `grids` is uint8, shape (n, image_size, image_size). Its outputs are float32: `logits` (n, 4), `maps`
    (n, 4, rows, columns) as `grad_cam` has them, and `features` (n, channels).

    Args:
        network: Of `build`, at rest.
        preprocessing: Its mean and deviation become part of the graph, so that no engine can normalise in another way.
        weights: Content of the bundle's weights file, which holds the state of `network`.
        embed: Put the weights into the graph instead of pointing to `WEIGHTS_FILE` beside it.

    Raises:
        TypeError: The network holds a kind of layer that is not known here.

    Source:
        ONNX operators, opset 17, and external data, https://onnx.ai/onnx/
    """
    return _Writer(weights, embed=embed).write(network, preprocessing)


class _Writer:
    """Adds nodes one after the other; its methods take and return names of values."""

    def __init__(self, weights: bytes, *, embed: bool) -> None:
        import onnx

        (length,) = struct.unpack("<Q", weights[:8])
        self._onnx = onnx
        self._places = json.loads(weights[8 : 8 + length])
        self._weights, self._data_start, self._embed = weights, 8 + length, embed
        self._nodes: list[Any] = []
        self._initialisers: dict[str, Any] = {}

    def write(self, network: Classifier, preprocessing: Preprocessing) -> bytes:
        helper, types = self._onnx.helper, self._onnx.TensorProto
        shape = _feature_shape(network, preprocessing.image_size)
        grids = self._normalised(preprocessing)
        if isinstance(network.features, JoinedFeatures):
            self._joined(network.features, network.head, grids, shape)
        else:
            feature_map = self._layer(network.features, "features", grids)
            features = self._add("Flatten", self._add("GlobalAveragePool", feature_map), name="features", axis=1)
            logits, jacobian, for_each = self._head(network.head, features)
            self._add("Identity", logits, name="logits")
            self._maps(feature_map, jacobian, shape, for_each=for_each)
        size, labels = preprocessing.image_size, len(LABELS)
        outputs = {"logits": (labels,), "maps": (labels, *shape[1:]), "features": shape[:1]}
        graph = helper.make_graph(
            self._nodes,
            f"tumorscope_{network.name}",
            [helper.make_tensor_value_info(GRAPH_INPUT, types.UINT8, ["n", size, size])],
            [helper.make_tensor_value_info(name, types.FLOAT, ["n", *rest]) for name, rest in outputs.items()],
            list(self._initialisers.values()),
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION)
        model.producer_name = "tumorscope"
        model.doc_string = DISCLAIMER
        helper.set_model_props(model, {"labels": ",".join(LABELS)})
        content: bytes = model.SerializeToString(deterministic=True)
        return content

    def _add(self, kind: str, *inputs: str, name: str | None = None, **attributes: object) -> str:
        output = name or f"{kind.lower()}_{len(self._nodes)}"
        self._nodes.append(self._onnx.helper.make_node(kind, list(inputs), [output], name=output, **attributes))
        return output

    def _constant(self, name: str, values: np.ndarray) -> str:
        self._initialisers[name] = self._onnx.numpy_helper.from_array(values, name)
        return name

    def _parameter(self, name: str) -> str:
        """A tensor of the weights file as float32; those stored with 16 bits are widened in the graph."""
        types = {"F32": self._onnx.TensorProto.FLOAT, "F16": self._onnx.TensorProto.FLOAT16}
        place = self._places[name]
        if name not in self._initialisers:
            self._initialisers[name] = self._tensor(name, types[place["dtype"]], place)
        return name if place["dtype"] == "F32" else self._add("Cast", name, to=self._onnx.TensorProto.FLOAT)

    def _tensor(self, name: str, kind: int, place: dict[str, Any]) -> Any:  # noqa: ANN401
        first, last = (self._data_start + offset for offset in place["data_offsets"])
        tensor = self._onnx.TensorProto(name=name, data_type=kind, dims=place["shape"])
        if self._embed:
            tensor.raw_data = self._weights[first:last]
            return tensor
        tensor.data_location = self._onnx.TensorProto.EXTERNAL
        for key, value in (("location", WEIGHTS_FILE), ("offset", first), ("length", last - first)):
            tensor.external_data.add(key=key, value=str(value))
        return tensor

    def _normalised(self, preprocessing: Preprocessing) -> str:
        """As `Preprocessing.normalise`, in the same order of operations."""
        grey = self._add("Cast", GRAPH_INPUT, to=self._onnx.TensorProto.FLOAT)
        grey = self._add("Unsqueeze", grey, self._constant("channel_axis", np.array([1], dtype=np.int64)))
        grey = self._add("Div", grey, self._constant("white", np.array(255, dtype=np.float32)))
        for kind, name, values in (("Sub", "mean", preprocessing.mean), ("Div", "std", preprocessing.std)):
            grey = self._add(kind, grey, self._constant(name, np.array(values, dtype=np.float32)[None, :, None, None]))
        return grey

    def _layer(self, layer: nn.Module, path: str, value: str) -> str:
        if isinstance(layer, InvertedResidual):
            through = self._layer(layer.conv, f"{path}.conv", value)
            return self._add("Add", value, through) if layer.use_res_connect else through
        if isinstance(layer, nn.Sequential):
            for name, child in layer.named_children():
                value = self._layer(child, f"{path}.{name}", value)
            return value
        if isinstance(layer, nn.Conv2d):
            return self._convolution(layer, path, value)
        if isinstance(layer, nn.BatchNorm2d):
            names = ("weight", "bias", "running_mean", "running_var")
            parameters = [self._parameter(f"{path}.{name}") for name in names]
            return self._add("BatchNormalization", value, *parameters, epsilon=layer.eps)
        if isinstance(layer, nn.MaxPool2d):
            window, step = layer.kernel_size, layer.stride
            return self._add("MaxPool", value, kernel_shape=[window, window], strides=[step, step])
        if isinstance(layer, nn.ReLU6):
            limits = self._constant("zero", np.array(0, dtype=np.float32)), self._constant("six", np.array(6, dtype=np.float32))
            return self._add("Clip", value, *limits)
        if isinstance(layer, nn.ReLU):
            return self._add("Relu", value)
        if isinstance(layer, nn.Linear):
            return self._add("Gemm", value, self._parameter(f"{path}.weight"), self._parameter(f"{path}.bias"), transB=1)
        if isinstance(layer, _SILENT):
            return value
        raise TypeError(f"a {type(layer).__name__} layer has no place in an exported graph yet; `models.graph` must learn it")

    def _joined(self, features: JoinedFeatures, head: nn.Sequential, value: str, shape: tuple[int, int, int]) -> None:
        """Write logits, maps and features of joined feature maps, of which the coarse one is `doubled` where it is read."""
        coarse, fine = self._feature_maps(features, value)
        down, right = (_doubling(length) for length in shape[1:])
        weights = np.outer(down.mean(axis=0), right.mean(axis=0)).astype(np.float32)
        weighted = self._add("Mul", coarse, self._constant("coarse_share", weights[None, None]))
        mean = self._add("ReduceSum", weighted, self._constant("places", np.array([2, 3], dtype=np.int64)), keepdims=0)
        pooled = mean, self._add("Flatten", self._add("GlobalAveragePool", fine), axis=1)
        logits, jacobian, for_each = self._head(head, self._add("Concat", *pooled, name="features", axis=1))
        if for_each:
            raise TypeError("joined features under a head that is not linear have no place in an exported graph yet")
        self._add("Identity", logits, name="logits")
        maps, middle = [], shape[0] - FINE_CHANNELS
        for name, part, first, last in (("coarse", coarse, 0, middle), ("fine", fine, middle, shape[0])):
            limits = (
                self._constant(f"{name}_{end}", np.array([at], dtype=np.int64)) for end, at in (("first", first), ("last", last))
            )
            kernel = self._add("Slice", jacobian, *limits, self._constant("channel_axis", np.array([1], dtype=np.int64)))
            maps.append(self._summed(part, kernel, last - first, name=f"kernel_{name}"))
        doubled_maps = self._add("MatMul", self._constant("down", down), maps[0])
        doubled_maps = self._add("MatMul", doubled_maps, self._constant("right", np.ascontiguousarray(right.T)))
        self._rectified(self._add("Add", doubled_maps, maps[1]), shape)

    def _feature_maps(self, features: JoinedFeatures, value: str) -> tuple[str, str]:
        """As `JoinedFeatures.parts`."""
        fine = value
        for name, block in features.named_children():
            if name == str(LAST_STRIDE):
                layers = block.get_submodule("conv").named_children()
                for inner, layer in layers:
                    value = self._layer(layer, f"features.{name}.conv.{inner}", value)
                    fine = value if inner == "0" else fine
            else:
                value = self._layer(block, f"features.{name}", value)
        return value, fine

    def _convolution(self, layer: nn.Conv2d, path: str, value: str) -> str:
        if isinstance(layer.padding, str) or layer.padding_mode != "zeros":
            raise TypeError("a convolution padded by name or with other than zeros has no place in an exported graph yet")
        bias = [] if layer.bias is None else [self._parameter(f"{path}.bias")]
        return self._add(
            "Conv",
            value,
            self._parameter(f"{path}.weight"),
            *bias,
            kernel_shape=list(layer.kernel_size),
            strides=list(layer.stride),
            pads=[*layer.padding, *layer.padding],
            dilations=list(layer.dilation),
            group=layer.groups,
        )

    def _head(self, head: nn.Sequential, features: str) -> tuple[str, str, bool]:
        """Return logits, their derivative by the features, and whether that differs from image to image; see `head_jacobian`."""
        value, slopes = features, []
        for name, layer in head.named_children():
            if isinstance(layer, nn.ReLU):
                # Not `Greater` and `Cast`, which OpenVINO 2026.4 answers with wrong maps.
                slope = self._add("Sign", self._add("Relu", value))
                slopes.append((self._add("Unsqueeze", slope, self._constant("channel_axis", np.array([1], dtype=np.int64))), True))
            if isinstance(layer, nn.Linear):
                slopes.append((self._parameter(f"head.{name}.weight"), False))
            value = self._layer(layer, f"head.{name}", value)
        jacobian, for_each = slopes[-1]
        for slope, is_mask in reversed(slopes[:-1]):
            jacobian = self._add("Mul" if is_mask else "MatMul", jacobian, slope)
            for_each = for_each or is_mask
        return value, jacobian, for_each

    def _maps(self, feature_map: str, jacobian: str, shape: Sequence[int], *, for_each: bool) -> None:
        channels, rows, columns = shape
        if for_each:
            cells = self._constant("cells", np.array([0, channels, rows * columns], dtype=np.int64))
            product = self._add("MatMul", jacobian, self._add("Reshape", feature_map, cells))
            mapped = self._constant("mapped", np.array([0, len(LABELS), rows, columns], dtype=np.int64))
            summed = self._add("Reshape", product, mapped)
        else:
            summed = self._summed(feature_map, jacobian, channels, name="kernel")
        self._rectified(summed, shape)

    def _summed(self, feature_map: str, weights: str, channels: int, *, name: str) -> str:
        kernel = self._constant(name, np.array([len(LABELS), channels, 1, 1], dtype=np.int64))
        return self._add("Conv", feature_map, self._add("Reshape", weights, kernel), kernel_shape=[1, 1])

    def _rectified(self, summed: str, shape: Sequence[int]) -> None:
        rows, columns = shape[1:]
        share = self._constant("share", np.array(1 / (rows * columns), dtype=np.float32))
        self._add("Relu", self._add("Mul", summed, share), name="maps")


def _doubling(length: int) -> np.ndarray:
    """Return what `doubled` does along one side as a matrix, float32, shape (length, coarse length)."""
    coarse = (length + 1) // 2
    places: np.ndarray = doubled(torch.eye(coarse)[:, None, :, None], (length, 1))[:, 0, :, 0].numpy()
    return np.ascontiguousarray(places.T)


def _feature_shape(network: Classifier, size: int) -> tuple[int, int, int]:
    """Return channels, rows and columns of the feature map of an image of this size."""
    kind = next(network.parameters()).dtype
    with torch.inference_mode():
        _, channels, rows, columns = network.features(torch.zeros((1, 3, size, size), dtype=kind)).shape
    return channels, rows, columns
