import numpy as np
import pytest

from tumorscope.data.preprocess import Framing, Preprocessing
from tumorscope.explanation.placement import place


def test_cell_lands_on_the_pixel_it_is_centred_on():
    heatmap = np.zeros((7, 7), dtype=np.float32)
    heatmap[2, 5] = 1.0
    placed = place(heatmap, stride=32, start=0, preprocessing=Preprocessing(), framing=Framing.whole((224, 224)))
    assert np.unravel_index(placed.argmax(), placed.shape) == (64, 160)
    assert placed[64, 160] == 1.0
    assert placed[64, 176] == pytest.approx(0.5)


def test_cell_lands_right_on_a_scan_of_odd_size_through_padding():
    preprocessing = Preprocessing(image_size=224, fit="pad")
    heatmap = np.zeros((14, 14), dtype=np.float32)
    heatmap[6, 3] = 1.0
    placed = place(heatmap, stride=16, start=7.5, preprocessing=preprocessing, framing=Framing.whole((301, 203)))
    row, column = np.unravel_index(placed.argmax(), placed.shape)
    expected = preprocessing.to_scan(np.array(7.5 + 6 * 16), np.array(7.5 + 3 * 16), Framing.whole((301, 203)))
    assert abs(row - expected[0]) <= 1
    assert abs(column - expected[1]) <= 1


def test_constant_map_stays_constant_up_to_the_edges():
    placed = place(np.full((7, 7), 2.5), stride=32, start=0, preprocessing=Preprocessing(), framing=Framing.whole((100, 60)))
    assert placed.shape == (100, 60)
    np.testing.assert_allclose(placed, 2.5, rtol=1e-6)
