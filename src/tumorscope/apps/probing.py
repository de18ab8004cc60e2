"""How a model stands scans that are worse than those it was tested on, measured on a sample of its test images."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from tumorscope import DISCLAIMER
from tumorscope.apps.console import Reporter
from tumorscope.data.corruptions import CORRUPTIONS, corrupt
from tumorscope.data.decode import decode_record
from tumorscope.errors import UsageError
from tumorscope.evaluation.evaluate import deciding
from tumorscope.evaluation.robustness import corrupted_answers, robustness_table
from tumorscope.explanation.sampling import sample_of
from tumorscope.manifest import Manifest
from tumorscope.models.bundle import Bundle
from tumorscope.scan import Scan

ROBUSTNESS_FILE = "robustness.json"
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
    test = manifest.in_split("test")
    rows = sample_of([record.label for record in test], sample)
    chosen = test.with_records(test.records[row] for row in rows)
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
        "of": len(test),
        "levels": {name: {"levels": CORRUPTIONS[name].levels, "meaning": CORRUPTIONS[name].meaning} for name in usable},
        "notes": notes,
        "rows": robustness_table(answers, groups=[record.group for record in chosen], seed=seed),
    }


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
