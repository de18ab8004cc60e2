import json

import numpy as np
import pytest

from tumorscope.data.first_look import FirstLook
from tumorscope.errors import BundleError, EvaluationError
from tumorscope.models.acceptance import Acceptance
from tumorscope.models.calibration import Calibration
from tumorscope.models.calibration_files import made_from, read_calibration, write_calibration
from tumorscope.models.familiarity import MAHALANOBIS, NORMALISED_MAHALANOBIS, Familiarity

QUANTILES = {"marginal": 0.4, "per_label": {"glioma": 0.9, "meningioma": None, "notumor": 0.2, "pituitary": 0.5}}


def distance(method: str, size: int, *, rest: float = 1.0) -> Familiarity:
    arrays = {
        "means": np.eye(4, size, dtype=np.float32),
        "basis": np.eye(size, 2, dtype=np.float32),
        "variances": np.ones(2, dtype=np.float32),
        "rest": np.full(1, rest, dtype=np.float32),
    }
    return Familiarity(method, arrays, -0.5, {"fitted_images": 9})


def acceptance(*, rest: float = 1.0) -> Acceptance:
    return Acceptance(looks=distance(MAHALANOBIS, 20), features=distance(NORMALISED_MAHALANOBIS, 6, rest=rest))


LOOKS = tuple(FirstLook(numbers, "") for numbers in np.eye(2, 20, dtype=np.float32))


def calibration(**changes) -> Calibration:
    values = {
        "temperature": 2.0,
        "quantiles": {"0.90": QUANTILES, "0.95": QUANTILES},
        "operating_point": {"threshold": 0.25, "target": 0.99},
        "label_points": {"glioma": {"threshold": 0.5, "target": 0.99}, "meningioma": None},
        "costs": tuple(tuple(float(a != b) for a in range(4)) for b in range(4)),
        "acceptance": acceptance(),
        "fitted_on": {"split": "calibration", "n": 10, "created": "2026-01-01T00:00:00+00:00"},
    }
    return Calibration(**(values | changes))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "bundle.json").write_text(json.dumps({"weights_sha256": "w", "calibration": None}))
    return tmp_path


def stored(folder) -> dict:
    return json.loads((folder / "bundle.json").read_text())


def test_without_calibration_the_softmax_answers_and_nothing_is_refused(folder):
    plain = read_calibration(folder, stored(folder))
    assert not plain.is_fitted
    decisions = plain.decide(np.array([[np.log(6), np.log(2), np.log(1), np.log(1)]]), np.zeros((1, 6)), ())
    np.testing.assert_allclose(decisions.probabilities, [[0.6, 0.2, 0.1, 0.1]])
    assert decisions.prediction_sets is decisions.familiarity is None
    assert (decisions.recommended.tolist(), decisions.refused.tolist()) == ([0], [False])


def test_a_calibration_read_back_decides_the_same(folder):
    written = calibration()
    write_calibration(written, folder)
    again = read_calibration(folder, stored(folder))
    logits, features = np.array([[3.0, 1.0, 0.0, 2.0], [0.0, 0.0, 5.0, 0.0]]), np.eye(2, 6)
    one, two = (one.decide(logits, features, LOOKS) for one in (written, again))
    for name in ("probabilities", "prediction_sets", "recommended", "familiarity", "refused", "reasons"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
    assert again.to_json() == written.to_json()
    assert made_from(stored(folder)) == {"weights_sha256": "w", "calibrated": "2026-01-01T00:00:00+00:00"}


def test_a_second_calibration_leaves_one_file_of_arrays(folder):
    write_calibration(calibration(), folder)
    write_calibration(calibration(acceptance=acceptance(rest=3)), folder)
    assert len(list(folder.glob("calibration-*.safetensors"))) == 1
    assert read_calibration(folder, stored(folder)).acceptance.features.arrays["rest"][0] == 3
    write_calibration(calibration(acceptance=None), folder)
    assert not list(folder.glob("calibration-*.safetensors"))


def test_altered_or_missing_arrays_are_refused(folder):
    write_calibration(calibration(), folder)
    [path] = folder.glob("calibration-*.safetensors")
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(BundleError, match="not the file that"):
        read_calibration(folder, stored(folder))
    path.unlink()
    with pytest.raises(BundleError, match="cannot be read"):
        read_calibration(folder, stored(folder))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"temperature": 0.0}, "temperature of 0.0"),
        ({"temperature": float("nan")}, "temperature of nan"),
        ({"scales": (1.0, 2.0)}, "scales"),
        ({"level": 0.5}, "level 0.5"),
    ],
)
def test_numbers_that_mean_nothing_are_refused(changes, message):
    with pytest.raises(BundleError, match=message):
        calibration(**changes)


def test_a_calibration_that_lacks_something_is_refused(folder):
    write_calibration(calibration(), folder)
    content = stored(folder)
    del content["calibration"]["quantiles"]
    with pytest.raises(BundleError, match="incomplete or altered"):
        read_calibration(folder, content)


def test_logits_with_nan_and_levels_that_were_not_fitted_are_refused():
    with pytest.raises(EvaluationError, match="NaN"):
        calibration().decide(np.array([[np.nan, 0, 0, 0]]), np.zeros((1, 6)), LOOKS[:1])
    with pytest.raises(EvaluationError, match=r"level 0\.99"):
        calibration().sets(np.full((1, 4), 0.25), level=0.99)


def test_the_operating_point_comes_before_the_most_probable_label():
    decisions = calibration(temperature=1.0).decide(
        np.log([[0.05, 0.2, 0.7, 0.05], [0.05, 0.1, 0.8, 0.05]]), np.zeros((2, 6)), LOOKS
    )
    assert decisions.probabilities.argmax(axis=1).tolist() == [2, 2]
    assert decisions.recommended.tolist() == [1, 2]


def test_what_cannot_be_a_head_is_refused_with_its_own_reason():
    looks = (LOOKS[0], FirstLook(LOOKS[1].numbers, "blank: all pixels have the same grey level"))
    decisions = calibration().decide(np.zeros((2, 4)), np.eye(2, 6), looks)
    assert decisions.refused.tolist() == [False, True]
    assert decisions.reasons[1].startswith("blank")
    assert decisions.familiarity[1] >= 0
