"""Small data shared by the tests: a set that a network can learn in seconds, and nothing that needs a network connection."""

import importlib.util
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from tumorscope.apps.cli import main
from tumorscope.data.pixel_cache import PixelCache
from tumorscope.data.preprocess import Preprocessing
from tumorscope.engines.engine import processors
from tumorscope.labels import LABELS
from tumorscope.manifest import Manifest, Record
from tumorscope.models.bundle import Bundle
from tumorscope.models.network import Classifier, build
from tumorscope.scan import Scan


def pytest_configure() -> None:
    """Give each of several processes of tests, and what it starts, its share of threads, lest these wait for each other."""
    processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if processes > 1:
        threads = max(1, processors() // processes)
        os.environ["OMP_NUM_THREADS"] = str(threads)  # a training gives the same numbers only with as many threads
        torch.set_num_threads(threads)
        cv2.setNumThreads(threads)


def bright_band(label_index: int, *, seed: int, size: int = 64) -> np.ndarray:
    """Return a noisy picture whose bright band tells its label."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 60, (size, size)).astype(np.uint8)
    quarter = size // 4
    pixels[label_index * quarter : (label_index + 1) * quarter, quarter:-quarter] += 150
    return pixels


@pytest.fixture
def banded_cache() -> PixelCache:
    """80 decoded pictures of 64 pixels: 12 for training, 4 for validation and 4 for test of every label."""
    records, grids = [], []
    for number in range(80):
        label = number % 4
        grids.append(bright_band(label, seed=number))
        split = ("train", "train", "train", "validation", "test")[number // 4 % 5]
        sha256 = Scan(pixels=grids[-1], origin="test").sha256
        records.append(Record(path=f"{number}.png", label=LABELS[label], sha256=sha256, split=split))
    return PixelCache(Manifest(Path("nowhere"), tuple(records)), np.stack(grids), Preprocessing(image_size=64))


@pytest.fixture(scope="session")
def banded_pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Training and Testing folders of class folders: 10 and 4 PNG pictures of every label. To be read only."""
    root = tmp_path_factory.mktemp("banded") / "scans"
    for split, count, offset in (("Training", 10, 0), ("Testing", 4, 1000)):
        for label_index, label in enumerate(LABELS):
            folder = root / split / label
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = bright_band(label_index, seed=offset + number * 4 + label_index)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    return root


@pytest.fixture
def banded_folder(banded_pictures: Path, tmp_path: Path) -> Path:
    """A copy of these pictures for a test that changes them, or that wants them beside its own folders."""
    return Path(shutil.copytree(banded_pictures, tmp_path / "scans"))


@pytest.fixture
def tumorscope(monkeypatch, capsys):
    """Run the command line in this process; returns exit status, standard output and standard error."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["tumorscope", *map(str, arguments)])
        status = 0
        try:
            main()
        except SystemExit as stopped:
            status = stopped.code or 0
        out, err = capsys.readouterr()
        return status, out, err

    return call


@pytest.fixture(scope="session")
def load_benchmark() -> Callable[[str], ModuleType]:
    """Import a script of `benchmarks/` by its name; it is no package."""

    def loaded(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).parents[1] / "benchmarks" / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
        return module

    return loaded


@pytest.fixture(scope="session")
def averaging() -> Callable[[str], Classifier]:
    """Build a network of the same geometry whose layers average what they see, so that its response is the picture, blurred."""

    def built(name: str) -> Classifier:
        network = build(name).eval()
        for module in network.features.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.constant_(module.weight, 1.0 / (module.kernel_size[0] ** 2 * module.weight.shape[1]))
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            for child_name, child in module.named_children():
                if isinstance(child, nn.ReLU | nn.ReLU6 | nn.BatchNorm2d):
                    setattr(module, child_name, nn.Identity())
                if isinstance(child, nn.MaxPool2d):
                    setattr(module, child_name, nn.AvgPool2d(2))
        return network

    return built


@pytest.fixture(scope="session")
def untrained() -> Callable[..., Bundle]:
    """Make the bundle of a network that nobody trained, a CNN for 64 pixels unless another is asked for."""

    def made(name: str = "cnn", *, seed: int = 0, network: Classifier | None = None, **of_build: Any) -> Bundle:
        torch.manual_seed(seed)
        return Bundle(
            network=(network or build(name, **of_build)).eval(),
            preprocessing=Preprocessing(image_size=64),
            recipe={},
            training={},
            data_fingerprint="d",
            split_fingerprint="s",
            trained_on=frozenset(),
            created="2026-01-01T00:00:00+00:00",
        )

    return made
