"""Content of `trust.json` as a run leaves it, from made-up answers."""

from typing import Any

import numpy as np

from tumorscope.data.first_look import FirstLook
from tumorscope.data.look_numbers import LOOK_NAMES
from tumorscope.evaluation.answered import Answered
from tumorscope.evaluation.calibrate import calibrate
from tumorscope.evaluation.evaluate import predictions_of
from tumorscope.evaluation.trust import as_tested, measured_trust
from tumorscope.labels import LABELS
from tumorscope.training.recipe import Promises


def answers(n: int, *, seed: int, split: str) -> Answered:
    rng = np.random.default_rng(seed)
    truth = np.arange(n) % 4
    logits = 4 * np.eye(4)[truth] + rng.normal(size=(n, 4)) * 1.6
    features = np.eye(4, 6)[truth] * 5 + rng.normal(size=(n, 6))
    groups = tuple(f"{split} {row}" for row in range(n))
    looks = tuple(FirstLook(numbers, "") for numbers in rng.normal(size=(n, len(LOOK_NAMES))).astype(np.float32))
    return Answered(features.astype(np.float32), logits.astype(np.float32), truth, split, groups, looks)


def trust_content(*, held: int = 400, split: str = "calibration", seed: int = 0) -> dict[str, Any]:
    calibration = calibrate(
        answers(400, seed=seed, split="train"),
        answers(held, seed=seed + 1, split=split),
        Promises(),
        split_fingerprint="f",
        created="2026-01-01T00:00:00+00:00",
    )
    test = answers(300, seed=seed + 2, split="test")
    predictions = predictions_of(calibration, test, [f"{row}.png" for row in range(300)])
    parts = {"class": tuple(LABELS[label] for label in test.label_index)}
    tested = as_tested(calibration, predictions, test.logits, groups=test.groups, parts=parts)
    plain = calibration.to_json() or {}
    return {**plain, **measured_trust(tested, twin_free=np.arange(300) % 3 == 0)}
