from pathlib import Path

import numpy as np

from tumorscope.evaluation.twin_free import summarise_part, twin_free_rows
from tumorscope.manifest import TWIN_IN_TRAIN, Manifest, Record
from tumorscope.predictions import Predictions


def answers():
    """Four gliomas; the first two, which have twins, are right, the third is right, the fourth is not."""
    probabilities = np.eye(4)[[0, 0, 0, 2]]
    return Predictions(tuple("abcd"), np.zeros(4, dtype=np.int64), probabilities)


def images(flagged):
    records = tuple(
        Record(path=path, label="glioma", split="test", flags=(TWIN_IN_TRAIN,) if path in flagged else ()) for path in "abcd"
    )
    return Manifest(root=Path(), records=records)


def test_only_images_without_a_twin_count():
    rows = twin_free_rows(answers(), images("ab"))
    part = summarise_part(answers(), rows, groups=[""] * 4, seed=0)
    assert (part["n"], part["accuracy"], part["missed_tumours"]) == (2, 0.5, 1)
    assert part["intervals"]["groups"] == 2


def test_without_flags_there_is_nothing_to_tell_apart():
    assert twin_free_rows(answers(), images("")) is None


def test_when_every_image_has_a_twin_nothing_is_left_to_measure():
    rows = twin_free_rows(answers(), images("abcd"))
    assert summarise_part(answers(), rows, groups=[""] * 4, seed=0) is None
