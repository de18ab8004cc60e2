"""What other methods say a network looked at, for comparison: through torchcam and captum as they are (extra `explain`)."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
import torch
from torch import Tensor, nn

from tumorscope.errors import UsageError
from tumorscope.models.network import CellGrid, Classifier

CHUNK = 32
"""Images per pass where a method shows the network many versions of one image."""
GRADIENT_CHUNK = 10
"""Likewise where the whole network is differentiated: MobileNetV2 at 224 pixels then takes about 1 GB."""
PATH_STEPS = 50
"""Points on the path of integrated gradients: captum's own choice."""
WINDOWS = 7
"""Occlusion windows side by side; they move by half a window."""


@dataclass(frozen=True, slots=True, eq=False)
class MethodMaps:
    """The maps of one method for a batch.

    Attributes:
        maps: Raw, float32, shape (batch, rows, columns), at least 0. Each method has a unit of its own.
        cells: Where the cells of the maps lie on the network's input.
    """

    maps: np.ndarray
    cells: CellGrid


def attribute(method: str, network: Classifier, images: Tensor, label_index: Tensor) -> MethodMaps:
    """Return the maps of one method for one label of each image, explaining its logit with dropout at rest.

    The network comes back as it was: mode, gradients and hooks. What is said of a pixel or a cell:

    - `grad_cam_pp`: Grad-CAM++ with equation 19 of the paper for its coefficients. torchcam's own `GradCAMpp` is not used: in
      0.5.0 it divides a copy (`alpha[mask].div_`), so its weights are cubed gradients. Its `SmoothGradCAMpp` with a single
      sample and no noise is the same method, divided.
    - `layer_cam`, of torchcam: every cell weighted by its own gradient where that is positive.
    - `hires_cam`: captum's gradient times feature map, summed over channels and rectified. For a head behind global average
      pooling, as in both networks here, it is Grad-CAM: the gradient is the same in every cell.
    - `score_cam`, of torchcam: the feature map's channels by softmax of the logit that the image keeps under each. Cannot be
      changed: masks are stretched to 0..1 before they are enlarged, not after; they are enlarged as if cells were tiles, half a
      cell from where MobileNetV2 has them; and hidden pixels become 0. One pass per channel: the slowest by far.
    - `integrated_gradients`, of captum, from an image of zeros in 50 steps: sum over channels of absolute values.
    - `occlusion`, of captum: the mean fall of the logit when a square of a seventh of the image that covers the pixel is filled
      with zeros, in steps of half a square; mean over channels, rectified.

    Zero is the mean grey of normalisation. Black would be no neutral filling: it is what scans have where nothing is.

    Args:
        method: One of `OTHER_METHODS`.
        network: In any mode; used as in `eval()`.
        images: Normalised, float32, shape (batch, 3, h, w), at least one.
        label_index: Label to explain for each image, int64, shape (batch,), in the order of `LABELS`.

    Returns:
        Maps with the cells of the last feature map, or for the last two methods with the image's pixels as cells.

    Raises:
        UsageError: The method is unknown, or a package is missing.

    Source:
        Chattopadhay et al. 2018, https://arxiv.org/abs/1710.11063; Jiang et al. 2021,
        https://doi.org/10.1109/TIP.2021.3089943; Draelos and Carin 2020, https://arxiv.org/abs/2011.08891; Wang et al. 2020,
        https://arxiv.org/abs/1910.01279; Sundararajan et al. 2017, https://arxiv.org/abs/1703.01365; Zeiler and Fergus 2014,
        https://arxiv.org/abs/1311.2901
    """
    if method not in _METHODS:
        raise UsageError(f"unknown method {method!r}. Known: {', '.join(OTHER_METHODS)}.")
    with _at_rest(network):
        # A copy made here is no inference tensor, whatever mode the caller is in, and can be differentiated.
        copies, labels = images.detach().clone(), label_index.detach().clone()
        try:
            maps = _METHODS[method](network, copies, labels)
        except ImportError as error:
            package = (error.name or "a package").split(".")[0]
            raise UsageError(f"method {method}: {package} is not installed. Take pip install 'tumorscope[explain]'.") from error
    return MethodMaps(
        maps=maps.detach().float().cpu().numpy(),
        cells=CellGrid(stride=1.0, start=0.0) if method in _AT_PIXELS else network.cell_grid(),
    )


@contextmanager
def _at_rest(network: Classifier) -> Iterator[None]:
    """Put every module into evaluation mode and gradients on, and afterwards everything back as it was."""
    modes = [(module, module.training) for module in network.modules()]
    try:
        with torch.inference_mode(False), torch.enable_grad():
            network.eval()
            yield
    finally:
        for module, training in modes:
            module.training = training


class _Tail(nn.Module):
    """The network behind its last feature map, with a module of its own for libraries to hang hooks on."""

    def __init__(self, network: Classifier) -> None:
        super().__init__()
        self.cells = nn.Identity()
        self.classify = network.classify

    def forward(self, feature_map: Tensor) -> Tensor:
        return self.classify(self.cells(feature_map))


def _feature_map(network: Classifier, images: Tensor) -> Tensor:
    """The last feature map as a leaf: nothing before it has to be differentiated."""
    with torch.no_grad():
        feature_map: Tensor = network.features(images)
    return feature_map.requires_grad_()


def _grad_cam_pp(network: Classifier, images: Tensor, label_index: Tensor) -> Tensor:
    from torchcam.methods import SmoothGradCAMpp

    tail = _Tail(network)
    # The noise is too small to change a float, but it is drawn, and the caller's random numbers must not notice.
    with torch.random.fork_rng(devices=[]), SmoothGradCAMpp(tail, tail.cells, num_samples=1, std=1e-20) as extractor:
        tail(_feature_map(network, images))
        maps: Tensor = extractor(label_index.tolist(), normalized=False, eps=1e-20)[0]
    return maps


def _layer_cam(network: Classifier, images: Tensor, label_index: Tensor) -> Tensor:
    from torchcam.methods import LayerCAM

    tail = _Tail(network)
    with LayerCAM(tail, tail.cells) as extractor:
        maps: Tensor = extractor(label_index.tolist(), tail(_feature_map(network, images)), normalized=False)[0]
    return maps


def _hires_cam(network: Classifier, images: Tensor, label_index: Tensor) -> Tensor:
    from captum.attr import InputXGradient

    products: Tensor = InputXGradient(network.classify).attribute(_feature_map(network, images), target=label_index)
    return products.sum(dim=1).relu()


def _score_cam(network: Classifier, images: Tensor, label_index: Tensor) -> Tensor:
    from torchcam.methods import ScoreCAM

    def one(image: Tensor, label: Tensor) -> Tensor:
        with torch.no_grad():
            network(image)
        maps: Tensor = extractor(label.tolist(), normalized=False)[0]
        return maps

    with ScoreCAM(network, network.features, batch_size=CHUNK) as extractor:
        return _one_by_one(one, images, label_index)


def _integrated_gradients(network: Classifier, images: Tensor, label_index: Tensor) -> Tensor:
    from captum.attr import IntegratedGradients

    method = IntegratedGradients(network)

    def one(image: Tensor, label: Tensor) -> Tensor:
        values: Tensor = method.attribute(image, target=label, n_steps=PATH_STEPS, internal_batch_size=GRADIENT_CHUNK)
        return values.abs().sum(dim=1)

    return _one_by_one(one, images, label_index)


def _occlusion(network: Classifier, images: Tensor, label_index: Tensor) -> Tensor:
    from captum.attr import Occlusion

    method = Occlusion(network)
    window = tuple(max(1, side // WINDOWS) for side in images.shape[2:])
    step = tuple(max(1, side // (2 * WINDOWS)) for side in images.shape[2:])

    def one(image: Tensor, label: Tensor) -> Tensor:
        falls: Tensor = method.attribute(
            image,
            sliding_window_shapes=(images.shape[1], *window),
            strides=(images.shape[1], *step),
            target=label,
            perturbations_per_eval=CHUNK,
        )
        return falls.mean(dim=1).relu()

    return _one_by_one(one, images, label_index)


def _one_by_one(one: Callable[[Tensor, Tensor], Tensor], images: Tensor, label_index: Tensor) -> Tensor:
    """Explain each image by itself, so that memory does not grow with the batch."""
    return torch.cat([one(image[None], label[None]) for image, label in zip(images, label_index, strict=True)])


_METHODS: dict[str, Callable[[Classifier, Tensor, Tensor], Tensor]] = {
    "grad_cam_pp": _grad_cam_pp,
    "layer_cam": _layer_cam,
    "hires_cam": _hires_cam,
    "score_cam": _score_cam,
    "integrated_gradients": _integrated_gradients,
    "occlusion": _occlusion,
}
_AT_PIXELS = ("integrated_gradients", "occlusion")
OTHER_METHODS: tuple[str, ...] = tuple(_METHODS)


def refuse_missing() -> None:
    """Raise UsageError when a package of the extra `explain` is not installed; asked before anything long begins."""
    missing = [name for name in ("captum", "torchcam") if find_spec(name) is None]
    if missing:
        raise UsageError(f"--methods needs {' and '.join(missing)}. Take pip install 'tumorscope[explain]'.")
