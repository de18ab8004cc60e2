import numpy as np
import pytest
import torch

from tumorscope.data.preprocess import Preprocessing
from tumorscope.explanation.looking import Looker
from tumorscope.explanation.sanity import (
    cascade,
    compare_maps,
    peak_shift,
    random_network,
    randomised_layers,
    rank_correlation,
    stability,
    structural_similarity,
)
from tumorscope.models.network import build


@pytest.fixture
def heatmap():
    rows, columns = np.mgrid[:56, :56]
    return np.exp(-((rows - 20) ** 2 + (columns - 34) ** 2) / 100).astype(np.float32)


def test_a_map_is_like_itself_and_unlike_its_opposite(heatmap):
    assert rank_correlation(heatmap, 3 * heatmap**2) == pytest.approx(1)
    assert rank_correlation(heatmap, -heatmap) == pytest.approx(-1)
    assert structural_similarity(heatmap, 5 * heatmap) == pytest.approx(1, abs=1e-5)
    assert structural_similarity(heatmap, heatmap[::-1]) < 0.9
    assert peak_shift(heatmap, heatmap[::-1]) == pytest.approx(abs(20 - 35))


def test_flat_and_empty_maps_give_no_number(heatmap):
    flat = np.zeros_like(heatmap)
    assert rank_correlation(heatmap, flat) is None
    assert structural_similarity(heatmap, flat) is None
    assert peak_shift(heatmap, flat) is None


def test_pixels_that_are_unknown_are_left_out(heatmap):
    damaged = heatmap.copy()
    damaged[:10] = np.nan
    assert compare_maps(heatmap, damaged) == {"rank_correlation": pytest.approx(1), "peak_distance_px": 0.0}


@pytest.mark.parametrize(("name", "steps"), [("mobilenet_v2", 20), ("cnn", 5)])
def test_layers_are_randomised_from_the_head_down_and_the_trained_network_is_left_alone(name, steps):
    torch.manual_seed(1)
    network = build(name)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    fresh = random_network(network, seed=4).state_dict()
    seen, changed = [], []
    for layer, other in randomised_layers(network, seed=4):
        seen.append(layer)
        same = [torch.equal(other.state_dict()[key], fresh[key]) for key in fresh]
        changed.append(sum(same))
    assert len(seen) == steps
    assert seen[0] == "head"
    assert seen[-1].startswith("features.0")
    assert changed == sorted(changed)
    assert changed[-1] == len(fresh)
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())


def test_random_weights_do_not_touch_the_global_generator():
    network = build("cnn")
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    random_network(network, seed=3)
    assert torch.equal(torch.rand(1), expected)


@pytest.fixture
def seeing_brightness():
    """A network whose map is the picture, blurred: it averages what it sees and likes it for the first label."""
    network = build("cnn").eval()
    for module in network.features:
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.constant_(module.weight, 1.0 / (module.kernel_size[0] ** 2 * module.weight.shape[1]))
            torch.nn.init.zeros_(module.bias)
    torch.nn.init.constant_(network.head[0].weight, 1 / 256)
    torch.nn.init.zeros_(network.head[0].bias)
    torch.nn.init.zeros_(network.head[3].weight)
    torch.nn.init.zeros_(network.head[3].bias)
    torch.nn.init.constant_(network.head[3].weight[0], 0.1)
    return Looker(network, Preprocessing(image_size=128, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)))


def spots(places, *, size=128):
    rows, columns = np.mgrid[:size, :size]
    return np.stack([(220 * np.exp(-((rows - r) ** 2 + (columns - c) ** 2) / 200)).astype(np.uint8) for r, c in places])


def test_a_map_that_follows_the_picture_comes_back_from_every_change(seeing_brightness):
    grids = spots([(40, 88), (72, 40), (56, 56)])
    looked = seeing_brightness.look(grids)
    changes = stability(seeing_brightness, grids, looked, seed=0)
    assert set(changes) == {"flip", "rotation", "noise"}
    for change in ("flip", "rotation"):
        for found in changes[change]:
            assert found["rank_correlation"] > 0.9, change
            assert found["peak_distance_px"] <= 16, change  # one cell
            assert found["same_answer"] == 1.0


def test_random_weights_break_a_map_that_followed_the_picture(seeing_brightness):
    grids = spots([(40, 88), (72, 40), (56, 56), (88, 80)])
    layers = cascade(seeing_brightness, grids, seeing_brightness.look(grids), seed=0)
    assert next(iter(layers)) == "head"
    assert all(len(found) == len(grids) for found in layers.values())
    last = [found["structural_similarity"] for found in list(layers.values())[-1]]
    assert np.mean([0.0 if value is None else value for value in last]) < 0.8
