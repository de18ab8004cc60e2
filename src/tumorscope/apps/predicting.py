"""What `predict` does: files and folders to findings, on the screen or into a file."""

import hashlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import typer

from tumorscope import DISCLAIMER
from tumorscope.apps.console import Reporter
from tumorscope.apps.finding_files import FindingFiles
from tumorscope.apps.finding_output import open_output, refuse_output
from tumorscope.apps.finding_records import Answered, answered_file, answered_series
from tumorscope.apps.scan_files import check_roots, scan_files
from tumorscope.apps.series_files import SeriesFolders, series_of
from tumorscope.data.decode import picture_warnings_off
from tumorscope.data.slice_choice import SliceChoice
from tumorscope.errors import DecodeError, SourceError, UsageError
from tumorscope.finding import Finding
from tumorscope.labels import label_info
from tumorscope.models.bundle_files import BUNDLE_FILE, GRAPH_FILE
from tumorscope.models.shipped import model_folder
from tumorscope.predict import Predictor
from tumorscope.storage import refuse_closed_folder, remove_torn
from tumorscope.streaming import StreamChoices, answer_files, answer_sources


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
    slices: SliceChoice
    series: bool
    any_modality: bool

    @property
    def files(self) -> FindingFiles:
        """What is written for single scans."""
        output = self.output or Path("findings")
        return FindingFiles(output.with_name(f"{output.name}-files"), self.heatmaps, self.html)

    @property
    def stream(self) -> StreamChoices:
        """How files are worked through."""
        return StreamChoices(
            self.batch_size, self.workers, heatmaps=self.files.any, slices=self.slices, allow_any=self.any_modality
        )

    def sources(self) -> Iterator[str]:
        """The files, anew each time."""
        return islice(scan_files(self.paths, beside=self.files.folder), self.limit)


class _Files:
    """Files, each answered for by itself."""

    unit = "files"
    sha256: str | None = None

    def __init__(self, choices: PredictChoices) -> None:
        self._choices = choices
        self.count = sum(1 for _ in choices.sources())
        if not self.count:
            raise SourceError(
                f"{choices.paths[0]}: no file that may hold scans. Name files to have them read whatever they are called."
            )

    def answers(self, predictor: Predictor, done: Collection[str]) -> Iterator[Answered]:
        left = (path for path in self._choices.sources() if path not in done)
        for answer in answer_files(predictor, left, self._choices.stream):
            yield answered_file(self._choices.files.write(answer))


class _Series:
    """Folders of series, each answered for as a whole."""

    unit = "series and files that are in none"

    def __init__(self, choices: PredictChoices) -> None:
        self._choices = choices
        found: SeriesFolders = series_of(choices.paths, choices.stream, beside=choices.files.folder)
        self._series, self._refused, self.sha256 = found.series[: choices.limit], found.refused, found.sha256
        self.count = len(self._series) + len(self._refused)
        if not self.count:
            raise SourceError(f"{choices.paths[0]}: no DICOM files. Without --series, files of every format are read.")

    def answers(self, predictor: Predictor, done: Collection[str]) -> Iterator[Answered]:
        for path, error in self._refused:
            if path not in done:
                yield Answered(path, (), ((path, error),))
        left = [series for series in self._series if series.path not in done]
        parts = answer_sources(predictor, (part for series in left for part in series.parts), self._choices.stream)
        for series in left:
            written = [self._choices.files.write(part) for part in islice(parts, len(series.parts))]
            yield answered_series(series.path, written, slices=series.slices, notes=series.notes)


def predict_files(choices: PredictChoices, reporter: Reporter) -> int:
    """Answer for files or series and return how many files could not be read.

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
    work = _Series(choices) if choices.series else _Files(choices)
    predictor = Predictor.load(choices.model, engine=choices.engine)
    if isinstance(predictor.graph.source, bytes):
        reporter.say(f"{choices.model}: a bundle without {GRAPH_FILE}, as earlier versions wrote them; torch made it for this run.")
    with picture_warnings_off():
        if choices.output is None:
            return _print_answers(work, predictor)
        return _write_answers(choices, work, predictor, reporter)


def _print_answers(work: _Files | _Series, predictor: Predictor) -> int:
    failed, one = 0, work.count == 1
    for answered in work.answers(predictor, ()):
        for _, error in answered.errors:
            if one and not answered.summary:
                raise DecodeError(error)
            typer.echo(error, err=True)
            failed += 1
        for finding in answered.findings:
            typer.echo(str(finding) if one and len(answered.findings) == 1 else _in_a_line(finding))
        if answered.summary is not None:
            typer.echo(str(answered.summary))
    typer.echo(DISCLAIMER)
    return failed


def _write_answers(choices: PredictChoices, work: _Files | _Series, predictor: Predictor, reporter: Reporter) -> int:
    assert choices.output is not None
    stamp = _stamp(choices, predictor) | ({"folder": work.sha256} if work.sha256 else {})
    with open_output(choices.output, stamp, series=choices.series) as output, reporter.counting("predict") as progress:
        if output.done:
            reporter.say(f"{choices.output}: {len(output.done):,} {work.unit} are answered for already; going on from there.")
        remove_torn(choices.files.folder)
        for done, answered in enumerate(work.answers(predictor, output.done), start=1):
            output.write(answered)
            output.failed += len(answered.errors)
            progress(done, max(done, work.count - len(output.done)))
    of_them = "files" if choices.series else "of them"
    reporter.say(f"{choices.output}: {work.count:,} {work.unit}, {output.failed:,} {of_them} could not be read.")
    reporter.say(DISCLAIMER)
    return output.failed


def _stamp(choices: PredictChoices, predictor: Predictor) -> dict[str, Any]:
    """What records depend on, so that a run only goes on with its own."""
    folder = model_folder(choices.model)
    return {
        "disclaimer": DISCLAIMER,
        "model": {
            "name": predictor.stamp.name,
            "weights_sha256": predictor.stamp.weights_sha256,
            "bundle_sha256": hashlib.sha256((folder / BUNDLE_FILE).read_bytes()).hexdigest(),
        },
        "versions": predictor.versions,
        "options": {
            "heatmaps": choices.heatmaps,
            "html": choices.html,
            "slices": choices.slices.slices,
            "plane": choices.slices.plane,
            "series": choices.series,
            "any_modality": choices.any_modality,
        },
    }


def _in_a_line(finding: Finding) -> str:
    name = label_info(finding.recommended).display_name
    answer = f"refused ({finding.refusal})" if finding.refused else f"{name} {finding.probabilities[finding.recommended]:.3f}"
    return f"{finding.path}: {answer}"
