"""`tumorscope calibrate MODEL --on DATA`: a model's promises on labelled scans of another place."""

import csv
import json

import numpy as np
import pytest
from command_line import invoke

from tumorscope.data.phantom import write_phantom
from tumorscope.errors import EvaluationError, OutputError, UsageError
from tumorscope.evaluation.answered import Answered
from tumorscope.evaluation.calibrate import calibrate
from tumorscope.evaluation.familiarity_fit import moved_acceptance
from tumorscope.manifest import read_manifest
from tumorscope.models.bundle import load_bundle
from tumorscope.predict import Predictor
from tumorscope.training.recipe import Promises


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A calibrated CNN, and scans of other patients from another scanner."""
    folder = tmp_path_factory.mktemp("local")
    data = write_phantom(folder / "own", patients_per_label=12, slices_per_patient=2, image_size=64).root
    small = ("--image-size", "64", "--epochs", "2", "--init", "none", "--models", "cnn", "--recipe", "phantom")
    other = write_phantom(
        folder / "elsewhere", patients_per_label=20, slices_per_patient=1, image_size=64, seed=9, scanners="swapped"
    ).root
    assert invoke("run", "--data", data, "--test", other / "manifest.csv", "--out", folder / "run", *small).exit_code == 0
    return folder


@pytest.fixture(scope="module")
def calibrated(place):
    model, out = place / "run" / "cnn", place / "here"
    assert invoke("calibrate", model, "--on", place / "elsewhere" / "manifest.csv", "-o", out).exit_code == 0
    return out


def test_the_copy_has_the_same_weights_and_promises_of_the_new_place(place, calibrated):
    model = place / "run" / "cnn"
    assert (calibrated / "model.safetensors").read_bytes() == (model / "model.safetensors").read_bytes()
    fitted = load_bundle(calibrated).calibration.fitted_on
    assert (fitted["split"], fitted["n"], fitted["groups"]) == ("local", 80, 80)
    assert "Fitted on 80 labelled images that were given for it" in fitted["sentences"][0]
    path = place / "elsewhere" / read_manifest(place / "elsewhere" / "manifest.csv").records[0].path
    before, after = Predictor.load(model).predict(path), Predictor.load(calibrated).predict(path)
    assert after.prediction_set is not None
    assert after.model.calibrated
    assert before.model.weights_sha256 == after.model.weights_sha256


def test_what_it_promises_is_tested_on_images_that_it_was_not_fitted_on(calibrated):
    found = json.loads((calibrated / "local_calibration.json").read_text())
    tested = found["tested"]
    assert tested["n"] == found["n"] == 80
    assert tested["coverage"] > 0.8, "asked: 0.95, and 80 images vary by 0.05"
    assert 1 <= tested["set_size"] <= 4


def test_the_same_command_may_be_given_again_and_other_content_is_kept(place, calibrated, tmp_path):
    model, on = place / "run" / "cnn", ("--on", place / "elsewhere" / "manifest.csv")
    assert invoke("calibrate", model, *on, "-o", calibrated, "--level", "0.99").exit_code == 0
    assert json.loads((calibrated / "bundle.json").read_text())["calibration"]["level"] == 0.99
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputError, match="not empty"):
        invoke("calibrate", model, *on, "-o", tmp_path)
    with pytest.raises(OutputError, match="the model itself"):
        invoke("calibrate", model, *on, "-o", model)


def test_images_that_the_model_has_seen_and_tumours_of_unstated_type_are_left_out(place, tmp_path):
    seen = read_manifest(place / "run" / "manifest.csv").where(lambda record: record.split == "train")
    elsewhere = read_manifest(place / "elsewhere" / "manifest.csv")
    rows = [(seen.locate(record.path), record.label) for record in seen.records[:5]]
    rows += [(elsewhere.locate(record.path), record.label) for record in elsewhere.records[:12]]
    rows.append((elsewhere.locate(elsewhere.records[-1].path), "tumour"))
    with (tmp_path / "mixed.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label"), *((str(path), label) for path, label in rows)])
    result = invoke("calibrate", place / "run" / "cnn", "--on", tmp_path / "mixed.csv", "-o", tmp_path / "out")
    found = json.loads((tmp_path / "out" / "local_calibration.json").read_text())
    assert (found["n"], found["left_out"]) == (12, 6)
    assert "Only 12 images" in " ".join(found["sentences"])
    assert result.exit_code == 0
    own = tmp_path / "own.csv"
    own.write_text("path,label\n" + "".join(f"{path},{label}\n" for path, label in rows[:5]))
    with pytest.raises(EvaluationError, match="no labelled image that the model has not seen"):
        invoke("calibrate", place / "run" / "cnn", "--on", own, "-o", tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_card_says_which_test_images_fitted_the_calibration(place, calibrated):
    own = invoke("card", place / "run" / "cnn").stdout
    assert "the external set elsewhere" in own
    assert "fitted on 80 of them" not in own
    copy = invoke("card", calibrated, "--evidence", place / "run").stdout
    assert "Fitted on 80 labelled images" in copy
    assert "The calibration of the card's model was fitted on 80 of them." in copy


def test_a_copy_inside_a_run_is_refused(place):
    with pytest.raises(OutputError, match="inside a run"):
        invoke("calibrate", "bundled", "--on", place / "elsewhere" / "manifest.csv", "-o", place / "run" / "here")


def test_on_and_output_belong_together(place):
    with pytest.raises(UsageError, match="belong together"):
        invoke("calibrate", place / "run" / "cnn", "--on", place / "elsewhere" / "manifest.csv")


def answers(n, *, seed, moved=0.0):
    rng = np.random.default_rng(seed)
    features = rng.normal(moved, 1.0, (n, 8)).astype(np.float32)

    class Look:
        reason = ""

        def __init__(self):
            self.numbers = rng.normal(moved, 1.0, 20).astype(np.float32)

    looks = tuple(Look() for _ in range(n))
    labels = rng.integers(0, 4, n)
    logits = (np.eye(4)[labels] * 3 + rng.normal(0, 1, (n, 4))).astype(np.float32)
    return Answered(features, logits, labels, "local", groups=("",) * n, looks=looks)


def test_limits_move_to_where_the_new_images_lie_and_nothing_else_does():
    known = calibrate(answers(400, seed=0), answers(200, seed=1), Promises(), split_fingerprint="", created="").acceptance
    here = answers(200, seed=2, moved=1.0)
    moved = moved_acceptance(known, here, kept_share=0.9)
    new = answers(2000, seed=3, moved=1.0)
    refused = [(one.strangeness(new.look_numbers, new.features, new.logits) > 1).mean() for one in (known, moved)]
    assert refused[0] > 0.5
    assert refused[1] < 0.15
    for name, values in known.features.arrays.items():
        np.testing.assert_array_equal(moved.features.arrays[name], values)


def test_few_images_leave_the_limits_as_they_were_and_say_so():
    known = calibrate(answers(400, seed=0), answers(200, seed=1), Promises(), split_fingerprint="", created="").acceptance
    few = calibrate(known, answers(30, seed=2), Promises(), split_fingerprint="", created="")
    assert few.acceptance is known
    assert any("that limit is the old one" in sentence for sentence in few.fitted_on["sentences"])
    many = calibrate(known, answers(60, seed=2), Promises(), split_fingerprint="", created="")
    assert many.acceptance is not known
    assert not any("the old one" in sentence for sentence in many.fitted_on["sentences"])
