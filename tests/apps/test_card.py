"""`tumorscope card` on runs: what may be evidence, and what is refused."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from command_line import invoke
from PIL import Image

from tumorscope.apps.card_evidence import _explained
from tumorscope.apps.collect import pool_folds
from tumorscope.apps.console import Reporter
from tumorscope.apps.experiment import Choices, fold_folders, store
from tumorscope.apps.run_folder import RunFolder
from tumorscope.apps.stages import Stages
from tumorscope.data.sources import index_source
from tumorscope.errors import EvaluationError
from tumorscope.explanation.content import write_images
from tumorscope.explanation.summary import MeasuredImage
from tumorscope.labels import LABELS
from tumorscope.models.bundle_files import read_bundle_json
from tumorscope.models.calibration_files import made_from
from tumorscope.training.recipe import load_recipe


def card(*arguments):
    return invoke("card", *arguments).stdout


def finished(out, manifest, *, folds=None, evaluated=True, epochs=1, seed=None):
    """A run of one small CNN, trained and evaluated, without audit, maps and report."""
    recipe = load_recipe("phantom").changed(epochs=epochs, image_size=64, seed=seed)
    folder = RunFolder.at(out)
    store(folder, manifest, Choices(data=out, out=out, models=("cnn",), recipe=recipe, init="none", folds=folds))
    for part in fold_folders(folder):
        stages = Stages(part, Reporter(), "cpu")
        stages.train("cnn", "none")
        if evaluated:
            stages.evaluate("cnn")
    if folds:
        pool_folds(folder)
    return out


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """32 pictures, eight of every label, a quarter of them for testing."""
    root = tmp_path_factory.mktemp("scans")
    for number in range(32):
        folder = root / ("Testing" if number % 16 >= 12 else "Training") / LABELS[number % 4]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 255, (64, 64), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return index_source(root)


@pytest.fixture(scope="module")
def runs(scans, tmp_path_factory):
    """Two folds, and a model of the same recipe that has seen every image."""
    place = tmp_path_factory.mktemp("runs")
    finished(place / "folds", scans, folds=2)
    records = [replace(one, split="validation" if one.split == "test" else "train") for one in scans]
    finished(place / "all", scans.with_records([*records[1:], replace(records[0], split="train")]), evaluated=False)
    return place


def test_numbers_of_folds_stand_in_for_a_model_that_has_seen_everything(runs, tmp_path):
    card(runs / "all" / "cnn", "--evidence", runs / "folds", "-o", tmp_path / "CARD.md")
    text = (tmp_path / "CARD.md").read_text()
    pooled = json.loads((runs / "folds" / "cnn" / "metrics.json").read_text())
    assert "answered by 2 sister models" in text
    assert f"has seen {len(read_bundle_json(runs / 'all' / 'cnn')['trained_on'])} of these 32 images in training" in text
    assert f"| Accuracy | {pooled['accuracy']:.3f}" in text
    assert "random weights (trained from scratch)" in text
    assert str(runs) not in text


def test_a_model_shows_its_own_results_where_no_evidence_is_given(runs):
    own = card(runs / "folds" / "fold-0" / "cnn")
    assert "answered by this very model" in own
    assert "fold 0 of a cross-validation" in own
    assert "No groups are known" in own
    assert "has seen none of them" in own
    assert "nothing is known of how well" in card(runs / "all" / "cnn")


def test_planes_come_from_an_explanation_of_these_weights_and_answers_and_of_no_others(runs, tmp_path):
    run = shutil.copytree(runs / "folds", tmp_path / "folds")
    for number, plane in enumerate(("axial", "coronal")):
        model = run / f"fold-{number}" / "cnn"
        right, wrong = (
            MeasuredImage(f"{k}.png", "glioma", called, 0.5, plane=plane) for k, called in enumerate(("glioma", "notumor"))
        )
        write_images([right, wrong] if plane == "axial" else [wrong], model / "explained_images.csv")
        stamp = {**made_from(read_bundle_json(model)), "split": "test", "limit": None}
        (model / "explanation.json").write_text(json.dumps({"made_from": stamp}))
    text = card(runs / "all" / "cnn", "--evidence", run)
    assert "right answers by plane is that of coronal: 0.000" in text
    for other in ({"weights_sha256": "0"}, {"calibrated": "2020-01-01T00:00:00+00:00"}):
        (model / "explanation.json").write_text(json.dumps({"made_from": {**stamp, **other}}))
        assert "plane" not in card(runs / "all" / "cnn", "--evidence", run)


def test_an_explanation_of_before_stands_for_a_model_that_was_never_calibrated(tmp_path):
    stamp = {"weights_sha256": "w", "split": "test", "limit": None}
    (tmp_path / "cnn").mkdir()
    (tmp_path / "cnn" / "explanation.json").write_text(json.dumps({"made_from": stamp}))

    class Found:
        name, parts = "cnn", (RunFolder.at(tmp_path),)

    for calibration, stands in ((None, True), ({"fitted_on": {"created": "2026-01-01T00:00:00+00:00"}}, False)):
        Found.contents = ({"weights_sha256": "w", "calibration": calibration},)
        assert _explained(Found) is stands


def test_evidence_of_another_recipe_is_refused_by_the_name_of_the_difference(runs, scans, tmp_path):
    with pytest.raises(EvaluationError, match=r"cnn\.epochs is 2, not 1"):
        card(runs / "all" / "cnn", "--evidence", finished(tmp_path / "other", scans, epochs=2))


def test_another_seed_is_the_same_recipe_and_is_said(runs, scans, tmp_path):
    assert "(seed 5)" in card(runs / "all" / "cnn", "--evidence", finished(tmp_path / "seed", scans, seed=5))


def test_evidence_that_was_tested_on_training_images_or_their_patients_is_refused(runs, scans, tmp_path):
    train, test = (next(one for one in scans if one.split == split) for split in ("train", "test"))
    mates = scans.with_records(replace(one, group="p") if one in (test, train) else one for one in scans)
    with pytest.raises(EvaluationError, match=r"1 of 8 test images have a patient or slice in training.*leak-free"):
        card(runs / "all" / "cnn", "--evidence", finished(tmp_path / "mates", mates))
    image = tmp_path / "copy.png"
    shutil.copy(scans.locate(train.path), image)
    copies = scans.with_records([*scans, replace(train, path=str(image), split="test")])
    with pytest.raises(EvaluationError, match="1 of 9 test images have pixels that were in training"):
        card(runs / "all" / "cnn", "--evidence", finished(tmp_path / "copies", copies))


def test_evidence_without_results_or_of_another_network_is_refused(runs):
    other = runs / "all" / "mobilenet_v2"
    for place, message in (
        (runs / "all", "no evaluated cnn"),
        (runs, "neither a run"),
        (other, "network is mobilenet_v2, not cnn"),
    ):
        with pytest.raises(EvaluationError, match=message):
            card(runs / "all" / "cnn", "--evidence", place)


def test_results_of_other_weights_are_refused(runs, tmp_path):
    run = shutil.copytree(runs / "folds", tmp_path / "folds")
    path = run / "fold-1" / "cnn" / "metrics.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "weights_sha256": "0"}))
    with pytest.raises(EvaluationError, match="other weights"):
        card(runs / "all" / "cnn", "--evidence", run)
