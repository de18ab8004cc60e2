"""Seconds until MobileNetV2 reaches a validation accuracy: the student report's recipe as commonly written, beside ours.

    python benchmarks/time_to_accuracy.py SOURCE --init WEIGHTS.safetensors [--seeds 3] [--recipe NAME_OR_PATH]
                                          [--budget-minutes 30] [--validate-every STEPS] [-o OUT.json] [--profile]

SOURCE is a set of picture files. It is indexed, audited and split once, by group; all trainings share the split and its
validation images. Nothing else should run on the machine. Both sides train on the CPU (`two_trainings.py`).

The usual recipe is the shipped `report` in a plain loop: float32, Pillow and torchvision's transforms on the picture files, two
worker processes. It is validated every so many steps and after every epoch, and goes on until the last level is reached, until
validation loss has not fallen for the recipe's patience, or until the budget is spent. Ours is what `tumorscope train` calls, to
the end of its recipe. It is validated after every epoch only, so it has fewer chances, and a level counts when its epoch is over.

Every training has a process of its own, since ours sets the C library's allocator, and its clock starts before Python does.
No pixels are kept from one training to the next; the system may hold the files, for both sides. A finished training stands in
OUT.json and is not run again.

`--profile` prints what the time went into, by timers around the calls, which are always on: wall seconds of the process that
trains, exact on a CPU. The workers decode and augment beside it; their wall seconds are told apart and are no part of the sum.
"""

import argparse
import json
import math
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import torch
from two_trainings import BUDGET, IN_WORKERS, LEVELS, NETWORK, OURS, USUAL, Order, Run, run_here, seconds_to

from tumorscope.apps.console import Reporter
from tumorscope.apps.run_folder import RunFolder
from tumorscope.data.decode import IMAGE_SUFFIXES
from tumorscope.errors import EvaluationError, OutputError, SourceError, TumorscopeError
from tumorscope.manifest import Manifest
from tumorscope.models.network import started_from
from tumorscope.storage import refuse_closed_folder, write_atomically
from tumorscope.training.recipe import Recipe, load_recipe

USUAL_RECIPE = "report"


def prepare_split(source: Path, recipe: Recipe, init: str, place: Path) -> tuple[RunFolder, float]:
    """Index, audit and split the images as `tumorscope run` does; return the folder with the split and the seconds it took."""
    began = time.time()
    from tumorscope.apps.experiment import Choices, prepare

    choices = Choices(data=source, out=place / "split", models=(NETWORK,), recipe=recipe, init=init, device="cpu")
    folder = prepare(choices, Reporter())
    seconds = time.time() - began
    refuse_other_than_pictures(folder.manifest())
    return folder, seconds


def refuse_other_than_pictures(manifest: Manifest) -> None:
    """Raise when an image lies in an archive, or in a format that Pillow does not read.

    Raises:
        SourceError: Names the first.
    """
    other = next((record.path for record in manifest if Path(record.path).suffix.lower() not in IMAGE_SUFFIXES), None)
    if other is not None:
        raise SourceError(f"{other}: no picture file, and the usual recipe reads no other. Give a folder or a CSV of pictures.")


def machine() -> dict[str, Any]:
    """Return what a time depends on that is not in the choices."""
    can = torch.cpu.get_capabilities()
    return {
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "bfloat16 in hardware": bool(can.get("avx512_bf16") or can.get("amx_bf16")),
    }


def setup_of(folder: RunFolder, chosen: argparse.Namespace, recipe: Recipe) -> dict[str, Any]:
    """Return what must be the same for results to stand in one file."""
    manifest = folder.manifest()
    return {
        "split": manifest.split_fingerprint,
        "images": {split: sum(manifest.counts(split).values()) for split in ("train", "validation")},
        "init": started_from(NETWORK, chosen.init),
        "recipe": recipe.to_toml(),
        "usual recipe": load_recipe(USUAL_RECIPE).to_toml(),
        "levels": list(LEVELS),
        "budget in minutes": chosen.budget_minutes,
        "steps between validations": chosen.validate_every,
        "machine": machine(),
    }


def stored(path: Path, setup: dict[str, Any], prepare_s: float) -> dict[str, Any]:
    """Return what an earlier call left in the file, or an empty result.

    Raises:
        OutputError: The file holds results of another set-up, or cannot be written.
    """
    refuse_closed_folder(path.parent, option="-o")
    if not path.is_file():
        return {"setup": setup, "prepare_s": prepare_s, "runs": []}
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise OutputError(f"{path}: not JSON ({error}). Choose another file with -o.") from error
    differs = [name for name, value in setup.items() if content.get("setup", {}).get(name) != value]
    if differs:
        raise OutputError(f"{path}: holds results with another {' and another '.join(differs)}. Choose another file with -o.")
    return content


def run_apart(order: Order) -> Run:
    """Train in a process of its own.

    Raises:
        EvaluationError: It failed; it has said why.
    """
    told = json.dumps(asdict(replace(order, started=time.time())))
    done = subprocess.run([sys.executable, __file__, "--one", told], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise EvaluationError(f"{order.side}, seed {order.seed}: the training ended with status {done.returncode}, see above.")
    run: Run = json.loads(done.stdout.splitlines()[-1])
    return run


def run_missing(chosen: argparse.Namespace, folder: RunFolder, recipe: Recipe, content: dict[str, Any]) -> None:
    """Run what the file does not hold yet, and write it after every training."""
    finished = {(run["side"], run["seed"]) for run in content["runs"]}
    for seed in range(chosen.seeds):
        for side, choice in ((USUAL, load_recipe(USUAL_RECIPE)), (OURS, recipe)):
            if (side, seed) in finished:
                continue
            order = Order(
                side=side,
                seed=seed,
                manifest=str(folder.manifest_path),
                init=chosen.init,
                recipe=choice.to_toml(),
                budget_s=60 * chosen.budget_minutes,
                validate_every=chosen.validate_every,
            )
            content["runs"].append(run_apart(order))
            write_atomically(chosen.out, json.dumps(content, indent=1, allow_nan=False) + "\n")


def spread(values: Sequence[float], missing: str) -> str:
    """Return median and range of seconds, infinite where a level was not reached; `missing` says so where most were not."""
    middle, first, last = median(values), min(values), max(values)
    if math.isinf(middle):
        return missing if math.isinf(first) else f"{missing} (first {first:,.0f})"
    until = "never" if math.isinf(last) else f"{last:,.0f}"
    return f"{middle:,.0f}" if first == last else f"{middle:,.0f} ({first:,.0f} to {until})"


def how_many_times(pairs: Sequence[tuple[float, float, float]]) -> str:
    """Return median and range of ratios.

    Args:
        pairs: For each seed the slow and the fast side's seconds, infinite where never reached, and those after which the slow
            one was given up.
    """
    if any(math.isinf(fast) for _, fast, _ in pairs):
        return "unknown"
    ratios = [(given_up if math.isinf(slow) else slow) / fast for slow, fast, given_up in pairs]
    bound = "more than " if any(math.isinf(slow) for slow, _, _ in pairs) else ""
    several = f" ({min(ratios):.1f} to {max(ratios):.1f})" if len(ratios) > 1 else ""
    return f"{bound}{median(ratios):.1f}{several}"


def table(content: dict[str, Any]) -> list[str]:
    """Return seconds by level, medians and ranges over seeds, and how many times faster ours is."""
    usual, ours = ([run for run in content["runs"] if run["side"] == side] for side in (USUAL, OURS))
    before = content["prepare_s"]
    lines = [_line("seconds until a validation accuracy of", [f"{level:.2f}" for level in content["setup"]["levels"]])]
    for name, runs, validation, more in (
        ("usual recipe", usual, True, 0.0),
        ("usual recipe, validation left out", usual, False, 0.0),
        ("ours, with indexing, audit and split", ours, True, before),
        ("ours, from the split on", ours, True, 0.0),
        ("ours, from the split on, validation left out", ours, False, 0.0),
    ):
        missing = f"not within {content['setup']['budget in minutes']:g} min" if _all_spent(runs) else "never"
        times = ([seconds_to(run, level, validation=validation, more=more) for run in runs] for level in LEVELS)
        lines.append(_line(name, [spread(values, missing) for values in times]))
    for name, validation, validation_of_ours, more in (
        ("times faster, from the split on", True, True, 0.0),
        ("  validation left out of both", False, False, 0.0),
        ("  validation left out of the usual one, all in ours", False, True, before),
    ):
        cells = []
        for level in LEVELS:
            pairs = [
                (
                    seconds_to(slow, level, validation=validation),
                    seconds_to(fast, level, validation=validation_of_ours, more=more),
                    slow["seconds"] - (0.0 if validation else slow["validation_s"]),
                )
                for slow, fast in zip(usual, ours, strict=True)
            ]
            cells.append(how_many_times(pairs))
        lines.append(_line(name, cells))
    return lines


def _line(name: str, cells: Sequence[str]) -> str:
    return f"{name:52s}" + "".join(f"{cell:>34s}" for cell in cells)


def _all_spent(runs: Sequence[Run]) -> bool:
    return all(run["ended"] == BUDGET for run in runs)


def each_run(content: dict[str, Any]) -> list[str]:
    """Return a line for every training: how far it came, and what an epoch takes, to extrapolate from."""
    lines = []
    for run in content["runs"]:
        best = max(run["points"], key=lambda point: point["accuracy"], default=None)
        found = "not validated once" if best is None else f"best {best['accuracy']:.3f} after {best['seconds']:,.0f} s"
        epoch = "" if run["epoch_s"] is None else f", {run['epoch_s']:,.0f} s an epoch without validation"
        lines.append(
            f"{run['side']}, seed {run['seed']}: {run['ended']} after {run['seconds']:,.0f} s and {run['epochs']:.2f} epochs; "
            f"{found}{epoch}"
        )
    return lines


def profile(runs: Sequence[Run], side: str) -> list[str]:
    """Return the share of each part in the wall time of one side, all its seeds together, the largest first."""
    mine = [run for run in runs if run["side"] == side]
    whole = sum(run["seconds"] for run in mine)
    parts = {name: sum(run["parts"].get(name, 0.0) for run in mine) for name in {name for run in mine for name in run["parts"]}}
    beside = {name: parts.pop(name) for name in IN_WORKERS if name in parts}
    parts["rest"] = whole - sum(parts.values())
    lines = [f"{side}: shares of {whole:,.0f} s"]
    lines += [f"  {name:40s} {100 * spent / whole:5.1f} %" for name, spent in sorted(parts.items(), key=lambda item: -item[1])]
    return lines + [f"  beside it: {name:29s} {100 * spent / whole:5.1f} %" for name, spent in beside.items()]


def measure(chosen: argparse.Namespace) -> None:
    """Do what the command line asks for."""
    recipe = load_recipe(chosen.recipe)
    with TemporaryDirectory() as place:
        folder, prepare_s = prepare_split(chosen.source, recipe, chosen.init, Path(place))
        setup = setup_of(folder, chosen, recipe)
        content = stored(chosen.out, setup, prepare_s)
        print(", ".join(f"{name} {value}" for name, value in setup["machine"].items()))
        print(f"{setup['images']}; indexing, audit and split: {content['prepare_s']:,.0f} s", flush=True)
        run_missing(chosen, folder, recipe, content)
    content["runs"] = sorted((r for r in content["runs"] if r["seed"] < chosen.seeds), key=lambda r: (r["seed"], r["side"]))
    print("\n".join([*table(content), *each_run(content)]))
    if chosen.profile:
        print("\n".join(line for side in (USUAL, OURS) for line in profile(content["runs"], side)))


def main() -> None:
    """Run what the command line asks for; `--one` is how a training gets a process of its own."""
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(run_here(Order(**json.loads(sys.argv[2])))))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("--init", required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--recipe", default="default")
    parser.add_argument("--budget-minutes", type=float, default=30.0)
    parser.add_argument("--validate-every", type=int, default=40, metavar="STEPS")
    parser.add_argument("-o", "--out", type=Path, default=Path("time_to_accuracy.json"))
    parser.add_argument("--profile", action="store_true")
    chosen = parser.parse_args()
    if chosen.seeds < 1 or chosen.validate_every < 1:
        parser.error("--seeds and --validate-every take numbers from 1 on")
    try:
        measure(chosen)
    except TumorscopeError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
