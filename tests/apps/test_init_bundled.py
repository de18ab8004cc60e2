"""Starting from a trained model, from the command line to bundle, report and refusal."""

import shutil

import numpy as np
import pytest
from command_line import invoke
from PIL import Image

from tumorscope.errors import BundleError, EvaluationError
from tumorscope.labels import LABELS
from tumorscope.manifest import read_manifest
from tumorscope.models.bundle_files import read_bundle_json, short_digest

SMALL = ("--image-size", "64", "--epochs", "1", "--models", "cnn", "--recipe", "plain")


def write_set(root, *, seed):
    """A folder with Training and Testing folders of class folders: 5 and 2 pictures of every label that no other seed draws."""
    rng = np.random.default_rng(seed)
    for split, count in (("Training", 5), ("Testing", 2)):
        for label in LABELS:
            (root / split / label).mkdir(parents=True)
            for number in range(count):
                Image.fromarray(rng.integers(0, 255, (64, 64), dtype=np.uint8)).save(root / split / label / f"{number}.png")
    return root


@pytest.fixture
def ancestor(tmp_path, monkeypatch):
    """The set of a run whose CNN is the shipped model of these tests."""
    data = write_set(tmp_path / "first-set", seed=1)
    invoke("index", data, "-o", tmp_path / "all.csv")
    invoke("split", tmp_path / "all.csv", "-o", tmp_path / "split.csv")
    out = tmp_path / "first"
    invoke("train", tmp_path / "split.csv", "--out", out, "--init", "none", *SMALL)
    for place in ("models.starting", "apps.describe", "models.shipped"):
        monkeypatch.setattr(f"tumorscope.{place}.shipped_folder", lambda: out / "cnn")
    return data


def test_a_run_from_the_bundled_model_says_so_and_has_seen_what_that_has_seen(ancestor, tmp_path):
    out = tmp_path / "run"
    invoke("run", "--data", write_set(tmp_path / "own", seed=2), "--out", out, "--init", "bundled", *SMALL)
    first, content = read_bundle_json(tmp_path / "first" / "cnn"), read_bundle_json(out / "cnn")
    own = {short_digest(record.sha256) for record in read_manifest(out / "manifest.csv") if record.split != "test"}
    assert set(content["trained_on"]) == own | set(first["trained_on"])
    assert content["training"]["ancestor"]["images"] == first["training"]["images"]
    assert content["training"]["ancestor"]["weights_sha256"] == first["weights_sha256"]
    page = (out / "report.html").read_text()
    assert "starting from the bundled model (cnn, recipe plain, weights" in page
    assert "cannot be recognised" in page
    assert "from the bundled model" in invoke("info", out).stdout
    assert "the bundled model" in invoke("info", out / "cnn").stdout
    assert "has seen 20 images" in invoke("info").stdout
    again = invoke("run", "--data", tmp_path / "own", "--out", out, "--init", "bundled", *SMALL)
    assert "already trained" in again.stderr


def test_a_test_split_that_the_bundled_model_has_seen_is_refused_before_any_training(ancestor, tmp_path, no_pages):
    data = write_set(tmp_path / "own", seed=2)
    shutil.copy(ancestor / "Training" / "glioma" / "0.png", data / "Testing" / "glioma" / "known.png")
    with pytest.raises(EvaluationError, match=r"1 of 9 test images were in the training of the model.*--init imagenet or none"):
        invoke("run", "--data", data, "--out", tmp_path / "run", "--init", "bundled", *SMALL)
    assert not (tmp_path / "run" / "cnn").exists()
    invoke("run", "--data", data, "--out", tmp_path / "scratch", "--init", "none", *SMALL)


def test_train_warns_of_such_images_and_evaluate_refuses_them(ancestor, tmp_path):
    data = write_set(tmp_path / "own", seed=2)
    shutil.copy(ancestor / "Training" / "glioma" / "0.png", data / "Testing" / "glioma" / "known.png")
    invoke("index", data, "-o", tmp_path / "own.csv")
    invoke("split", tmp_path / "own.csv", "-o", tmp_path / "own-split.csv")
    out = tmp_path / "run"
    result = invoke("train", tmp_path / "own-split.csv", "--out", out, "--init", tmp_path / "first" / "cnn", *SMALL)
    assert "1 test images were in the training of a trained model" in result.stderr
    with pytest.raises(EvaluationError, match="1 of 9 test images"):
        invoke("evaluate", out)


def test_external_sets_lose_what_the_bundled_model_has_seen(ancestor, tmp_path, no_pages):
    other = write_set(tmp_path / "other", seed=3)
    shutil.copy(ancestor / "Training" / "glioma" / "1.png", other / "Testing" / "glioma" / "known.png")
    out = tmp_path / "run"
    data = write_set(tmp_path / "own", seed=2)
    invoke("run", "--data", data, "--out", out, "--init", "bundled", "--test", other, *SMALL)
    kept = read_manifest(out / "external" / "other" / "manifest.csv")
    assert len(kept) == 28
    assert not any("known" in record.path for record in kept)


def test_an_installation_without_a_model_is_refused_before_any_work(tmp_path, monkeypatch):
    def none():
        raise BundleError("no bundled model")

    monkeypatch.setattr("tumorscope.models.starting.shipped_folder", none)
    data = write_set(tmp_path / "own", seed=2)
    with pytest.raises(BundleError, match="no bundled model"):
        invoke("run", "--data", data, "--out", tmp_path / "run", "--init", "bundled", *SMALL)
    assert not (tmp_path / "run").exists()
