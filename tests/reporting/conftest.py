"""A small finished study, worked out by hand, that the tests of reporting change as they need."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tumorscope.labels import LABELS
from tumorscope.predictions import Predictions
from tumorscope.reporting.study import AugmentationExamples, ExplainedScan, FourMaps, ModelResult, Study

CONFUSION = [[8, 1, 1, 0], [1, 9, 0, 0], [0, 1, 9, 0], [0, 0, 2, 8]]


def scan(**changes: Any) -> ExplainedScan:
    """A wrong answer on a 12 x 10 scan whose map peaks at row 3, column 4."""
    heatmap = np.zeros((12, 10), dtype=np.float32)
    heatmap[3, 4], heatmap[2, 4] = 2.5, 1.0
    mask = np.zeros((12, 10), dtype=bool)
    mask[2:5, 3:6] = True
    values: dict[str, Any] = {
        "path": "test/glioma/1.png",
        "pixels": np.arange(120, dtype=np.uint8).reshape(12, 10),
        "heatmap": heatmap,
        "mask": mask,
        "label": "glioma",
        "predicted": "notumor",
        "probability": 0.875,
        "index": 3,
    }
    return ExplainedScan(**values | changes)


def metrics(**changes: Any) -> dict[str, Any]:
    """The numbers of `CONFUSION`: 34 of 40 right, 3 of 30 tumours missed, 1 of 10 false alarms."""
    per_class = {
        "glioma": {"precision": 8 / 9, "recall": 0.8, "f1": 0.842, "support": 10},
        "meningioma": {"precision": 9 / 11, "recall": 0.9, "f1": 0.857, "support": 10},
        "notumor": {"precision": 0.75, "recall": 0.9, "f1": 0.818, "support": 10},
        "pituitary": {"precision": 1.0, "recall": 0.8, "f1": 0.889, "support": 10},
    }
    areas = {**dict.fromkeys(LABELS, 0.95), "macro": 0.95, "tumour": 0.9312}
    values = {
        "accuracy": 0.85,
        "macro": {"precision": 0.8643, "recall": 0.85, "f1": 0.8515},
        "weighted": {"precision": 0.8643, "recall": 0.85, "f1": 0.8515},
        "per_class": per_class,
        "confusion_matrix": CONFUSION,
        "tumour_sensitivity": 0.9,
        "tumour_specificity": 0.9,
        "missed_tumours": 3,
        "roc_auc": areas,
        "average_precision": areas,
        "log_loss": 0.4321,
        "brier": 0.2109,
        "intervals": {
            "accuracy": [0.7123, 0.9321],
            "per_class": {"glioma": {"recall": [0.5432, 0.9654]}},
            "method": "A bootstrap.",
        },
        "lookup_baseline": None,
        "data_fingerprint": "aa",
    }
    return values | changes


def model(**changes: Any) -> ModelResult:
    """A model with two epochs, one right and one wrong example, and one mistake."""
    truth = np.repeat(np.arange(4), 10)
    corner = (np.array([0.0, 0.0, 1.0]), np.array([0.0, 0.9, 1.0]))
    rows = [
        {"epoch": 1, "train_loss": 1.5, "train_accuracy": 0.4, "validation_loss": 1.25, "validation_accuracy": 0.5},
        {"epoch": 2, "train_loss": 0.75, "train_accuracy": 0.7, "validation_loss": None, "validation_accuracy": 0.625},
    ]
    values: dict[str, Any] = {
        "name": "mobilenet_v2",
        "metrics": metrics(),
        "history": tuple(rows),
        "predictions": Predictions(tuple(map(str, range(40))), truth, np.eye(4)[truth]),
        "examples": (scan(path="test/pituitary/5.png", label="pituitary", predicted="pituitary"), scan()),
        "mistakes": (scan(),),
        "attention": {
            "correct": {"n": 34, "energy_inside": 0.2468, "concentration": 0.3579, "centre_distance": None},
            "incorrect": {"n": 6, "energy_inside": None, "concentration": 0.1357, "centre_distance": 0.0246},
        },
        "curves": {"roc": {"glioma": corner, "tumour": corner}, "pr": {"glioma": (corner[1][::-1], np.array([0.25, 0.9, 1.0]))}},
        "best_epoch": 2,
    }
    return ModelResult(**values | changes)


def study(**changes: Any) -> Study:
    """Both models on the published test set with all that a report can show."""
    grey = np.full((6, 6), 90, dtype=np.uint8)
    values: dict[str, Any] = {
        "title": "A study",
        "created": "2030-01-02T03:04:05+00:00",
        "protocol": "published",
        "headline": ("Nine of the test scans are copies.",),
        "counts": {"train": dict.fromkeys(LABELS, 70), "test": dict.fromkeys(LABELS, 10)},
        "notes": ("Took the folders Training and Testing.",),
        "models": (model(), model(name="cnn", metrics=metrics(accuracy=0.7654))),
        "lookup": metrics(accuracy=0.6543, intervals=None, mirrored={"accuracy": 0.6789}),
        "augmentation": AugmentationExamples(grey, grey[None], np.stack([grey, grey]), grey[None]),
        "recipe_text": 'name = "default"\nepochs = 2\n',
        "data_fingerprint": "d" * 64,
        "split_fingerprint": "e" * 64,
        "versions": {"torch": "9.8.7"},
        "durations_s": {"index": 1.5, "train cnn": 125.0},
        "published_key": "nickparvar",
        "paired": {
            "a": "mobilenet_v2",
            "b": "cnn",
            "a_only": 7,
            "b_only": 2,
            "p_value": 0.1797,
            "differences": {
                "accuracy": {"value": 0.0846, "interval": [-0.0123, 0.1234]},
                "macro_recall": {"value": None, "interval": None},
            },
        },
    }
    return Study(**values | changes)


def cell(value: float | None, low: float | None = None, high: float | None = None, n: int = 612) -> dict[str, Any]:
    """A number of `explanation.json`."""
    return {"value": value, "interval": None if low is None else [low, high], "n": n}


def content(**changes: Any) -> dict[str, Any]:
    """What was measured of the maps of one model: the peak ties with two baselines, beats two, and the tumour matters."""
    unseen = {"centred_gaussian": 0.124, "brightest_region": 0.141, "edges": 0.03, "random_network": 0.05}
    pointing = cell(0.136, 0.109, 0.165) | {
        "per_class": {"pituitary": cell(0.25, 0.2, 0.3, 200), "glioma": cell(0.06, 0.03, 0.09, 212)},
        "per_plane": {"axial": cell(0.11, 0.08, 0.14, 300)},
        "per_size": {"large": cell(0.31, 0.2, 0.4, 90), "small": cell(0.02, 0.0, 0.05, 100)},
        "correct": cell(0.139, 0.11, 0.17, 590),
        "incorrect": cell(0.045, 0.0, 0.15, 22),
        "baselines": {"drawn_as_usual": cell(0.08, 0.06, 0.1)} | {name: cell(value) for name, value in unseen.items()},
        "methods": {"grad_cam_pp": cell(0.21, 0.18, 0.24), "occlusion": cell(0.1234, 0.1, 0.14)},
    }
    layers = [("classifier", 0.6, 0.7), ("features.18", 0.3, 0.4), ("features.0", 0.04, 0.1)]
    curve = {"map": [0.9, 0.4, 0.1], "random_order": [0.9, 0.5, 0.1], "centre": [0.9, None, 0.1]}
    alike = {
        "rank_correlation": cell(0.91, 0.9, 0.92),
        "peak_distance_px": cell(4.25, 4.0, 4.5),
        "same_answer": cell(0.97, 0.96, 0.98),
    }
    values: dict[str, Any] = {
        "split": "test",
        "images_count": 1120,
        "with_mask": 612,
        "groups": 48,
        "threshold": {"value": 0.35, "chosen_on": "validation", "n": 400},
        "notes": ["Two masks are empty."],
        "pointing_game": pointing,
        "pointing_game_15px": cell(0.49, 0.45, 0.53) | {"baselines": {"centred_gaussian": cell(0.41)}},
        "energy_inside": cell(0.05, 0.04, 0.06) | {"baselines": {"edges": cell(0.02)}},
        "mask_share": cell(0.0231, 0.02, 0.03),
        "peak_distance_px": cell(31.24, 29.0, 33.0) | {"baselines": {"centred_gaussian": cell(36.6), "edges": cell(20.0)}},
        "deletion_auc": cell(0.44, 0.41, 0.47) | {"baselines": {"random_order": cell(0.55), "centre": cell(0.4)}},
        "insertion_auc": cell(0.71, 0.68, 0.74) | {"baselines": {"random_order": cell(0.55), "centre": cell(0.62)}},
        "curves": {"shares": [0, 0.5, 1], "deletion": {"blurred": curve}, "insertion": {"blurred": curve}},
        "tumour_inpainted_drop": cell(0.31, 0.28, 0.34) | {"baselines": {"elsewhere": cell(0.04, 0.02, 0.06)}},
        "randomisation": {
            "n": 100,
            "layers": [
                {"layer": name, "rank_correlation": cell(rank, rank - 0.05, rank + 0.05), "structural_similarity": cell(like)}
                for name, rank, like in layers
            ],
        },
        "repeatability": {"against": "the training with seed 1", "n": 612} | alike,
        "stability": {"flip": alike, "noise": alike},
        "correct_and_incorrect": {
            "n_correct": 1090,
            "n_incorrect": 30,
            "features": {
                "concentration": {
                    "correct": cell(0.2),
                    "incorrect": cell(0.1),
                    "difference": cell(-0.1, -0.2, 0.05),
                    "p_value": 0.0004,
                }
            },
            "auroc": {"confidence": cell(0.91, 0.85, 0.95), "attention": cell(0.52, 0.45, 0.6), "together": cell(0.9, 0.84, 0.96)},
            "sentences": [],
        },
    }
    return values | changes


def four_maps(**changes: Any) -> FourMaps:
    """A scan of a glioma whose maps peak at 4, 2, 1 and 0, the last being flat."""
    heatmaps = np.zeros((4, 12, 10), dtype=np.float32)
    heatmaps[0, 3, 4], heatmaps[1, 5, 5], heatmaps[2, 0, 9] = 4, 2, 1
    values: dict[str, Any] = {
        "path": "test/glioma/7.png",
        "pixels": np.arange(120, dtype=np.uint8).reshape(12, 10),
        "heatmaps": heatmaps,
        "mask": None,
        "label": "glioma",
        "probabilities": np.array([0.25, 0.5, 0.125, 0.125]),
    }
    return FourMaps(**values | changes)


@pytest.fixture
def make_cell() -> Callable[..., dict[str, Any]]:
    """Builder of a number of `explanation.json`: value, low, high, n."""
    return cell


@pytest.fixture
def make_content() -> Callable[..., dict[str, Any]]:
    """Builder of the content of `explanation.json`; keywords replace entries."""
    return content


@pytest.fixture
def make_four_maps() -> Callable[..., FourMaps]:
    """Builder of a scan with the maps of all labels; keywords replace its fields."""
    return four_maps


@pytest.fixture
def make_scan() -> Callable[..., ExplainedScan]:
    """Builder of an explained scan; keywords replace its fields."""
    return scan


@pytest.fixture
def make_metrics() -> Callable[..., dict[str, Any]]:
    """Builder of metrics; keywords replace values."""
    return metrics


@pytest.fixture
def make_model() -> Callable[..., ModelResult]:
    """Builder of a model's results; keywords replace its fields."""
    return model


@pytest.fixture
def make_study() -> Callable[..., Study]:
    """Builder of a study; keywords replace its fields."""
    return study
