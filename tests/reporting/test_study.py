import numpy as np
import pytest

from tumorscope.errors import EvaluationError
from tumorscope.reporting.study import AugmentationExamples


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pixels": np.zeros((12, 10), dtype=np.float32)}, "uint8"),
        ({"pixels": np.zeros((12, 10, 3), dtype=np.uint8)}, "shape"),
        ({"heatmap": np.zeros((3, 3), dtype=np.float32)}, "Map it onto the scan"),
        ({"heatmap": np.full((12, 10), -1, dtype=np.float32)}, "raw Grad-CAM"),
        ({"heatmap": np.full((12, 10), np.nan, dtype=np.float32)}, "raw Grad-CAM"),
        ({"mask": np.zeros((3, 3), dtype=bool)}, "Map it onto the scan"),
        ({"mask": np.zeros((12, 10), dtype=np.uint8)}, "allowed: bool"),
        ({"predicted": "healthy"}, "'healthy'"),
        ({"probability": 1.5}, "allowed: 0 to 1"),
    ],
)
def test_an_explained_scan_refuses_what_cannot_be_shown(make_scan, changes, message):
    with pytest.raises(EvaluationError, match=message):
        make_scan(**changes)


def test_a_model_refuses_metrics_without_a_required_number(make_model, make_metrics):
    metrics = make_metrics()
    del metrics["tumour_sensitivity"]
    with pytest.raises(EvaluationError, match="no tumour_sensitivity"):
        make_model(metrics=metrics)


def test_a_right_answer_is_refused_among_the_mistakes(make_model, make_scan):
    with pytest.raises(EvaluationError, match="its answer is right"):
        make_model(mistakes=(make_scan(predicted="glioma"),))


def test_a_study_needs_models_with_different_names(make_study, make_model):
    for models in ((), (make_model(), make_model())):
        with pytest.raises(EvaluationError, match="at least one model and no name twice"):
            make_study(models=models)


def test_a_study_refuses_unknown_labels_and_unknown_publications(make_study):
    with pytest.raises(EvaluationError, match="'healthy'"):
        make_study(counts={"train": {"healthy": 3}})
    with pytest.raises(EvaluationError, match="Known: nickparvar"):
        make_study(published_key="elsewhere")


def test_augmentation_examples_refuse_other_sizes_and_types():
    grey = np.zeros((4, 4), dtype=np.uint8)
    with pytest.raises(EvaluationError, match="flips"):
        AugmentationExamples(grey, grey, grey[None], grey[None])
    with pytest.raises(EvaluationError, match="uint8"):
        AugmentationExamples(grey, grey[None].astype(float), grey[None], grey[None])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"heatmaps": np.zeros((3, 12, 10), dtype=np.float32)}, "3 maps"),
        ({"probabilities": np.ones(3)}, "one per label"),
        ({"heatmaps": np.zeros((4, 6, 5), dtype=np.float32)}, "Map it onto the scan first"),
        ({"heatmaps": np.full((4, 12, 10), -1, dtype=np.float32)}, "at least 0"),
        ({"label": "tumor"}, "unknown label"),
        ({"probabilities": np.array([2.0, 0, 0, 0])}, "0 to 1"),
    ],
)
def test_maps_of_all_labels_that_do_not_fit_their_scan_are_refused(make_four_maps, changes, words):
    with pytest.raises(EvaluationError, match=words):
        make_four_maps(**changes)


def test_the_answer_of_four_maps_is_the_most_probable_label(make_four_maps):
    assert make_four_maps().predicted == "meningioma"
