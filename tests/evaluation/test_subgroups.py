import numpy as np
import pytest

from tumorscope.errors import EvaluationError
from tumorscope.evaluation.subgroups import FEW_GROUPS, few_groups_remark, subgroup_rows
from tumorscope.predictions import Decisions, Predictions


def predictions(truth, called, *, refused=None, sets=None) -> Predictions:
    probabilities = np.full((len(truth), 4), 0.1)
    probabilities[np.arange(len(truth)), called] = 0.7
    decisions = None
    if refused is not None:
        decisions = Decisions(
            probabilities, np.array(sets, dtype=bool), probabilities.argmax(axis=1), np.zeros(len(truth)), np.array(refused)
        )
    return Predictions(tuple(f"{i}.png" for i in range(len(truth))), np.array(truth), probabilities, decisions)


def test_every_part_has_its_own_numbers_and_all_images_come_first():
    answers = predictions([0, 1, 2, 2], [0, 2, 2, 3])
    rows = subgroup_rows(answers, {"plane": ["axial", "axial", "coronal", ""]}, groups=["a", "b", "c", "c"])
    assert [(row["by"], row["part"], row["n"], row["groups"]) for row in rows] == [
        ("all", "all images", 4, 3),
        ("plane", "axial", 2, 2),
        ("plane", "coronal", 1, 1),
    ]
    everything, axial, coronal = rows
    assert everything["accuracy"]["value"] == 0.5
    assert everything["tumour_sensitivity"]["value"] == 0.5
    assert everything["tumour_specificity"]["value"] == 0.5
    assert axial["tumour_sensitivity"]["value"] == 0.5
    assert axial["tumour_specificity"] == {"value": None, "interval": None}
    assert coronal["tumour_specificity"]["value"] == 1.0
    low, high = coronal["tumour_specificity"]["interval"]
    assert low < 0.05
    assert high == 1.0


def test_what_only_a_calibrated_model_tells_is_none_for_any_other():
    [row] = subgroup_rows(predictions([0, 2], [0, 2]), {}, groups=["a", "b"])
    assert row["coverage"]["value"] is row["set_size"]["value"] is row["refused"]["value"] is None
    sets = [[1, 1, 0, 0], [1, 0, 0, 1]]
    [row] = subgroup_rows(predictions([0, 2], [0, 2], refused=[True, False], sets=sets), {}, groups=["a", "b"])
    assert (row["coverage"]["value"], row["set_size"]["value"], row["refused"]["value"]) == (0.5, 2.0, 0.5)
    assert row["found_at_operating_point"]["value"] == 1.0


def test_few_groups_bear_a_remark():
    assert few_groups_remark(FEW_GROUPS) == ""
    assert few_groups_remark(1).startswith("1 group:")
    [row] = subgroup_rows(predictions([0] * 5, [0] * 5), {}, groups=["one"] * 5)
    assert "too few" in row["remark"]


def test_columns_of_another_length_are_refused():
    with pytest.raises(EvaluationError, match="plane: 1 entries for 2"):
        subgroup_rows(predictions([0, 2], [0, 2]), {"plane": ["axial"]}, groups=["a", "b"])
    with pytest.raises(EvaluationError, match="groups: 3 entries"):
        subgroup_rows(predictions([0, 2], [0, 2]), {}, groups=["a", "b", "c"])
