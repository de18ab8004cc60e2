import numpy as np
import torch

from tumorscope.data.first_look import first_look
from tumorscope.evaluation.answering import answer_rows, first_looks
from tumorscope.evaluation.calibrate import calibrate
from tumorscope.evaluation.evaluate import deciding, predictions_of
from tumorscope.models.bundle import Bundle
from tumorscope.models.network import build, initialise
from tumorscope.training.recipe import Promises


def some_bundle(cache, **more) -> Bundle:
    torch.manual_seed(0)
    network = build("cnn")
    initialise(network, "none")
    return Bundle(network, cache.preprocessing, {}, {}, "a", "b", frozenset(), "now", **more)


def test_a_scan_alone_is_answered_as_in_its_data_set(banded_cache):
    rows = banded_cache.rows("train")
    scans = [np.array(grid) for grid in banded_cache.grids[rows]]
    plain = some_bundle(banded_cache)
    looks = tuple(first_look(scan) for scan in scans)
    known = answer_rows(plain, banded_cache, rows, split="train", looks=looks)
    calibration = calibrate(known, known, Promises(), split_fingerprint="f", created="now")
    bundle = some_bundle(banded_cache, calibration=calibration)
    together = predictions_of(calibration, known, [str(row) for row in rows])
    alone = deciding(bundle)(scans[:3])
    np.testing.assert_allclose(alone.probabilities, together.probabilities[:3], rtol=1e-5)
    assert alone.recommended.tolist() == together.decisions.recommended[:3].tolist()
    assert alone.refused.tolist() == together.decisions.refused[:3].tolist()


def test_first_looks_are_of_the_scans_themselves(banded_folder):
    from tumorscope.data.preprocess import Preprocessing
    from tumorscope.data.sources import index_source

    manifest = index_source(banded_folder)
    looks = first_looks(manifest, np.array([0, 1]), Preprocessing())
    assert len(looks) == 2
    assert looks[0].numbers.shape == (20,)
