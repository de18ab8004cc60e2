"""What `calibrate` does: fits what every model of a run promises, tests it, and renews all that depends on it."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from tumorscope.apps.console import Reporter
from tumorscope.apps.experiment import each_model
from tumorscope.apps.external import evaluate_external
from tumorscope.apps.run_folder import RunFolder
from tumorscope.errors import UsageError
from tumorscope.models.device import Device
from tumorscope.training.recipe import Promises, problems_of


def calibrate_run(run: Path, changed: Mapping[str, object], reporter: Reporter, device: Device, *, sample: int) -> None:
    """Calibrate every trained model of a run and renew its answers, trust and report.

    Args:
        run: Folder of the run.
        changed: Fields of `Promises` that are not as in the run's recipe; None keeps the recipe's.
        reporter: Told of progress and of what came of it.
        device: Where networks run.
        sample: Test images that are asked again under every corruption.

    Raises:
        UsageError: A promise is out of range.
        EvaluationError: No model is trained.
    """
    from tumorscope.apps.collect import write_study_report
    from tumorscope.apps.trust import pool_trust
    from tumorscope.apps.trust_page import write_page
    from tumorscope.reporting.trust_sentences import trust_sentences

    folder = RunFolder.at(run)
    promises = changed_promises(folder.recipe().promises.model_dump(), changed)
    names = []
    for stages, name in each_model(run, reporter, device):
        stages.calibrate(name, promises)
        stages.evaluate(name)
        content = stages.trust(name)
        stages.probe(name, sample=sample)
        names.append(name)
        for sentence in trust_sentences(content or {}):
            reporter.say(f"  {sentence}")
    evaluate_external(folder, tuple(dict.fromkeys(names)), reporter, device)
    pool_trust(folder)
    page = write_page(folder)
    write_study_report(folder, reporter)
    reporter.say(f"how far to trust it: {page}")


def changed_promises(before: Mapping[str, object], changed: Mapping[str, object]) -> Promises:
    """Return promises with some fields replaced, as the command line's options ask; None keeps a field.

    Raises:
        UsageError: A value is out of range.
    """
    given = {key: value for key, value in changed.items() if value is not None}
    try:
        return Promises.model_validate({**before, **given})
    except ValidationError as error:
        raise UsageError(f"{problems_of(error)}.") from error
