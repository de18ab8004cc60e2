import csv
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from tumorscope.apps.label_page import write_label_issues
from tumorscope.labels import LABELS
from tumorscope.manifest import Manifest, Record
from tumorscope.predictions import Predictions


@pytest.fixture
def doubted(tmp_path):
    """80 pictures and a sure model; the label of picture 3 is `glioma`, which the model calls `pituitary`."""
    truth = np.tile(np.arange(4), 20)
    labels = truth.copy()
    labels[3] = 0
    probabilities = np.full((80, 4), 0.02)
    probabilities[np.arange(80), truth] = 0.94
    for number in range(80):
        Image.fromarray(np.full((20, 20), 3 * number, dtype=np.uint8)).save(tmp_path / f"{number}.png")
    records = tuple(Record(f"{number}.png", LABELS[label]) for number, label in enumerate(labels))
    return Predictions(tuple(record.path for record in records), labels, probabilities), Manifest(tmp_path, records)


def test_labels_in_doubt_become_a_table_and_a_page_of_pictures_and_nothing_is_changed(doubted, tmp_path):
    predictions, manifest = doubted
    before = tuple(replace(record) for record in manifest)
    assert write_label_issues(predictions, manifest, tmp_path / "cnn", model="cnn") == 1
    with (tmp_path / "cnn" / "label_issues.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["path"], row["label"], row["predicted"]) for row in rows] == [("3.png", "glioma", "pituitary")]
    assert (float(rows[0]["p_label"]), float(rows[0]["p_predicted"])) == (0.02, 0.94)
    page = (tmp_path / "cnn" / "label_issues.html").read_text()
    assert "1 of 80 labels are in doubt. Nothing was changed." in page
    assert page.count("<img ") == 1
    assert "http" not in page.replace("http-equiv", "")
    assert manifest.records == before


def test_when_nothing_is_in_doubt_the_page_says_so(doubted, tmp_path):
    predictions, manifest = doubted
    agreed = replace(predictions, label_index=np.tile(np.arange(4), 20))
    assert write_label_issues(agreed, manifest, tmp_path / "cnn", model="cnn") == 0
    assert "None was found." in (tmp_path / "cnn" / "label_issues.html").read_text()
    assert (tmp_path / "cnn" / "label_issues.csv").read_text() == "path,label,predicted,p_label,p_predicted\n"
