"""Training, validation, calibration and test: stratified, by group; a leak is refused."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from tumorscope.errors import SplitError
from tumorscope.labels import LABELS, UNSTATED_TUMOUR
from tumorscope.manifest import CALIBRATION, SLICE_GROUP, SPLITS, Manifest, Record

PROTOCOLS = ("published", "leak-free", "regroup")


def split_manifest(
    manifest: Manifest,
    *,
    protocol: str = "published",
    validation_share: float = 0.1,
    calibration_share: float = 0.0,
    test_share: float = 0.2,
    seed: int = 0,
) -> Manifest:
    """Return the manifest with every image in training, validation, calibration or test.

    Given test, validation and calibration splits are kept; without them they are cut, stratified by label, whole groups at a
    time. Images with equal pixels count as one group in what is cut here. Without a given test split, groups and with a `fold`
    column, the folds are the only grouping known: the last one is the test split.

    Args:
        manifest: Indexed images.
        protocol: `published` keeps the files' own test split as it is, with any copies of it in training, which the notes count;
            `leak-free` also keeps it whole and removes its group mates and copies from training and validation; `regroup` ignores
            all given splits and cuts new ones.
        validation_share: Part of the training images that chooses the epoch, 0 to 1.
        calibration_share: Part of the training images that fits what probabilities mean and that no training sees; 0 for none.
        test_share: Part of all images held out where no test split is given, 0 to 1.
        seed: Of the cut.

    Raises:
        SplitError: A class is too small to stand in every split, or another protocol than `published` was asked for without groups.
    """
    refuse_unstated(manifest)
    if protocol not in PROTOCOLS:
        raise SplitError(f"unknown protocol {protocol!r}. Known: {', '.join(PROTOCOLS)}.")
    if protocol != "published" and not any(record.group for record in manifest):
        raise SplitError(
            f"{manifest.root}: protocol {protocol} needs groups (patients or clusters of copies), and no image has one. Run "
            "`tumorscope audit` on the source and split the manifest it writes, or take --protocol published."
        )
    if protocol == "regroup":
        manifest = _without_splits(manifest, note="The given splits were ignored: everything was split anew by group.")
    given = _has(manifest, "test")
    if not given:
        manifest = _cut_test(manifest, test_share, seed=seed)
    if protocol == "leak-free":
        manifest = _without_test_mates(manifest)
    if not _has(manifest, "validation"):
        manifest = _cut_validation(manifest, validation_share, seed=seed)
    manifest = _cut_calibration(manifest, calibration_share, seed=seed)
    manifest = _marked(manifest, {row: "train" for row, record in enumerate(manifest) if not record.split})
    if not given:
        manifest = _without_twins_of_held_out(manifest)
    check_split(manifest, allow_published_leak=protocol == "published")
    return _with_leak_note(_with_missing_note(manifest))


def split_folds(
    manifest: Manifest, *, folds: int, validation_share: float = 0.1, calibration_share: float = 0.0, seed: int = 0
) -> tuple[Manifest, ...]:
    """Return one split manifest per fold of a cross-validation: each image is a test image exactly once.

    The manifest's own `fold` column decides where there is one; otherwise folds are cut, stratified by label, whole groups at a
    time. Validation and calibration are cut from the rest by group; where the folds are the only grouping known, each is a run of
    images that follow one another, of every class, since the slices of a patient do.

    Args:
        manifest: Indexed images; a given split is ignored.
        folds: Number of folds, at least 2.
        validation_share: Part of the other folds that chooses the epoch, 0 to 1.
        calibration_share: Part of the other folds that fits what probabilities mean and that no training sees; 0 for none.
        seed: Of the cut.

    Raises:
        SplitError: The `fold` column holds another number of folds, or a class is too small.
    """
    refuse_unstated(manifest)
    plain = _without_splits(manifest, note="The given splits were ignored for the folds.")
    if folds < 2:
        raise SplitError(f"{folds} fold(s): cross-validation needs at least 2.")
    own = sorted({record.fold for record in plain if record.fold is not None})
    numbers = (
        _own_folds(plain, own, folds)
        if own
        else _cut(plain, range(len(plain)), [1 / folds] * folds, seed=seed, what=f"{folds} folds")
    )
    shares = (validation_share, calibration_share)
    return tuple(_one_fold(plain, numbers, fold, shares=shares, seed=seed) for fold in range(folds))


def check_split(manifest: Manifest, *, allow_published_leak: bool = False) -> None:
    """Raise unless every split holds images, training knows every label, of two at least, and no group stands on two sides.

    Args:
        manifest: Claims to be split.
        allow_published_leak: Let splits that came with the files have what the published protocol allows: group mates of test
            images in training, and copies or twins on any two sides.

    Raises:
        SplitError: Names the groups and images.
    """
    refuse_unstated(manifest)
    missing = [split for split in SPLITS if split != CALIBRATION and not _has(manifest, split)]
    if missing or any(not record.split for record in manifest):
        what = f"no {' and no '.join(missing)} images" if missing else "images without a split"
        raise SplitError(f"{manifest.root}: {what}. Cut the manifest with `tumorscope split`.")
    unknown = [label for label in LABELS if manifest.counts()[label] and not manifest.counts("train")[label]]
    if unknown:
        raise SplitError(f"{manifest.root}: no training image shows {unknown[0]}. Every class needs images on the training side.")
    shown = [label for label in LABELS if manifest.counts()[label]]
    if len(shown) < 2:
        raise SplitError(f"{manifest.root}: all images show {shown[0]}, so there is nothing to tell apart. Add another class.")
    sides: dict[str, dict[str, str]] = defaultdict(dict)
    for record in manifest:
        given = record.split == "test" or record.group.startswith(SLICE_GROUP)
        if record.group and not (allow_published_leak and given):
            sides[record.group].setdefault(record.split, record.path)
    leaks = {group: paths for group, paths in sides.items() if len(paths) > 1}
    if leaks:
        named = "; ".join(
            f"group {group}: " + ", ".join(f"{path} in {side}" for side, path in leaks[group].items())
            for group in sorted(leaks)[:3]
        )
        raise SplitError(f"{len(leaks)} group(s) stand on both sides of the split ({named}). Keep every group on one side.")


def refuse_unstated(manifest: Manifest) -> None:
    """Raise when an image shows a tumour of unstated type: no network has an answer for it.

    Raises:
        SplitError: Names how many.
    """
    if manifest.unstated:
        raise SplitError(
            f"{manifest.root}: {manifest.unstated} image(s) are labelled `{UNSTATED_TUMOUR}`, of no stated type. They can test a "
            "model (--test), not train one: name their type, or leave them out."
        )


def _has(manifest: Manifest, split: str) -> bool:
    return any(record.split == split for record in manifest)


def _without_splits(manifest: Manifest, *, note: str) -> Manifest:
    given = any(record.split for record in manifest)
    return manifest.with_records((replace(record, split="") for record in manifest), note=note if given else None)


def _marked(manifest: Manifest, splits: Mapping[int, str], *, note: str | None = None) -> Manifest:
    records = (replace(record, split=splits.get(row, record.split)) for row, record in enumerate(manifest))
    return manifest.with_records(records, note=note)


def _cut_test(manifest: Manifest, share: float, *, seed: int) -> Manifest:
    folds = sorted({record.fold for record in manifest if record.fold is not None})
    if len(folds) > 1 and not manifest.knows_patients and not any(record.split for record in manifest):
        test = {row: "test" for row, record in enumerate(manifest) if record.fold == folds[-1]}
        return _marked(manifest, test, note=f"No test split is given: fold {folds[-1]} is the test split.")
    units = _units(manifest.records)
    kept = {unit for unit, record in zip(units, manifest, strict=True) if record.split in ("validation", CALIBRATION)}
    rows = [row for row, unit in enumerate(units) if unit not in kept]
    parts = _cut(manifest, rows, (share, 1 - share), seed=seed, what="a test split")
    test = {row: "test" for row, part in parts.items() if part == 0}
    note = f"No test split is given: {len(test)} of {len(manifest)} images were held out, stratified by class{_by_group(manifest)}."
    return _marked(manifest, test, note=note)


def _cut_validation(manifest: Manifest, share: float, *, seed: int) -> Manifest:
    return _cut_from_training(manifest, share, split="validation", seed=seed + 1)


def _cut_calibration(manifest: Manifest, share: float, *, seed: int) -> Manifest:
    if share == 0 or _has(manifest, CALIBRATION):
        return manifest
    try:
        return _cut_from_training(manifest, share, split=CALIBRATION, seed=seed + 2)
    except SplitError as error:
        note = f"No calibration split was cut, so what the models promise rests on validation images: {error}"
        return manifest.with_records(manifest.records, note=note)


def _cut_from_training(manifest: Manifest, share: float, *, split: str, seed: int) -> Manifest:
    rows = [row for row, record in enumerate(manifest) if record.split in ("", "train")]
    if any(manifest.records[row].fold is not None for row in rows) and not manifest.knows_patients:
        return _cut_run(manifest, rows, share, split=split, seed=seed)
    parts = _cut(manifest, rows, (share, 1 - share), seed=seed, what=f"a {split} split")
    splits = {row: split if part == 0 else "train" for row, part in parts.items()}
    held = sum(part == 0 for part in parts.values())
    note = f"{split.capitalize()}: {held} of {len(rows)} training images, stratified by class{_by_group(manifest)}."
    return _marked(manifest, splits, note=note)


def _cut_run(manifest: Manifest, rows: Sequence[int], share: float, *, split: str, seed: int) -> Manifest:
    """Take for a split a run of every class's images in the manifest's order, whole groups and equal pixels together.

    Folds tell that patients were kept apart, but not which image is whose. The slices of a patient follow one another, so a run
    has two ends at most that cut through a patient; no test image is touched.
    """
    rng = np.random.default_rng(seed)
    units = _units(manifest.records)
    sizes = Counter(units[row] for row in rows)
    held: set[int] = set()
    of_label = {label: [row for row in rows if manifest.records[row].label == label] for label in LABELS}
    for label, found in of_label.items():
        if len({units[row] for row in found}) == 1:
            raise SplitError(
                f"{manifest.root}: class {label} has one image or group outside what is held out, too few to cut a {split} split."
            )
        if found:
            held |= _run([units[row] for row in found], sizes, max(1, round(share * len(found))), rng)
    for found in of_label.values():
        if found and all(units[row] in held for row in found):  # groups of several classes may have taken the rest along
            held -= {units[found[0]]}
    splits = {row: split if units[row] in held else "train" for row in rows}
    count = sum(side == split for side in splits.values())
    note = (
        f"{split.capitalize()}: {count} of {len(rows)} training images, of every class a run that follow one another, since no "
        "patient is named; a patient at an end of a run may stand in training too."
    )
    return _marked(manifest, splits, note=note)


def _run(units: Sequence[int], sizes: Mapping[int, int], count: int, rng: np.random.Generator) -> set[int]:
    """Return units that follow one another from a random place on, of so many images at most; those too large are passed over."""
    start = int(rng.integers(max(1, len(units) - count + 1)))
    held: set[int] = set()
    left = count
    for unit in (*units[start:], *units[:start]):
        if unit not in held and sizes[unit] <= left:
            held.add(unit)
            left -= sizes[unit]
    return held or {min(units, key=lambda unit: sizes[unit])}


def _by_group(manifest: Manifest) -> str:
    return " and by group" if any(record.group for record in manifest) else ""


def _cut(manifest: Manifest, rows: Sequence[int], shares: Sequence[float], *, seed: int, what: str) -> dict[int, int]:
    """Deal rows into parts of given shares, stratified by label, whole groups and equal pixels together, whatever their order."""
    if min(shares) <= 0:
        raise SplitError(f"a share of {shares[0]} for {what}: allowed is more than 0 and less than 1.")
    if not rows:
        raise SplitError(f"{manifest.root}: all images are in the test split, so nothing is left to cut {what} from. Add images.")
    ordered = sorted(rows, key=lambda row: (manifest.records[row].sha256, manifest.records[row].path))
    records = [manifest.records[row] for row in ordered]
    units = _units(records)
    counts = np.zeros((max(units) + 1, len(LABELS)), dtype=np.int64)
    np.add.at(counts, (units, [LABELS.index(record.label) for record in records]), 1)
    for label, images, different in zip(LABELS, counts.sum(axis=0), (counts > 0).sum(axis=0), strict=True):
        if 0 < different < len(shares):
            raise SplitError(
                f"{manifest.root}: class {label} has {images} image(s) in {different} group(s), too few to cut {what}: at least "
                f"{len(shares)} different images or groups are needed. Add images, or leave the class out."
            )
    parts = _deal(counts, np.array(shares), np.random.default_rng(seed))
    if parts is None:
        raise SplitError(f"{manifest.root}: the groups are too few or too mixed to cut {what} with every class on every side.")
    return {row: int(parts[unit]) for row, unit in zip(ordered, units, strict=True)}


def _deal(counts: np.ndarray, shares: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
    """Return a part for each unit, given its images per label (units, labels); None when a part must stay without a label.

    The largest unit first, each goes to where it raises chi square (images per part and label against the shares) least.
    """
    order = rng.permutation(len(counts))
    order = order[np.argsort(-counts[order].sum(axis=1), kind="stable")]
    parts = np.zeros(len(counts), dtype=np.int64)
    held = np.zeros((len(shares), counts.shape[1]))
    weights = 1 / (shares[:, None] * np.maximum(counts.sum(axis=0), 1))
    for unit in order:
        parts[unit] = ((2 * held + counts[unit]) * counts[unit] * weights).sum(axis=1).argmin()
        held[parts[unit]] += counts[unit]
    for part, label in np.argwhere((held == 0) & (counts.sum(axis=0) > 0)):
        unit = _spare_unit(counts, parts, order, label)
        if unit is None:
            return None
        parts[unit] = part
    complete = all((counts[parts == part].sum(axis=0) > 0)[counts.sum(axis=0) > 0].all() for part in range(len(shares)))
    return parts if complete else None


def _spare_unit(counts: np.ndarray, parts: np.ndarray, order: np.ndarray, label: int) -> int | None:
    """Return the smallest unit with a label whose part keeps another one."""
    having = counts[:, label] > 0
    rich = [part for part in set(parts[having].tolist()) if (having & (parts == part)).sum() > 1]
    return next((int(unit) for unit in reversed(order) if having[unit] and parts[unit] in rich), None)


def _units(records: Sequence[Record]) -> list[int]:
    """Number what must stay together: one group, or equal pixels, or anything that such links join."""
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while parent.setdefault(name, name) != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    names = [f"pixels {record.sha256 or record.path}" for record in records]
    for record, name in zip(records, names, strict=True):
        if record.group:
            parent[root(name)] = root(f"group {record.group}")
    order: dict[str, int] = {}
    return [order.setdefault(root(name), len(order)) for name in names]


def _own_folds(manifest: Manifest, own: Sequence[int], folds: int) -> dict[int, int]:
    if len(own) != folds:
        raise SplitError(
            f"{manifest.root}: the fold column holds {len(own)} folds ({', '.join(map(str, own))}) and {folds} were asked for. "
            f"Ask for {len(own)}, or remove the column."
        )
    without = next((record.path for record in manifest if record.fold is None), None)
    if without is not None:
        raise SplitError(f"{manifest.root}: {without} has no fold and others have one. Give every image a fold, or none.")
    return {row: own.index(record.fold) for row, record in enumerate(manifest) if record.fold is not None}


def _one_fold(manifest: Manifest, numbers: Mapping[int, int], fold: int, *, shares: tuple[float, float], seed: int) -> Manifest:
    """Return the split that tests one fold."""
    tested = _marked(manifest, {row: "test" for row, number in numbers.items() if number == fold})
    split = _cut_calibration(_cut_validation(tested, shares[0], seed=seed + fold), shares[1], seed=seed + fold)
    numbered = _without_twins_of_held_out(split.with_records(replace(r, fold=numbers[row]) for row, r in enumerate(split)))
    check_split(numbered)
    return _with_leak_note(_with_missing_note(numbered))


def _without_twins_of_held_out(manifest: Manifest) -> Manifest:
    """Leave out of what comes first in `SPLITS` what a given fold column put there although its slice is held out later."""
    groups = {split: {record.group for record in manifest if record.split == split} for split in SPLITS}
    forbidden = {split: set[str]().union(*(groups[later] for later in SPLITS[at + 1 :])) for at, split in enumerate(SPLITS)}
    straddling = {
        record.path for record in manifest if record.group.startswith(SLICE_GROUP) and record.group in forbidden[record.split]
    }
    if not straddling:
        return manifest
    kept = (record for record in manifest if record.path not in straddling)
    named = ", ".join(sorted(straddling)[:3])
    return manifest.with_records(
        kept,
        note=f"{len(straddling)} image(s) were left out of training, validation or calibration because the folds given hold the "
        f"same slice out (first: {named}).",
    )


def _without_test_mates(manifest: Manifest) -> Manifest:
    test = [record for record in manifest if record.split == "test"]
    groups = {record.group for record in test if record.group}
    pixels = {record.sha256 for record in test if record.sha256}
    kept = [r for r in manifest if r.split == "test" or (r.group not in groups and r.sha256 not in pixels)]
    removed = len(manifest) - len(kept)
    return manifest.with_records(
        kept, note=f"Leak-free: {removed} training images that share a group or all pixels with a test image were removed."
    )


def _with_missing_note(manifest: Manifest) -> Manifest:
    missing = [label for label in LABELS if not manifest.counts()[label]]
    note = f"No image shows {' or '.join(missing)}: no model of this run can know it."
    return manifest.with_records(manifest.records, note=note if missing else None)


def _with_leak_note(manifest: Manifest) -> Manifest:
    """Count the test images whose pixels or group also stand in training or validation."""
    known = [record for record in manifest if record.split != "test"]
    pixels = {record.sha256 for record in known if record.sha256}
    groups = {record.group for record in known if record.group}
    test = [record for record in manifest if record.split == "test"]
    mates = [record for record in test if record.group in groups]
    counted = {
        "have exactly the pixels of a training or validation image": sum(record.sha256 in pixels for record in test),
        "show the same slice as a training or validation image": sum(r.group.startswith(SLICE_GROUP) for r in mates),
        "have a group mate in training or validation": sum(not r.group.startswith(SLICE_GROUP) for r in mates),
    }
    sentences = [f"{count} of {len(test)} test images {what}." for what, count in counted.items() if count]
    return manifest.with_records(manifest.records, note=" ".join(sentences) or None)
