import hashlib
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision.models import mobilenet_v2

from tumorscope.errors import BundleError, UsageError
from tumorscope.models.network import NETWORKS, Classifier, build, initialise


@pytest.mark.parametrize("name", NETWORKS)
def test_network_gives_four_logits_through_its_feature_map(name):
    network = build(name).eval()
    images = torch.randn(2, 3, 96, 96)
    with torch.inference_mode():
        assert network(images).shape == (2, 4)
        torch.testing.assert_close(network(images), network.classify(network.features(images)))


def test_cnn_has_the_four_blocks_and_the_head_of_the_student_report():
    network = build("cnn", dropout=0.3)
    assert [layer.out_channels for layer in network.features if isinstance(layer, nn.Conv2d)] == [32, 64, 128, 256]
    assert [type(layer).__name__ for layer in network.head] == ["Linear", "ReLU", "Dropout", "Linear"]
    assert network.head[0].in_features == network.head[0].out_features == 256
    assert network.head[2].p == 0.3


def test_cnn_computes_the_blocks_of_the_student_report_to_the_last_bit():
    """As the report has them: convolution, ReLU, pooling, with their gradients."""
    torch.manual_seed(0)
    network, images = build("cnn"), torch.rand(2, 3, 37, 64) * 4 - 2
    convolutions = [layer for layer in network.features if isinstance(layer, nn.Conv2d)]
    expected = images
    for convolution in convolutions:
        expected = nn.functional.max_pool2d(nn.functional.relu(convolution(expected)), 2)
    weights = [layer.weight for layer in convolutions]
    gradients = torch.autograd.grad(expected.square().sum(), weights)
    feature_map = network.features(images)
    assert torch.equal(feature_map, expected)
    assert all(map(torch.equal, torch.autograd.grad(feature_map.square().sum(), weights), gradients))


@pytest.mark.parametrize(("name", "stride", "start"), [("mobilenet_v2", 32, 0.0), ("cnn", 16, 7.5)])
def test_cell_grid_is_what_the_layers_say(name, stride, start):
    grid = build(name).cell_grid()
    assert (grid.stride, grid.start) == (stride, start)


@pytest.mark.parametrize("name", NETWORKS)
def test_gradient_of_a_cell_is_centred_where_the_cell_grid_says(name, averaging):
    """The share of the input that a cell sees is symmetric around its centre, so its centre of mass is the oracle."""
    network = averaging(name)
    images = torch.zeros(1, 3, 352, 352, requires_grad=True)
    feature_map = network.features(images)
    cell = feature_map.shape[-1] // 2
    feature_map[0, 0, cell, cell].backward()
    influence = images.grad[0].sum(dim=0)
    rows = torch.arange(352.0)
    centre = (influence.sum(dim=1) * rows).sum() / influence.sum()
    grid = build(name).cell_grid()
    assert centre.item() == pytest.approx(grid.start + cell * grid.stride, abs=0.5)


def test_unknown_network_is_refused_by_name():
    with pytest.raises(UsageError, match="resnet"):
        build("resnet")


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_weights_of_a_file_reach_the_features_and_the_old_head_is_left_out(tmp_path, suffix):
    torch.manual_seed(1)
    state = mobilenet_v2(weights=None).state_dict()
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        torch.save(state, path)
    else:
        save_file(state, path)
    network = build("mobilenet_v2")
    assert "weights" in initialise(network, str(path))
    torch.testing.assert_close(network.features[0][0].weight, state["features.0.0.weight"])


def test_cnn_keeps_its_random_weights_whatever_init_says():
    torch.manual_seed(0)
    network = build("cnn")
    before = network.features[0].weight.clone()
    assert "scratch" in initialise(network, "imagenet")
    torch.testing.assert_close(network.features[0].weight, before)


def test_weights_that_do_not_fit_or_are_no_weights_are_refused(tmp_path):
    other = tmp_path / "other.safetensors"
    save_file({"features.0.0.weight": torch.zeros(1)}, other)
    text = tmp_path / "text.pth"
    text.write_text("no weights")
    listed = tmp_path / "list.pth"
    torch.save([1, 2], listed)
    for path, message in ((other, "torchvision's names"), (text, "not a"), (listed, "list"), (tmp_path / "none.pth", "no such")):
        with pytest.raises(BundleError, match=message):
            initialise(build("mobilenet_v2"), str(path))


@pytest.fixture
def weights_server(tmp_path, monkeypatch):
    """Serve MobileNetV2 weights on this machine, under a name that holds their digest as torchvision's do."""
    folder = tmp_path / "served"
    folder.mkdir()
    torch.manual_seed(2)
    torch.save(mobilenet_v2(weights=None).state_dict(), folder / "weights.pth")
    digest = hashlib.sha256((folder / "weights.pth").read_bytes()).hexdigest()[:8]
    path = (folder / "weights.pth").rename(folder / f"mobilenet_v2-{digest}.pth")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("tumorscope.models.network.IMAGENET_URL", f"http://127.0.0.1:{server.server_port}/{path.name}")
    yield path
    server.shutdown()
    server.server_close()
    thread.join()


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


def test_imagenet_weights_are_downloaded_once_and_checked(weights_server):
    network = build("mobilenet_v2")
    assert initialise(network, "imagenet") == "ImageNet weights from torchvision"
    expected = torch.load(weights_server, weights_only=True)["features.0.0.weight"]
    torch.testing.assert_close(network.features[0][0].weight, expected)
    weights_server.unlink()
    initialise(build("mobilenet_v2"), "imagenet")


def test_altered_download_is_refused(weights_server):
    weights_server.write_bytes(weights_server.read_bytes()[:-1] + b"x")
    with pytest.raises(BundleError, match="could not be downloaded"):
        initialise(build("mobilenet_v2"), "imagenet")


def test_failed_download_says_what_to_do_instead(weights_server):
    weights_server.unlink()
    with pytest.raises(BundleError, match="--init FILE"):
        initialise(build("mobilenet_v2"), "imagenet")


def test_classifier_pools_the_mean_of_every_channel():
    network = Classifier("toy", nn.Identity(), nn.Sequential(nn.Identity()))
    feature_map = torch.tensor([[[[1.0, 3.0], [5.0, 7.0]]]])
    assert network.classify(feature_map).item() == 4.0


def test_signal_of_the_untrained_cnn_neither_dies_nor_explodes():
    torch.manual_seed(0)
    network = build("cnn").eval()
    with torch.inference_mode():
        feature_map = network.features(torch.randn(4, 3, 224, 224))
    assert 0.3 < feature_map.std() < 10


def test_dilation_keeps_what_a_cell_computes_and_doubles_their_number():
    """Every other cell of the finer map sees the same inputs with the same weights, away from the padding."""
    torch.manual_seed(0)
    coarse, fine = build("mobilenet_v2").eval(), build("mobilenet_v2", output_stride=16).eval()
    fine.load_state_dict(coarse.state_dict())
    with torch.no_grad():
        images = torch.randn(1, 3, 224, 224)
        wide, narrow = coarse.features(images), fine.features(images)
    assert wide.shape[2:] == (7, 7)
    assert narrow.shape[2:] == (14, 14)
    torch.testing.assert_close(narrow[:, :, ::2, ::2], wide, rtol=1e-3, atol=1e-4)
    assert (coarse.cell_grid().stride, fine.cell_grid().stride) == (32, 16)
    assert coarse.cell_grid().start == fine.cell_grid().start == 0


def test_joined_features_hold_the_last_map_in_every_other_cell_and_means_between_and_the_finer_one_beside_it():
    torch.manual_seed(0)
    coarse, joined = build("mobilenet_v2").eval(), build("mobilenet_v2", output_stride=16, joined=True).eval()
    joined.features.load_state_dict(coarse.features.state_dict())
    with torch.no_grad():
        images = torch.randn(1, 3, 224, 224)
        wide, narrow = coarse.features(images), joined.features(images)
        fine = coarse.features[14].conv[0](coarse.features[:14](images))
    assert narrow.shape == (1, 1856, 14, 14)
    torch.testing.assert_close(narrow[:, :1280, ::2, ::2], wide)
    torch.testing.assert_close(narrow[:, :1280, 1:-1:2, ::2], (wide[:, :, 1:] + wide[:, :, :-1]) / 2)
    torch.testing.assert_close(narrow[:, :1280, -1], narrow[:, :1280, -2])
    torch.testing.assert_close(narrow[:, 1280:], fine)
    assert joined.cell_grid() == build("mobilenet_v2", output_stride=16).cell_grid()


def test_joined_features_of_a_size_that_is_no_multiple_of_32_have_the_finer_maps_cells():
    network = build("mobilenet_v2", output_stride=16, joined=True).eval()
    with torch.inference_mode():
        assert network.features(torch.zeros(1, 3, 97, 80)).shape[2:] == (7, 5)


def test_an_output_stride_that_cannot_be_built_is_refused():
    with pytest.raises(UsageError, match=r"cnn with an output stride of 32\. Allowed: 16"):
        build("cnn", output_stride=32)
    with pytest.raises(UsageError, match=r"joined = true for cnn at an output stride of 16"):
        build("cnn", output_stride=16, joined=True)
