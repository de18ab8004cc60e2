from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from typer.testing import CliRunner

from tumorscope.apps.cli import app


def invoke(*arguments):
    """Run the command line in this process; an error is raised, a status is left in the result."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@contextmanager
def without_pages() -> Iterator[None]:
    """Leave out the drawing of a run's pages, a third of its time, where a test does not look at them."""
    with pytest.MonkeyPatch.context() as patched:
        for name in ("explanation_page.write_page", "trust_page.write_page", "collect.write_study_report"):
            patched.setattr(f"tumorscope.apps.{name}", lambda folder, *given, **named: folder.path / "report.html")
        yield
