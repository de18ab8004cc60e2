import json
from dataclasses import replace

import numpy as np
import pytest

from tumorscope.evaluation.calibrate import calibrate
from tumorscope.evaluation.coverage_theory import coverage_band
from tumorscope.evaluation.evaluate import predictions_of
from tumorscope.evaluation.trust import as_tested, measured_trust, other_draws, pooled, theory_band
from tumorscope.labels import LABELS
from tumorscope.training.recipe import Promises


def answered_by(answered, *, seed, n=600, held=500):
    calibration = calibrate(
        answered(split="train"), answered(held, seed=seed), Promises(), split_fingerprint="f", created=f"day {seed}"
    )
    new = answered(n, seed=seed + 100, split="test")
    predictions = predictions_of(calibration, new, [f"{seed}/{i}.png" for i in range(n)])
    parts = {"class": tuple(LABELS[i] for i in new.label_index), "plane": tuple("axial" if i % 3 else "" for i in range(n))}
    return calibration, as_tested(calibration, predictions, new.logits, groups=new.groups, parts=parts)


def test_what_was_promised_is_measured_on_all_images_and_on_those_without_a_twin(answered):
    calibration, tested = answered_by(answered, seed=1)
    free = np.arange(600) % 2 == 0
    content = measured_trust(tested, twin_free=free)
    json.dumps(content, allow_nan=False)
    everything, few = content["all"], content["twin_free"]
    assert (everything["n"], few["n"]) == (600, 300)
    assert (everything["groups"], few["groups"]) == (300, 300)
    before, after = (everything["calibration"][when]["top_label"]["equal_mass"]["ece"] for when in ("before", "after"))
    assert after < 0.7 * before
    assert len(everything["sets"]) == 6
    for row in everything["sets"]:
        if not row["conditional"]:
            low, high = row["band"]
            assert low <= row["coverage"]["by_image"]["value"] <= high
    wide = next(row for row in everything["sets"] if row["promised"] == 0.95 and not row["conditional"])
    assert wide["band"] == pytest.approx(list(coverage_band(500, 600, 0.95)))
    found = everything["operating_point"]["sensitivity"]["value"]
    tumours = tested.predictions.label_index != LABELS.index("notumor")
    called = tested.predictions.decisions.recommended != LABELS.index("notumor")
    assert found == pytest.approx(called[tumours].mean())
    glioma = tested.predictions.label_index == LABELS.index("glioma")
    alone = everything["label_points"]["glioma"]
    assert alone["sensitivity"]["value"] == pytest.approx(tested.reached["glioma"][glioma].mean())
    assert alone["specificity"]["value"] == pytest.approx(1 - tested.reached["glioma"][~glioma].mean())
    assert {row["by"] for row in everything["subgroups"]} == {"all", "class", "plane"}
    assert 0 <= everything["refused"] <= 0.12
    assert calibration.fitted_on["n"] == 500


def test_without_twins_to_tell_apart_there_is_one_part(answered):
    _, tested = answered_by(answered, seed=1)
    assert measured_trust(tested)["twin_free"] is None
    assert measured_trust(tested, twin_free=np.zeros(600, dtype=bool))["twin_free"] is None


def test_folds_are_pooled_image_by_image(answered):
    folds = [answered_by(answered, seed=seed, n=n, held=300)[1] for seed, n in ((1, 200), (2, 400))]
    folds[1] = replace(folds[1], parts={"class": folds[1].parts["class"]})
    joined = pooled(folds)
    assert joined.parts["plane"][200:] == ("",) * 400
    assert len(joined.predictions) == len(joined.groups) == len(joined.before) == 600
    assert joined.predictions.decisions.familiarity is None
    content = measured_trust(joined)["all"]
    parts = [measured_trust(fold)["all"]["operating_point"]["sensitivity"] for fold in folds]
    tumours = [(fold.predictions.label_index != LABELS.index("notumor")).sum() for fold in folds]
    weighted = sum(part["value"] * n for part, n in zip(parts, tumours, strict=True)) / sum(tumours)
    assert content["operating_point"]["sensitivity"]["value"] == pytest.approx(weighted)


def test_the_band_of_several_models_is_that_of_one_where_there_is_one_and_narrower_where_they_average():
    one = theory_band(np.zeros(1000, dtype=np.int64), [200], 0.9)
    assert one == pytest.approx(list(coverage_band(200, 1000, 0.9)))
    several = theory_band(np.repeat(np.arange(4), 250), [200, 201, 202, 203], 0.9, seed=3)
    assert one[0] < several[0] < 0.9 < several[1] < one[1]
    assert theory_band(np.repeat(np.arange(4), 250), [200] * 4, 0.9) == pytest.approx(several, abs=0.005)
    small = theory_band(np.repeat(np.arange(2), 500), [5, 200], 0.9)
    assert small[1] <= 1


def test_the_band_of_several_models_takes_the_rank_that_their_quantiles_have():
    drawn = theory_band(np.repeat(np.arange(2), 100_000), [99, 99], 0.9)
    middle = theory_band(np.repeat(np.arange(40), 5_000), [99] * 40, 0.9)
    assert np.mean(middle) == pytest.approx(0.9, abs=0.004)  # rank 90 of 99, not 91
    assert drawn[0] < middle[0]


def test_other_draws_of_the_calibration_images_agree_with_theory(answered):
    calibration, tested = answered_by(answered, seed=4)
    found = other_draws(calibration, answered(500, seed=4), tested)
    assert set(found) == {"0.90", "0.95", "0.99"}
    assert found["0.90"]["coverage"]["mean"] == pytest.approx(0.90, abs=0.02)
