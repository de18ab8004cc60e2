import re

import numpy as np
import pytest

from tumorscope.errors import EvaluationError
from tumorscope.evaluation.external import ExternalAnswers, summarise_external
from tumorscope.evaluation.intervals import bootstrap_intervals
from tumorscope.evaluation.metrics import summarise
from tumorscope.labels import LABELS
from tumorscope.predictions import Predictions
from tumorscope.reporting.model_card import CardModel, Evidence
from tumorscope.reporting.model_card_results import model_card
from tumorscope.training.recipe import load_recipe

IMAGENET = "ImageNet weights from torchvision"


def content(**training):
    return {
        "network": "mobilenet_v2",
        "output_stride": 32,
        "recipe": load_recipe("default").model_dump(mode="json", exclude_none=True),
        "preprocessing": {"image_size": 224, "frame": "whole"},
        "calibration": None,
        "training": {"started_from": IMAGENET, "epochs": 8, "best_epoch": 7, "ancestor": None, **training},
        "data_fingerprint": "d" * 64,
        "split_fingerprint": "s" * 64,
        "weights_sha256": "a" * 64,
        "created": "2026-01-01T00:00:00+00:00",
        "versions": {"torch": "2"},
        "trained_on": ["0" * 16] * 30,
    }


def counts(*numbers):
    return dict(zip(LABELS, numbers, strict=True))


def predictions(truth, called):
    sure = np.full((len(truth), 4), 0.1)
    sure[np.arange(len(truth)), called] = 0.7
    return Predictions(tuple(f"{k}.png" for k in range(len(truth))), np.array(truth), sure)


@pytest.fixture
def own_metrics():
    """Ten images of each class; three gliomas called none, one image without a tumour called meningioma."""
    truth = [label for label in range(4) for _ in range(10)]
    called = [2, 2, 2, *[0] * 7, *[1] * 10, 1, *[2] * 9, *[3] * 10]
    found = predictions(truth, called)
    groups = [f"p{k // 2}" for k in range(40)]
    return {**summarise(found), "intervals": bootstrap_intervals(found, groups=groups), "lookup_baseline": {"accuracy": 0.5}}


def evidence(metrics, **changes):
    facts = {"run": "blocked", "test": "its test images", "images": 40, "groups": 20, "grouped_by": "patient", "models": 5}
    return Evidence(**{**facts, "own": False, "seen": 0, "metrics": metrics, **changes})


def test_the_card_names_data_licences_citations_and_known_faults_of_every_source(own_metrics):
    ancestor = {
        "network": "mobilenet_v2",
        "recipe": "older",
        "weights_sha256": "b" * 64,
        "started_from": IMAGENET,
        "seen": 7,
        "images": {"sartaj": counts(1, 2, 3, 1)},
        "ancestor": None,
    }
    model = CardModel(
        content(started_from="the bundled model (x)", ancestor=ancestor),
        {"cheng": counts(10, 5, 0, 3), "br35h-no": counts(0, 0, 9, 0), "": counts(0, 1, 2, 0)},
    )
    text = model_card(model, [evidence(own_metrics)])
    assert "| cheng | 10 | 5 | 0 | 3 | 18 |" in text
    assert "| **all** | 10 | 6 | 11 | 3 | 30 |" in text
    for word in ("CC BY 4.0", "10.6084/m9.figshare.1512427", "MIT", "Hamada", "233 patients", "not a medical device"):
        assert word in text
    assert "images that name no source" in text
    assert "Started from the bundled model (x), which started from ImageNet weights from torchvision." in text
    assert "BSD 3-Clause" in text
    assert "non-commercial" in text


def test_a_model_from_random_weights_has_no_imagenet_ancestry():
    text = model_card(CardModel(content(started_from="random weights (--init none)")), [])
    assert "ImageNet" not in text
    assert "No weights of others" in text
    assert "nothing is known of how well" in text


def test_numbers_intervals_and_failures_are_those_of_the_metrics(own_metrics):
    text = model_card(CardModel(content()), [evidence(own_metrics)])
    low, high = own_metrics["intervals"]["per_class"]["glioma"]["recall"]
    assert f"| Recall glioma | 0.700 ({low:.3f}–{high:.3f}) | 10 | – |" in text
    assert "The lowest recall is that of glioma: 0.700" in text
    assert "calls 3 of 30 tumours free of tumour, and finds a tumour in 1 of 10 images without one" in text
    assert "glioma called no tumour, 3 of 10 images" in text
    assert "40 images in 20 groups (patients), answered by 5 sister models" in text


def test_a_card_says_whether_the_numbers_are_its_own_models(own_metrics):
    sisters = model_card(CardModel(content()), [evidence(own_metrics, seen=40)])
    assert "has seen 40 of these 40 images in training, so **the numbers come from its sister models alone**" in sisters
    assert "answered by this very model." in model_card(CardModel(content()), [evidence(own_metrics, own=True, models=1)])
    with pytest.raises(EvaluationError, match="very model"):
        evidence(own_metrics, own=True, seen=1)


def test_an_external_set_shows_both_halves_and_its_weakest_source():
    probabilities = np.full((6, 4), 0.1)
    probabilities[np.arange(6), [0, 2, 2, 2, 2, 0]] = 0.7
    answers = ExternalAnswers(
        tuple("abcdef"),
        ("glioma", "tumour", "tumour", "notumor", "notumor", "notumor"),
        ("x", "y", "y", "x", "y", "x"),
        tuple("uvwxyz"),
        probabilities,
    )
    pointing = {"n": 3, "answer": {"pointing_game": 0.25, "pointing_game_15px": 0.5}}
    half = {"n": 2, "answer": {"pointing_game": 0.75, "pointing_game_15px": 1.0}}
    metrics = {**summarise_external(answers), "heatmaps": {**pointing, "halves": {"choosing": half, "final": None}}}
    text = model_card(CardModel(content()), [evidence(metrics, external=True, images=6, groups=6, test="the external set z")])
    assert "| | all | half for choosing | half for the final figure |" in text
    (row,) = re.findall(r"\| Tumours found \| (.*)", text)
    assert row.startswith("0.333 (")
    assert "| Heatmap: peak inside the tumour | 0.250 | 0.750 | – |" in text
    assert "calls 2 of 3 tumours free of tumour, and finds a tumour in 1 of 3 images without one" in text
    assert "fewest tumours in the source y: 0.000 of 2, 2 missed" in text


def test_parts_name_the_weakest(own_metrics):
    cells = {"coronal": {"value": 0.5, "interval": [0.25, 0.75], "n": 8}, "axial": {"value": 0.9, "interval": None, "n": 32}}
    text = model_card(CardModel(content()), [evidence(own_metrics, by_plane=cells)])
    assert "| coronal | 0.500 (0.250–0.750) | 8 |" in text
    assert "The lowest share of right answers by plane is that of coronal: 0.500 (0.250–0.750) of 8." in text
