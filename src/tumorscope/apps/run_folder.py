"""RunFolder: where everything of a run lies, and what was chosen for it."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from tumorscope import DISCLAIMER, __version__
from tumorscope.errors import EvaluationError, ManifestError, OutputError
from tumorscope.manifest import Manifest, read_manifest, write_manifest
from tumorscope.storage import write_atomically
from tumorscope.training.recipe import Recipe, parse_recipe

SCHEMA_VERSION = 1
LOOKUP = "lookup_baseline"
PREDICTIONS_FILE = "predictions.csv"
METRICS_FILE = "metrics.json"


@dataclass(frozen=True, slots=True)
class RunState:
    """What `run.json` holds.

    Attributes:
        data: Where the images came from, an absolute path; empty for the built-in set.
        protocol: How the test set was chosen.
        folds: Number of folds of a cross-validation, or None.
        fold: Number of the fold that this folder tests, or None.
        limit: Most images of each label and split, or None.
        synthetic: Whether the images are the built-in phantoms.
        tests: External test sets, absolute paths.
        notes: What was decided while reading and splitting the data, in sentences.
        durations_s: Stage to wall time in seconds.
    """

    data: str
    protocol: str
    folds: int | None = None
    fold: int | None = None
    limit: int | None = None
    synthetic: bool = False
    tests: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    durations_s: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The layout of a run's folder.

    Attributes:
        path: The folder.
        cache_path: Where decoded pixels are kept. Inside the run, so that no copy of a patient's image outlives it elsewhere.
    """

    path: Path
    cache_path: Path

    @classmethod
    def at(cls, path: Path) -> "RunFolder":
        """Return the run folder at a path; `path` need not exist yet."""
        return cls(path=path, cache_path=path / "cache")

    @property
    def manifest_path(self) -> Path:
        """The split manifest."""
        return self.path / "manifest.csv"

    @property
    def recipe_path(self) -> Path:
        """The resolved recipe."""
        return self.path / "recipe.toml"

    @property
    def audit_path(self) -> Path:
        """Folder of the audit of the run's data."""
        return self.path / "audit"

    @property
    def state_path(self) -> Path:
        """Choices and durations; written last when a run is prepared."""
        return self.path / "run.json"

    def model(self, name: str) -> Path:
        """Folder of one model, or of the look-up baseline."""
        return self.path / name

    def fold(self, number: int) -> "RunFolder":
        """The run folder of one fold of a cross-validation; it shares the pixel cache."""
        return RunFolder(path=self.path / f"fold-{number}", cache_path=self.cache_path)

    @property
    def is_prepared(self) -> bool:
        """Whether data, split and recipe are settled."""
        return self.state_path.is_file()

    def prepare(self, manifest: Manifest, recipe: Recipe, state: RunState) -> Manifest:
        """Store what a run is about, and return the manifest as it will be read back.

        Raises:
            OutputError: The folder cannot be written.
        """
        write_atomically(self.recipe_path, recipe.to_toml())
        stored = write_manifest(manifest, self.manifest_path)
        self.write_state(replace(state, notes=manifest.notes))
        return replace(stored, notes=manifest.notes)

    def manifest(self) -> Manifest:
        """Return the split manifest with its notes."""
        return replace(read_manifest(self.manifest_path), notes=self.state().notes)

    def recipe(self) -> Recipe:
        """Return the resolved recipe."""
        if not self.recipe_path.is_file():
            raise OutputError(f"{self.path}: no recipe.toml, so not a run folder. Start one with `tumorscope run --out DIR`.")
        return parse_recipe(self.recipe_path.read_text(encoding="utf-8"), where=str(self.recipe_path))

    def state(self) -> RunState:
        """Return what `run.json` holds.

        Raises:
            ManifestError: There is none, or it cannot be read.
        """
        if not self.is_prepared:
            raise ManifestError(
                f"{self.path}: no run.json, so not a run folder. Start one with `tumorscope run --out {self.path}`."
            )
        try:
            content = json.loads(self.state_path.read_text(encoding="utf-8"))
            values = {name: content[name] for name in RunState.__dataclass_fields__ if name != "tests"}
            values["tests"] = tuple(content.get("tests", ()))  # runs of before had none
        except (ValueError, KeyError, TypeError) as error:
            raise ManifestError(f"{self.state_path}: not readable ({error}). Start again in another folder.") from error
        return RunState(**{**values, "notes": tuple(values["notes"])})

    def write_state(self, state: RunState) -> None:
        """Store `run.json`."""
        content: dict[str, Any] = {
            "schema_version": SCHEMA_VERSION,
            "disclaimer": DISCLAIMER,
            "tumorscope": __version__,
            **asdict(state),
        }
        write_atomically(self.state_path, json.dumps(content, indent=1) + "\n")

    def add_duration(self, stage: str, duration_s: float) -> None:
        """Store how long a stage took, in seconds."""
        state = self.state()
        self.write_state(replace(state, durations_s={**state.durations_s, stage: duration_s}))

    def trained_models(self) -> tuple[str, ...]:
        """Names of the models of this run that are finished."""
        return tuple(sorted((path.parent.name for path in self.path.glob("*/bundle.json")), reverse=True))

    def evaluated_models(self) -> tuple[str, ...]:
        """Names of the models with an evaluation."""
        return tuple(sorted((p.parent.name for p in self.path.glob(f"*/{METRICS_FILE}") if p.parent.name != LOOKUP), reverse=True))


def read_json(path: Path) -> dict[str, Any]:
    """Return the content of a file that a stage wrote.

    Raises:
        EvaluationError: It is missing or not JSON.
    """
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise EvaluationError(f"{path}: missing or not readable. Delete its folder and run the same command again.") from error
    return content


def read_content(path: Path) -> dict[str, Any]:
    """Return the JSON that a finished stage left, empty when it left nothing that can be read."""
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write plain values as JSON; NaN is refused, since no reader agrees on it."""
    write_atomically(path, json.dumps(content, indent=1, allow_nan=False) + "\n")
