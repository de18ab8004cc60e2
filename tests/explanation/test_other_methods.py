import sys

import numpy as np
import pytest
import torch
from torch import nn

from tumorscope.errors import UsageError
from tumorscope.explanation.other_methods import OTHER_METHODS, attribute
from tumorscope.models.grad_cam import grad_cam, head_jacobian
from tumorscope.models.network import NETWORKS, CellGrid, Classifier, build

AT_PIXELS = ("integrated_gradients", "occlusion")
LABELS_TO_EXPLAIN = torch.tensor([2, 0])


@pytest.fixture(scope="module", params=NETWORKS)
def network(request):
    """A random network whose batch normalisation has seen data, so that a signal reaches its last feature map."""
    return awake(request.param)


@pytest.fixture(scope="module")
def cnn():
    return awake("cnn")


def awake(name):
    torch.manual_seed(7)
    network = build(name)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = None  # the mean over all batches
    with torch.no_grad():
        for _ in range(2):
            network(torch.randn(8, 3, 64, 64))
    return network.eval()


@pytest.fixture
def images():
    """Small, for the methods that show the network hundreds of versions of each."""
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def larger():
    """Large enough for MobileNetV2 to have more than one cell."""
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def linear_network():
    """Logits that are a weighted mean of the input, so that gradients and falls can be worked by hand."""
    network = Classifier("linear", nn.Sequential(nn.Conv2d(3, 3, 1, bias=False)), nn.Sequential(nn.Linear(3, 4, bias=False)))
    with torch.no_grad():
        network.features[0].weight.copy_(torch.eye(3)[:, :, None, None])
        network.head[0].weight.copy_(torch.tensor([[1.0, 2.0, -3.0], [0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [-1.0, -1.0, -1.0]]))
    return network


@pytest.mark.parametrize("method", OTHER_METHODS)
def test_maps_are_raw_and_say_where_their_cells_lie(method, cnn, images):
    result = attribute(method, cnn, images, LABELS_TO_EXPLAIN)
    assert result.maps.dtype == np.float32
    assert result.maps.min() >= 0
    assert result.maps.max() > 0
    assert not np.allclose(result.maps.max(axis=(1, 2)), 1, rtol=1e-3), "stretched"
    if method in AT_PIXELS:
        assert (result.maps.shape, result.cells) == ((2, 32, 32), CellGrid(stride=1.0, start=0.0))
    else:
        assert (result.maps.shape, result.cells) == ((2, 2, 2), CellGrid(stride=16.0, start=7.5))


@pytest.mark.parametrize("method", OTHER_METHODS)
def test_batch_equals_one_by_one(method, cnn, images):
    batch = attribute(method, cnn, images, LABELS_TO_EXPLAIN).maps
    for row in range(2):
        alone = attribute(method, cnn, images[row : row + 1], LABELS_TO_EXPLAIN[row : row + 1]).maps
        np.testing.assert_allclose(batch[row], alone[0], rtol=1e-4, atol=1e-6 * batch.max())


@pytest.mark.parametrize("method", OTHER_METHODS)
def test_network_images_and_random_numbers_are_as_before(method, images):
    network = awake("cnn").train()
    network.head[2].eval()
    network.features[0].requires_grad_(False)
    network.head[0].bias.grad = torch.full_like(network.head[0].bias, 5.0)
    before = traces(network)
    weights = {name: value.clone() for name, value in network.state_dict().items()}
    given, drawn = images.clone(), torch.get_rng_state()
    attribute(method, network, images, LABELS_TO_EXPLAIN)
    assert traces(network) == before
    assert all(torch.equal(value, weights[name]) for name, value in network.state_dict().items())
    assert torch.equal(images, given)
    assert not images.requires_grad
    assert torch.equal(torch.get_rng_state(), drawn)


def traces(network):
    """What a method could leave behind: hooks, modes, gradients and whether they are wanted."""
    hooks = [
        len(module._forward_hooks) + len(module._forward_pre_hooks) + len(module._backward_hooks) for module in network.modules()
    ]
    gradients = [(value.requires_grad, None if value.grad is None else value.grad.sum().item()) for value in network.parameters()]
    return hooks, [module.training for module in network.modules()], gradients


@pytest.mark.parametrize("method", OTHER_METHODS)
def test_method_that_fails_leaves_nothing_behind_either(method, images):
    network = awake("cnn").train()
    before = traces(network)
    with pytest.raises((IndexError, RuntimeError, AssertionError)):
        attribute(method, network, images, torch.tensor([0, 99]))
    assert traces(network) == before


@pytest.mark.parametrize("method", OTHER_METHODS)
def test_frozen_network_inside_inference_mode_is_explained_alike(method, cnn, images):
    expected = attribute(method, cnn, images, LABELS_TO_EXPLAIN).maps
    frozen = awake("cnn").requires_grad_(False)
    with torch.inference_mode():
        found = attribute(method, frozen, images * 1, LABELS_TO_EXPLAIN).maps
        assert torch.is_inference_mode_enabled()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6 * expected.max())


def test_hires_cam_is_grad_cam_behind_global_average_pooling(network, larger):
    with torch.inference_mode():
        expected = grad_cam(network.features(larger), network.head, LABELS_TO_EXPLAIN).numpy()
    found = attribute("hires_cam", network, larger, LABELS_TO_EXPLAIN).maps
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6 * expected.max())


def test_grad_cam_of_torchcam_is_ours_with_the_same_scale(network, larger):
    from torchcam.methods import GradCAM

    with GradCAM(network, network.features) as extractor:
        (theirs,) = extractor(LABELS_TO_EXPLAIN.tolist(), network(larger), normalized=False)
    with torch.inference_mode():
        ours = grad_cam(network.features(larger), network.head, LABELS_TO_EXPLAIN)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6 * float(ours.max()))


def test_layer_cam_takes_the_channels_that_speak_for_the_label(network, larger):
    feature_map, slopes = slopes_of(network, larger)
    expected = torch.einsum("bc,bchw->bhw", slopes.relu(), feature_map).relu().numpy()
    found = attribute("layer_cam", network, larger, LABELS_TO_EXPLAIN).maps
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6 * expected.max())


def test_grad_cam_pp_is_equation_19_where_the_gradient_is_the_same_in_every_cell(network, larger):
    feature_map, slopes = slopes_of(network, larger)
    cells = feature_map[0, 0].numel()
    # g^2 / (2 g^2 + g^3 sum(A)) = 1 / (2 + g sum(A)), then times the rectified gradient, summed over all cells
    weights = cells * slopes.relu() / (2 + slopes.relu() * feature_map.sum(dim=(2, 3)))
    expected = torch.einsum("bc,bchw->bhw", weights, feature_map).relu().numpy()
    found = attribute("grad_cam_pp", network, larger, LABELS_TO_EXPLAIN).maps
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6 * expected.max())


def test_torchcams_own_grad_cam_pp_still_cubes_gradients(cnn, larger):
    """When this fails, torchcam has mended it, and `_grad_cam_pp` can use it."""
    from torchcam.methods import GradCAMpp

    feature_map, slopes = slopes_of(cnn, larger)
    with GradCAMpp(cnn, cnn.features) as extractor:
        (theirs,) = extractor(LABELS_TO_EXPLAIN.tolist(), cnn(larger), normalized=False)
    cubed = torch.einsum("bc,bchw->bhw", feature_map[0, 0].numel() * slopes.relu() ** 3, feature_map)
    torch.testing.assert_close(theirs, cubed, rtol=1e-3, atol=1e-6 * float(cubed.max()))


def slopes_of(network, images):
    """The feature map, and the derivative of the label's logit by one cell of each channel, from the closed form."""
    with torch.no_grad():
        feature_map = network.features(images)
        jacobian = head_jacobian(network.head, feature_map.mean(dim=(2, 3))).expand(len(images), -1, -1)
    return feature_map, jacobian[torch.arange(len(images)), LABELS_TO_EXPLAIN] / feature_map[0, 0].numel()


def test_score_cam_weighs_channels_by_the_logit_under_their_mask():
    network = linear_network()
    images = torch.zeros(1, 3, 8, 8)
    images[0, 0, 2, 2] = 64.0  # alone under its own mask: logit 64 * 1 / 64
    images[0, 1, 5, 5] = 32.0  # likewise 32 * 2 / 64; the third channel is flat and its mask hides everything
    weights = torch.tensor([1.0, 1.0, 0.0]).softmax(dim=0)
    maps = attribute("score_cam", network, images, torch.tensor([0])).maps
    expected = np.zeros((8, 8), dtype=np.float32)
    expected[2, 2], expected[5, 5] = 64 * weights[0], 32 * weights[1]
    np.testing.assert_allclose(maps[0], expected, rtol=1e-5, atol=1e-6)


def test_score_cam_reaches_every_channel_of_mobilenet_v2():
    network = awake("mobilenet_v2")
    maps = attribute("score_cam", network, torch.randn(1, 3, 32, 32), torch.tensor([1])).maps
    assert maps.shape == (1, 1, 1)
    assert maps[0, 0, 0] > 0


def test_integrated_gradients_of_a_linear_network_are_input_times_weight(images):
    maps = attribute("integrated_gradients", linear_network(), images, torch.tensor([0, 2])).maps
    weights = torch.tensor([[1.0, 2.0, -3.0], [1.0, 0.0, 0.0]]) / (32 * 32)
    expected = (images * weights[:, :, None, None]).abs().sum(dim=1).numpy()
    np.testing.assert_allclose(maps, expected, rtol=1e-3, atol=1e-9)


def test_occlusion_falls_where_the_window_hides_what_speaks_for_the_label():
    images = torch.zeros(1, 3, 28, 28)  # windows of 4 pixels in steps of 2
    images[0, 0, 9, 13] = 28.0 * 28.0  # adds 1 to label 0 and to label 2
    images[0, 2, 20, 20] = 28.0 * 28.0  # takes 3 from label 0, so hiding it makes the logit rise: cut off
    maps = attribute("occlusion", linear_network(), images, torch.tensor([0])).maps
    expected = np.zeros((28, 28), dtype=np.float32)
    # Windows from rows 6, 8 and columns 10, 12 cover the pixel; a pixel's value is their share among those that cover it.
    covered_rows, covered_columns = (0.5, 0.5, 1.0, 1.0, 0.5, 0.5), (0.5, 0.5, 1.0, 1.0, 0.5, 0.5)
    expected[6:12, 10:16] = np.outer(covered_rows, covered_columns)
    np.testing.assert_allclose(maps[0], expected, atol=1e-5)


def test_unknown_method_is_refused_with_the_known_ones(cnn, images):
    with pytest.raises(UsageError, match=r"unknown method 'lime'. Known: grad_cam_pp, .*, occlusion\."):
        attribute("lime", cnn, images, LABELS_TO_EXPLAIN)


@pytest.mark.parametrize(("method", "package"), [("score_cam", "torchcam"), ("occlusion", "captum")])
def test_missing_package_says_what_to_install(method, package, cnn, images, monkeypatch):
    for module in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UsageError, match=rf"{method}: {package} is not installed.*pip install 'tumorscope\[explain\]'"):
        attribute(method, cnn, images, LABELS_TO_EXPLAIN)
    assert not cnn.training
