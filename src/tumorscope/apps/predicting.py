"""What `predict` does: files and folders to findings, on the screen or into a file."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import typer

from tumorscope import DISCLAIMER
from tumorscope.apps.console import Reporter
from tumorscope.apps.finding_files import FindingFiles
from tumorscope.apps.finding_output import open_output, refuse_output
from tumorscope.apps.scan_files import check_roots, scan_files
from tumorscope.data.decode import picture_warnings_off
from tumorscope.errors import DecodeError, SourceError, UsageError
from tumorscope.finding import Finding
from tumorscope.labels import label_info
from tumorscope.models.bundle_files import BUNDLE_FILE, GRAPH_FILE
from tumorscope.models.shipped import BUNDLED, shipped_folder
from tumorscope.predict import Predictor
from tumorscope.storage import refuse_closed_folder
from tumorscope.streaming import StreamChoices, answer_files


@dataclass(frozen=True, slots=True)
class PredictChoices:
    """What was chosen on the command line; see the options of `predict`."""

    paths: Sequence[Path]
    model: str
    output: Path | None
    heatmaps: str | None
    html: bool
    engine: str
    workers: int | None
    batch_size: int
    limit: int | None

    @property
    def files(self) -> FindingFiles:
        """What is written for single scans."""
        output = self.output or Path("findings")
        return FindingFiles(output.with_name(f"{output.name}-files"), self.heatmaps, self.html)

    @property
    def stream(self) -> StreamChoices:
        """How files are worked through."""
        return StreamChoices(self.batch_size, self.workers, heatmaps=self.files.any)

    def sources(self) -> Iterator[str]:
        """The files, anew each time."""
        return islice(scan_files(self.paths, beside=self.files.folder), self.limit)


def predict_files(choices: PredictChoices, reporter: Reporter) -> int:
    """Answer for files and return how many could not be read.

    Raises:
        UsageError: Options exclude each other, or the output is of another model or other options.
        SourceError: A path does not exist, or a folder holds no scan.
        DecodeError: The only file cannot be read, and its answer was to be printed.
        BundleError: The model cannot be loaded or trusted.
    """
    if choices.output is not None:
        refuse_output(choices.output)
        refuse_closed_folder(choices.output.parent, option="-o")
    elif choices.files.any:
        raise UsageError("--heatmaps and --html write files beside an output. Say where with -o, as -o findings.jsonl.")
    check_roots(choices.paths)
    count = sum(1 for _ in choices.sources())
    if not count:
        raise SourceError(
            f"{choices.paths[0]}: no file that may hold scans. Name files to have them read whatever they are called."
        )
    predictor = Predictor.load(choices.model, engine=choices.engine)
    if isinstance(predictor.graph.source, bytes):
        reporter.say(f"{choices.model}: a bundle without {GRAPH_FILE}, as earlier versions wrote them; torch made it for this run.")
    with picture_warnings_off():
        if choices.output is None:
            return _print_answers(choices, predictor, one=count == 1)
        return _write_answers(choices, predictor, count, reporter)


def _print_answers(choices: PredictChoices, predictor: Predictor, *, one: bool) -> int:
    failed = 0
    for answer in answer_files(predictor, choices.sources(), choices.stream):
        if answer.error is not None and one:
            raise DecodeError(answer.error)
        if answer.error is not None:
            typer.echo(answer.error, err=True)
            failed += 1
        for finding in answer.findings:
            typer.echo(_in_full(finding) if one and len(answer.findings) == 1 else _in_a_line(finding))
    typer.echo(DISCLAIMER)
    return failed


def _write_answers(choices: PredictChoices, predictor: Predictor, count: int, reporter: Reporter) -> int:
    assert choices.output is not None
    files = choices.files
    with open_output(choices.output, _stamp(choices, predictor)) as output, reporter.counting("predict") as progress:
        if output.done:
            reporter.say(f"{choices.output}: {len(output.done):,} files are answered for already; going on from there.")
        left = (path for path in choices.sources() if path not in output.done)
        for done, answer in enumerate(answer_files(predictor, left, choices.stream), start=1):
            output.write(files.write(answer))
            output.failed += answer.error is not None
            progress(done, max(done, count - len(output.done)))
    reporter.say(f"{choices.output}: {count:,} files, {output.failed:,} of them could not be read.")
    reporter.say(DISCLAIMER)
    return output.failed


def _stamp(choices: PredictChoices, predictor: Predictor) -> dict[str, Any]:
    """What records depend on, so that a run only goes on with its own."""
    folder = shipped_folder() if choices.model == BUNDLED else Path(choices.model)
    return {
        "disclaimer": DISCLAIMER,
        "model": {
            "name": predictor.stamp.name,
            "weights_sha256": predictor.stamp.weights_sha256,
            "bundle_sha256": hashlib.sha256((folder / BUNDLE_FILE).read_bytes()).hexdigest(),
        },
        "versions": predictor.versions,
        "options": {"heatmaps": choices.heatmaps, "html": choices.html},
    }


def _in_full(finding: Finding) -> str:
    rows, columns = finding.shape
    lines = [f"{finding.path} ({rows} x {columns} pixels)"]
    lines += [f"  {label_info(label).display_name:<18}{value:.3f}" for label, value in finding.probabilities.items()]
    return "\n".join([*lines, *finding.sentences()])


def _in_a_line(finding: Finding) -> str:
    name = label_info(finding.recommended).display_name
    answer = f"refused ({finding.refusal})" if finding.refused else f"{name} {finding.probabilities[finding.recommended]:.3f}"
    return f"{finding.path}: {answer}"
