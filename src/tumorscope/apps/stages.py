"""The stages after the split, each on a run folder: what is finished is not repeated, what is done is stored at once."""

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from tumorscope import DISCLAIMER
from tumorscope.apps import probing
from tumorscope.apps.console import Reporter
from tumorscope.apps.crew import Crew, Order
from tumorscope.apps.explaining import RUN_SAMPLE, ExplainOrder, explain_into
from tumorscope.apps.probing import REFUSAL_FILE, ROBUSTNESS_FILE, refusal_of, robustness_of
from tumorscope.apps.run_folder import LOOKUP, METRICS_FILE, PREDICTIONS_FILE, RunFolder, read_content, write_json
from tumorscope.apps.training_data import training_images
from tumorscope.apps.trust import HELD_FILE, LOGITS_FILE, TRUST_FILE, array_bytes, some_of_every_label, trust_of, write_held
from tumorscope.data.first_look import FirstLook
from tumorscope.data.pixel_cache import PixelCache, build_pixel_cache
from tumorscope.data.training_images import TrainingImages
from tumorscope.errors import BundleError, EvaluationError, OutputError
from tumorscope.evaluation.answered import Answered
from tumorscope.evaluation.answering import answer_rows, first_looks
from tumorscope.evaluation.calibrate import calibrate
from tumorscope.evaluation.evaluate import count_copies, inherited, predictions_of, refuse_seen_images
from tumorscope.evaluation.intervals import bootstrap_intervals
from tumorscope.evaluation.lookup import lookup_baseline, lookup_predictions
from tumorscope.evaluation.metrics import summarise
from tumorscope.evaluation.twin_free import summarise_part, twin_free_rows
from tumorscope.explanation.explain import ExplainChoices
from tumorscope.manifest import CALIBRATION, Manifest
from tumorscope.models.bundle import Bundle, load_bundle, save_bundle
from tumorscope.models.bundle_files import read_bundle_json
from tumorscope.models.calibration import Calibration
from tumorscope.models.calibration_files import made_from, read_calibration, write_calibration
from tumorscope.models.device import Device, torch_device
from tumorscope.models.starting import find_start
from tumorscope.predictions import Predictions, read_predictions, write_predictions
from tumorscope.storage import write_atomically
from tumorscope.training.allocator import keep_freed_memory
from tumorscope.training.launch import LOG_FILES
from tumorscope.training.recipe import Promises, Recipe
from tumorscope.training.recorder import BEST_FILE, CHECKPOINT_FILE
from tumorscope.training.train import train


@dataclass(slots=True)
class Stages:
    """The stages over one run folder, with the decoded images held open between them.

    Attributes:
        folder: The run.
        reporter: Where progress is shown.
        device: For training, evaluation and explanation.
        crew: The processes that train; everything else is done by this one.
    """

    folder: RunFolder
    reporter: Reporter
    device: Device = "auto"
    crew: Crew = field(default_factory=Crew)
    _cache: PixelCache | None = field(default=None, repr=False)
    _training_images: TrainingImages | None = field(default=None, repr=False)
    _looks: dict[int, FirstLook] = field(default_factory=dict, repr=False)

    def cache(self) -> PixelCache:
        """Return the decoded images of the run, from the cache file or decoded now."""
        if self._cache is None:
            manifest = self.folder.manifest()
            preprocessing = self.folder.recipe().preprocessing
            started = time.monotonic()
            with self.reporter.counting("decode") as progress:
                self._cache = build_pixel_cache(manifest, preprocessing, self.folder.cache_path, progress=progress)
            if "decode" not in self.folder.state().durations_s:
                self._add_duration("decode", started)
        return self._cache

    def training_images(self) -> TrainingImages:
        """Return what the run's networks are trained on, the outlines and edited scans made now or by an earlier call."""
        if self._training_images is None:
            place = self.folder.cache_path
            self._training_images = training_images(self.cache(), self.folder.recipe(), place, self.reporter)
        return self._training_images

    def train(self, name: str, init: str) -> Bundle:
        """Return the finished model, trained now, from where a kill left it, or not at all when it is there already.

        Raises:
            OutputError: The folder holds a finished model of other choices.
        """
        model = self.folder.model(name)
        start = find_start(name, init)
        if (model / "bundle.json").is_file():
            self._refuse_other_model(model, start.sentence)
            self.reporter.say(f"{name}: already trained")
            return load_bundle(model)
        seen = inherited(start.seen, self.folder.manifest())
        if seen:
            self.reporter.say(f"  {len(seen):,} test images were in the training of {start.sentence}: `evaluate` will refuse them.")
        images = self.training_images()
        keep_freed_memory()
        order, recipe = Order(self.folder, name, self.device), self.folder.recipe()
        with self.crew.training(order) as team, self.reporter.training(f"train {name}") as progress:
            bundle = train(images, recipe, name=name, init=init, folder=model, device=self.device, progress=progress, team=team)
        save_bundle(bundle, model)
        state = model / "training"
        for leftover in (state / CHECKPOINT_FILE, state / BEST_FILE, *state.glob(LOG_FILES)):
            leftover.unlink(missing_ok=True)
        self.folder.add_duration(f"train {name}", float(bundle.training["duration_s"]))
        best = bundle.training
        self.reporter.say(f"{name}: validation accuracy {best['validation_accuracy']:.4f} in epoch {best['best_epoch']}")
        return bundle

    def _refuse_other_model(self, model: Path, start: str) -> None:
        content = read_bundle_json(model)
        same_start = content["training"]["started_from"] == start
        if (
            content["split_fingerprint"] != self.folder.manifest().split_fingerprint
            or Recipe.model_validate(content["recipe"]) != self.folder.recipe()  # what an older one left out has its default
            or not same_start
        ):
            raise OutputError(
                f"{model}: holds a model trained with other images, split, recipe or --init than asked for. Choose another --out, "
                "or delete that folder to train it again."
            )

    def calibrate(self, name: str, promises: Promises | None = None) -> Calibration:
        """Return the model's calibration, fitted now and stored in its bundle, unless that is done already.

        It is fitted on the calibration split; without one on the validation images, which is said.

        Args:
            name: Of the model.
            promises: What is promised; by default what the bundle's own calibration promises, else the recipe.

        Raises:
            EvaluationError: The run's manifest is not the one that the model was trained from.
        """
        model, manifest = self.folder.model(name), self.folder.manifest()
        content = read_bundle_json(model)
        if content["split_fingerprint"] != manifest.split_fingerprint:
            raise EvaluationError(
                f"{model}: trained from another manifest or split than {self.folder.manifest_path} is now, so images that it was "
                "trained on might be taken for new ones. Restore the manifest, or train again."
            )
        before = (content.get("calibration") or {}).get("fitted_on", {})
        wanted = promises or Promises.model_validate(before.get("promises") or self.folder.recipe().promises)
        if before.get("promises") == wanted.model_dump(mode="json") and (model / HELD_FILE).is_file():
            with suppress(BundleError):  # a damaged one is fitted anew
                return read_calibration(model, content)
        started, cache, bundle = time.monotonic(), self.cache(), load_bundle(model, calibrated=False)
        split = CALIBRATION if any(record.split == CALIBRATION for record in manifest) else "validation"
        with self.reporter.counting(f"calibrate {name}") as progress:
            held = self._answered(bundle, cache.rows(split), split, progress)
        with self.reporter.counting(f"features of {name}") as progress:
            known = self._answered(bundle, some_of_every_label(cache.label_index, cache.rows("train")), "train", progress)
        calibration = calibrate(
            known,
            held,
            wanted,
            split_fingerprint=manifest.split_fingerprint,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            seed=self.folder.recipe().seed,
        )
        write_held(model / HELD_FILE, held)
        write_calibration(calibration, model)
        for sentence in calibration.fitted_on["sentences"]:
            self.reporter.say(f"  {sentence}")
        self._add_duration(f"calibrate {name}", started)
        return calibration

    def _answered(
        self, bundle: Bundle, rows: np.ndarray, split: str, progress: Callable[[int, int], None], *, look: bool = True
    ) -> Answered:
        looks = self._first_looks(rows) if look else ()
        device = torch_device(self.device)
        return answer_rows(bundle, self.cache(), rows, split=split, looks=looks, device=device, progress=progress)

    def _first_looks(self, rows: np.ndarray) -> tuple[FirstLook, ...]:
        """Return what the pictures tell, decoded once for all models."""
        unseen = [row for row in rows.tolist() if row not in self._looks]
        if unseen:
            cache = self.cache()
            self._looks.update(zip(unseen, first_looks(cache.manifest, unseen, cache.preprocessing), strict=True))
        return tuple(self._looks[row] for row in rows.tolist())

    def evaluate(self, name: str) -> Predictions:
        """Return the model's test predictions and store them with their metrics, unless that is done already."""
        model = self.folder.model(name)
        stamp = made_from(read_bundle_json(model))
        stored = read_content(model / METRICS_FILE)
        if stamp == {key: stored.get(key) for key in stamp} and (model / PREDICTIONS_FILE).is_file():
            return read_predictions(model / PREDICTIONS_FILE)
        bundle, cache = load_bundle(model), self.cache()
        refuse_seen_images(bundle, cache.manifest, "test")
        started = time.monotonic()
        with self.reporter.counting(f"evaluate {name}") as progress:
            tested = self._answered(bundle, cache.rows("test"), "test", progress, look=bundle.calibration.is_fitted)
        paths = [cache.manifest.records[row].path for row in cache.rows("test")]
        predictions = predictions_of(bundle.calibration, tested, paths)
        write_predictions(predictions, model / PREDICTIONS_FILE)
        metrics = measured(predictions, cache.manifest, lookup=self.lookup(), seed=self.folder.recipe().seed)
        metrics |= {
            "model": name,
            "exact_copies_in_training": count_copies(bundle, cache.manifest),
            "training": dict(bundle.training),
            **stamp,
        }
        write_atomically(model / LOGITS_FILE, array_bytes(tested.logits))
        write_json(model / METRICS_FILE, metrics)
        self._add_duration(f"evaluate {name}", started)
        return predictions

    def trust(self, name: str) -> dict[str, Any] | None:
        """Return what came of a calibrated and evaluated model's promises and store it, unless that is done; None without any."""
        model = self.folder.model(name)
        stamp = made_from(read_bundle_json(model))
        if stamp["calibrated"] is None:
            return None
        stored = read_content(model / TRUST_FILE)
        if stored.get("made_from") == stamp:
            return stored
        started = time.monotonic()
        content = trust_of(self.folder, name, self.cache()) | {"made_from": stamp}
        write_json(model / TRUST_FILE, content)
        self._add_duration(f"trust {name}", started)
        return content

    def probe(self, name: str, *, sample: int | None = None) -> dict[str, Any] | None:
        """Return how the model stands corrupted scans and store it, and what it makes of images of another kind; once done on at
        least so many images, by default `RUN_PROBE`, it is kept. Of folds the first alone is asked, whose numbers are shown."""
        if self.folder.state().fold:
            return None
        model = self.folder.model(name)
        stamp = made_from(read_bundle_json(model))
        stored = read_content(model / ROBUSTNESS_FILE)
        manifest = self.folder.manifest()
        wanted = min(sample or probing.RUN_PROBE, sum(record.split == "test" for record in manifest))
        if stored.get("made_from") == stamp and stored["images"] >= wanted:
            return stored
        started, device = time.monotonic(), torch_device(self.device)
        bundle, seed, predictions = load_bundle(model), self.folder.recipe().seed, read_predictions(model / PREDICTIONS_FILE)
        reporter = self.reporter
        refusal = refusal_of(bundle, manifest, predictions, sample=wanted, device=device, seed=seed, reporter=reporter)
        if refusal is not None:
            write_json(model / REFUSAL_FILE, refusal | {"made_from": stamp})
        content = robustness_of(bundle, manifest, sample=wanted, device=device, seed=seed, reporter=reporter)
        write_json(model / ROBUSTNESS_FILE, content | {"made_from": stamp})
        self._add_duration(f"probe {name}", started)
        return content

    def lookup(self) -> dict[str, Any]:
        """Return the metrics of the one-nearest-neighbour look-up on this run's split, computed once.

        It may look at training and validation images alike: whatever a model could have learnt from.
        """
        path = self.folder.model(LOOKUP) / METRICS_FILE
        cache = self.cache()
        if read_content(path).get("split_fingerprint") == cache.manifest.split_fingerprint:
            return read_content(path)
        known_rows = np.sort(np.concatenate([cache.rows("train"), cache.rows("validation")]))
        test_rows = cache.rows("test")
        known_grids, test_grids = cache.grids[known_rows], cache.grids[test_rows]
        plain, mirrored = (
            lookup_predictions(
                known_grids,
                cache.label_index[known_rows],
                test_grids=test_grids,
                test_paths=[cache.manifest.records[row].path for row in test_rows],
                test_label_index=cache.label_index[test_rows],
                mirrored=mirrored,
            )
            for mirrored in (False, True)
        )
        groups = [cache.manifest.records[row].group for row in test_rows]
        twin_free = twin_free_rows(plain, cache.manifest)
        result = lookup_baseline(plain, mirrored, groups=groups, twin_free=twin_free, seed=self.folder.recipe().seed)
        result["split_fingerprint"] = cache.manifest.split_fingerprint
        write_predictions(plain, path.with_name(PREDICTIONS_FILE))
        write_predictions(mirrored, path.with_name(f"mirrored_{PREDICTIONS_FILE}"))
        write_json(path, result)
        return result

    def explain(
        self, name: str, choices: ExplainChoices | None = None, *, place: Path | None = None, against: Path | None = None
    ) -> dict[str, Any]:
        """Return what was measured of a model's heatmaps and store it with the raw maps, unless that is done already.

        Args:
            name: Of the model.
            choices: What to measure; by default what every run measures.
            place: Folder that gets the files, by default the model's.
            against: Folder of the same network from another training, to see whether its maps repeat.
        """
        model = self.folder.model(name)
        wanted = choices or ExplainChoices(sample=RUN_SAMPLE, seed=self.folder.recipe().seed)
        started = time.monotonic()
        content = explain_into(ExplainOrder(model, place or model, wanted, against), self.cache(), self.reporter, self.device)
        if place is None and f"explain {name}" not in self.folder.state().durations_s:
            self._add_duration(f"explain {name}", started)
        return content

    def _add_duration(self, stage: str, started: float) -> None:
        self.folder.add_duration(stage, time.monotonic() - started)


def measured(predictions: Predictions, manifest: Manifest, *, lookup: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Return the content of `metrics.json` that does not depend on how the predictions were made."""
    group_of = {record.path: record.group for record in manifest}
    groups = [group_of[path] for path in predictions.paths]
    twin_free = twin_free_rows(predictions, manifest)
    part = {} if twin_free is None else {"twin_free": summarise_part(predictions, twin_free, groups=groups, seed=seed)}
    return {
        "disclaimer": DISCLAIMER,
        **summarise(predictions),
        "intervals": bootstrap_intervals(predictions, groups=groups, seed=seed),
        **part,
        "lookup_baseline": dict(lookup),
        "data_fingerprint": manifest.data_fingerprint,
        "split_fingerprint": manifest.split_fingerprint,
    }
