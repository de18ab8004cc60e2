"""The two networks: backbone, head, and the feature map that Grad-CAM reads."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import MobileNet_V2_Weights, mobilenet_v2

from tumorscope.errors import BundleError, UsageError
from tumorscope.labels import LABELS
from tumorscope.models.grad_cam import evidence, grad_cam

IMAGENET_URL: str = MobileNet_V2_Weights.IMAGENET1K_V1.url
RANDOM_WEIGHTS = "random weights"
"""How `started_from` begins where no weights were loaded."""


@dataclass(frozen=True, slots=True)
class CellGrid:
    """Where the cells of a feature map lie on the network's input.

    Attributes:
        stride: Distance between the centres of neighbouring cells in input pixels.
        start: Position of the centre of the first cell in input pixels, pixel centres at whole numbers.
    """

    stride: float
    start: float


class Answer(NamedTuple):
    """What a network says of a batch, and where it looked.

    Attributes:
        logits: float32, shape (batch, 4).
        maps: Raw Grad-CAM of every label at the last feature map, float32, shape (batch, 4, rows, columns), at least 0.
        features: What the head saw: the feature map's mean over its cells, float32, shape (batch, channels).
    """

    logits: Tensor
    maps: Tensor
    features: Tensor


class JoinedFeatures(nn.Sequential):
    """MobileNetV2's blocks, whose answer is the last feature map, doubled, beside the one that enters the last stride.

    A cell then holds what the network knows of its surroundings at stride 32 (1280 channels, between the centres by linear
    interpolation) and what it sees in that very place at stride 16 (the 576 channels that block 14 expands to). Every
    convolution runs at the resolution it was made for, so the cells are as fine as with a dilated last stage for half the work.

    Attributes:
        finer: How many cells stand where the last feature map has one, along each side.

    Source:
        The layer: Sandler et al. 2018, MobileNetV2, section 6.2, https://arxiv.org/abs/1801.04381; the joining: Hariharan et al.
        2015, Hypercolumns, https://arxiv.org/abs/1411.5752
    """

    finer = 2

    def forward(self, images: Tensor) -> Tensor:
        """Return the joined feature map, shape (batch, 1856, rows, columns), for images of shape (batch, 3, h, w)."""
        coarse, fine = self.parts(images)
        return torch.cat([doubled(coarse, (fine.shape[2], fine.shape[3])), fine], dim=1)

    def parts(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the last feature map, shape (batch, 1280, rows, columns), and the finer one, (batch, 576, rows, columns)."""
        values = fine = images
        for index, block in enumerate(self):
            if index == LAST_STRIDE:
                expand, *others = block.get_submodule("conv").children()
                values = fine = expand(values)
                for layer in others:
                    values = layer(values)
            else:
                values = block(values)
        return values, fine


def doubled(coarse: Tensor, shape: tuple[int, int]) -> Tensor:
    """Return a feature map on cells of half its stride whose first centre is the same.

    Args:
        coarse: Shape (batch, channels, rows, columns).
        shape: Rows and columns to have, twice those of `coarse` or one less; beyond the last centre the map stays level.
    """
    rows, columns = coarse.shape[2:]
    between = functional.interpolate(coarse, size=(2 * rows - 1, 2 * columns - 1), mode="bilinear", align_corners=True)
    down, right = shape[0] - between.shape[2], shape[1] - between.shape[3]
    return functional.pad(between, (0, right, 0, down), mode="replicate") if down or right else between


class Classifier(nn.Module):
    """A convolutional feature extractor, global average pooling and a head.

    Attributes:
        name: What `build` calls it.
        features: Input (batch, 3, h, w) to the last feature map (batch, channels, rows, columns).
        head: Pooled features (batch, channels) to logits (batch, 4).
    """

    def __init__(self, name: str, features: nn.Module, head: nn.Sequential) -> None:
        super().__init__()
        self.name = name
        self.features = features
        self.head = head

    def forward(self, images: Tensor) -> Tensor:
        """Return logits, shape (batch, 4), for normalised images of shape (batch, 3, h, w)."""
        return self.classify(self.features(images))

    def classify(self, feature_map: Tensor) -> Tensor:
        """Return logits, shape (batch, 4), for a feature map of shape (batch, channels, rows, columns)."""
        logits: Tensor = self.head(feature_map.mean(dim=(2, 3)))
        return logits

    def answer(self, images: Tensor) -> Answer:
        """Return logits, Grad-CAM maps and pooled features in one pass forward; dropout must be at rest (`eval()`).

        Args:
            images: Normalised, shape (batch, 3, h, w).
        """
        feature_map = self.features(images)
        pooled = feature_map.mean(dim=(2, 3))
        return Answer(logits=self.head(pooled), maps=grad_cam(feature_map, self.head), features=pooled)

    def evidence(self, feature_map: Tensor) -> Tensor:
        """Return the logits shared out over the cells, shape (batch, 4, rows, columns), see `grad_cam.evidence`."""
        return evidence(feature_map, self.head)

    @property
    def joined(self) -> bool:
        """Whether the last feature map is joined with a finer one, see `JoinedFeatures`."""
        return isinstance(self.features, JoinedFeatures)

    @property
    def output_stride(self) -> int:
        """Distance between the cells of the feature map in input pixels, one of `OUTPUT_STRIDES`."""
        return int(self.cell_grid().stride)

    def cell_grid(self) -> CellGrid:
        """Return where the cells of the feature map lie, worked out from every layer's kernel, stride, padding and dilation.

        Source:
            Araujo et al. 2019, Computing receptive fields of convolutional neural networks, section 2,
            https://doi.org/10.23915/distill.00021
        """
        start, jump = 0.0, 1.0
        finer = self.features.finer if isinstance(self.features, JoinedFeatures) else 1
        for layer in self.features.modules():
            if isinstance(layer, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d):
                kernel, stride, padding = (_rows(v) for v in (layer.kernel_size, layer.stride, layer.padding))
                dilation = _rows(getattr(layer, "dilation", 1))
                start += (dilation * (kernel - 1) / 2 - padding) * jump
                jump *= stride
        return CellGrid(stride=jump / finer, start=start)


def _rows(value: object) -> int:
    first = value[0] if isinstance(value, tuple) else value
    if not isinstance(first, int):
        raise TypeError(f"layer geometry {value!r} is not a number of pixels")
    return first


LAST_STRIDE = 14
"""Block of MobileNetV2 that goes from stride 16 to 32."""
FINE_CHANNELS = 576
"""That this block expands its input to, before the stride."""


def _build_mobilenet_v2(dropout: float, *, joined: bool = False) -> Classifier:
    network = mobilenet_v2(weights=None)
    features, channels = network.features, network.last_channel
    if joined:
        features, channels = JoinedFeatures(*features), channels + FINE_CHANNELS
    head = nn.Sequential(nn.Dropout(dropout), nn.Linear(channels, len(LABELS)))
    return Classifier("mobilenet_v2", features, head)


def _dilate_last_stage(features: nn.Module) -> None:
    """Take MobileNetV2's last stride away and widen the kernels after it, so that weights made for stride 32 see what they saw.

    Source:
        Chen et al. 2017, Rethinking atrous convolution, section 3.1, https://arxiv.org/abs/1706.05587
    """
    last = [layer for block in list(features.children())[LAST_STRIDE:] for layer in block.modules()]
    strided = False
    for layer in last:
        if isinstance(layer, nn.Conv2d) and layer.kernel_size == (3, 3):
            if strided:
                layer.dilation, layer.padding = (2, 2), (2, 2)
            strided = strided or layer.stride == (2, 2)
            layer.stride = (1, 1)


def _build_cnn(dropout: float) -> Classifier:
    layers: list[nn.Module] = []
    channels = 3
    for width in (32, 64, 128, 256):
        # After the pooling ReLU gives what it gives before it, to the last bit, for a quarter of its work.
        layers += [nn.Conv2d(channels, width, kernel_size=3, padding=1), nn.MaxPool2d(2), nn.ReLU()]
        channels = width
    head = nn.Sequential(nn.Linear(channels, 256), nn.ReLU(), nn.Dropout(dropout), nn.Linear(256, len(LABELS)))
    for layer in (*layers, head[0]):
        if isinstance(layer, nn.Conv2d | nn.Linear):
            # torch's own start shrinks the signal from block to block, and without normalisation nothing brings it back.
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return Classifier("cnn", nn.Sequential(*layers), head)


_BUILDERS: dict[str, Callable[[float], Classifier]] = {"mobilenet_v2": _build_mobilenet_v2, "cnn": _build_cnn}
OUTPUT_STRIDES: dict[str, tuple[int, ...]] = {"mobilenet_v2": (32, 16), "cnn": (16,)}
"""Distances between the cells of a network's last feature map that can be built, in input pixels, the usual one first."""

NETWORKS: tuple[str, ...] = tuple(_BUILDERS)


def build(name: str, *, dropout: float = 0.2, output_stride: int | None = None, joined: bool = False) -> Classifier:
    """Return an untrained network with its own random weights.

    `mobilenet_v2` is torchvision's, its 1000-class head replaced by one linear layer. `cnn` is the student report's network:
    blocks of 3x3 convolution, ReLU and 2x2 max pooling. As printed it has three blocks of 32, 64 and 128 channels before a
    linear layer with 256 inputs, which cannot run; a fourth block, 128 to 256, is the reading that can.

    Args:
        name: One of `NETWORKS`.
        dropout: Share of head inputs dropped in training, 0 to 1.
        output_stride: One of `OUTPUT_STRIDES`; None takes the usual one. At 16 MobileNetV2 has four times the cells, so a heatmap
            is twice as fine; by dilation for the same weights and about 1.8 times the work.
        joined: Whether MobileNetV2 comes to stride 16 by `JoinedFeatures` and not by dilation, for hardly more work than at 32.

    Raises:
        UsageError: The name is unknown, or the network has no such stride or cannot be joined.
    """
    if name not in _BUILDERS:
        raise UsageError(f"unknown model {name!r}. Known: {', '.join(NETWORKS)}.")
    allowed = OUTPUT_STRIDES[name]
    if output_stride is not None and output_stride not in allowed:
        raise UsageError(f"{name} with an output stride of {output_stride}. Allowed: {', '.join(map(str, allowed))}.")
    if joined:
        if name != "mobilenet_v2" or output_stride != 16:
            raise UsageError(
                f"joined = true for {name} at an output stride of {output_stride}. Only mobilenet_v2 at 16 can be joined."
            )
        return _build_mobilenet_v2(dropout, joined=True)
    network = _BUILDERS[name](dropout)
    if output_stride not in (None, allowed[0]):
        _dilate_last_stage(network.features)
    return network


def initialise(network: Classifier, init: str) -> str:
    """Load starting weights into the feature extractor, in place, and say in a sentence what was loaded.

    Only `mobilenet_v2` has ImageNet weights; the CNN is trained from scratch and always keeps its random weights.

    Args:
        network: A network of `build`.
        init: `imagenet` (torchvision's download, cached by torch), `none`, or the path of a safetensors file or torch state
            dict with torchvision's names.

    Raises:
        BundleError: The file is missing, unreadable or does not fit, or holds a trained model without its bundle; or the download
            failed.
    """
    if network.name != "mobilenet_v2" or init == "none":
        return started_from(network.name, init)
    state = _imagenet_state() if init == "imagenet" else _file_state(Path(init))
    if any(key.startswith("head.") for key in state):
        raise BundleError(
            f"{init}: the weights of a trained model without its bundle.json, so nobody can tell which images it has seen. Give "
            "the folder that holds both."
        )
    features = {key.removeprefix("features."): value for key, value in state.items() if key.startswith("features.")}
    try:
        network.features.load_state_dict(features)
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip() if len(str(error).splitlines()) > 1 else str(error)
        raise BundleError(f"{init}: the weights are not MobileNetV2 1.0 in torchvision's names and shapes ({first}).") from error
    return started_from(network.name, init)


def started_from(name: str, init: str) -> str:
    """Return in a sentence where the weights of a network start, without loading any; `name` and `init` as for `initialise`."""
    if name != "mobilenet_v2":
        return f"{RANDOM_WEIGHTS} (trained from scratch)"
    known = {"none": f"{RANDOM_WEIGHTS} (--init none)", "imagenet": "ImageNet weights from torchvision"}
    return known.get(init, f"weights from {Path(init).name}")


def _imagenet_state() -> dict[str, Tensor]:
    try:
        state = torch.hub.load_state_dict_from_url(
            IMAGENET_URL, map_location="cpu", progress=False, check_hash=True, weights_only=True
        )
    except (OSError, RuntimeError) as error:
        raise BundleError(
            f"the ImageNet weights could not be downloaded ({error}). Give a file with --init FILE, or train from random weights "
            "with --init none."
        ) from error
    return dict(state)


def _file_state(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise BundleError(
            f"{path}: no such weights file. --init takes imagenet, none, bundled, a model's folder, or a weights file."
        )
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise BundleError(f"{path}: not a readable safetensors or torch state dict file ({error}).") from error
    except Exception as error:
        raise BundleError(f"{path}: not a torch state dict that is safe to load ({type(error).__name__}).") from error
    if not isinstance(state, dict):
        raise BundleError(f"{path}: holds a {type(state).__name__}, not a state dict of named tensors.")
    return dict(state)
