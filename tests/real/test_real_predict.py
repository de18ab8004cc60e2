"""What predicts gives what torch gives, on real scans."""

from pathlib import Path

import numpy as np
import pytest

from tumorscope.data.decode import decode_file, picture_warnings_off
from tumorscope.engines.engine import ENGINES
from tumorscope.predict import Predictor

pytestmark = pytest.mark.real

PROJECT = Path(__file__).resolve().parents[2]
TESTING = PROJECT / "../shared/data/nickparvar/Testing"
SCANS, ALLOWED = 200, 1e-3


@pytest.fixture(scope="module")
def scans():
    """A sample of the published test folder, spread over its classes."""
    paths = sorted(TESTING.rglob("*.jpg"))
    assert len(paths) > 1300
    with picture_warnings_off():
        return [decode_file(path) for path in paths[:: len(paths) // SCANS][:SCANS]]


@pytest.fixture(scope="module")
def by_torch(scans):
    return Predictor.load(engine="torch").batch(scans, heatmaps=False)


@pytest.mark.parametrize("engine", [name for name in ENGINES if name != "torch"])
def test_every_engine_gives_the_probabilities_and_peaks_of_torch(scans, by_torch, engine):
    findings = Predictor.load(engine=engine).batch(scans, heatmaps=False)
    probabilities, expected = (np.array([list(one.probabilities.values()) for one in many]) for many in (findings, by_torch))
    assert np.abs(probabilities - expected).max() <= ALLOWED
    assert [one.recommended for one in findings] == [one.recommended for one in by_torch]
    same = np.mean([one.heatmap.peak == other.heatmap.peak for one, other in zip(findings, by_torch, strict=True)])
    assert same >= 0.99
    assert len({one.recommended for one in by_torch}) == 4
