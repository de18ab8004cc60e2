import numpy as np
import pytest

from tumorscope.errors import EvaluationError
from tumorscope.labels import LABELS
from tumorscope.predictions import COLUMNS, DECIDED, Decisions, Predictions, read_predictions, write_predictions


def some_predictions() -> Predictions:
    rng = np.random.default_rng(3)
    probabilities = rng.dirichlet(np.ones(len(LABELS)), size=20)
    return Predictions(tuple(f"Testing/{i}, a.jpg" for i in range(20)), rng.integers(len(LABELS), size=20), probabilities)


def test_predictions_read_back_as_they_were_written(tmp_path):
    predictions = some_predictions()
    write_predictions(predictions, tmp_path / "predictions.csv")
    again = read_predictions(tmp_path / "predictions.csv")
    assert again.paths == predictions.paths
    np.testing.assert_array_equal(again.label_index, predictions.label_index)
    np.testing.assert_array_equal(again.probabilities, predictions.probabilities)
    assert [path.name for path in tmp_path.iterdir()] == ["predictions.csv"]


def test_the_file_has_the_promised_columns(tmp_path):
    write_predictions(some_predictions(), tmp_path / "p.csv")
    header = (tmp_path / "p.csv").read_text().splitlines()[0]
    assert header == "path,label,predicted,p_glioma,p_meningioma,p_notumor,p_pituitary"


def test_a_near_tie_keeps_its_predicted_label_through_the_file(tmp_path):
    probabilities = np.array([[0.3, 0.35 - 1e-9, 0.35 + 1e-9, 0.0]])
    write_predictions(Predictions(("a.jpg",), np.array([1]), probabilities), tmp_path / "p.csv")
    assert read_predictions(tmp_path / "p.csv").predicted_index.tolist() == [2]


def test_predicted_and_correct_follow_the_most_probable_label():
    probabilities = np.array([[0.1, 0.6, 0.2, 0.1], [0.1, 0.2, 0.6, 0.1]])
    predictions = Predictions(("a", "b"), np.array([1, 3]), probabilities)
    assert predictions.predicted_index.tolist() == [1, 2]
    assert predictions.correct.tolist() == [True, False]
    assert len(predictions) == 2


@pytest.mark.parametrize(
    ("paths", "labels", "probabilities", "message"),
    [
        (("a",), [0, 1], np.full((1, 4), 0.25), "do not fit together"),
        (("a",), [0], np.full((1, 3), 1 / 3), "do not fit together"),
        (("a", "a"), [0, 1], np.full((2, 4), 0.25), "^a: more than one row"),
        (("a",), [4], np.full((1, 4), 0.25), "0 to 3"),
        (("a",), [-1], np.full((1, 4), 0.25), "0 to 3"),
        (("a",), [0.0], np.full((1, 4), 0.25), "whole numbers"),
        (("a",), [0], np.array([[np.nan, 1, 0, 0]]), "finite"),
        (("a",), [0], np.array([[0.5, 0.6, 0, 0]]), "sum to 1"),
        (("a",), [0], np.array([[1.5, -0.5, 0, 0]]), "negative"),
    ],
)
def test_predictions_that_mean_nothing_are_refused(paths, labels, probabilities, message):
    with pytest.raises(EvaluationError, match=message):
        Predictions(paths, np.array(labels), probabilities)


def test_a_missing_file_says_what_to_run(tmp_path):
    with pytest.raises(EvaluationError, match="tumorscope evaluate"):
        read_predictions(tmp_path / "none.csv")


def test_a_missing_column_is_named(tmp_path):
    (tmp_path / "p.csv").write_text("path,label\na,glioma\n")
    with pytest.raises(EvaluationError, match="no column predicted, p_glioma"):
        read_predictions(tmp_path / "p.csv")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a,brain,glioma,1,0,0,0", "line 2: a label is not one of"),
        ("a,glioma,glioma,one,0,0,0", "line 2: .*not a number"),
        ("a,glioma,glioma,1,0", "line 2: .*not a number"),
        ("a,glioma,glioma,0.2,0.8,0,0", "line 2: predicted glioma is not the most probable"),
    ],
)
def test_a_row_that_contradicts_itself_is_named(tmp_path, row, message):
    (tmp_path / "p.csv").write_text(",".join(COLUMNS) + "\n" + row + "\n")
    with pytest.raises(EvaluationError, match=message):
        read_predictions(tmp_path / "p.csv")


# --- what a calibrated model says besides -----------------------------------------------------------------------------------


def decided_predictions(**changes) -> Predictions:
    probabilities = np.array([[0.7, 0.2, 0.1, 0.0], [0.1, 0.2, 0.6, 0.1]])
    values = {
        "probabilities": probabilities,
        "prediction_sets": np.array([[True, True, False, False], [False, False, False, False]]),
        "recommended": np.array([0, 1]),
        "familiarity": np.array([-1.25, 0.5]),
        "refused": np.array([True, False]),
    } | changes
    return Predictions(("a", "b"), np.array([0, 2]), probabilities, Decisions(**values))


@pytest.mark.parametrize("changes", [{}, {"prediction_sets": None}, {"familiarity": None}])
def test_decisions_read_back_as_they_were_written(tmp_path, changes):
    predictions = decided_predictions(**changes)
    write_predictions(predictions, tmp_path / "p.csv")
    again = read_predictions(tmp_path / "p.csv").decisions
    for name in ("probabilities", "prediction_sets", "recommended", "familiarity", "refused"):
        np.testing.assert_array_equal(getattr(again, name), getattr(predictions.decisions, name))
    rows = (tmp_path / "p.csv").read_text().splitlines()
    assert rows[0] == ",".join((*COLUMNS, *DECIDED))
    assert rows[1].endswith(("glioma meningioma,glioma,-1.25,yes", ",glioma,-1.25,yes", "glioma meningioma,glioma,,yes"))


def test_decisions_follow_the_rows_that_are_kept():
    kept = decided_predictions().where(np.array([False, True])).decisions
    assert kept.recommended.tolist() == [1]
    assert kept.refused.tolist() == [False]


def test_decisions_of_other_probabilities_or_lengths_are_refused():
    with pytest.raises(EvaluationError, match="other probabilities"):
        decided_predictions(probabilities=np.full((2, 4), 0.25))
    with pytest.raises(EvaluationError, match="familiarity of shape"):
        decided_predictions(familiarity=np.zeros(3))


def test_a_decision_that_cannot_be_read_is_named(tmp_path):
    write_predictions(decided_predictions(), tmp_path / "p.csv")
    text = (tmp_path / "p.csv").read_text()
    (tmp_path / "p.csv").write_text(text.replace("-1.25", "often"))
    with pytest.raises(EvaluationError, match=r"p\.csv: a cell of prediction_set"):
        read_predictions(tmp_path / "p.csv")
