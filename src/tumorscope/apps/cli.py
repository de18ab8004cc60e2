"""The command line: one verb per stage; parse, call, render. Everything heavy is imported inside the verbs."""

import sys
import traceback
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated

import typer

from tumorscope import DISCLAIMER
from tumorscope.apps import data_verbs
from tumorscope.apps.options import (
    ClassesOption,
    DeviceName,
    DeviceOption,
    DevicesOption,
    EngineName,
    EpochsOption,
    ExportFormat,
    FoldsOption,
    HeatmapKind,
    InitOption,
    LimitOption,
    ManifestArgument,
    ModelsOption,
    NodesOption,
    PlaneName,
    Protocol,
    ProtocolOption,
    RecipeOption,
    RunArgument,
    SeedOption,
    SizeOption,
    SplitName,
    TestOption,
)
from tumorscope.errors import TumorscopeError, UsageError
from tumorscope.models.bundle_files import KNOWN_NETWORKS

if TYPE_CHECKING:
    from tumorscope.apps.console import Reporter
    from tumorscope.apps.crew import Crew
    from tumorscope.manifest import Manifest
    from tumorscope.training.recipe import Recipe


app = typer.Typer(
    name="tumorscope",
    help=f"Train, evaluate and explain classifiers of brain MRI slices. {DISCLAIMER}",
    epilog="Exit status: 0 done, 1 an error in one line, 2 wrong usage. --debug anywhere shows the traceback of an error.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(data_verbs.app)


@app.command()
def run(
    out: Annotated[Path, typer.Option(help="Folder for everything; the same command goes on with it after a kill.")],
    data: Annotated[
        Path | None,
        typer.Option(
            help="Folder, NPZ, MATLAB files or CSV of images, or the name of a fetched public set; without it the built-in "
            "synthetic set."
        ),
    ] = None,
    models: ModelsOption = ",".join(KNOWN_NETWORKS),
    recipe: RecipeOption = None,
    init: InitOption = None,
    protocol: ProtocolOption = Protocol.published,
    folds: FoldsOption = None,
    epochs: EpochsOption = None,
    image_size: SizeOption = None,
    seed: SeedOption = None,
    device: DeviceOption = DeviceName.auto,
    devices: DevicesOption = 1,
    num_nodes: NodesOption = 1,
    limit: LimitOption = None,
    test: TestOption = None,
    confounded: Annotated[
        bool,
        typer.Option(
            "--confounded",
            help="Draw the built-in set so that the class gives away the scanner, and test on one with scanners swapped.",
        ),
    ] = False,
) -> None:
    """Do the whole experiment: data, split, both models, evaluation, heatmaps, report."""
    from tumorscope.apps.crew import work_together
    from tumorscope.apps.experiment import Choices
    from tumorscope.apps.experiment import run as run_experiment

    if confounded and data is not None:
        raise UsageError("--confounded is about the built-in set. Leave out --data, or leave out --confounded.")
    choices = Choices(
        data=None if data is None else data_verbs.named_source(data),
        out=out,
        models=_models(models),
        recipe=_recipe(recipe or ("phantom" if data is None else "default"), epochs=epochs, image_size=image_size, seed=seed),
        init=init or ("none" if data is None else "imagenet"),
        protocol=protocol.value,
        folds=folds,
        limit=limit,
        tests=tuple(data_verbs.named_source(path) for path in test or ()),
        confounded=confounded,
        device=device.value,
    )
    reporter = _reporter()

    def work(crew: "Crew") -> None:
        run_experiment(choices, reporter, crew)
        _print_results(out)
        reporter.say(DISCLAIMER)

    work_together(work, device=device.value, devices=devices, nodes=num_nodes)


@app.command()
def index(
    source: Annotated[Path, typer.Argument(help="Folder of class folders, NPZ or MATLAB file or folder, or CSV.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Manifest to write.")] = Path("manifest.csv"),
    classes: ClassesOption = None,
) -> None:
    """Read a data set and write its manifest: one row per image."""
    from tumorscope.data.sources import index_source
    from tumorscope.storage import refuse_closed_folder

    reporter = _reporter()
    refuse_closed_folder(output.parent, option="-o")
    with reporter.counting("index") as progress:
        manifest = index_source(data_verbs.named_source(source), class_order=_class_order(classes), progress=progress)
    _write_manifest(manifest, output)


@app.command()
def audit(
    source: Annotated[Path, typer.Argument(help="Folder of class folders, NPZ or MATLAB file or folder, CSV or manifest.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the audit.")] = Path("audit"),
    against: Annotated[Path | None, typer.Option(help="Another set: say which of its images are in SOURCE.")] = None,
    masks: Annotated[
        bool, typer.Option("--masks", help="Give images without a tumour outline that of their twin in the set of --against.")
    ] = False,
    join_neighbours: Annotated[
        bool, typer.Option("--join-neighbours", help="Put likely neighbouring slices into one group too.")
    ] = False,
    classes: ClassesOption = None,
) -> None:
    """Say what is wrong with a data set before anyone trains on it: copies, twins, leaks, labels, files."""
    from tumorscope.apps.audit_folder import audit_against, write_audit
    from tumorscope.apps.external_sets import external_name
    from tumorscope.data.audit.audit import audit as examine
    from tumorscope.data.audit.looks import Looks
    from tumorscope.data.sources import index_source
    from tumorscope.storage import refuse_closed_folder

    if masks and against is None:
        raise UsageError("--masks needs --against OTHER, the set whose outlines are carried over to SOURCE.")
    reporter = _reporter()
    refuse_closed_folder(output, option="-o")
    looks = Looks()
    with reporter.counting("index") as progress:
        manifest = index_source(
            data_verbs.named_source(source), class_order=_class_order(classes), seen=looks.take, progress=progress
        )
    for note in manifest.notes:
        reporter.say(f"  {note}")
    with reporter.counting("audit") as progress:
        found = examine(manifest, join_neighbours=join_neighbours, looks=looks, progress=progress)
    if against is not None:
        path = data_verbs.named_source(against)
        with reporter.counting("index the other set") as progress:
            other = index_source(path, progress=progress)
        found = audit_against(found, other, output, reporter, name=external_name(against), masks=masks)
    write_audit(found, output, reporter, source=source.name, join_neighbours=join_neighbours)
    reporter.say(f"audit: {output}")


@app.command()
def pack(
    manifest: ManifestArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for train.npz and test.npz.")],
) -> None:
    """Write the images of a manifest as NPZ files, one per split."""
    from tumorscope.data.packing import pack_npz
    from tumorscope.manifest import read_manifest
    from tumorscope.storage import refuse_closed_folder

    reporter = _reporter()
    refuse_closed_folder(output, option="-o")
    with reporter.counting("pack") as progress:
        for path in pack_npz(read_manifest(manifest), output, progress=progress):
            typer.echo(path)


@app.command()
def split(
    manifest: ManifestArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="Manifest to write; with --folds, -foldN is added to its name.")],
    protocol: ProtocolOption = Protocol.published,
    folds: FoldsOption = None,
    seed: SeedOption = None,
    validation_share: Annotated[float, typer.Option(min=0.01, max=0.5, help="Part of the training images.")] = 0.1,
    calibration_share: Annotated[
        float, typer.Option(min=0, max=0.5, help="Part of the training images that `calibrate` fits on and no training sees.")
    ] = 0.0,
) -> None:
    """Cut a manifest into training, validation, calibration where asked for, and test."""
    from tumorscope.data.split import split_folds, split_manifest
    from tumorscope.manifest import read_manifest

    whole, shares = read_manifest(manifest), {"validation_share": validation_share, "calibration_share": calibration_share}
    if folds is None:
        _write_manifest(split_manifest(whole, protocol=protocol.value, seed=seed or 0, **shares), output)
        return
    for number, part in enumerate(split_folds(whole, folds=folds, seed=seed or 0, **shares)):
        _write_manifest(part, output.with_stem(f"{output.stem}-fold{number}"))


@app.command()
def train(
    manifest: ManifestArgument,
    out: Annotated[Path, typer.Option(help="Run folder; the same command goes on with it after a kill.")],
    models: ModelsOption = ",".join(KNOWN_NETWORKS),
    recipe: RecipeOption = None,
    init: InitOption = None,
    epochs: EpochsOption = None,
    image_size: SizeOption = None,
    seed: SeedOption = None,
    device: DeviceOption = DeviceName.auto,
    devices: DevicesOption = 1,
    num_nodes: NodesOption = 1,
) -> None:
    """Train networks on a manifest that `tumorscope split` has cut."""
    from tumorscope.apps.crew import work_together
    from tumorscope.apps.experiment import prepare_from_manifest
    from tumorscope.apps.stages import Stages
    from tumorscope.models.starting import find_start

    reporter, names, starts = _reporter(), _models(models), init or "imagenet"
    for name in names:
        find_start(name, starts)  # a model that is not there is refused before any work
    chosen = _recipe(recipe or "default", epochs=epochs, image_size=image_size, seed=seed)

    def work(crew: "Crew") -> None:
        stages = Stages(prepare_from_manifest(manifest, out, chosen, reporter), reporter, device.value, crew)
        for name in names:
            stages.train(name, starts)

    work_together(work, device=device.value, devices=devices, nodes=num_nodes)


@app.command()
def evaluate(run: RunArgument, device: DeviceOption = DeviceName.auto, test: TestOption = None) -> None:
    """Test the trained models of a run on its test images, and on external sets."""
    from tumorscope.apps.experiment import each_model, prepare_external_of
    from tumorscope.apps.run_folder import RunFolder

    reporter, folder = _reporter(), RunFolder.at(run)
    names = []
    for stages, name in each_model(run, reporter, device.value):
        stages.evaluate(name)
        names.append(name)
    _pool_folds(run)
    for path in test or ():
        prepare_external_of(folder, data_verbs.named_source(path), reporter)
    from tumorscope.apps.external import evaluate_external

    evaluate_external(folder, tuple(dict.fromkeys(names)), reporter, device.value)
    _print_results(run)


@app.command()
def calibrate(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run; with --on a model's folder, or `bundled`.")],
    on: Annotated[
        list[Path] | None,
        typer.Option("--on", help="Labelled scans of the place where the model is to work, may be repeated; needs -o."),
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Folder for the calibrated copy, with --on.")] = None,
    level: Annotated[float | None, typer.Option(help="Of the prediction sets that are given: 0.9, 0.95 or 0.99.")] = None,
    conditional: Annotated[
        bool | None, typer.Option("--conditional/--marginal", help="Promise that level for every class by itself.")
    ] = None,
    sensitivity: Annotated[float | None, typer.Option(help="Share of tumours found at the operating point.")] = None,
    confidence: Annotated[float | None, typer.Option(help="How sure that promise is.")] = None,
    kept: Annotated[float | None, typer.Option(help="Share of familiar images that are not refused.")] = None,
    cost_missed_tumour: Annotated[
        float | None, typer.Option(help="How many false alarms a missed tumour costs; with them a tumour is recommended or not.")
    ] = None,
    sample: Annotated[int, typer.Option(min=4, help="Test images that are asked again under every corruption.")] = 64,
    device: DeviceOption = DeviceName.auto,
) -> None:
    """Fit what the models of a run promise, on images that no training has seen, and test it; or one model on scans of your own."""
    from tumorscope.apps.calibrating import calibrate_run

    changed = {
        "level": level,
        "conditional": conditional,
        "sensitivity": sensitivity,
        "confidence": confidence,
        "kept": kept,
        "cost_missed_tumour": cost_missed_tumour,
    }
    if on or output is not None:
        if not on or output is None:
            raise UsageError("--on DATA and -o FOLDER belong together: the model stays as it is, its calibrated copy goes to -o.")
        from tumorscope.apps.local_calibration import calibrate_on
        from tumorscope.reporting.trust_sentences import local_sentences

        reporter = _reporter()
        found = calibrate_on(str(run), [data_verbs.named_source(path) for path in on], changed, output, reporter, device.value)
        for line in local_sentences(found):
            reporter.say(f"  {line}")
        typer.echo(output)
        return
    calibrate_run(run, changed, _reporter(), device.value, sample=sample)
    _print_results(run)


@app.command()
def explain(
    run: RunArgument,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for the explanation, instead of the run's own.")
    ] = None,
    methods: Annotated[
        str,
        typer.Option(
            help="Other methods to measure beside Grad-CAM, separated by commas, or `all`: grad_cam_pp, layer_cam, hires_cam, "
            "score_cam, integrated_gradients, occlusion."
        ),
    ] = "",
    split: Annotated[SplitName, typer.Option(help="Whose images are explained.")] = SplitName.test,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many images of each class.")] = None,
    sample: Annotated[
        int, typer.Option(min=4, help="Images that the network is asked about again and again: deletion, insertion, drops.")
    ] = 128,
    against: Annotated[
        Path | None, typer.Option(help="Another run on the same split, trained with another seed: do its maps repeat?")
    ] = None,
    seed: SeedOption = None,
    device: DeviceOption = DeviceName.auto,
) -> None:
    """Measure where the models of a run looked: on the tumour or not, and whether it matters."""
    from tumorscope.apps.collect import write_study_report
    from tumorscope.apps.explanation_page import explain_run
    from tumorscope.apps.run_folder import RunFolder
    from tumorscope.explanation.explain import ExplainChoices
    from tumorscope.storage import refuse_closed_folder

    if output is None and (split != SplitName.test or limit is not None):
        raise UsageError("--split and --limit need -o DIR: the run's own folder keeps the explanation of all its test images.")
    reporter, folder = _reporter(), RunFolder.at(run)
    drawn = folder.recipe().seed if seed is None else seed
    refuse_closed_folder(output or run, option="-o")
    choices = ExplainChoices(split=split.value, limit=limit, sample=sample, methods=_methods(methods), seed=drawn)
    page = explain_run(run, choices, reporter, device=device.value, out=output, against=against)
    if output is None and folder.evaluated_models():
        write_study_report(folder, reporter)
    reporter.say(f"explanation: {page}")
    reporter.say(DISCLAIMER)


@app.command()
def report(run: RunArgument) -> None:
    """Write the report of a run from its finished results."""
    from tumorscope.apps.collect import write_study_report
    from tumorscope.apps.run_folder import RunFolder

    write_study_report(RunFolder.at(run), _reporter())


@app.command()
def card(
    model: Annotated[Path, typer.Argument(help="Folder of a trained model, or bundled: the one that comes with Tumorscope.")],
    evidence: Annotated[
        list[Path] | None,
        typer.Option(
            help="Run, or model of a run, whose results the card shows; may be repeated. It has the recipe and the start of MODEL "
            "and was tested on images that it had not seen. Without it, MODEL's own results."
        ),
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write, instead of printing.")] = None,
) -> None:
    """Write the model card of a trained model from its bundle and from finished evaluations."""
    from tumorscope.apps.card_evidence import card_of
    from tumorscope.storage import write_atomically

    text = card_of(model, evidence or ())
    if output is None:
        typer.echo(text, nl=False)
    else:
        write_atomically(output, text)
        typer.echo(output)


@app.command()
def predict(
    paths: Annotated[
        list[Path],
        typer.Argument(
            help="Files of scans (pictures, TIFF, NPY, NPZ, MATLAB, NIfTI, DICOM), or folders that are searched for them."
        ),
    ],
    model: Annotated[
        str, typer.Option(help="Folder of a trained model, or bundled: the one that comes with Tumorscope.")
    ] = "bundled",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="File to write instead of printing: .jsonl (one finding a line), .csv or .parquet. The same command goes on with "
            "it after a kill.",
        ),
    ] = None,
    heatmaps: Annotated[
        HeatmapKind | None, typer.Option(help="Also write the map of every scan: overlay is a PNG, raw an NPY of floats.")
    ] = None,
    html: Annotated[bool, typer.Option("--html", help="Also write a page for every scan.")] = False,
    engine: Annotated[
        EngineName, typer.Option(help="What runs the network; torch takes a GPU when there is one.")
    ] = EngineName.openvino,
    workers: Annotated[int | None, typer.Option(min=1, help="Threads that decode files; a processor each by default.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, max=4096, help="Scans that the network is given together.")] = 32,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many files; with --series, so many series.")] = None,
    series: Annotated[
        bool,
        typer.Option("--series", help="Take folders as DICOM series: slices in geometric order, and a summary of each series."),
    ] = False,
    slices: Annotated[
        str, typer.Option(help="Of files or series with several: all, middle, a number, or a range such as 10-20, from 0.")
    ] = "all",
    plane: Annotated[PlaneName, typer.Option(help="Of NIfTI volumes: acquired is across the widest steps.")] = PlaneName.acquired,
    any_modality: Annotated[
        bool,
        typer.Option("--any-modality", help="Let DICOM files through that are no MR or in colour; no model was made for them."),
    ] = False,
) -> None:
    """Answer for scans: label, probabilities, where the model looked. No GPU and no network needed."""
    from tumorscope.apps.predicting import PredictChoices, predict_files
    from tumorscope.data.slice_choice import SliceChoice

    choices = PredictChoices(
        paths=paths,
        model=model,
        output=output,
        heatmaps=None if heatmaps is None else heatmaps.value,
        html=html,
        engine=engine.value,
        workers=workers,
        batch_size=batch_size,
        limit=limit,
        slices=SliceChoice(plane=plane.value, slices=slices),
        series=series,
        any_modality=any_modality,
    )
    if predict_files(choices, _reporter()):
        raise typer.Exit(1)


@app.command()
def export(
    model: Annotated[str, typer.Argument(help="Folder of a trained model, or bundled: the one that comes with Tumorscope.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the files.")],
    form: Annotated[ExportFormat, typer.Option("--format", help="What the other program reads.")] = ExportFormat.onnx,
) -> None:
    """Write a trained network with its maps for other programs, with a file that says what goes in and what comes out."""
    from tumorscope.apps.exporting import export_model

    for path in export_model(model, form.value, output):
        typer.echo(path)
    _reporter().say(DISCLAIMER)


@app.command()
def info(
    what: Annotated[
        Path | None, typer.Argument(help="Run folder, model folder (or bundled), manifest; without it, this installation.")
    ] = None,
    recipes: Annotated[bool, typer.Option("--recipes", help="Print the shipped recipes.")] = False,
) -> None:
    """Say what something is: this installation, a run, a model, a manifest."""
    from tumorscope.apps.describe import describe, describe_installation, describe_recipes

    if recipes:
        typer.echo(describe_recipes())
    else:
        typer.echo(describe_installation() if what is None else describe(what))


def main() -> None:
    """Run the command line; a user's error is one line and its exit status, a traceback only with `--debug`."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    debug = len(arguments) < len(sys.argv) - 1
    if not debug:
        sys.excepthook = _print_fault
    try:
        app(arguments, prog_name="tumorscope")
    except TumorscopeError as error:
        if debug:
            raise
        _fail(str(error), error.exit_code)
    except OSError as error:
        if debug:
            raise
        _fail(f"{error.filename or 'input or output'}: {error.strerror or error}.", 1)
    except SystemExit as ended:  # the command line's library has turned Ctrl-C into this
        if ended.code != 130:
            raise
        _fail("stopped; the same command goes on from here.", 130)


def _print_fault(kind: type[BaseException], fault: BaseException, trace: TracebackType | None) -> None:
    """Say in one line what nobody foresaw: it is a fault of the program, so the line asks for a report."""
    where = traceback.extract_tb(trace)[-1:]
    place = f" ({Path(where[0].filename).name}, line {where[0].lineno})" if where else ""
    sys.stderr.write(
        f"tumorscope: a fault of Tumorscope: {kind.__name__}{place}: {' '.join(str(fault).split())} The same command with --debug "
        "shows where; please report that. What was finished is kept.\n"
    )


def _fail(message: str, status: int) -> None:
    sys.stderr.write(f"tumorscope: {' '.join(message.split())}\n")
    raise SystemExit(status)


def _reporter() -> "Reporter":
    from tumorscope.apps.console import Reporter

    return Reporter()


def _models(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    unknown = [name for name in names if name not in KNOWN_NETWORKS]
    if unknown or not names or len(set(names)) < len(names):
        raise UsageError(f"--models {text}: give one or more of {', '.join(KNOWN_NETWORKS)}, separated by commas, none twice.")
    return names


def _methods(text: str) -> tuple[str, ...]:
    from tumorscope.explanation.other_methods import OTHER_METHODS, refuse_missing

    names = OTHER_METHODS if text.strip() == "all" else tuple(name.strip() for name in text.split(",") if name.strip())
    unknown = [name for name in names if name not in OTHER_METHODS]
    if unknown or len(set(names)) < len(names):
        raise UsageError(f"--methods {text}: give `all`, or one or more of {', '.join(OTHER_METHODS)}, none twice.")
    if names:
        refuse_missing()
    return tuple(names)


def _recipe(name: str, *, epochs: int | None, image_size: int | None, seed: int | None) -> "Recipe":
    from tumorscope.training.recipe import load_recipe

    return load_recipe(name).changed(epochs=epochs, image_size=image_size, seed=seed)


def _class_order(text: str | None) -> tuple[str, ...] | None:
    from tumorscope.labels import parse_label

    return None if text is None else tuple(parse_label(name, where="--classes") for name in text.split(","))


def _write_manifest(manifest: "Manifest", output: Path) -> None:
    from tumorscope.labels import LABELS
    from tumorscope.manifest import SPLITS, write_manifest

    write_manifest(manifest, output)
    for note in manifest.notes:
        typer.echo(f"  {note}", err=True)
    for part in (None, *SPLITS):
        counts = manifest.counts(part)
        if sum(counts.values()):
            line = ", ".join(f"{label} {counts[label]}" for label in LABELS)
            typer.echo(f"{part or 'all'}: {sum(counts.values())} images ({line})")
    typer.echo(f"{output}: data fingerprint {manifest.data_fingerprint}")


def _pool_folds(out: Path) -> None:
    from tumorscope.apps.run_folder import RunFolder

    folder = RunFolder.at(out)
    if folder.state().folds is not None:
        from tumorscope.apps.collect import pool_folds

        pool_folds(folder)


def _print_results(out: Path) -> None:
    from tumorscope.apps.describe import results_table
    from tumorscope.apps.run_folder import RunFolder

    typer.echo(results_table(RunFolder.at(out)))
