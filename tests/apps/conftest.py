import signal

import pytest
from command_line import without_pages


@pytest.fixture
def listening():
    """A process that listens to Ctrl-C, as do those that it starts; one that was started in the background may not."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module", autouse=True)
def few_probes():
    """Runs of a test try and draw little: few corruptions, unfamiliar and explained scans, coarse pictures.

    What a whole run tries is tested by itself, and `make run` does all of it. For runs that the tests of a file share, too.
    """
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("tumorscope.apps.stages.RUN_SAMPLE", 8)
        patched.setattr("tumorscope.reporting.figures.DPI", 40)
        patched.setattr("tumorscope.apps.probing.RUN_PROBE", 4)
        patched.setattr("tumorscope.apps.probing.PROBED_SETS", ("noise", "blank"))
        patched.setattr("tumorscope.apps.probing._usable", lambda seed: (("blur", "crop"), ()))
        yield


@pytest.fixture
def no_pages():
    """Runs of the test draw no pages."""
    with without_pages():
        yield
