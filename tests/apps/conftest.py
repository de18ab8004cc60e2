import signal

import pytest


@pytest.fixture
def listening():
    """A process that listens to Ctrl-C, as do those that it starts; one that was started in the background may not."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True)
def few_corrupted_scans(monkeypatch):
    """Every run of a test asks its models again about four scans under every corruption, and not about two dozen."""
    monkeypatch.setattr("tumorscope.apps.probing.RUN_PROBE", 4)
