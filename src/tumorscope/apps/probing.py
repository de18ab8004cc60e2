"""How a model stands worse scans than those it was tested on, and images of another kind; on a sample of its test images."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from tumorscope import DISCLAIMER
from tumorscope.apps.console import Reporter
from tumorscope.data.corruptions import CORRUPTIONS, corrupt
from tumorscope.data.decode import decode_record
from tumorscope.data.unfamiliar import SET_NAMES, unfamiliar_sets
from tumorscope.errors import UsageError
from tumorscope.evaluation.evaluate import deciding
from tumorscope.evaluation.refusal import Scored, kept_and_refused, separation
from tumorscope.evaluation.robustness import corrupted_answers, robustness_table
from tumorscope.explanation.sampling import sample_of
from tumorscope.manifest import Manifest
from tumorscope.models.bundle import Bundle
from tumorscope.predictions import Decisions, Predictions
from tumorscope.scan import Scan

ROBUSTNESS_FILE = "robustness.json"
REFUSAL_FILE = "refusal.json"
PROBED_SETS = tuple(name for name in SET_NAMES if name != "phantoms")
"""The unfamiliar sets that are tried; the built-in set takes long to draw, and is familiar to models that are trained on it."""

RUN_PROBE = 24
"""Images that `run` asks again under every corruption: 1,464 answers."""


def robustness_of(
    bundle: Bundle, manifest: Manifest, *, sample: int, device: torch.device, seed: int, reporter: Reporter
) -> dict[str, Any]:
    """Return the content of `robustness.json`.

    Args:
        bundle: The trained model, calibrated or not.
        manifest: Of the run; a sample of its test images is used, every class by its share.
        sample: Images.
        device: Of torch.
        seed: Of the corruptions and the intervals.
        reporter: Told of progress.
    """
    chosen = _sample(manifest, sample)
    usable, left_out = _usable(seed)
    with reporter.counting(f"corrupt scans for {bundle.name}") as progress:

        def scans() -> Iterator[Scan]:
            for done, record in enumerate(chosen):
                progress(done, len(chosen))
                yield decode_record(chosen, record)
            progress(len(chosen), len(chosen))

        answers = corrupted_answers(
            scans(),
            chosen.records,
            deciding(bundle, device=device),
            preprocessing=bundle.preprocessing,
            corruptions=usable,
            seed=seed,
        )
    notes = [f"Without MONAI (`pip install 'tumorscope[robustness]'`): {', '.join(left_out)}."] if left_out else []
    return {
        "disclaimer": DISCLAIMER,
        "model": bundle.name,
        "images": len(chosen),
        "of": sum(record.split == "test" for record in manifest),
        "levels": {name: {"levels": CORRUPTIONS[name].levels, "meaning": CORRUPTIONS[name].meaning} for name in usable},
        "notes": notes,
        "rows": robustness_table(answers, groups=[record.group for record in chosen], seed=seed),
    }


def refusal_of(
    bundle: Bundle,
    manifest: Manifest,
    predictions: Predictions,
    *,
    sample: int,
    device: torch.device,
    seed: int,
    reporter: Reporter,
) -> dict[str, Any] | None:
    """Return the content of `refusal.json`; None where the model refuses nothing.

    Args:
        bundle: The trained model.
        manifest: Of the run; some sets are made of a sample of its test images.
        predictions: Of the test images: what is familiar.
        sample: Images of every unfamiliar set.
        device: Of torch.
        seed: Of the sets.
        reporter: Told of progress.
    """
    decisions = predictions.decisions
    if bundle.calibration.acceptance is None or decisions is None or decisions.familiarity is None:
        return None
    familiar = _scored(decisions)
    chosen = _sample(manifest, sample)
    scans = [bundle.preprocessing.eight_bit(decode_record(chosen, record).pixels) for record in chosen]
    decide, rows = deciding(bundle, device=device), {}
    with reporter.counting(f"unfamiliar images for {bundle.name}") as progress:
        for done, name in enumerate(PROBED_SETS):
            progress(done, len(PROBED_SETS))
            [made] = unfamiliar_sets(scans, seed=seed, count=sample, names=[name])
            found = separation(familiar, _scored(decide(made.images)), threshold=0.0)
            rows[name] = {"distance": made.distance, "made": made.made, **found}
        progress(len(PROBED_SETS), len(PROBED_SETS))
    return {
        "disclaimer": DISCLAIMER,
        "model": bundle.name,
        "images": sample,
        "familiar": kept_and_refused(familiar, predictions.correct, threshold=0.0),
        "sets": rows,
    }


def _scored(decisions: Decisions) -> Scored:
    """How familiar images are; one that is refused at a familiarity above 0 is so by the gate."""
    assert decisions.familiarity is not None
    return Scored(decisions.familiarity, decisions.refused & (decisions.familiarity >= 0))


def _sample(manifest: Manifest, count: int) -> Manifest:
    test = manifest.in_split("test")
    rows = sample_of([record.label for record in test], count)
    return test.with_records(test.records[row] for row in rows)


def _usable(seed: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the corruptions that can be made here, and titles of those that need what is not installed."""
    usable, left_out = [], []
    for name, corruption in CORRUPTIONS.items():
        try:
            corrupt(np.full((32, 32), 9, dtype=np.uint8), name, 1, seed)
            usable.append(name)
        except UsageError:
            left_out.append(corruption.title)
    return tuple(usable), tuple(left_out)
