"""What `calibrate MODEL --on DATA` does: fits what a trained model promises on labelled scans of the place where it is to work."""

import hashlib
import json
import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from tumorscope import DISCLAIMER
from tumorscope.apps.calibrating import changed_promises
from tumorscope.apps.console import Reporter
from tumorscope.apps.run_folder import RunFolder
from tumorscope.data.audit.audit import audit_groups
from tumorscope.data.audit.provenance import with_folder_sources
from tumorscope.data.pixel_cache import build_pixel_cache
from tumorscope.data.sources import index_source
from tumorscope.errors import EvaluationError, OutputError
from tumorscope.evaluation.answered import Answered
from tumorscope.evaluation.answering import answer_rows, first_looks
from tumorscope.evaluation.calibrate import LOCAL, calibrate
from tumorscope.evaluation.external import ExternalAnswers
from tumorscope.evaluation.external_trust import trust_numbers
from tumorscope.labels import LABELS
from tumorscope.manifest import Manifest
from tumorscope.models.acceptance import Acceptance
from tumorscope.models.bundle import Bundle, load_bundle
from tumorscope.models.bundle_files import BUNDLE_FILE, GRAPH_FILE, WEIGHTS_FILE, read_bundle_json, short_digest
from tumorscope.models.calibration_files import write_calibration
from tumorscope.models.device import Device, torch_device
from tumorscope.models.shipped import model_folder
from tumorscope.predictions import joined_decisions
from tumorscope.resampling import deal_folds, number_groups
from tumorscope.storage import refuse_closed_folder, write_atomically
from tumorscope.training.recipe import Promises

TESTED_FILE = "local_calibration.json"
PARTS = 5
"""Into how many parts the groups are cut to test what is promised: each is answered by a calibration that has not seen it."""


def calibrate_on(
    model: str, data: Sequence[Path], changed: Mapping[str, object], out: Path, reporter: Reporter, device: Device
) -> dict[str, Any]:
    """Write a copy of a model that is calibrated on labelled images, and return how its promises held on images left out.

    The weights stay as they are. Left out is what the model has seen with all of its group, what an earlier set holds too, and
    tumours of unstated type.

    Args:
        model: Folder of a bundle, or `bundled`.
        data: Labelled sets, whose images count together.
        changed: Fields of `Promises` that are not as the model promised before; None keeps them.
        out: Folder for the copy: not there yet, empty, or of an earlier copy of the same weights.
        reporter: Told of progress.
        device: Where the network runs.

    Returns:
        What `TESTED_FILE` holds beside the copy: `on`, `n`, `groups`, `per_label`, `sentences`, `left_out`, `operating_point`, and
        `tested` (see `trust_numbers`; in `PARTS` parts, each answered by a calibration on the others; None with fewer than twice
        as many groups as parts).

    Raises:
        UsageError: A promise is out of range.
        OutputError: The folder holds something else, lies in a run, or cannot be written.
        EvaluationError: No image is left to calibrate on.
    """
    folder = model_folder(model)
    content = read_bundle_json(folder)
    before = (content.get("calibration") or {}).get("fitted_on", {}).get("promises") or content["recipe"].get("promises") or {}
    promises = changed_promises(before, changed)
    _refuse_other_content(out, folder, content)
    refuse_closed_folder(out, option="-o")
    bundle = load_bundle(folder)
    parts: list[Answered] = []
    left_out, digests = 0, list[str]()
    for path in data:
        manifest, fewer = _labelled(path, bundle, set(digests), reporter)
        left_out += fewer
        if manifest is not None:
            digests += [short_digest(record.sha256) for record in manifest]
            parts.append(_asked(bundle, manifest, reporter, device))
    if not parts:
        raise EvaluationError(
            f"{', '.join(map(str, data))}: no labelled image that the model has not seen. Give scans of your own with their labels."
        )
    known, held = bundle.calibration.acceptance, _together(parts)
    created = datetime.now(UTC).isoformat(timespec="seconds")
    fingerprint = hashlib.sha256("".join(sorted(digests)).encode()).hexdigest()
    fitted = calibrate(known, held, promises, split_fingerprint=fingerprint, created=created)
    fitted = replace(fitted, fitted_on={**fitted.fitted_on, "images": sorted(set(digests))})
    found = {
        "disclaimer": DISCLAIMER,
        "on": [path.name for path in data],
        **{key: fitted.fitted_on[key] for key in ("n", "groups", "per_label", "sentences", "created")},
        "left_out": left_out,
        "operating_point": fitted.operating_point,
        "tested": _tested(known, held, promises),
    }
    write_atomically(out / TESTED_FILE, json.dumps(found, indent=1) + "\n")
    for name in (WEIGHTS_FILE, GRAPH_FILE):
        if (folder / name).is_file():
            write_atomically(out / name, (folder / name).read_bytes())
    write_calibration(fitted, out, content=content)  # writes bundle.json last, which makes the folder a bundle
    return found


def _refuse_other_content(out: Path, folder: Path, content: Mapping[str, Any]) -> None:
    if out.resolve() == folder.resolve():
        raise OutputError(f"{out}: the model itself, whose calibration stays as it is. Choose another -o.")
    if RunFolder.at(out.resolve().parent).is_prepared:
        raise OutputError(f"{out}: inside a run, which would take it for one of its models. Choose another -o.")
    if not out.is_dir() or not any(out.iterdir()):
        return
    there = read_bundle_json(out) if (out / BUNDLE_FILE).is_file() else content
    if there["weights_sha256"] != content["weights_sha256"] or not (out / TESTED_FILE).is_file():
        raise OutputError(f"{out}: not empty, and not an earlier calibration of this model. Choose another -o.")


def _labelled(path: Path, bundle: Bundle, before: Collection[str], reporter: Reporter) -> tuple[Manifest | None, int]:
    """Return the images to calibrate on with their groups, None where there are none, and how many were left out."""
    with reporter.counting(f"index {path.name}") as progress:
        manifest = index_source(path, progress=progress)
    for note in manifest.notes:
        reporter.say(f"  {note}")
    count = len(manifest) + len(manifest.broken)
    stated = [record for record in manifest if record.label in LABELS]
    if len(stated) < len(manifest):
        reporter.say(f"  {len(manifest) - len(stated):,} images show a tumour of unstated type and were left out.")
    if not stated:
        return None, count
    with reporter.counting(f"group {path.name}") as progress:
        grouped = with_folder_sources(audit_groups(manifest.with_records(stated), progress=progress))
    known = {record.group for record in grouped if bundle.has_seen(record.sha256)}
    new = [record for record in grouped if record.group not in known and short_digest(record.sha256) not in before]
    if len(new) < len(grouped):
        reporter.say(f"  {len(grouped) - len(new):,} images are of groups that the model was trained on, or came before: left out.")
    return (grouped.with_records(new), count - len(new)) if new else (None, count)


def _asked(bundle: Bundle, manifest: Manifest, reporter: Reporter, device: Device) -> Answered:
    with tempfile.TemporaryDirectory(prefix="tumorscope-") as place, reporter.counting("ask the model") as progress:
        cache = build_pixel_cache(manifest, bundle.preprocessing, Path(place))
        rows = np.arange(len(manifest))
        looks = first_looks(manifest, range(len(manifest)), cache.preprocessing)
        return answer_rows(bundle, cache, rows, split=LOCAL, looks=looks, device=torch_device(device), progress=progress)


def _together(parts: Sequence[Answered]) -> Answered:
    """Join sets; groups of different sets are different, whatever they are called."""
    features, logits, label_index = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("features", "logits", "label_index")
    )
    groups = tuple(group and f"{number}-{group}" for number, part in enumerate(parts) for group in part.groups)
    return Answered(features, logits, label_index, LOCAL, groups, tuple(look for part in parts for look in part.looks))


def _tested(known: Acceptance | None, held: Answered, promises: Promises) -> dict[str, float | None] | None:
    """Return how promises hold on images that they were not fitted on, over all parts; None with too few groups."""
    numbers = number_groups(held.groups)
    if int(numbers.max()) + 1 < 2 * PARTS:
        return None
    part_of = deal_folds(numbers, folds=PARTS, seed=0)
    decided = []
    for part in range(PARTS):
        fitted = calibrate(known, held.where(np.flatnonzero(part_of != part)), promises, split_fingerprint="", created="")
        asked = held.where(np.flatnonzero(part_of == part))
        decided.append(fitted.decide(asked.logits, asked.features, asked.looks))
    decisions = joined_decisions(decided).where(np.argsort(np.argsort(part_of, kind="stable")))
    rows, labels = tuple(map(str, range(len(held)))), tuple(LABELS[label] for label in held.label_index)
    return trust_numbers(ExternalAnswers(rows, labels, ("",) * len(held), held.groups, decisions.probabilities), decisions)
