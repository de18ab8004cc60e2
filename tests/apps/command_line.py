from typer.testing import CliRunner

from tumorscope.apps.cli import app


def invoke(*arguments):
    """Run the command line in this process; an error is raised, a status is left in the result."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result
