"""The command line on real images, small enough for every commit; the figures in the notes come from whole runs."""

import json
from pathlib import Path

import numpy as np
import pytest

from tumorscope.data.pixel_cache import build_pixel_cache
from tumorscope.data.preprocess import Preprocessing
from tumorscope.data.sources import index_source, recognise
from tumorscope.data.split import split_manifest
from tumorscope.evaluation.lookup import lookup_predictions
from tumorscope.manifest import read_manifest

pytestmark = pytest.mark.real

SHARED = Path(__file__).resolve().parents[3] / "shared"
NICKPARVAR = SHARED / "data" / "nickparvar"
WEIGHTS = SHARED / "weights" / "mobilenet_v2-imagenet.safetensors"


@pytest.fixture(scope="module")
def nickparvar():
    return index_source(NICKPARVAR)


def test_published_split_is_kept_and_its_copies_are_counted(nickparvar):
    split = split_manifest(nickparvar)
    assert len(split) == 7019
    assert list(split.counts("test").values()) == [300, 306, 405, 300]
    assert recognise(split) == "nickparvar"
    assert any("216 of 1311 test images have exactly the pixels" in note for note in split.notes)


def test_look_up_without_training_scores_what_others_train_for(nickparvar, tmp_path):
    """0.959 was measured independently of this code."""
    cache = build_pixel_cache(nickparvar, Preprocessing(), tmp_path)
    train, test = cache.rows("train"), cache.rows("test")
    found = lookup_predictions(
        cache.grids[train],
        cache.label_index[train],
        test_grids=cache.grids[test],
        test_paths=[nickparvar.records[row].path for row in test],
        test_label_index=cache.label_index[test],
    )
    assert np.mean(found.correct) == pytest.approx(0.959, abs=0.003)


def test_fine_tuning_beats_chance_within_three_epochs_on_a_few_images(tumorscope, tmp_path):
    out = tmp_path / "run"
    arguments = ["run", "--data", NICKPARVAR, "--out", out, "--init", WEIGHTS, "--models", "mobilenet_v2"]
    small = ["--recipe", "plain", "--limit", "60", "--image-size", "96", "--epochs", "3"]
    assert tumorscope(*arguments, *small)[0] == 0
    metrics = json.loads((out / "mobilenet_v2" / "metrics.json").read_text())
    assert metrics["n"] == 240
    assert metrics["accuracy"] > 0.45
    assert read_manifest(out / "manifest.csv").data_fingerprint == metrics["data_fingerprint"]
    assert (out / "report.html").stat().st_size > 100_000
