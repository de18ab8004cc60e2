import json
import shutil

import pytest
from command_line import invoke

from tumorscope.data.phantom import write_phantom
from tumorscope.errors import BundleError, EvaluationError, UsageError
from tumorscope.predictions import read_predictions


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("calibrated")
    data = write_phantom(folder / "set", patients_per_label=12, slices_per_patient=2, image_size=64).root
    small = ("--image-size", "64", "--epochs", "2", "--init", "none")
    assert invoke("run", "--data", data, "--out", folder / "run", "--models", "cnn", "--recipe", "phantom", *small).exit_code == 0
    return folder / "run"


@pytest.fixture
def run(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


def bundle_of(run) -> dict:
    return json.loads((run / "cnn" / "bundle.json").read_text())


def test_a_run_calibrates_tests_and_tells(finished):
    fitted = bundle_of(finished)["calibration"]["fitted_on"]
    assert fitted["split"] == "calibration"
    assert fitted["n"] == sum(fitted["per_label"].values()) > 0
    decisions = read_predictions(finished / "cnn" / "predictions.csv").decisions
    assert decisions is not None
    assert decisions.prediction_sets.any(axis=1).all()
    for name in ("trust.json", "robustness.json", "calibration_answers.npz"):
        assert (finished / "cnn" / name).is_file()
    assert "How far can you trust it?" in (finished / "trust.html").read_text()
    assert "trust.html beside this page" in (finished / "report.html").read_text()


def test_other_promises_change_the_bundle_and_the_answers_but_no_weights(run):
    before = bundle_of(run)
    assert invoke("calibrate", run, "--level", "0.99", "--conditional", "--sensitivity", "0.9", "--sample", "4").exit_code == 0
    after = bundle_of(run)
    assert after["weights_sha256"] == before["weights_sha256"]
    assert (after["calibration"]["level"], after["calibration"]["conditional"]) == (0.99, True)
    assert after["calibration"]["operating_point"]["target"] == 0.9
    metrics = json.loads((run / "cnn" / "metrics.json").read_text())
    assert metrics["calibrated"] == after["calibration"]["fitted_on"]["created"]


def test_a_promise_out_of_range_is_named_and_keeps_the_old_one(run):
    before = bundle_of(run)
    with pytest.raises(UsageError, match=r"level.*0\.95"):
        invoke("calibrate", run, "--level", "0.5")
    assert bundle_of(run) == before


def test_a_damaged_calibration_is_refused_and_can_be_fitted_anew(run):
    content = bundle_of(run)
    del content["calibration"]["quantiles"]
    (run / "cnn" / "bundle.json").write_text(json.dumps(content))
    (run / "cnn" / "metrics.json").unlink()
    with pytest.raises(BundleError, match="Calibrate the model again"):
        invoke("evaluate", run)
    assert invoke("calibrate", run, "--sample", "4").exit_code == 0
    assert set(bundle_of(run)["calibration"]["quantiles"]) == {"0.90", "0.95", "0.99"}


def test_a_manifest_that_is_another_is_refused(run):
    text = (run / "manifest.csv").read_text()
    (run / "manifest.csv").write_text(text.replace(",calibration,", ",train,", 1))
    with pytest.raises(EvaluationError, match="trained from another manifest or split"):
        invoke("calibrate", run)
