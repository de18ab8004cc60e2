"""Kill `predict` at random moments and go on: the output must be that of a run which nobody killed, byte for byte.

    python benchmarks/kill.py [--count 20000] [--distinct 300] [--kills 2] [--formats jsonl csv parquet] [--model FOLDER] [--seed 0]

The files are slices of the synthetic set under many names: pictures, one in twenty an array of three slices, one in fifty cut
short. The model is a CNN that nobody trained, unless one is given. Every format is written once without a break; then once more,
killed as `kill -9` does after random shares of the time that the first took, and gone on with by the same command. What is left
beside the output is compared as well. The exit status is 1 when anything differs.
"""

import argparse
import io
import itertools
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from tumorscope.apps.finding_output import SUFFIXES
from tumorscope.data.phantom import phantom_patient
from tumorscope.data.preprocess import Preprocessing
from tumorscope.labels import LABELS
from tumorscope.models.bundle import Bundle, save_bundle
from tumorscope.models.network import build

SLICES = 5
SIDE = 64
FILES_IN_A_FOLDER = 1000


def contents(distinct: int, *, seed: int) -> list[tuple[str, bytes]]:
    """Return files of different content, each with the suffix of its name."""
    drawn = (
        one.pixels
        for number in itertools.count()
        for label in LABELS
        for one in phantom_patient(label, seed=seed, number=number, slices=SLICES, image_size=SIDE)
    )
    files = []
    for number, pixels in enumerate(itertools.islice(drawn, distinct)):
        stream = io.BytesIO()
        if number % 20 == 7:
            np.save(stream, np.stack([pixels, pixels[::-1], pixels[:, ::-1]]))
        else:
            Image.fromarray(pixels).save(stream, "PNG")
        whole = stream.getvalue()
        files.append((".npy" if number % 20 == 7 else ".png", whole[: len(whole) // 2] if number % 50 == 11 else whole))
    return files


def fill(folder: Path, files: Sequence[tuple[str, bytes]], count: int) -> Path:
    """Write `count` files, a thousand a folder, each with a content of its turn."""
    for number, (suffix, content) in enumerate(itertools.islice(itertools.cycle(files), count)):
        inside = folder / f"{number // FILES_IN_A_FOLDER:03}"
        inside.mkdir(parents=True, exist_ok=True)
        (inside / f"{number:06}{suffix}").write_bytes(content)
    return folder


def untrained(folder: Path) -> Path:
    """Save a small network that nobody trained."""
    import torch

    torch.manual_seed(0)
    network = build("cnn").eval()
    save_bundle(Bundle(network, Preprocessing(image_size=SIDE), {}, {}, "d", "s", frozenset(), "2026-01-01T00:00:00+00:00"), folder)
    return folder


def run(command: Sequence[str], *, kill_after_s: float | None = None) -> tuple[int, float]:
    """Run a command, killed after a time if one is given; return its status, negative for a signal, and how long it took."""
    started = time.monotonic()
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            process.wait(kill_after_s)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
        if process.returncode not in (0, 1, -signal.SIGKILL):
            log.seek(0)
            raise RuntimeError(f"status {process.returncode}: {log.read().decode(errors='replace')[-2000:]}")
    return process.returncode, time.monotonic() - started


def records_in(folder: Path) -> int:
    """Return how many lines the outputs of a folder have so far, whole or not."""
    return sum(path.read_bytes().count(b"\n") for path in folder.iterdir() if path.suffix in (".jsonl", ".csv"))


def killed_and_gone_on_with(
    command: Callable[[Path], Sequence[str]], out: Path, moments_s: Sequence[float]
) -> Iterator[tuple[int, int, float]]:
    """Run a command to its end over several kills; yield status, lines written so far and seconds of every run."""
    for moment in (*moments_s, None):
        status, taken = run(command(out), kill_after_s=moment)
        yield status, records_in(out.parent), taken


def differences(whole: Path, killed: Path) -> list[str]:
    """Return in which files two folders of outputs differ."""
    names = [{path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} for folder in (whole, killed)]
    alone = [f"{name} is in one folder only" for name in sorted(names[0] ^ names[1])]
    both = sorted(names[0] & names[1])
    return alone + [f"{name} differs" for name in both if (whole / name).read_bytes() != (killed / name).read_bytes()]


def compare(suffix: str, archive: Path, model: Path, scratch: Path, *, kills: int, rng: random.Random) -> list[str]:
    """Write one format without a break and with kills, print how that went, and return what differs."""

    def command(out: Path) -> list[str]:
        return [sys.executable, "-m", "tumorscope", "predict", str(archive), "--model", str(model), "-o", str(out)]

    whole, killed = scratch / f"{suffix}-whole", scratch / f"{suffix}-killed"
    whole.mkdir()
    killed.mkdir()
    status, taken = run(command(whole / f"out.{suffix}"))
    print(f"{suffix}: without a break {taken:.1f} s, status {status}", flush=True)
    shares = sorted(rng.uniform(0.05, 0.95) for _ in range(kills))
    moments = [taken * (share - before) for share, before in zip(shares, [0.0, *shares], strict=False)]
    ended = []
    for status_then, lines, seconds in killed_and_gone_on_with(command, killed / f"out.{suffix}", moments):
        ended.append(status_then)
        how = "killed" if status_then == -signal.SIGKILL else f"ended with status {status_then}"
        print(f"  {how} after {seconds:.1f} s; {lines:,} lines by then", flush=True)
    found = differences(whole, killed)
    found += [] if ended[-1] == status else [f"status {ended[-1]} instead of {status}"]
    size = (whole / f"out.{suffix}").stat().st_size
    print(f"  {'; '.join(found) or f'the same {size:,} bytes, and nothing else beside them'}", flush=True)
    return found


def main() -> None:
    """Kill, go on, compare and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--distinct", type=int, default=300, help="files of different content")
    parser.add_argument("--kills", type=int, default=2)
    known = [suffix[1:] for suffix in SUFFIXES]
    parser.add_argument("--formats", nargs="+", choices=known, default=known)
    parser.add_argument("--model", type=Path, help="folder of a bundle; by default an untrained CNN of 64 pixels")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        files = contents(options.distinct, seed=options.seed)
        archive = fill(scratch / "archive", files, options.count)
        print(f"{options.count:,} files of {len(files)} contents, {os.cpu_count()} processors", flush=True)
        model = options.model or untrained(scratch / "model")
        found = [
            difference
            for suffix in options.formats
            for difference in compare(suffix, archive, model, scratch, kills=options.kills, rng=rng)
        ]
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
