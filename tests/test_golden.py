"""Bundles of before must load and answer as they did: tests/golden holds one of every release, made by benchmarks/golden.py."""

import json
from pathlib import Path

import numpy as np
import pytest

from tumorscope.labels import LABELS
from tumorscope.models.bundle import load_bundle

FOLDERS = sorted(path.parent for path in (Path(__file__).parent / "golden").glob("*/bundle.json"))


@pytest.fixture(scope="module")
def golden(load_benchmark):
    return load_benchmark("golden")


def test_there_is_a_golden_bundle_and_all_of_them_are_small():
    assert FOLDERS
    for folder in FOLDERS:
        assert sum(path.stat().st_size for path in folder.iterdir()) < 2_000_000


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_bundle_of_before_answers_as_it_did(golden, folder):
    known = json.loads((folder / golden.GOLDEN_FILE).read_text(encoding="utf-8"))
    assert known["labels"] == list(LABELS)
    answers = golden.answers(load_bundle(folder))
    assert [one["scan"] for one in answers] == [one["scan"] for one in known["answers"]]
    for now, before in zip(answers, known["answers"], strict=True):
        np.testing.assert_allclose(now["probabilities"], before["probabilities"], rtol=0, atol=1e-4, err_msg=before["scan"])
        np.testing.assert_allclose(now["peak"], before["peak"], rtol=0, atol=1e-4, err_msg=before["scan"])
        assert now["height"] == pytest.approx(before["height"], rel=1e-3), before["scan"]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_the_answers_depend_on_scan_and_preprocessing(golden, folder):
    """Otherwise the comparison above would notice nothing."""
    bundle = load_bundle(folder)
    known = json.loads((folder / golden.GOLDEN_FILE).read_text(encoding="utf-8"))["answers"]
    probabilities = np.array([one["probabilities"] for one in known])
    assert len(set(probabilities.argmax(axis=1))) > 1
    assert np.abs(probabilities[:, None] - probabilities[None]).max(axis=2)[np.triu_indices(len(known), 1)].min() > 1e-2
    assert len({tuple(one["peak"]) for one in known}) > 2
    shifted = golden.scans()[-1].pixels.astype(np.float32)
    plain = bundle.preprocessing.eight_bit(shifted)
    assert not np.array_equal(plain, np.clip(shifted, 0, 255).astype(np.uint8))
