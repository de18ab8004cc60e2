"""The calibration of a bundle in its files: plain values in `bundle.json`, arrays in a file named after their digest."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from tumorscope.errors import BundleError
from tumorscope.models.bundle_files import BUNDLE_FILE
from tumorscope.models.calibration import Calibration
from tumorscope.storage import write_atomically

PATTERN = "calibration-*.safetensors"


def write_calibration(calibration: Calibration, folder: Path, *, content: Mapping[str, Any] | None = None) -> None:
    """Store a calibration in a bundle in place of the one that is there; a kill leaves the old one or the new one.

    Args:
        calibration: To be stored.
        folder: Of the bundle.
        content: What else its `bundle.json` is to say; by default what it says already.

    Raises:
        OutputError: The folder cannot be written.
    """
    content = content or json.loads((folder / BUNDLE_FILE).read_text(encoding="utf-8"))
    values = calibration.to_json()
    kept = None
    if values is not None and calibration.acceptance is not None:
        data = save_arrays(dict(calibration.acceptance.to_tensors()[0]))
        digest = hashlib.sha256(data).hexdigest()
        kept = PATTERN.replace("*", digest[:16])
        write_atomically(folder / kept, data)
        values |= {"arrays_file": kept, "arrays_sha256": digest}
    write_atomically(folder / BUNDLE_FILE, json.dumps({**content, "calibration": values}, indent=1) + "\n")
    for old in folder.glob(PATTERN):
        if old.name != kept:
            old.unlink(missing_ok=True)


def read_calibration(folder: Path, content: Mapping[str, Any]) -> Calibration:
    """Return the calibration of a bundle, an unfitted one where it has none.

    Args:
        folder: Of the bundle.
        content: Of its `bundle.json`.

    Raises:
        BundleError: A file is missing or altered.
    """
    values = content.get("calibration")
    arrays: dict[str, np.ndarray] = {}
    if values is not None and values.get("arrays_file"):
        arrays = _read_arrays(folder / Path(values["arrays_file"]).name, values["arrays_sha256"])
    try:
        return Calibration.from_json(values, arrays)
    except BundleError as error:
        raise BundleError(f"{folder}: {error}") from error


def made_from(content: Mapping[str, Any]) -> dict[str, str | None]:
    """Return what an answer depends on: `weights_sha256` and when the model was `calibrated`, None where it is not.

    Args:
        content: Of a bundle's `bundle.json`.
    """
    values = content.get("calibration") or {"fitted_on": {"created": None}}
    return {"weights_sha256": content["weights_sha256"], "calibrated": values["fitted_on"]["created"]}


def answer_stamp(content: Mapping[str, Any]) -> dict[str, str | None] | str:
    """Return `made_from`, or the digest of the weights alone for a model that is not calibrated, as files of before have it."""
    stamp = made_from(content)
    return stamp if stamp["calibrated"] else content["weights_sha256"]


def _read_arrays(path: Path, digest: str) -> dict[str, np.ndarray]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error.strerror}). Restore it, or run `tumorscope calibrate` again.") from error
    if hashlib.sha256(data).hexdigest() != digest:
        raise BundleError(
            f"{path}: not the file that {BUNDLE_FILE} was written for. Restore it, or run `tumorscope calibrate` again."
        )
    try:
        return dict(load_arrays(data))
    except SafetensorError as error:
        raise BundleError(f"{path}: not a readable safetensors file ({error}).") from error
