"""The explanation of one model as files: explanation.json, maps.npz, peaks.csv and a table of images."""

import hashlib
import io
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tumorscope import DISCLAIMER, __version__
from tumorscope.apps.console import Reporter
from tumorscope.apps.run_folder import read_content
from tumorscope.data.decode import decode_record
from tumorscope.data.pixel_cache import PixelCache
from tumorscope.data.preprocess import Preprocessing
from tumorscope.errors import EvaluationError
from tumorscope.evaluation.evaluate import inherited
from tumorscope.explanation.content import content_of, write_images, write_peaks
from tumorscope.explanation.explain import ExplainChoices, Explanation, explain
from tumorscope.explanation.looking import Looker
from tumorscope.manifest import Manifest
from tumorscope.models.bundle import Bundle, load_bundle
from tumorscope.models.bundle_files import read_bundle_json
from tumorscope.models.calibration_files import made_from
from tumorscope.models.device import Device, torch_device
from tumorscope.storage import write_atomically

EXPLANATION_FILE = "explanation.json"
MAPS_FILE = "maps.npz"
IMAGES_FILE = "explained_images.csv"
PEAKS_FILE = "peaks.csv"
RUN_SAMPLE = 32
"""Images that `run` asks the network about again and again; `explain` takes more."""

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class ExplainOrder:
    """One explanation that is asked for.

    Attributes:
        model: Folder of the bundle.
        place: Folder that gets the files.
        choices: What is measured.
        against: Folder of a bundle of the same network from another training, or None.
    """

    model: Path
    place: Path
    choices: ExplainChoices
    against: Path | None = None


def explain_into(order: ExplainOrder, cache: PixelCache, reporter: Reporter, device: Device) -> dict[str, Any]:
    """Return what explanation.json says of a model, made now unless it is there already; it is written last.

    Raises:
        BundleError: A model is missing, or the one to compare with is another network.
        EvaluationError: The split has no images.
        OutputError: The folder cannot be written.
    """
    stamp = _stamp(order, cache.manifest)
    stored = read_content(order.place / EXPLANATION_FILE)
    files = (MAPS_FILE, IMAGES_FILE, PEAKS_FILE)
    if _covers(stored.get("made_from", {}), stamp) and all((order.place / name).is_file() for name in files):
        return stored
    bundle = load_bundle(order.model)
    torch_on = torch_device(device)
    other = None if order.against is None else _same_network(order, bundle)
    other_looker = None if other is None else Looker(other.network, other.preprocessing, torch_on, other.calibration)
    looker = Looker(bundle.network, bundle.preprocessing, torch_on, bundle.calibration)
    with reporter.counting(f"explain {bundle.name}") as progress:
        found = explain(looker, cache, order.choices, other=other_looker, progress=progress)
    content = {
        "schema_version": SCHEMA_VERSION,
        "disclaimer": DISCLAIMER,
        "tumorscope": __version__,
        "model": bundle.name,
        "weights_sha256": stamp["weights_sha256"],
        "data_fingerprint": cache.manifest.data_fingerprint,
        "split_fingerprint": cache.manifest.split_fingerprint,
        **content_of(found, order.choices),
        "made_from": stamp,
    }
    if content["repeatability"] is not None:
        content["repeatability"]["against"] = str(order.against)
    content["notes"] += _seen_notes(bundle, other, cache.manifest, order.choices.split)
    (order.place / EXPLANATION_FILE).unlink(missing_ok=True)  # it vouches for the other files, and these change now
    _write_maps(found, order.place / MAPS_FILE)
    write_images(found.images, order.place / IMAGES_FILE)
    write_peaks(found, _on_scans(found, cache, bundle.preprocessing), order.place / PEAKS_FILE)
    write_atomically(order.place / EXPLANATION_FILE, json.dumps(content, indent=1, allow_nan=False) + "\n")
    return content


def _same_network(order: ExplainOrder, bundle: Bundle) -> Bundle:
    assert order.against is not None
    other = load_bundle(order.against)
    if other.name != bundle.name or other.preprocessing != bundle.preprocessing:
        raise EvaluationError(
            f"{order.against}: a {other.name} at {other.preprocessing.image_size} pixels cannot show whether the maps of a "
            f"{bundle.name} at {bundle.preprocessing.image_size} repeat. Give another training of the same network."
        )
    if read_bundle_json(order.against)["weights_sha256"] == read_bundle_json(order.model)["weights_sha256"]:
        raise EvaluationError(f"{order.against}: the very model that is explained. Give a run with another --seed to --against.")
    return other


def _seen_notes(bundle: Bundle, other: Bundle | None, manifest: Manifest, split: str) -> list[str]:
    notes = [] if split == "test" else [f"The {split} images took part in the training of this {bundle.name}."]
    before = inherited(bundle.trained_on, manifest, split)
    if before:
        notes.append(f"{len(before):,} {split} images took part in the training of the model that this {bundle.name} started from.")
    records = manifest.in_split(split).records
    seen = 0 if other is None else sum(other.has_seen(record.sha256) for record in records)
    if seen:
        notes.append(f"{seen:,} of the {len(records):,} {split} images took part in the training of the model of --against.")
    return notes


def _stamp(order: ExplainOrder, manifest: Manifest) -> dict[str, Any]:
    """What an explanation was made from, as JSON will give it back."""
    against = None if order.against is None else read_bundle_json(order.against)["weights_sha256"]
    choices = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(order.choices).items()}
    facts = [(r.sha256, r.split, r.group, r.mask) for r in manifest if r.split in (order.choices.split, "validation")]
    return {
        "schema_version": SCHEMA_VERSION,
        "tumorscope": __version__,
        **made_from(read_bundle_json(order.model)),
        "images_sha256": hashlib.sha256(repr(facts).encode()).hexdigest(),
        "against": against,
        **choices,
    }


def _covers(stored: dict[str, Any], wanted: dict[str, Any]) -> bool:
    """Whether what is stored was measured at least as widely as what is wanted."""
    same = ("schema_version", "tumorscope", "weights_sha256", "calibrated", "images_sha256", "split", "limit", "seed")
    if any(stored.get(key) != wanted[key] for key in same):
        return False
    more = stored["sample"] >= wanted["sample"] and stored["method_images"] >= wanted["method_images"]
    return more and set(stored["methods"]) >= set(wanted["methods"]) and wanted["against"] in (None, stored["against"])


def _on_scans(found: Explanation, cache: PixelCache, preprocessing: Preprocessing) -> list[tuple[float, float] | None]:
    """Where the peaks lie on the scans' own grids."""
    records = {record.path: record for record in cache.manifest}
    placed: list[tuple[float, float] | None] = []
    for image, (row, column) in zip(found.images, found.peaks, strict=True):
        if np.isnan(row):
            placed.append(None)
            continue
        framing = preprocessing.framing(decode_record(cache.manifest, records[image.path]))
        rows, columns = preprocessing.to_scan(np.array(row), np.array(column), framing)
        placed.append((float(rows), float(columns)))
    return placed


def _write_maps(found: Explanation, path: Path) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        paths=np.array([image.path for image in found.images]),
        maps=found.maps.astype(np.float16),
        label_maps=found.looked.maps.astype(np.float16),
        probabilities=found.looked.probabilities,
    )
    write_atomically(path, buffer.getvalue())


@dataclass(frozen=True, slots=True, eq=False)
class StoredMaps:
    """What maps.npz holds.

    Attributes:
        paths: Image of each map, as its manifest spells it.
        label_maps: Raw maps of all labels, float32, shape (n, 4, cell rows, cell columns).
        probabilities: float64, shape (n, 4).
    """

    paths: tuple[str, ...]
    label_maps: np.ndarray
    probabilities: np.ndarray


def read_maps(path: Path) -> StoredMaps:
    """Read what an explanation left.

    Raises:
        EvaluationError: It is missing or damaged.
    """
    try:
        with np.load(path) as stored:
            return StoredMaps(
                tuple(stored["paths"].tolist()), stored["label_maps"].astype(np.float32), stored["probabilities"].astype(np.float64)
            )
    except (OSError, ValueError, KeyError) as error:
        raise EvaluationError(f"{path}: missing or not readable ({error}). Run `tumorscope explain` again.") from error
