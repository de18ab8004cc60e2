import pytest
import torch
from torch import nn

from tumorscope.models.grad_cam import grad_cam, head_jacobian
from tumorscope.models.network import NETWORKS, Classifier, build


def autograd_grad_cam(network, images, label_index):
    """Equations 1 and 2 of the paper to the letter, with a backward pass."""
    feature_map = network.features(images).detach().requires_grad_()
    score = network.classify(feature_map)[:, label_index].sum()
    (gradient,) = torch.autograd.grad(score, feature_map)
    weights = gradient.mean(dim=(2, 3), keepdim=True)
    return (weights * feature_map).sum(dim=1).relu().detach()


@pytest.mark.parametrize("name", NETWORKS)
def test_closed_form_equals_autograd_for_every_label(name):
    torch.manual_seed(3)
    network = build(name).eval()
    images = torch.randn(3, 3, 128, 128)
    with torch.inference_mode():
        maps = grad_cam(network.features(images), network.head)
    for label_index in range(4):
        expected = autograd_grad_cam(network, images, label_index)
        torch.testing.assert_close(maps[:, label_index], expected, rtol=1e-4, atol=1e-7)


def test_grad_cam_of_a_two_filter_network_is_the_one_worked_by_hand():
    feature_map = torch.zeros(1, 2, 4, 4)
    feature_map[0, 0, 1, 1] = 16.0
    feature_map[0, 1, 2, 3] = 8.0
    head = nn.Sequential(nn.Linear(2, 2))
    with torch.no_grad():
        head[0].weight.copy_(torch.tensor([[1.0, -1.0], [0.5, 2.0]]))
        head[0].bias.zero_()
        maps = grad_cam(feature_map, head)
    first = torch.zeros(4, 4)
    first[1, 1] = 1.0  # 16 * 1 / 16 cells; the second filter counts against this label and is cut off
    second = torch.zeros(4, 4)
    second[1, 1] = 0.5  # 16 * 0.5 / 16
    second[2, 3] = 1.0  # 8 * 2 / 16
    torch.testing.assert_close(maps[0], torch.stack([first, second]))


def test_flat_feature_map_gives_a_flat_map():
    head = nn.Sequential(nn.Linear(3, 4))
    maps = grad_cam(torch.ones(1, 3, 5, 5), head)
    assert maps.std(dim=(2, 3)).max() < 1e-7
    assert maps.min() >= 0


def test_jacobian_of_a_small_perceptron_drops_the_silent_unit():
    head = nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.Dropout(0.5), nn.Linear(2, 1)).eval()
    with torch.no_grad():
        head[0].weight.copy_(torch.tensor([[2.0], [-3.0]]))
        head[0].bias.zero_()
        head[3].weight.copy_(torch.tensor([[5.0, 7.0]]))
    assert head_jacobian(head, torch.tensor([[1.0]])).item() == 10.0
    assert head_jacobian(head, torch.tensor([[-1.0]])).item() == -21.0


def test_head_without_a_known_derivative_is_refused():
    with pytest.raises(TypeError, match="Sigmoid"):
        head_jacobian(nn.Sequential(nn.Sigmoid()), torch.ones(1, 2))


def test_a_two_filter_network_answers_a_4x4_image_as_worked_by_hand():
    """The first filter sees red, the second green; the head likes red for the first label and both for the second."""
    features = nn.Conv2d(3, 2, kernel_size=1, bias=False)
    head = nn.Sequential(nn.Linear(2, 2))
    with torch.no_grad():
        features.weight.copy_(torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])[:, :, None, None])
        head[0].weight.copy_(torch.tensor([[1.0, -1.0], [0.5, 2.0]]))
        head[0].bias.copy_(torch.tensor([0.25, 0.0]))
    image = torch.zeros(1, 3, 4, 4)
    image[0, 0, 1, 1], image[0, 1, 2, 3] = 16.0, 8.0
    with torch.inference_mode():
        answer = Classifier("toy", features, head).eval().answer(image)
    assert answer.features.tolist() == [[1.0, 0.5]]  # 16 and 8 over 16 cells
    assert answer.logits.tolist() == [[0.75, 1.5]]  # 1 - 0.5 + 0.25, and 0.5 + 1
    assert answer.maps[0, 0, 1, 1] == 1.0  # 16 * 1 / 16
    assert answer.maps[0, 0].sum() == 1.0  # green counts against the first label and is cut off
    assert (answer.maps[0, 1, 1, 1], answer.maps[0, 1, 2, 3]) == (0.5, 1.0)


def test_the_map_of_one_label_for_each_image_is_that_of_all_labels():
    torch.manual_seed(5)
    for name in NETWORKS:
        network = build(name).eval()
        with torch.inference_mode():
            feature_map = network.features(torch.randn(3, 3, 64, 64))
            chosen = torch.tensor([2, 0, 3])
            alone, together = grad_cam(feature_map, network.head, chosen), grad_cam(feature_map, network.head)
        torch.testing.assert_close(alone, together[torch.arange(3), chosen])


@pytest.mark.parametrize(("name", "joined"), [("mobilenet_v2", False), ("mobilenet_v2", True), ("cnn", False)])
def test_evidence_averages_to_the_logits_and_rectifies_to_the_map(name, joined):
    torch.manual_seed(3)
    network = build(name, output_stride=16, joined=joined).eval()
    with torch.no_grad():
        feature_map = network.features(torch.randn(2, 3, 96, 96))
        shared = network.evidence(feature_map)
        logits, jacobian = network.classify(feature_map), head_jacobian(network.head, feature_map.mean(dim=(2, 3)))
        offset = logits - torch.einsum("blk,bk->bl", jacobian.expand(2, -1, -1), feature_map.mean(dim=(2, 3)))
        rectified = (shared - offset[:, :, None, None]).relu() / shared[0, 0].numel()
    torch.testing.assert_close(shared.mean(dim=(2, 3)), logits, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(rectified, grad_cam(feature_map, network.head), rtol=1e-3, atol=1e-6)
