"""From a run's decoded images to what its networks are trained on: outlines drawn, counterfactual scans made."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np

from tumorscope.apps.console import Reporter
from tumorscope.data.counterfactual import KINDS, SHARES, TRANSPLANTED, TRANSPLANTED_HEALTHY, write_counterfactuals
from tumorscope.data.pixel_cache import PixelCache, build_mask_cache, build_pixel_cache
from tumorscope.data.training_images import TrainingImages, edited_count
from tumorscope.labels import NO_TUMOUR
from tumorscope.manifest import Manifest
from tumorscope.training.recipe import Recipe

COUNTERFACTUALS = "counterfactual"


def training_images(cache: PixelCache, recipe: Recipe, place: Path, reporter: Reporter) -> TrainingImages:
    """Return what a recipe trains on. Without any outline in training, the images alone, and the reporter is told.

    Args:
        cache: Every image of a split manifest.
        recipe: Says whether outlines and counterfactual scans are wanted.
        place: Folder of caches; the edited scans and their grids lie there.
        reporter: Told what is done.

    Raises:
        DataError: Nothing in the images has room for an edit.
        OutputError: The folder cannot be written.
    """
    if not recipe.wants_outlines:
        return TrainingImages(cache)
    if not any(record.mask for record in cache.manifest if record.split == "train"):
        reporter.say("  No training image has a tumour outline: trained without guidance and without counterfactual scans.")
        return TrainingImages(cache)
    with reporter.counting("draw outlines") as progress:
        masks = build_mask_cache(cache.manifest, cache.preprocessing, place, progress=progress)
    usable: np.ndarray = np.any(masks, axis=(1, 2))
    outlined = int(usable[cache.rows("train")].sum())
    if not outlined or not recipe.counterfactual_share:
        return TrainingImages(cache, masks)
    edited = _edited(_usable(cache.manifest, usable), recipe, place / COUNTERFACTUALS, reporter)
    grids = build_pixel_cache(edited, cache.preprocessing, place)
    kinds = Counter(kind for record in edited for kind in record.flags if kind in KINDS)
    made = ", ".join(f"{kinds[kind]:,} {kind.replace('_', ' ')}" for kind in KINDS if kinds[kind])
    reporter.say(f"  {outlined:,} training images have a tumour outline; counterfactual scans made of them: {made}.")
    return TrainingImages(cache, masks, grids, build_mask_cache(edited, cache.preprocessing, place))


def _usable(manifest: Manifest, usable: np.ndarray) -> Manifest:
    """Training images alone, an outline that cannot be drawn being none."""
    records = (record if usable[row] else replace(record, mask="") for row, record in enumerate(manifest))
    return manifest.with_records(records).in_split("train")


def _edited(training: Manifest, recipe: Recipe, place: Path, reporter: Reporter) -> Manifest:
    """Make as many scans as one epoch takes; where no image is without a tumour, only such as need no other one."""
    count = max(1, edited_count(len(training), recipe.counterfactual_share))
    hosts = any(record.label == NO_TUMOUR for record in training)
    shares = {kind: part for kind, part in SHARES.items() if hosts or kind not in (TRANSPLANTED, TRANSPLANTED_HEALTHY)}
    with reporter.counting("make counterfactual scans") as progress:
        return write_counterfactuals(training, place, seed=recipe.seed, count=count, shares=shares, progress=progress)
