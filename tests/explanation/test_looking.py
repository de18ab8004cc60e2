"""The network asked, and the geometry of its maps: a marked place is found again where it was marked."""

import numpy as np
import pytest
import torch

from tumorscope.data.preprocess import Framing, Preprocessing
from tumorscope.explanation.looking import Looker
from tumorscope.explanation.placement import place
from tumorscope.models.calibration import Calibration
from tumorscope.models.network import NETWORKS, build
from tumorscope.scan import Scan


def centre_of(response: np.ndarray) -> np.ndarray:
    rows, columns = np.indices(response.shape)
    return np.array([(response * rows).sum(), (response * columns).sum()]) / response.sum()


@pytest.mark.parametrize(("name", "size"), [("mobilenet_v2", 448), ("cnn", 224)])
def test_response_follows_a_bright_spot_across_the_image(name, size, averaging):
    network = averaging(name)
    looker = Looker(network, Preprocessing(image_size=size))
    middle = size // 2
    for row, column in ((middle, middle), (middle - 20, middle + 13), (middle + 7, middle - 24)):
        image = torch.zeros(1, 3, size, size)
        image[..., row - 2 : row + 3, column - 2 : column + 3] = 1.0
        with torch.inference_mode():
            response = network.features(image)[0, 0].numpy()
        # A box of cells far from the borders, where what the averaging sees ends within the image.
        found = centre_of(looker.place(response))
        assert np.abs(found - (row, column)).max() < 3, (row, column)


def test_marked_pixel_of_a_scan_of_odd_size_is_found_again():
    preprocessing = Preprocessing(image_size=224, fit="pad")
    for shape, marked in (((301, 203), (250, 11)), ((97, 411), (40, 400)), ((512, 512), (3, 500))):
        pixels = np.zeros(shape, dtype=np.uint8)
        pixels[max(0, marked[0] - 3) : marked[0] + 4, max(0, marked[1] - 3) : marked[1] + 4] = 255
        grid = preprocessing.grid(Scan(pixels=pixels, origin="test")).astype(np.float32)
        back = place(grid, stride=1.0, start=0.0, preprocessing=preprocessing, framing=Framing.whole(shape))
        assert np.abs(centre_of(back) - centre_of(pixels.astype(float))).max() < 1, shape


@pytest.mark.parametrize("name", NETWORKS)
def test_a_batch_is_answered_as_one_by_one_and_looking_changes_no_answer(name):
    torch.manual_seed(0)
    looker = Looker(build(name), Preprocessing(image_size=64))
    grids = np.random.default_rng(0).integers(0, 255, (35, 64, 64)).astype(np.uint8)
    looked = looker.look(grids)
    np.testing.assert_allclose(looked.probabilities, looker.ask(grids), atol=1e-6)
    alone = looker.look(grids[34:])
    np.testing.assert_allclose(alone.probabilities[0], looked.probabilities[34], atol=1e-5)
    np.testing.assert_allclose(alone.maps[0], looked.maps[34], atol=1e-5)
    assert looked.maps_of(looked.predicted_index).shape == looked.maps.shape[:1] + looked.maps.shape[2:]


def test_the_answer_is_the_one_that_calibration_gives():
    torch.manual_seed(0)
    network, size = build("cnn"), Preprocessing(image_size=64)
    grids = np.random.default_rng(0).integers(0, 255, (5, 64, 64)).astype(np.uint8)
    raw = Looker(network, size).look(grids)
    moved = Looker(network, size, calibration=Calibration(scales=(1.0,) * 4, offsets=(50.0, 0.0, 0.0, 0.0))).look(grids)
    assert 0 not in raw.predicted_index
    assert set(moved.predicted_index) == {0}
    np.testing.assert_array_equal(moved.maps_of(moved.predicted_index), raw.maps[:, 0])
    np.testing.assert_array_equal(moved.logits, raw.logits)


def test_a_map_is_placed_where_the_cells_lie_and_not_in_tiles():
    looker = Looker(build("mobilenet_v2"), Preprocessing(image_size=224))
    heatmap = np.zeros((7, 7), dtype=np.float32)
    heatmap[3, 2] = 1.0
    assert np.unravel_index(looker.place(heatmap).argmax(), (224, 224)) == (96, 64)
    assert looker.peak(heatmap) == (96, 64)
    assert looker.peak(np.ones((7, 7))) is None


def test_a_peak_in_a_corner_cell_lies_at_its_centre_and_not_in_the_corner():
    looker = Looker(build("cnn"), Preprocessing(image_size=64))
    heatmap = np.zeros((4, 4), dtype=np.float32)
    heatmap[0, 3] = 1.0
    assert looker.peak(heatmap) == (7.5, 55.5)
