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
    fresh = random_network(name, seed=4).state_dict()
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
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    random_network("cnn", seed=3)
    assert torch.equal(torch.rand(1), expected)


def test_maps_of_a_network_lose_their_likeness_layer_by_layer_and_stay_with_what_does_not_matter():
    torch.manual_seed(2)
    looker = Looker(build("cnn"), Preprocessing(image_size=64))
    rows, columns = np.mgrid[:64, :64]
    spots = [(20, 20), (40, 24), (30, 44), (22, 40)]
    grids = np.stack([(220 * np.exp(-((rows - r) ** 2 + (columns - c) ** 2) / 60)).astype(np.uint8) for r, c in spots])
    looked = looker.look(grids)
    layers = cascade(looker, grids, looked, seed=0)
    assert next(iter(layers)) == "head"
    assert all(len(found) == len(grids) for found in layers.values())
    changes = stability(looker, grids, looked, seed=0)
    assert set(changes) == {"flip", "rotation", "noise"}
    assert all(found["same_answer"] in (0.0, 1.0) for rows in changes.values() for found in rows)
    same = stability(looker, np.full_like(grids, 90), looker.look(np.full_like(grids, 90)), seed=0)["flip"]
    assert all(found["same_answer"] == 1.0 for found in same)
