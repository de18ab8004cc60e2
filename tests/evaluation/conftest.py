from collections.abc import Callable

import numpy as np
import pytest

from tumorscope.data.first_look import FirstLook
from tumorscope.data.look_numbers import LOOK_NAMES
from tumorscope.evaluation.answered import Answered


@pytest.fixture
def answered() -> Callable[..., Answered]:
    """Makes answers of a network that is sure of itself by twice as much as it should be, and whose features tell the label."""

    def made(n: int = 400, *, seed: int = 0, split: str = "calibration", labels: tuple[int, ...] = (0, 1, 2, 3)) -> Answered:
        rng = np.random.default_rng(seed)
        logits = rng.normal(size=(n, 4)) * 1.5
        allowed = np.array(labels)
        shares = np.exp(logits[:, allowed])
        shares /= shares.sum(axis=1, keepdims=True)
        truth = allowed[(shares.cumsum(axis=1) > rng.random(n)[:, None]).argmax(axis=1)]
        features = rng.normal(size=(n, 6)) + 4 * np.eye(4, 6)[truth]
        return Answered(
            features.astype(np.float32),
            (2 * logits).astype(np.float32),
            truth.astype(np.int64),
            split,
            tuple(f"{split} {seed} {i // 2}" for i in range(n)),
            tuple(FirstLook(numbers, "") for numbers in rng.normal(size=(n, len(LOOK_NAMES))).astype(np.float32)),
        )

    return made
