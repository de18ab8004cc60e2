import signal

import pytest


@pytest.fixture
def listening():
    """A process that listens to Ctrl-C, as do those that it starts; one that was started in the background may not."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True)
def few_probes(monkeypatch):
    """Runs of a test try and draw little: few corruptions, unfamiliar and explained scans, coarse pictures.

    What a whole run tries is tested by itself, and `make run` does all of it.
    """
    monkeypatch.setattr("tumorscope.apps.stages.RUN_SAMPLE", 8)
    monkeypatch.setattr("tumorscope.reporting.figures.DPI", 40)
    monkeypatch.setattr("tumorscope.apps.probing.RUN_PROBE", 4)
    monkeypatch.setattr("tumorscope.apps.probing.PROBED_SETS", ("noise", "blank"))
    monkeypatch.setattr("tumorscope.apps.probing._usable", lambda seed: (("blur", "crop"), ()))
