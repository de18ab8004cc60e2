import json
from dataclasses import replace

import numpy as np
import pytest

from tumorscope.data.corruptions import STRENGTHS, corrupt
from tumorscope.data.preprocess import Preprocessing
from tumorscope.errors import DataError, EvaluationError
from tumorscope.evaluation.robustness import ALL, CLEAN, MEASURES, Answers, corrupted_answers, robustness_table
from tumorscope.labels import LABELS, UNSTATED_TUMOUR
from tumorscope.manifest import Record
from tumorscope.predictions import Decisions, Predictions
from tumorscope.scan import Scan

GLIOMA, MENINGIOMA, NOTUMOR, PITUITARY = range(4)
TRUTH = [GLIOMA, MENINGIOMA, PITUITARY, NOTUMOR, NOTUMOR]
SIZE = 32


def answers(called, *, sure=1.0, refused=None, truth=TRUTH) -> Answers:
    """Answers with the probability `sure` for what is called, the rest shared."""
    probabilities = np.full((len(called), 4), (1 - sure) / 3)
    probabilities[np.arange(len(called)), called] = sure
    paths = tuple(f"{row}.png" for row in range(len(called)))
    return Answers(Predictions(paths, np.array(truth), probabilities), None if refused is None else np.array(refused))


def row_of(rows, corruption, strength):
    return next(row for row in rows if (row["corruption"], row["strength"]) == (corruption, strength))


@pytest.fixture
def three_conditions():
    """Clean: all right. Blur 1: one glioma called meningioma. Blur 2: two tumours missed and a false alarm."""
    return {
        CLEAN: answers(TRUTH),
        ("blur", 1): answers([MENINGIOMA, MENINGIOMA, PITUITARY, NOTUMOR, NOTUMOR]),
        ("blur", 2): answers([NOTUMOR, NOTUMOR, PITUITARY, GLIOMA, NOTUMOR]),
    }


def test_five_images_give_the_numbers_worked_out_by_hand(three_conditions):
    rows = robustness_table(three_conditions)
    assert [(row["corruption"], row["strength"]) for row in rows] == [
        ("clean", 0),
        ("blur", 1),
        ("blur", 2),
        ("blur", None),
        (ALL, None),
    ]
    assert [row["accuracy"] for row in rows[:4]] == pytest.approx([1, 4 / 5, 2 / 5, 3 / 5])
    assert [row["tumour_sensitivity"] for row in rows[:4]] == pytest.approx([1, 1, 1 / 3, 2 / 3])
    assert [row["tumour_specificity"] for row in rows[:4]] == pytest.approx([1, 1, 1 / 2, 3 / 4])
    assert [row["ece"] for row in rows[:4]] == pytest.approx([0, 1 / 5, 3 / 5, 2 / 5])
    assert [row["accuracy_change"] for row in rows[:4]] == pytest.approx([0, -1 / 5, -3 / 5, -2 / 5])
    assert [row["tumour_sensitivity_change"] for row in rows[:4]] == pytest.approx([0, 0, -2 / 3, -1 / 3])
    assert {row["n"] for row in rows} == {5}


def test_the_last_row_is_the_mean_over_corruptions_and_not_over_conditions(three_conditions):
    rows = robustness_table({**three_conditions, ("crop", 1): answers(TRUTH)})
    assert rows[-1]["corruption"] == ALL
    assert rows[-1]["accuracy"] == pytest.approx((3 / 5 + 1) / 2)
    assert rows[-1]["accuracy_change"] == pytest.approx(-1 / 5)


def test_refusals_are_counted_and_what_is_kept_is_scored(three_conditions):
    three_conditions["blur", 2] = answers([NOTUMOR, NOTUMOR, PITUITARY, GLIOMA, NOTUMOR], refused=[True, False, False, True, False])
    rows = robustness_table(three_conditions)
    row = row_of(rows, "blur", 2)
    assert (row["refusal_rate"], row["accuracy_of_kept"]) == pytest.approx((2 / 5, 2 / 3))
    assert row["accuracy"] == pytest.approx(2 / 5)
    assert row["refusal_rate_change"] is None
    assert rows[0]["refusal_rate"] is row_of(rows, "blur", None)["refusal_rate"] is None


def test_when_everything_is_refused_nothing_is_kept():
    rows = robustness_table({CLEAN: answers(TRUTH, refused=[False] * 5), ("jpeg", 5): answers(TRUTH, refused=[True] * 5)})
    assert (rows[1]["refusal_rate"], rows[1]["refusal_rate_change"], rows[1]["accuracy_of_kept"]) == (1.0, 1.0, None)
    assert rows[0]["accuracy_of_kept"] == 1.0


def test_images_without_a_tumour_give_no_sensitivity():
    truth = [NOTUMOR, NOTUMOR]
    rows = robustness_table({CLEAN: answers(truth, truth=truth), ("blur", 1): answers([NOTUMOR, GLIOMA], truth=truth)})
    assert all(
        row["tumour_sensitivity"] is row["tumour_sensitivity_change"] is row["tumour_sensitivity_low"] is None for row in rows
    )
    assert rows[1]["tumour_specificity"] == 0.5


def test_ece_is_the_gap_between_probability_and_truth_and_can_be_given():
    truth = [GLIOMA] * 40
    sure = answers([GLIOMA] * 30 + [MENINGIOMA] * 10, sure=0.75, truth=truth)
    rows = robustness_table({CLEAN: answers([GLIOMA] * 40, sure=0.7, truth=truth), ("blur", 1): sure})
    assert rows[0]["ece"] == pytest.approx(0.3)
    assert rows[1]["ece"] == pytest.approx(0)
    assert rows[1]["ece_change"] == pytest.approx(-0.3)
    given = robustness_table({CLEAN: sure}, ece=lambda probabilities, label_index: len(probabilities) + label_index[0])
    assert given[0]["ece"] == 40.0


def test_ece_bins_hold_equally_many_images():
    """30 images in 15 pairs: in each pair one right and one wrong at the same probability, so that every gap is |1/2 - p|."""
    levels = np.linspace(0.4, 0.9, 15)
    probabilities = np.repeat(levels, 2)
    rows = np.column_stack([probabilities, *[(1 - probabilities) / 3] * 3])
    found = Predictions(tuple(map(str, range(30))), np.tile([GLIOMA, PITUITARY], 15), rows)
    assert robustness_table({CLEAN: Answers(found)})[0]["ece"] == pytest.approx(np.abs(levels - 0.5).mean())


def test_intervals_hold_the_value_and_follow_groups_and_the_seed():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 4, 200)
    called = np.where(rng.random(200) < 0.8, truth, NOTUMOR)
    conditions = {CLEAN: answers(truth, truth=truth), ("blur", 1): answers(called, truth=truth)}
    row = robustness_table(conditions)[1]
    assert row["accuracy_low"] < row["accuracy"] < row["accuracy_high"]
    assert row["accuracy_change_low"] < row["accuracy_change"] < row["accuracy_change_high"] < 0
    assert row == robustness_table(conditions)[1]
    grouped = robustness_table(conditions, groups=[str(place // 20) for place in range(200)])[1]
    assert grouped["accuracy"] == row["accuracy"]
    assert grouped["accuracy_low"] != row["accuracy_low"]
    assert robustness_table(conditions)[0]["accuracy_low"] < 1


def test_a_mean_over_strengths_that_no_draw_changes_has_no_interval():
    one = {CLEAN: answers([0], truth=[0]), ("blur", 1): answers([0], truth=[0]), ("blur", 2): answers([1], truth=[0])}
    rows = robustness_table(one)
    assert (rows[1]["accuracy_low"], rows[1]["accuracy_high"]) == pytest.approx((0.025, 1))
    assert (rows[3]["accuracy"], rows[3]["accuracy_low"], rows[3]["accuracy_high"]) == (0.5, None, None)


def test_the_table_is_plain_json_with_the_same_columns_in_every_row(three_conditions):
    rows = robustness_table(three_conditions)
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows
    assert len({tuple(row) for row in rows}) == 1
    assert set(MEASURES) < set(rows[0])


def test_without_corruptions_only_the_clean_row_is_left():
    assert [row["corruption"] for row in robustness_table({CLEAN: answers(TRUTH)})] == ["clean"]


def test_answers_that_cannot_be_compared_are_refused(three_conditions):
    with pytest.raises(EvaluationError, match="no answers for the scans as they are"):
        robustness_table({("blur", 1): three_conditions["blur", 1]})
    with pytest.raises(EvaluationError, match=r"\('blur', 1\): other images than the clean answers"):
        robustness_table({CLEAN: answers(TRUTH[:4], truth=TRUTH[:4]), ("blur", 1): three_conditions["blur", 1]})
    with pytest.raises(EvaluationError, match=r"refusals of bool \(4,\)"):
        answers(TRUTH, refused=[True] * 4)


def brightness(scans):
    """A model that takes brightness for a glioma and refuses what is dark."""
    level = np.array([scan.mean() / 255 for scan in scans])
    probabilities = np.stack([level, np.zeros_like(level), 1 - level, np.zeros_like(level)], axis=1)
    return Decisions(probabilities, None, probabilities.argmax(axis=1), level - 0.2, level < 0.2)


def scans(count: int = 3) -> list[Scan]:
    rng = np.random.default_rng(0)
    return [Scan(rng.integers(0, 80 + 40 * number, (40, 30)).astype(np.uint8), origin=f"{number}.png") for number in range(count)]


def records(count: int = 3) -> list[Record]:
    return [Record(path=f"{number}.png", label=LABELS[number % 4]) for number in range(count)]


def test_scans_are_made_worse_before_they_are_preprocessed():
    preprocessing = Preprocessing(image_size=SIZE)
    seen = []

    def answer(scans):
        seen.append(scans)
        return brightness(scans)

    found = corrupted_answers(iter(scans()), records(), answer, preprocessing=preprocessing, corruptions=["jpeg", "crop"], seed=3)
    assert list(found) == [CLEAN, *((name, strength) for name in ("jpeg", "crop") for strength in STRENGTHS)]
    first = scans()[0]
    assert np.array_equal(seen[0][0], first.pixels)
    assert np.array_equal(seen[0][4], corrupt(first.pixels, "jpeg", 4, int(first.sha256[:12], 16) ^ 3))
    expected = brightness([versions[4] for versions in seen])
    assert np.array_equal(found["jpeg", 4].predictions.probabilities, expected.probabilities)
    assert np.array_equal(found["jpeg", 4].refused, expected.refused)
    assert found["jpeg", 4].predictions.paths == ("0.png", "1.png", "2.png")
    assert found["crop", 1].predictions.label_index.tolist() == [0, 1, 2]


def test_what_happens_to_a_scan_hangs_on_its_pixels_and_the_seed_alone():
    def of(rows, seed):
        chosen = [scans()[row] for row in rows], [records()[row] for row in rows]
        return corrupted_answers(*chosen, brightness, preprocessing=Preprocessing(image_size=SIZE), corruptions=["crop"], seed=seed)

    alone, together = of([2], 0)["crop", 5], of([0, 2], 0)["crop", 5]
    assert np.array_equal(alone.predictions.probabilities[0], together.predictions.probabilities[1])
    assert not np.array_equal(of([2], 1)["crop", 5].predictions.probabilities, alone.predictions.probabilities)


def test_other_than_8_bit_scans_are_windowed_as_ever_first():
    preprocessing = Preprocessing(image_size=SIZE)
    deep = Scan((scans()[1].pixels.astype(np.uint16) * 17), origin="1.png")
    shallow = Scan(preprocessing.eight_bit(deep.pixels), origin="1.png")
    found = corrupted_answers([deep], records(1), brightness, preprocessing=preprocessing, corruptions=["contrast"])
    same = corrupted_answers([shallow], records(1), brightness, preprocessing=preprocessing, corruptions=["contrast"])
    for condition in found:
        assert np.array_equal(found[condition].predictions.probabilities, same[condition].predictions.probabilities)


def test_a_model_that_cannot_refuse_has_no_refusals():
    found = corrupted_answers(
        scans(),
        records(),
        lambda scans: replace(brightness(scans), familiarity=None),
        preprocessing=Preprocessing(image_size=SIZE),
        corruptions=[],
    )
    assert list(found) == [CLEAN]
    assert found[CLEAN].refused is None


def test_images_that_cannot_be_scored_are_refused_before_anything_is_decoded():
    def never():
        raise AssertionError
        yield

    for given in ([Record(path="a.png", label=UNSTATED_TUMOUR)], []):
        with pytest.raises(EvaluationError, match="robustness is measured on images with one of glioma"):
            corrupted_answers(never(), given, brightness, preprocessing=Preprocessing())
    with pytest.raises(DataError, match="unknown corruption 'fog'"):
        corrupted_answers(scans(), records(), brightness, preprocessing=Preprocessing(image_size=SIZE), corruptions=["fog"])
