import numpy as np
import torch

from tumorscope.data.preprocess import Preprocessing
from tumorscope.explanation.looking import Looked, Looker
from tumorscope.explanation.outlines import Outlines
from tumorscope.explanation.pointing import ANSWER, LIKELIEST_TUMOUR, points_of, summarise_points
from tumorscope.labels import LABELS, NO_TUMOUR
from tumorscope.models.network import build

NONE = LABELS.index(NO_TUMOUR)
TUMOUR = LABELS.index("meningioma")


def looked_at(looker, cells):
    """Two scans, both answered `no tumour`; the map of the tumour is bright in one cell, that of the answer in the opposite one."""
    probabilities = np.full((2, len(LABELS)), 0.05)
    probabilities[:, NONE], probabilities[:, TUMOUR] = 0.6, 0.3
    maps = np.zeros((2, len(LABELS), 4, 4), dtype=np.float32)
    maps[:, TUMOUR, cells[0], cells[1]] = 1.0
    maps[:, NONE, 3 - cells[0], 3 - cells[1]] = 1.0
    return Looked(probabilities, maps)


def test_the_answers_map_and_the_tumours_map_are_told_apart():
    torch.manual_seed(0)
    looker = Looker(build("cnn"), Preprocessing(image_size=64))
    mask = np.zeros((64, 64), dtype=bool)
    row, column = (round(looker.peak(np.eye(4)[[1]].T @ np.eye(4)[[2]])[axis]) for axis in (0, 1))
    mask[row - 2 : row + 3, column - 2 : column + 3] = True
    found = points_of(looker, looked_at(looker, (1, 2)), Outlines((mask, None), (None, None), ()))
    assert found[LIKELIEST_TUMOUR][0, 0] == 1.0
    assert found[ANSWER][0, 0] == 0.0
    assert found[LIKELIEST_TUMOUR][0, 2] > found[ANSWER][0, 2]
    assert np.isnan(found[ANSWER][1]).all()
    summary = summarise_points([found, found], np.array([True, True]))
    assert summary["n"] == 1
    assert summary[LIKELIEST_TUMOUR]["pointing_game"] == 1.0
    assert summarise_points([found], np.array([False, True])) is None
