import signal

import pytest


@pytest.fixture
def listening():
    """A process that listens to Ctrl-C, as do those that it starts; one that was started in the background may not."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
