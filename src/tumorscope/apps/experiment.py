"""The whole experiment: data to split, models, evaluation, heatmaps and report, in one folder."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tumorscope.apps.audit_folder import audit_into
from tumorscope.apps.console import Reporter
from tumorscope.apps.run_folder import RunFolder, RunState
from tumorscope.data.phantom import Scanners, write_phantom
from tumorscope.data.sources import index_source
from tumorscope.data.split import check_split, split_folds, split_manifest
from tumorscope.errors import EvaluationError, OutputError
from tumorscope.labels import LABELS
from tumorscope.manifest import Manifest, Record, is_outline, read_manifest
from tumorscope.storage import refuse_closed_folder
from tumorscope.training.recipe import Recipe

if TYPE_CHECKING:
    from tumorscope.apps.crew import Crew
    from tumorscope.apps.stages import Stages
    from tumorscope.models.device import Device


@dataclass(frozen=True, slots=True)
class Choices:
    """What a user asks of a run.

    Attributes:
        data: Source of the images, or None for the built-in set.
        out: Run folder.
        models: Networks to train, in this order.
        recipe: Every training choice.
        init: Where fine-tuned weights start.
        protocol: `published`, `leak-free` or `regroup`.
        folds: Number of folds of a cross-validation, or None.
        limit: Most images of each label and split, or None.
        tests: External test sets.
        confounded: Whether the built-in set is drawn so that the class gives away the scanner; a set with scanners swapped is then
            one of the tests.
        device: `auto`, `cpu` or `cuda`.
    """

    data: Path | None
    out: Path
    models: tuple[str, ...]
    recipe: Recipe
    init: str
    protocol: str = "published"
    folds: int | None = None
    limit: int | None = None
    tests: tuple[Path, ...] = ()
    confounded: bool = False
    device: "Device" = "auto"


def run(choices: Choices, reporter: Reporter, crew: "Crew") -> Path:
    """Do everything that is not done yet and return the report's path.

    Args:
        choices: What is asked.
        reporter: Where progress is shown.
        crew: The processes that train.

    Raises:
        TumorscopeError: Something of the user's stands in the way; what was finished is kept.
    """
    seen = _seen_by_starts(choices)
    if choices.confounded:
        choices = replace(choices, tests=(*choices.tests, _swapped(choices)))
    folder = prepare(choices, reporter, seen=frozenset().union(*seen.values()))
    _refuse_inherited(folder, seen)
    for part in fold_folders(folder):
        if part.path != folder.path:
            reporter.say(part.path.name)
        run_models(part, choices, reporter, crew)
    if choices.tests:
        from tumorscope.apps.external import evaluate_external

        evaluate_external(folder, choices.models, reporter, choices.device)
    from tumorscope.apps import explanation_page, trust_page
    from tumorscope.apps.collect import write_study_report
    from tumorscope.apps.trust import pool_trust

    explanation_page.write_page(folder, choices.models)
    pool_trust(folder)
    trust_page.write_page(folder)
    return write_study_report(folder, reporter)


def run_models(folder: RunFolder, choices: Choices, reporter: Reporter, crew: "Crew") -> None:
    """Train, calibrate, evaluate and explain every chosen model of one run folder."""
    from tumorscope.apps.stages import Stages

    stages = Stages(folder, reporter, choices.device, crew)
    for name in choices.models:
        stages.train(name, choices.init)
        stages.calibrate(name)
        stages.evaluate(name)
        stages.trust(name)
        stages.probe(name)
        stages.explain(name)


def _seen_by_starts(choices: Choices) -> dict[str, frozenset[str]]:
    """What the trained model that each network would start from has seen; refuses one that is not there before any work is done."""
    if choices.init in ("imagenet", "none"):  # they have seen no scan, and finding out would load torch before any data are read
        return {}
    from tumorscope.models.starting import find_start

    return {name: find_start(name, choices.init).seen for name in choices.models}


def _refuse_inherited(folder: RunFolder, seen: Mapping[str, frozenset[str]]) -> None:
    from tumorscope.evaluation.evaluate import refuse_inherited

    for name in (name for name, digests in seen.items() if digests):
        for part in fold_folders(folder):
            refuse_inherited(seen[name], part.manifest(), name=name)


def prepare(choices: Choices, reporter: Reporter, *, seen: frozenset[str] = frozenset()) -> RunFolder:
    """Index, split and store what the run is about; a folder that is prepared already is checked against the choices.

    Args:
        choices: What a user asks for.
        reporter: Told of progress.
        seen: Digests of what the models that training starts from have seen: left out of external sets.

    Raises:
        OutputError: The folder holds another run, or cannot be written.
    """
    folder, started = RunFolder.at(choices.out), time.monotonic()
    goes_on = folder.is_prepared
    if goes_on:
        refuse_other_choices(folder, choices)
        reporter.say(f"{folder.path}: going on with the run that is there")
    else:
        _begin(folder, choices, reporter, seen)
    for path in choices.tests:  # of a run that goes on too: a kill, or a set that is refused, may have come before them
        prepare_external_of(folder, path, reporter, seen=seen)
    if not goes_on:
        folder.add_duration("index, audit and split", time.monotonic() - started)
    return folder


def _begin(folder: RunFolder, choices: Choices, reporter: Reporter, seen: frozenset[str]) -> None:
    """Index, audit, split and store the run's own images."""
    refuse_foreign_files(folder)
    refuse_closed_folder(folder.path, option="--out")
    manifest = limited(read_source(choices, reporter), choices.limit)
    named = "the built-in set" if choices.data is None else choices.data.name
    manifest = audit_into(manifest, folder.audit_path, reporter, source=named, synthetic=choices.data is None).manifest
    said = manifest.notes
    for note in said:
        reporter.say(f"  {note}")
    manifest = _with_external_test(manifest, choices, reporter, seen)
    store(folder, manifest, choices)
    for note in folder.state().notes:
        if note not in said:
            reporter.say(f"  {note}")


def prepare_external_of(folder: RunFolder, path: Path, reporter: Reporter, *, seen: frozenset[str] = frozenset()) -> None:
    """Store one external test set in a run."""
    from tumorscope.apps.external import prepare_external

    prepare_external(folder, path, reporter, seen=seen)


def _with_external_test(manifest: Manifest, choices: Choices, reporter: Reporter, seen: frozenset[str]) -> Manifest:
    """Where a test split is neither there nor asked for, the external images of the four labels are it."""
    cut = choices.folds is not None or choices.protocol == "regroup"
    if not choices.tests or cut or any(record.split == "test" for record in manifest):
        return manifest
    from tumorscope.data.audit.audit import audit_groups, outside_of
    from tumorscope.models.bundle_files import short_digest

    joined, notes = list(_absolute_records(manifest)), []
    for path in choices.tests:
        with reporter.counting(f"index {path.name}") as progress:
            other = index_source(path, progress=progress)
        _, rest, _ = outside_of(manifest, other)
        grouped = [] if rest is None else _absolute_records(audit_groups(rest))
        known = {record.path for record in joined}
        usable = [
            record
            for record in grouped
            if record.label in LABELS and record.path not in known and short_digest(record.sha256) not in seen
        ]
        joined += [replace(record, split="test", fold=None) for record in usable]
        notes.append(
            f"All of {manifest.root.name} is training and validation: the test split is the {len(usable)} of {len(other)} images "
            f"of {path.name} that show one of the four labels and are not in training."
        )
    if len({record.label for record in joined if record.split == "test"}) == 0:
        return manifest
    return manifest.with_records(joined, note=" ".join(notes))


def _absolute_records(manifest: Manifest) -> tuple[Record, ...]:
    """Records with paths that do not depend on the manifest's root."""

    def absolute(text: str) -> str:
        return (manifest.root / text).absolute().as_posix() if text and not is_outline(text) else text

    return tuple(replace(record, path=absolute(record.path), mask=absolute(record.mask)) for record in manifest)


def refuse_foreign_files(folder: RunFolder) -> None:
    """Raise when a folder that is no run yet holds anything but what an interrupted start of a run leaves.

    Raises:
        OutputError: Names the first such file.
    """
    if not folder.path.is_dir():
        return
    own = {folder.manifest_path.name, folder.recipe_path.name, folder.audit_path.name, "phantom", "phantom-swapped", "external"}
    names = sorted(entry.name for entry in folder.path.iterdir())
    foreign = [name for name in names if name not in own and not name.startswith("fold-") and not name.endswith(".part")]
    if foreign:
        raise OutputError(f"{folder.path}: no run, but not empty ({foreign[0]}). Choose an empty or new folder for --out.")


def prepare_from_manifest(path: Path, out: Path, recipe: Recipe, reporter: Reporter) -> RunFolder:
    """Store a manifest that is split already as a run; a folder that is prepared already is checked against it.

    Raises:
        SplitError: The manifest is not split.
        OutputError: The folder holds another run, or cannot be written.
    """
    manifest = read_manifest(path)
    check_split(manifest, allow_published_leak=True)
    folder = RunFolder.at(out)
    if not folder.is_prepared:
        refuse_closed_folder(out, option="--out")
        folder.prepare(manifest, recipe, RunState(data=str(path), protocol="as given"))
        return folder
    if folder.manifest().split_fingerprint != manifest.split_fingerprint or folder.recipe() != recipe:
        raise OutputError(f"{out}: holds a run with another manifest or recipe. Choose another --out.")
    reporter.say(f"{out}: going on with the run that is there")
    return folder


def each_model(path: Path, reporter: Reporter, device: "Device") -> Iterator[tuple["Stages", str]]:
    """Yield the stages and name of every trained model of a run, fold by fold.

    Raises:
        EvaluationError: There is none.
    """
    from tumorscope.apps.stages import Stages

    found = False
    for part in fold_folders(RunFolder.at(path)):
        stages = Stages(part, reporter, device)
        for name in part.trained_models():
            found = True
            yield stages, name
    if not found:
        raise EvaluationError(f"{path}: no finished model. Train one with `tumorscope train` or `tumorscope run`.")


def read_source(choices: Choices, reporter: Reporter) -> Manifest:
    """Return the manifest of the user's data, or of the built-in set, made when it is not there yet."""
    if choices.data is not None:
        with reporter.counting("index") as progress:
            return index_source(choices.data, progress=progress)
    with reporter.counting("draw the built-in set") as progress:
        scanners: Scanners = "confounded" if choices.confounded else "one"
        return write_phantom(choices.out / "phantom", seed=choices.recipe.seed, scanners=scanners, progress=progress)


def _swapped(choices: Choices) -> Path:
    """Where the built-in set with swapped scanners lies, other patients than those of training; drawn when it is not there yet."""
    if not RunFolder.at(choices.out).is_prepared:
        refuse_foreign_files(RunFolder.at(choices.out))
        refuse_closed_folder(choices.out, option="--out")
    place = choices.out / "phantom-swapped"
    return write_phantom(place, patients_per_label=12, seed=choices.recipe.seed + 1, scanners="swapped").root / "manifest.csv"


def limited(manifest: Manifest, limit: int | None) -> Manifest:
    """Return at most `limit` images of each label and split, spread evenly over the manifest; None keeps all."""
    if limit is None:
        return manifest
    alike: dict[tuple[str, str], list[Record]] = {}
    for record in manifest:
        alike.setdefault((record.label, record.split), []).append(record)
    kept = {records[k * len(records) // limit].path for records in alike.values() for k in range(limit) if len(records) > limit}
    kept |= {record.path for records in alike.values() if len(records) <= limit for record in records}
    small = manifest.where(lambda record: record.path in kept)
    return small.with_records(
        small.records, note=f"Limited to {limit} images of each label and split: {len(small)} of {len(manifest)}."
    )


def store(folder: RunFolder, manifest: Manifest, choices: Choices) -> None:
    """Split the manifest and store it with recipe and choices, for every fold its own run folder."""
    recipe = choices.recipe
    state = RunState(
        data="" if choices.data is None else str(choices.data.resolve()),
        protocol=choices.protocol,
        folds=choices.folds,
        limit=choices.limit,
        synthetic=choices.data is None,
        tests=tuple(str(path.resolve()) for path in choices.tests),
    )
    if choices.folds is None:
        split = split_manifest(
            manifest,
            protocol=choices.protocol,
            validation_share=recipe.validation_share,
            calibration_share=recipe.calibration_share,
            test_share=recipe.test_share,
            seed=recipe.seed,
        )
        folder.prepare(split, recipe, state)
        return
    parts = split_folds(
        manifest,
        folds=choices.folds,
        validation_share=recipe.validation_share,
        calibration_share=recipe.calibration_share,
        seed=recipe.seed,
    )
    for number, part in enumerate(parts):
        folder.fold(number).prepare(part, recipe, replace(state, folds=None, fold=number))
    fold_of = {record.path: number for number, part in enumerate(parts) for record in part if record.split == "test"}
    pooled = manifest.with_records(replace(record, split="test", fold=fold_of[record.path]) for record in manifest)
    folder.prepare(replace(pooled, notes=parts[0].notes), recipe, state)


def fold_folders(folder: RunFolder) -> tuple[RunFolder, ...]:
    """Return the run folders that hold models: the folder itself, or one per fold."""
    folds = folder.state().folds
    return (folder,) if folds is None else tuple(folder.fold(number) for number in range(folds))


def refuse_other_choices(folder: RunFolder, choices: Choices) -> None:
    """Raise when a prepared folder was begun with other choices.

    Raises:
        OutputError: Names the choices that differ.
    """
    state = folder.state()
    data = "" if choices.data is None else str(choices.data)
    pairs: dict[str, tuple[object, object]] = {
        "--data": (state.data and Path(state.data).resolve(), data and Path(data).resolve()),
        "--protocol": (state.protocol, choices.protocol),
        "--folds": (state.folds, choices.folds),
        "--limit": (state.limit, choices.limit),
        "--test": ([Path(path).resolve() for path in state.tests], [path.resolve() for path in choices.tests]),
        "--recipe, --epochs, --image-size or --seed": (folder.recipe(), choices.recipe),
    }
    differs = [name for name, (stored, wanted) in pairs.items() if stored != wanted]
    if differs:
        raise OutputError(
            f"{folder.path}: holds a run begun with another {' and another '.join(differs)}. Repeat the command it was begun with "
            "to go on, or choose another --out."
        )
