"""The external test sets of a run as they lie in its folder: what they are, and what the models answered."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tumorscope.apps.run_folder import LOOKUP, RunFolder, read_content
from tumorscope.errors import EvaluationError

FOLDER = "external"


@dataclass(frozen=True, slots=True)
class ExternalSet:
    """An external test set of a run.

    Attributes:
        name: What its files are called.
        data: As the user named it.
        images: How many it holds.
        in_training: Of these, images whose slice is among the run's training images: left out.
        near_training: Images left in that very likely lie next to a slice in training.
        notes: What was decided while reading it.
    """

    name: str
    data: str
    images: int
    in_training: int
    near_training: int
    notes: tuple[str, ...]


def external_name(path: Path) -> str:
    """Return what the files of an external set are called: its file or folder name, letters, digits, `-` and `_` only.

    A file called `manifest.csv` takes the name of its folder.
    """
    named = path.resolve().parent.name if path.stem == "manifest" else path.stem
    return re.sub(r"[^A-Za-z0-9_-]+", "-", named).strip("-") or "set"


def external_sets(folder: RunFolder) -> tuple[ExternalSet, ...]:
    """Return the external sets that were prepared for a run."""
    return tuple(read_external(path.parent) for path in sorted((folder.path / FOLDER).glob("*/external.json")))


def external_results(folder: RunFolder, names: Sequence[str]) -> dict[str, dict[str, dict[str, Any]]]:
    """Return external set to model to the content of its metrics, the look-up last."""
    results = {}
    for external in external_sets(folder):
        found = {name: read_content(folder.model(name) / f"external_{external.name}_metrics.json") for name in (*names, LOOKUP)}
        results[external.name] = {name: content for name, content in found.items() if content}
    return {name: found for name, found in results.items() if found}


def read_external(place: Path) -> ExternalSet:
    """Return the external set that was stored in a folder; raises EvaluationError when its file is incomplete."""
    content = read_content(place / "external.json")
    try:
        values = {name: content[name] for name in ExternalSet.__dataclass_fields__}
    except KeyError as error:
        raise EvaluationError(
            f"{place}: its external.json lacks {error}. Delete that folder and run the same command again."
        ) from None
    return ExternalSet(**{**values, "notes": tuple(values["notes"])})
