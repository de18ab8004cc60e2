"""The public sets as they lie on disk: every layout that the issue names, on real images."""

import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tumorscope.data.decode import decode_record, read_mask
from tumorscope.data.packing import pack_npz
from tumorscope.data.sources import index_source, recognise
from tumorscope.data.split import split_folds, split_manifest
from tumorscope.manifest import Manifest

pytestmark = pytest.mark.real

DATA = Path(__file__).resolve().parents[2] / "../shared/data"


@pytest.fixture(scope="module")
def nickparvar() -> Manifest:
    return index_source(DATA / "nickparvar")


@pytest.fixture(scope="module")
def blocked() -> Manifest:
    return index_source(DATA / "blocked.csv")


def test_nickparvar_is_read_whole_and_recognised(nickparvar):
    assert len(nickparvar) == 7019
    assert list(nickparvar.counts("test").values()) == [300, 306, 405, 300]
    assert recognise(nickparvar) == "nickparvar"
    assert len(nickparvar) - len({record.sha256 for record in nickparvar}) == 426


def test_nickparvar_packed_is_the_same_data_and_the_same_split(nickparvar, tmp_path):
    split = split_manifest(nickparvar)
    pack_npz(split, tmp_path)
    back = index_source(tmp_path)
    assert back.data_fingerprint == nickparvar.data_fingerprint
    assert back.split_fingerprint == split.split_fingerprint


def test_seven_thousand_images_are_split_in_seconds(nickparvar):
    started = time.process_time()
    split = split_manifest(nickparvar)
    assert time.process_time() - started < 5
    for label, total in nickparvar.counts("train").items():
        assert abs(split.counts("validation")[label] - total / 10) <= 3, label


def test_copies_in_training_stay_on_one_side_of_the_cut(nickparvar):
    sides: dict[str, set[str]] = {}
    for record in split_manifest(nickparvar):
        if record.split != "test":
            sides.setdefault(record.sha256, set()).add(record.split)
    assert all(len(found) == 1 for found in sides.values())


def test_the_folds_of_cheng_and_br35h_are_used_and_test_each_image_once(blocked):
    parts = split_folds(blocked, folds=5)
    tested = Counter(record.path for part in parts for record in part if record.split == "test")
    assert len(tested) == len(blocked) == 4564
    assert set(tested.values()) == {1}
    assert sum(parts[4].counts("test").values()) - parts[4].counts("test")["notumor"] == 612


def test_the_outlines_of_cheng_lie_in_their_scans(blocked):
    outlined = [record for record in blocked if record.mask]
    assert len(outlined) == 3064
    shares, brighter = [], []
    for record in outlined[::60]:
        scan = decode_record(blocked, record)
        mask = read_mask(blocked, record, scan.shape)
        assert mask.any()
        brighter.append(scan.pixels[mask].mean() > scan.pixels[~mask].mean())
        shares.append(mask.mean())
    assert np.mean(brighter) > 0.9
    assert 0.008 < np.median(shares) < 0.02


def test_tumours_of_unstated_type_are_read_from_other_sources():
    cross = index_source(DATA / "cross-source.csv")
    assert cross.unstated == 201
    assert {record.source for record in cross} == {"br35h", "sartaj"}
